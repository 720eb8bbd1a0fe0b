"""For the line: score a folder, report, calibrate. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from defectflow.cli.console import (
    BundlePath,
    Core,
    Json,
    PartRegex,
    Provider,
    PublicKey,
    SignKey,
    Threads,
    err,
    out,
    print_json,
    progress_bars,
    show_failures,
    show_found,
    show_skipped,
)
from defectflow.cli.sign import sign_bundle
from defectflow.cli.store_options import recorder

if TYPE_CHECKING:
    from defectflow.line import Tally

DEFECTS_FOUND, SOME_FAILED = 1, 3
BY_PICTURE = (
    "note: the calibration counted every picture as a separate part. A part's worst picture decides, so with several "
    "pictures of a part more good parts are rejected than it says; calibrate with the same --part-regex"
)
NOT_BEFOREHAND = (
    "note: these are not the recipe's rates. A rate chosen after seeing scores gives an estimate, not a guarantee, and "
    "the bundle will say so. If the rates were fixed before, add --fixed-beforehand"
)


def score(
    bundle: BundlePath,
    pictures: Annotated[Path, typer.Argument(help="Folder, MVTec-style tree, manifest or single picture.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    part_regex: PartRegex = None,
    table: Annotated[
        Literal["csv", "jsonl", "parquet"], typer.Option("--format", help="Format of the results table.")
    ] = "csv",
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Also draw the heat map and regions on each picture.")
    ] = False,
    masks: Annotated[bool, typer.Option("--masks", help="Also write each picture's mask as PNG.")] = False,
    scores_only: Annotated[
        bool,
        typer.Option(
            "--scores-only", help="Write scores without verdicts; this works with an uncalibrated bundle, too."
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run that was stopped.")] = False,
    fail_on_defect: Annotated[
        bool, typer.Option("--fail-on-defect", help="Exit with 1 if any part is defective or invalid.")
    ] = False,
    public_key: PublicKey = None,
    provider: Provider = "cpu",
    core: Core = False,
    threads: Threads = 0,
    store: Annotated[
        str | None, typer.Option(help="Also write every verdict to this store: a path, or postgresql://...")
    ] = None,
    json: Json = None,
) -> None:
    """Inspect every picture of a folder.

    Exit codes: 0 done, 1 defects found (only with --fail-on-defect), 2 wrong use, 3 some files failed.
    """
    from defectflow.bundle import open_bundle
    from defectflow.bundle.signature import check_signature
    from defectflow.data import look_through
    from defectflow.line import Inspector, score_folder

    opened = open_bundle(bundle)
    if public_key is not None:
        check_signature(opened, public_key)
    inspector = Inspector(opened, providers=[provider], threads=threads, core=core)
    regex = part_regex or inspector.card.part_regex
    found = look_through(pictures, usual_part_regex=regex)
    show_skipped(found)
    if not inspector.card.parts_known and part_regex is not None:
        err.print(BY_PICTURE, markup=False, highlight=False, soft_wrap=True)
    unnamed = [picture for picture in found.pictures if regex and not picture.part_known]
    if unnamed:
        names = f"{len(unnamed)} names do not match the part regex {regex}, the first is {unnamed[0].path}"
        err.print(f"note: {names}; each counts as a separate part", markup=False, highlight=False)
    with recorder(store, inspector.card) as record, progress_bars() as watch:
        tally = score_folder(
            inspector,
            found.pictures,
            pictures,
            to,
            table=table,
            overlays=overlays,
            masks=masks,
            scores_only=scores_only,
            resume=resume,
            record=record,
            watch=watch,
        )
    show_failures(list(tally.failed))
    if tally.again:
        again = "1 picture was" if tally.again == 1 else f"{tally.again} pictures were"
        err.print(f"{again} judged again: changed since, or not usable before", highlight=False)
    if tally.unlike:
        file, form = tally.unlike[0]
        usual = inspector.card.calibration_forms[0].form
        err.print(
            f"note: {len(tally.unlike)} of {len(found.pictures)} pictures differ in size, colour or depth from the "
            f"calibration pictures (mostly {usual}); the first is {file} ({form}). The guarantee does not cover them",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    guarantee = [] if scores_only else inspector.card.guarantee()
    tree = {
        "results": str(to),
        "pictures": tally.pictures,
        "parts": tally.parts,
        "unlike_calibration": len(tally.unlike),
        "guarantee": guarantee,
    }
    failed = [{"file": file, "reason": reason} for file, reason in tally.failed]
    if not print_json(json, tree | {"failed": failed}):
        _show_counts(tally, scores_only)
        for sentence in guarantee:
            out.print(sentence, markup=False, highlight=False)
        out.print(f"Results: {to}", markup=False, highlight=False, soft_wrap=True)
    if tally.failed:
        raise typer.Exit(SOME_FAILED)
    if fail_on_defect and (tally.parts.get("defect") or tally.parts.get("invalid")):
        raise typer.Exit(DEFECTS_FOUND)


def _show_counts(tally: Tally, scores_only: bool) -> None:
    counts = Table(title="Verdicts")
    for column in ("decision", "pictures", "parts"):
        counts.add_column(column, justify="left" if column == "decision" else "right")
    words = ("not judged", "error") if scores_only else ("ok", "review", "defect", "invalid", "error")
    for decision in words:
        counts.add_row(decision, str(tally.pictures.get(decision, 0)), str(tally.parts.get(decision, 0)))
    out.print(counts)


def report(
    results: Annotated[Path, typer.Argument(help="A folder that `score` has written.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The HTML file; by default report.html beside the results.")
    ] = None,
    escape: Annotated[
        float | None,
        typer.Option(min=0, help="What a defective part costs that is called ok: adds what mistakes cost."),
    ] = None,
    defective_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="With --escape: share of all inspected parts that are defective.")
    ] = None,
    false_reject: Annotated[
        float, typer.Option(min=0, help="With --escape: what a good part costs that is rejected.")
    ] = 1.0,
    review: Annotated[float | None, typer.Option(min=0, help="With --escape: what one look at a part costs.")] = None,
) -> None:
    """Write one self-contained HTML page about a scored folder.

    With --escape and --defective-share it also says which threshold would be the cheapest, if there are labels.
    """
    from defectflow.line.report import write_report
    from defectflow.verdict import Costs

    if (escape is None) != (defective_share is None):
        raise typer.BadParameter("--escape and --defective-share are needed together to weigh mistakes")
    costs = None
    if escape is not None and defective_share is not None:
        costs = Costs(false_reject, escape, defective_share, review)
    out.print(f"Report: {write_report(results, to, costs)}", markup=False, highlight=False, soft_wrap=True)


def calibrate(
    bundle: BundlePath,
    false_reject_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of good parts that may be rejected.")],
    good: Annotated[
        Path | None, typer.Option(help="Pictures of further good parts, none of them used in the fit.")
    ] = None,
    guarantee: Annotated[
        Literal["expected", "confident"] | None, typer.Option(help="On average, or with 95% confidence.")
    ] = None,
    review_rate: Annotated[
        float | None,
        typer.Option(help="Share of good parts that may be reviewed or rejected; by default the recipe's."),
    ] = None,
    part_regex: PartRegex = None,
    beforehand: Annotated[
        bool, typer.Option("--fixed-beforehand", help="The rates were fixed before anybody saw scores of these parts.")
    ] = False,
    key: SignKey = None,
) -> None:
    """Set new thresholds for a bundle, without training again.

    The recipe's rates are guaranteed, and so is the lowest rate that too few parts support. Other rates are guaranteed
    only if they were --fixed-beforehand; rates chosen after seeing scores give an estimate.
    """
    from defectflow.bundle import SIGNATURE, open_bundle
    from defectflow.data import Picture, check_readable, look_through
    from defectflow.errors import DataError
    from defectflow.line import recalibrate

    opened = open_bundle(bundle)
    more: list[Picture] = []
    if good is not None:
        usual = opened.card.part_regex
        found = look_through(good, label="good", part_regex=part_regex, usual_part_regex=usual)
        show_found(found)
        more = [picture for picture in found.pictures if picture.label == "good"]
        if not more:
            raise DataError(f"{good}: none of its {len(found.pictures)} pictures is labelled good; give good parts")
        checked = check_readable(more, geometry=opened.card.image.geometry)
        show_failures([(str(rejected.path), rejected.reason) for rejected in checked.rejected])
        for line in checked.left_out_notes():
            err.print(f"note: {line}", markup=False, highlight=False)
        more = list(checked.whole)
        if not more:
            raise DataError(f"{good}: of no part all pictures can be read; put them right, or give other good parts")
    if review_rate is None and false_reject_rate >= opened.card.wanted_review_rate:
        err.print(
            f"note: no review band is left at this rate; give a --review-rate above {false_reject_rate:g} for one"
        )
    rule = (
        false_reject_rate,
        guarantee or opened.card.wanted_guarantee,
        max(opened.card.wanted_review_rate, false_reject_rate) if review_rate is None else review_rate,
    )
    promised = beforehand or opened.card.fixed_beforehand(*rule)
    if not promised:
        err.print(NOT_BEFOREHAND, markup=False, highlight=False)
    with progress_bars() as watch:
        calibrated = recalibrate(
            opened,
            rate=rule[0],
            guarantee=rule[1],
            review_rate=rule[2],
            more_good=more,
            beforehand=promised,
            watch=watch,
        )
    for sentence in calibrated.card.guarantee():
        out.print(sentence, markup=False, highlight=False)
    before, after = opened.card.calibration, calibrated.card.require_calibration()
    was = "" if before is None else f"; it was {before.threshold.value:.4f} (calibration {opened.card.calibration_id})"
    now = f"{after.threshold.value:.4f} (calibration {calibrated.card.calibration_id})"
    out.print(
        f"Threshold {now}, written to {bundle}{was}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if key is not None:
        sign_bundle(calibrated, key)
    elif (bundle / SIGNATURE).exists():
        err.print("note: the signature was of the earlier calibration; sign again: defectflow sign BUNDLE --key KEY")
