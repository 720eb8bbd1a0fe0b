"""For the line: score a folder, report, calibrate. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from defectflow.cli.console import (
    BundlePath,
    Core,
    Json,
    PartRegex,
    Provider,
    PublicKey,
    Ray,
    SignKey,
    err,
    guard_own_ray,
    out,
    print_json,
    progress_bars,
    show_failures,
    show_found,
    show_skipped,
)
from defectflow.cli.sign import sign_bundle
from defectflow.cli.store_options import me, recorder

if TYPE_CHECKING:
    from defectflow.bundle import Bundle, Family
    from defectflow.line import Inspector

DEFECTS_FOUND, SOME_FAILED = 1, 3
BY_PICTURE = (
    "note: the calibration counted every picture as a separate part. A part's worst picture decides, so with several "
    "pictures of a part more good parts are rejected than it says; calibrate with the same --part-regex"
)
NOT_BEFOREHAND = (
    "note: a rate other than the recipe's, chosen after seeing scores, gives an estimate, not a guarantee. If it was "
    "fixed before, run this again with --fixed-beforehand"
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a run has found, as it is told: here or on Ray, the same."""

    pictures: dict[str, int]
    parts: dict[str, int]
    reasons: dict[str, int]
    """Why pictures are invalid."""
    by_product: dict[str, dict[str, int]]
    """Parts of each product by decision; of a bundle of one, what a manifest names."""
    failed: Sequence[tuple[str, str]]
    """(file, reason); of very many, the first."""
    failed_count: int
    again: int
    unlike: int
    first_unlike: str | None


