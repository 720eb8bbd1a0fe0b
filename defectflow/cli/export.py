"""For those who deploy: a bundle in another precision, or in the form that another server or engine wants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from defectflow.cli.console import BundlePath, PartRegex, SignKey, out, progress_bars
from defectflow.cli.sign import sign_bundle

Precision = Literal["fp32", "fp16", "int8"]


def export(
    bundle: BundlePath,
    to: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; for triton, the model repository.")],
    target: Annotated[
        Literal["bundle", "core", "triton", "openvino"], typer.Option(help="What will run it.")
    ] = "bundle",
    precision: Annotated[
        Precision | None, typer.Option(help="bundle: precision of the backbone; what follows it stays in fp32.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="bundle: where the pictures of the fit and of later calibrations are; repeatable."),
    ] = None,
    part_regex: PartRegex = None,
    key: SignKey = None,
    max_batch: Annotated[
        int,
        typer.Option(min=0, help="triton: most pictures in one inference; 0: no batching, but optional thresholds."),
    ] = 8,
    instances: Annotated[int, typer.Option(min=1, help="triton: inferences at the same time.")] = 1,
) -> None:
    """Write a bundle in another precision, the graph behind the resize, a Triton repository, or OpenVINO's format."""
    from defectflow.bundle import open_bundle
    from defectflow.errors import SettingsError

    if target == "bundle":
        if precision is None or not data:
            raise SettingsError("a bundle in another precision needs --precision and --data; or choose a --target")
        _in_precision(bundle, to, precision, data, part_regex, key)
        return
    if precision is not None or data or part_regex is not None or key is not None:
        raise SettingsError(
            f"--target {target} does not take --precision, --data, --part-regex or --sign; first export the precision, "
            "then export that bundle"
        )
    match target:
        case "core":
            from defectflow.convert.core import write_core

            written = write_core(open_bundle(bundle), to)
        case "triton":
            from defectflow.convert.triton import write_repository

            written = write_repository(open_bundle(bundle), to, max_batch=max_batch, instances=instances)
        case "openvino":
            from defectflow.convert.openvino import write_ir

            written = write_ir(open_bundle(bundle), to)
    out.print(f"{target}: {written}", markup=False, highlight=False, soft_wrap=True)


def _in_precision(
    bundle: Path, to: Path, precision: Precision, data: list[Path], part_regex: str | None, key: Path | None
) -> None:
    """Calibrated again through the graph that will run."""
    from defectflow.bundle import open_bundle
    from defectflow.convert.precision import export_precision

    with progress_bars() as watch:
        exported = export_precision(open_bundle(bundle), precision, data, to, part_regex=part_regex, watch=watch)
    card = exported.bundle.card
    out.print(
        f"Scores differ from fp32 by {exported.mean_score_difference:.2g} standard deviations of good scores on "
        f"average, by {card.export_parity['score']:.2g} at most, over {exported.pictures} tune pictures.",
        highlight=False,
        soft_wrap=True,
    )
    for sentence in card.guarantee():
        out.print(sentence, markup=False, highlight=False)
    if key is not None:
        sign_bundle(exported.bundle, key)
    out.print(f"Bundle: {exported.bundle.path}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"ONNX file: {exported.bundle.model}", markup=False, highlight=False, soft_wrap=True)
