"""For integrators: a bundle in the form that another server or engine wants. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from defectflow.cli.console import BundlePath, out


def export(
    bundle: BundlePath,
    to: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into; for triton the model repository.")],
    target: Annotated[Literal["triton", "openvino"], typer.Option(help="What will run it.")],
    max_batch: Annotated[
        int,
        typer.Option(min=0, help="triton: most pictures in one inference; 0: no batching, but optional thresholds."),
    ] = 8,
    instances: Annotated[int, typer.Option(min=1, help="triton: inferences at the same time.")] = 1,
) -> None:
    """Write a bundle as a Triton model repository, or in OpenVINO's format."""
    from defectflow.runtime.bundle import open_bundle

    opened = open_bundle(bundle)
    match target:
        case "triton":
            from defectflow.triton import write_repository

            written = write_repository(opened, to, max_batch=max_batch, instances=instances)
        case "openvino":
            from defectflow.openvino_ir import write_ir

            written = write_ir(opened, to)
    out.print(f"{target}: {written}", markup=False, highlight=False, soft_wrap=True)