def score(
    bundle: BundlePath,
    pictures: Annotated[
        str,
        typer.Argument(
            help="Folder, MVTec-style tree, manifest or single picture; with --ray, an s3://bucket/folder, too."
        ),
    ],
    to: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    part_regex: PartRegex = None,
    product: Annotated[
        str | None,
        typer.Option(
            help="Of a bundle of several products: which one all pictures show; by default what a manifest's column "
            "'product' says, and where it says nothing, auto: the one that a picture resembles most."
        ),
    ] = None,
    table: Annotated[
        Literal["csv", "jsonl", "parquet"] | None,
        typer.Option("--format", help="Format of the results table; by default csv, with --ray parquet."),
    ] = None,
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
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of one inference; 0: all cores, with --ray one for each worker.")
    ] = 0,
    store: Annotated[
        str | None, typer.Option(help="Also write every verdict to this store: a path, or postgresql://...")
    ] = None,
    ray: Ray = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --ray, how many workers; by default as many as there is room for.")
    ] = None,
    json: Json = None,
) -> None:
    """Inspect every picture of a folder.

    Exit codes: 0 done, 1 defects found (only with --fail-on-defect), 2 wrong use, 3 some files failed.
    """
    from defectflow.bundle import Bundle, open_bundle, open_family
    from defectflow.bundle.signature import check_signature
    from defectflow.data import is_url
    from defectflow.errors import SettingsError
    from defectflow.line import Inspector, chosen_bundles

    opened = open_family(bundle) or open_bundle(bundle)
    if public_key is not None:
        check_signature(opened, public_key)
    wanted = chosen_bundles(opened, product)
    if not all(each.card.parts_known for each in wanted) and part_regex is not None:
        err.print(BY_PICTURE, markup=False, highlight=False, soft_wrap=True)
    options: dict[str, Any] = {"overlays": overlays, "masks": masks, "scores_only": scores_only}
    if ray is None:
        if workers is not None:
            raise SettingsError("--workers is about Ray; add --ray, or leave it out")
        if is_url(pictures):
            raise SettingsError(
                f"{pictures}: object stores are read by workers on Ray; add --ray, or copy the pictures"
            )
        inspector = Inspector(opened, product=product, providers=[provider], threads=threads, core=core)
        source, form = Path(pictures), table or "csv"
        said = _score_here(inspector, source, to, part_regex, store, table=form, resume=resume, **options)
    else:
        if table not in (None, "parquet"):
            raise SettingsError(
                f"--format {table}: with --ray, results are Parquet; leave --format out, or leave --ray out"
            )
        options |= {
            "product": product,
            "provider": provider,
            "core": core,
            "threads": threads or 1,
            "workers": workers or 0,
            "store": store,
        }
        regex = part_regex or wanted[0].card.part_regex
        said = _score_on_ray(opened, pictures, to, ray, regex, resume, options)
    show_failures(list(said.failed), said.failed_count)
    if said.again:
        again = "1 picture was" if said.again == 1 else f"{said.again} pictures were"
        err.print(f"{again} judged again: changed since, or not usable before", highlight=False)
    if said.unlike:
        usual = f" (mostly {wanted[0].card.calibration_forms[0].form})" if len(wanted) == 1 else " of their product"
        err.print(
            f"note: {said.unlike} of {sum(said.pictures.values())} pictures differ in size, colour or depth from the "
            f"calibration pictures{usual}; the first is {said.first_unlike}. The guarantee does not cover "
            "them",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    judging = [each for each in wanted if len(wanted) == 1 or str(each.product) in said.by_product]
    guarantee = [] if scores_only else _promises(judging, named=not isinstance(opened, Bundle))
    tree = {
        "results": str(to),
        "pictures": said.pictures,
        "parts": said.parts,
        "parts_by_product": said.by_product,
        "invalid": said.reasons,
        "unlike_calibration": said.unlike,
        "guarantee": guarantee,
    }
    failed = [{"file": file, "reason": reason} for file, reason in said.failed]
    if not print_json(json, tree | {"failed": failed}):
        _show_counts(said, [str(each.product) for each in judging] if len(wanted) > 1 else [], scores_only)
        if said.reasons:
            told = ", ".join(f"{reason} {count}" for reason, count in sorted(said.reasons.items()))
            out.print(f"Too unusual to judge (invalid): {told}.", markup=False, highlight=False)
        for sentence in guarantee:
            out.print(sentence, markup=False, highlight=False)
        out.print(f"Results: {to}", markup=False, highlight=False, soft_wrap=True)
    if said.failed:
        raise typer.Exit(SOME_FAILED)
    if fail_on_defect and (said.parts.get("defect") or said.parts.get("invalid")):
        raise typer.Exit(DEFECTS_FOUND)


def _promises(wanted: Sequence[Bundle], *, named: bool) -> list[str]:
    """What each product that may be judged promises, in words."""
    return [
        f"{each.product}: {sentence}" if named else sentence for each in wanted for sentence in each.card.guarantee()
    ]


def _score_here(
    inspector: Inspector,
    pictures: Path,
    to: Path,
    part_regex: str | None,
    store: str | None,
    **options: Any,
) -> Said:
    from defectflow.data import look_through
    from defectflow.line import score_folder

    regex = part_regex or inspector.bundles[0].card.part_regex
    found = look_through(pictures, usual_part_regex=regex)
    show_skipped(found)
    unnamed = [picture for picture in found.pictures if regex and not picture.part_known]
    if unnamed:
        names = f"{len(unnamed)} names do not match the part regex {regex}, the first is {unnamed[0].path}"
        err.print(f"note: {names}; each counts as a separate part", markup=False, highlight=False)
    with recorder(store, inspector) as record, progress_bars() as watch:
        tally = score_folder(inspector, found.pictures, pictures, to, record=record, watch=watch, **options)
    first = tally.unlike[0] if tally.unlike else None
    return Said(
        tally.pictures,
        tally.parts,
        tally.reasons,
        tally.by_product,
        tally.failed,
        len(tally.failed),
        tally.again,
        len(tally.unlike),
        f"{first[0]} ({first[1]})" if first else None,
    )


def _score_on_ray(
    opened: Bundle | Family,
    pictures: str,
    to: Path,
    address: str,
    part_regex: str | None,
    resume: bool,
    options: dict[str, Any],
) -> Said:
    from defectflow.scale.score_on_ray import Wanted, score_on_ray

    guard_own_ray(address)
    wanted = Wanted(part_regex=part_regex, by=me(None), **options)
    with progress_bars() as watch:
        scored = score_on_ray(opened, pictures, to, wanted, address=address, resume=resume, watch=watch)
    for note in scored.notes:
        err.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if scored.lost_workers:
        err.print(f"{scored.lost_workers} workers were lost; what they had was given to others", highlight=False)
    return Said(
        scored.pictures,
        scored.parts,
        scored.reasons,
        scored.by_product,
        tuple(scored.failed),
        scored.failed_count,
        scored.again,
        scored.unlike,
        scored.first_unlike,
    )


def _show_counts(said: Said, products: Sequence[str], scores_only: bool) -> None:
    """`products`: whose parts are counted apart, too."""
    counts = Table(title="Verdicts")
    for column in ("decision", "pictures", "parts", *(f"parts of {escape(product)}" for product in products)):
        counts.add_column(column, justify="left" if column == "decision" else "right", overflow="fold")
    words = ("not judged", "error") if scores_only else ("ok", "review", "defect", "invalid", "error")
    for decision in words:
        of_each = [said.pictures, said.parts, *(said.by_product[product] for product in products)]
        counts.add_row(decision, *(str(decisions.get(decision, 0)) for decisions in of_each))
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
    from defectflow.line.journal import RUN, read_run
    from defectflow.line.report import write_reports
    from defectflow.verdict import Costs

    if (escape is None) != (defective_share is None):
        raise typer.BadParameter("--escape and --defective-share are needed together to weigh mistakes")
    costs = None
    if escape is not None and defective_share is not None:
        costs = Costs(false_reject, escape, defective_share, review)
    for page in write_reports(results, to, costs):
        out.print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)
    if read_run(results / RUN).finished is None:
        err.print("note: the run has not ended; the report is about what it has judged so far", highlight=False)


def calibrate(
    bundle: BundlePath,
    false_reject_rate: Annotated[
        float,
        typer.Option(
            "--false-reject-rate", "--rate", min=0, max=1, help="Share of good parts that may be rejected: 0.05 is 5%."
        ),
    ],
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
    only if they were --fixed-beforehand; rates chosen after seeing scores give an estimate. Another --review-rate
    leaves the guarantee about rejected parts as it is. The earlier rates bring back the earlier thresholds.
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
        found = found.showing(opened.product, good)
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
    if review_rate is None:
        review_rate = max(opened.card.wanted_review_rate, false_reject_rate)
    with progress_bars() as watch:
        calibrated = recalibrate(
            opened,
            rate=false_reject_rate,
            guarantee=guarantee or opened.card.wanted_guarantee,
            review_rate=review_rate,
            more_good=more,
            beforehand=beforehand,
            watch=watch,
        )
    for sentence in calibrated.card.guarantee():
        out.print(sentence, markup=False, highlight=False)
    before, after = opened.card.calibration, calibrated.card.require_calibration()
    if "estimate" in (after.guarantee, after.review_guarantee):
        err.print(NOT_BEFOREHAND, markup=False, highlight=False)
    for hint in calibrated.card.hints():
        err.print(f"note: {hint}", markup=False, highlight=False)
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
