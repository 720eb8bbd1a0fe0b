"""`defectflow golden`: master parts judged at the start of each shift. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from defectflow.cli.console import (
    BundlePath,
    Core,
    Json,
    PartRegex,
    Provider,
    Threads,
    err,
    out,
    print_json,
    progress_bars,
    show_found,
)
from defectflow.cli.store_options import By, StoreUrl, me

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.gauge import Standing
    from defectflow.verdict import Word

NOT_RELEASED = 1


def golden(
    bundle: BundlePath,
    store: StoreUrl,
    pictures: Annotated[
        Path | None,
        typer.Argument(help="New pictures of the master parts. Without: how the model stands by its last check."),
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Make the parts on these pictures the model's master parts.")
    ] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=VERDICT", help="With --register: what a part must be judged as. Repeatable."),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=LOW:HIGH", help="With --register: stated limits of a part's score. Repeatable."),
    ] = None,
    baseline: Annotated[
        int, typer.Option(min=2, help="With --register: so many checks give the other control limits.")
    ] = 20,
    within: Annotated[
        float | None,
        typer.Option(min=0, help="Hours that a check holds; by default the store's setting golden.hours."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write this HTML page, with the control charts.")] = None,
    part_regex: PartRegex = None,
    by: By = None,
    json: Json = None,
    provider: Provider = "cpu",
    core: Core = False,
    threads: Threads = 0,
) -> None:
    """Judge master parts at the start of a shift: does the inspection still see what it saw?

    Exit codes: 0 released, 1 not released, 2 wrong use.
    """
    from defectflow.bundle import open_bundle
    from defectflow.data import look_through
    from defectflow.gauge import check_masters, register_masters, standing, write_master_report
    from defectflow.line import Inspector
    from defectflow.store import Store

    if pictures is None and register:
        raise typer.BadParameter("--register needs pictures of the master parts")
    if not register and (expect or limits):
        raise typer.BadParameter("--expect and --limits belong to --register")
    opened = open_bundle(bundle)
    with Store.open(store, create=register) as kept:
        if pictures is not None:
            inspector = Inspector(opened, providers=[provider], threads=threads, core=core)
            found = look_through(pictures, part_regex=part_regex, usual_part_regex=opened.card.part_regex)
            found = found.showing(opened.product, pictures)
            show_found(found)
            with progress_bars() as watch:
                if register:
                    register_masters(
                        kept,
                        inspector,
                        found.pictures,
                        by=me(by),
                        expect=_words(expect or []),
                        limits=_ranges(limits or []),
                        baseline=baseline,
                        watch=watch,
                    )
                else:
                    check_masters(kept, inspector, found.pictures, by=me(by), watch=watch)
        settings = kept.settings.golden
        if within is not None:
            settings = settings.model_copy(update={"hours": within})
        stands = standing(kept, opened.card, settings)
    if not print_json(json, _to_json(stands)):
        _show(stands)
    if report is not None:
        out.print(f"Report: {write_master_report(report, opened.card, stands)}", markup=False, soft_wrap=True)
    if not stands.release.released:
        raise typer.Exit(NOT_RELEASED)


def _show(stands: Standing) -> None:
    run = stands.release.run
    if run is not None:
        table = Table(title=f"Master parts, {run.at:%Y-%m-%d %H:%M} UTC")
        for column in ("part", "should be", "was judged", "score", "limits", "control chart"):
            table.add_column(column, overflow="fold")
        ranges = {chart.name: chart for chart in stands.charts}
        for one in run.judged:
            chart = ranges.get(one.name)
            told, calm = "-", "-"
            if chart is not None and chart.low is not None and chart.high is not None:
                told, calm = f"{chart.low:.3f} to {chart.high:.3f}", "in control"
            elif chart is not None:
                told = f"after {chart.baseline} checks"
            table.add_row(
                escape(one.name),
                one.expected,
                f"[green]{one.decision}[/]" if one.right else f"[red]{one.decision or 'not pictured'}[/]",
                "-" if one.score is None else f"{one.score:.4f}",
                told,
                f"[yellow]{one.signal}[/]" if one.signal else calm,
            )
        out.print(table)
    said = stands.release.reason
    if stands.release.released:
        out.print(f"[green]Released:[/] {escape(said)}.", highlight=False, soft_wrap=True)
    else:
        err.print(f"[red]Not released:[/] {escape(said)}.", highlight=False, soft_wrap=True)


def _to_json(stands: Standing) -> dict[str, Any]:
    run = stands.release.run
    return {
        "released": stands.release.released,
        "reason": stands.release.reason,
        "check": None
        if run is None
        else {
            "id": run.id,
            "at": run.at.isoformat(),
            "by": run.by,
            "bundle_id": run.bundle_id,
            "calibration_id": run.calibration_id,
            "passed": run.passed,
            "in_control": not run.signals,
            "parts": [
                {
                    "part": one.name,
                    "expected": one.expected,
                    "decision": one.decision,
                    "score": one.score,
                    "signal": one.signal or None,
                }
                for one in run.judged
            ],
        },
        "charts": [
            {
                "part": chart.name,
                "scores": list(chart.scores),
                "low": chart.low,
                "centre": chart.centre,
                "high": chart.high,
                "stated": chart.stated,
            }
            for chart in stands.charts
        ],
    }


def _words(given: list[str]) -> dict[str, Word]:
    from defectflow.gauge import EXPECTABLE

    found: dict[str, Word] = {}
    for text in given:
        name, _, word = text.rpartition("=")
        if not name or word not in EXPECTABLE:
            raise typer.BadParameter(f"--expect {text}: give PART=VERDICT, the verdict one of {', '.join(EXPECTABLE)}")
        found[name] = word
    return found


def _ranges(given: list[str]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for text in given:
        name, _, numbers = text.rpartition("=")
        low, _, high = numbers.partition(":")
        try:
            found[name] = float(low), float(high)
        except ValueError as error:
            raise typer.BadParameter(f"--limits {text}: give PART=LOW:HIGH, as in m1=0.8:1.4") from error
    return found
