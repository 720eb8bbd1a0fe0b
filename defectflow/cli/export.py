"""For those who deploy: a bundle in another precision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from defectflow.cli.console import PartRegex, SignKey, out, progress_bars
from defectflow.cli.release import sign_bundle


def export(
    bundle: Annotated[Path, typer.Argument(help="A bundle that fit has written.")],
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="Of the backbone; what follows it stays in fp32.")
    ],
    data: Annotated[
        list[Path], typer.Option(help="Where the pictures of the fit and of later calibrations are; repeatable.")
    ],
    to: Annotated[Path, typer.Option("--out", help="Where the new bundle goes.")],
    part_regex: PartRegex = None,
    key: SignKey = None,
) -> None:
    """Write a bundle in another precision, calibrated anew through the graph that will run."""
    from defectflow.precision import export_precision
    from defectflow.runtime.bundle import open_bundle

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
