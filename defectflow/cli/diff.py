"""`defectflow diff`: which verdicts change from one bundle to another? Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from defectflow.cli.console import (
    Core,
    Json,
    Product,
    Provider,
    Threads,
    err,
    out,
    print_json,
    progress_bars,
    show_failures,
)

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.line import Difference, Judged

TOO_MANY_CHANGES, SOME_UNUSABLE = 1, 3
SHOWN = 200
"""Changed pictures that a terminal lists, at most; --json has all."""


def diff(
    old: Annotated[Path, typer.Argument(help="The bundle in use.")],
    new: Annotated[
        Path, typer.Argument(help="The bundle that may replace it: calibrated again, fitted again or converted.")
    ],
    images: Annotated[Path, typer.Option(help="Pictures to inspect with both.")],
    product: Product = None,
    max_flips: Annotated[
        int | None, typer.Option(min=0, help="Exit with 1 if more verdicts change. By default any number may.")
    ] = None,
    json: Json = None,
    provider: Provider = "cpu",
    core: Core = False,
    threads: Threads = 0,
) -> None:
    """List every picture whose verdict changes from one bundle to another; of several products, those of both.

    Exit codes: 0 done, 1 more changes than --max-flips, 2 wrong use, 3 some pictures were unusable for both.
    """
    from defectflow.data import find_pictures
    from defectflow.errors import DataError
    from defectflow.line import Inspector, difference
    from defectflow.line.products import in_both

    before, after = (
        Inspector(each, product=product, providers=[provider], threads=threads, core=core) for each in (old, new)
    )
    pictures = find_pictures(images)
    results: list[tuple[str | None, Difference]] = []
    for name, was, now, shown in in_both(before, after, pictures, images):
        with progress_bars() as watch:
            results.append((name, difference(was, now, [picture.path for picture in shown], watch)))
    if not results:
        raise DataError(f"{images}: shows no product that both bundles judge; give pictures of one")
    trees = {str(name): result.model_dump(mode="json") for name, result in results}
    if not print_json(json, results[0][1].to_json() if results[0][0] is None else trees):
        for name, result in results:
            if name is not None:
                out.print(f"Product {name}", style="bold", markup=False, highlight=False)
            _show_difference(result, images.resolve())
    flips = sum(len(result.changes) for _, result in results)
    if max_flips is not None and flips > max_flips:
        err.print(f"[red]{flips} verdicts change; allowed are {max_flips}.[/red]")
        raise typer.Exit(TOO_MANY_CHANGES)
    if any(result.unusable for _, result in results):
        raise typer.Exit(SOME_UNUSABLE)


def _show_difference(result: Difference, folder: Path) -> None:
    if result.changes:
        table = Table(title="Changed verdicts")
        table.add_column("picture", overflow="fold")
        for column in ("old", "to defect / review", "new", "to defect / review"):
            table.add_column(column)
        for change in result.changes[:SHOWN]:
            table.add_row(escape(_short(change.picture, folder)), *_cells(change.old), *_cells(change.new))
        out.print(table)
        if len(result.changes) > SHOWN:
            out.print(f"and {len(result.changes) - SHOWN} more; --json lists all")
        out.print(
            "Margins are scores less thresholds, each in its own model's standard deviations of good scores: above 0 "
            "is over the threshold.",
            highlight=False,
        )
    counts = Table("verdict, old -> new", "pictures", title="All pictures")
    for verdicts, count in result.verdicts.items():
        counts.add_row(verdicts, str(count))
    out.print(counts)
    show_failures([(name, "neither bundle can use it") for name in result.unusable])
    out.print(f"{len(result.changes)} of {result.pictures} verdicts change.", highlight=False)


def _short(picture: str, folder: Path) -> str:
    path = Path(picture)
    return str(path.relative_to(folder)) if path != folder and path.is_relative_to(folder) else picture


def _cells(judged: Judged) -> tuple[str, str]:
    if judged.to_threshold is None or judged.to_review is None or judged.to_gate is None:
        return judged.decision, "-"
    if judged.decision == "invalid":
        return judged.decision, f"{judged.to_gate:.2f} of the gate's limit"
    return judged.decision, f"{judged.to_threshold:+.2f} / {judged.to_review:+.2f}"
