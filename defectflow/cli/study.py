"""`defectflow study`: the inspection measured like a gauge. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    command,
    err,
    out,
    print_json,
    progress_bars,
    show_failures,
    show_found,
)
from defectflow.cli.store_options import By, StoreUrl, me

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.data import Picture
    from defectflow.gauge import AgreementResult, Detectability, Group, Kappa

MEANINGS = (
    "a50, a90: sizes found half of the time, and nine times out of ten. a90/95: with 95% confidence, sizes from there "
    "on are found at least nine times out of ten."
)

study_app = typer.Typer(
    name="study",
    help="The inspection measured like a gauge: how small a flaw it finds, who agrees.",
    no_args_is_help=True,
)


@command(
    study_app,
    "detectability",
    "models/bracket --good kept_apart/ --out study/",
    "models/bracket --good kept_apart/ --out study/ --regions 2x2 --mm-per-px 0.05 --real testset/",
)
def detectability(
    bundle: BundlePath,
    good: Annotated[Path, typer.Option(help="Pictures of good parts, best such as were kept out of the fit.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the page, the tables and the JSON file.")],
    sizes: Annotated[str, typer.Option(help="Smallest and largest flaw, longest extent in camera pixels.")] = "2:40",
    contrasts: Annotated[str, typer.Option(help="Contrasts to draw, in grey levels of 255.")] = "10,25,60",
    flaws: Annotated[int, typer.Option(min=10, help="Flaws of each kind and contrast.")] = 60,
    regions: Annotated[
        str,
        typer.Option(help="A grid such as 2x3, or a picture with a grey for each region, black for none."),
    ] = "1x1",
    real: Annotated[
        Path | None, typer.Option(help="Labelled pictures with masks: real defects, shown beside the drawn ones.")
    ] = None,
    mm_per_px: Annotated[float | None, typer.Option(help="Width of a camera pixel on the part, in mm.")] = None,
    rejected_only: Annotated[
        bool, typer.Option("--rejected-only", help="Count a part in the grey band as missed.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Other random numbers: other places, pictures and sizes.")] = 0,
    part_regex: PartRegex = None,
    json: Json = None,
    provider: Provider = "cpu",
    core: Core = False,
    threads: Threads = 0,
) -> None:
    """Draw flaws of graded size and contrast on good parts, and measure how small a flaw is found.

    A logistic curve over size, with bounds, for each kind and contrast, and for each region (after MIL-HDBK-1823A).
    """
    from defectflow.data import look_through, test_pictures
    from defectflow.gauge import Plan, Regions, detectability_json, study_detectability, write_detectability
    from defectflow.line import Inspector

    plan = Plan(_pair(sizes), _numbers("--contrasts", contrasts), flaws, rejected_only=rejected_only, seed=seed)
    where = Regions.parse(regions)
    inspector = Inspector(bundle, providers=[provider], threads=threads, core=core)
    usual = inspector.card.part_regex
    product = inspector.bundle.product
    found = look_through(good, label="good", part_regex=part_regex, usual_part_regex=usual).showing(product, good)
    show_found(found)
    defects = []
    if real is not None:
        defects = test_pictures(look_through(real, usual_part_regex=usual).showing(product, real).pictures)
    with progress_bars() as watch:
        study = study_detectability(
            inspector,
            [picture for picture in found.pictures if picture.label == "good"],
            plan,
            regions=where,
            real=defects,
            mm_per_px=mm_per_px,
            watch=watch,
        )
    show_failures(list(study.unreadable))
    page = write_detectability(to, study)
    if not print_json(json, detectability_json(study)):
        out.print(_curves(study))
        out.print(MEANINGS, markup=False, highlight=False)
        for sentence in study.sentences():
            out.print(sentence, markup=False, highlight=False)
        out.print(f"Page: {page}", markup=False, highlight=False, soft_wrap=True)
    if real is not None and not study.real:
        err.print("note: none of the --real pictures is defective and has a mask", markup=False)


@command(
    study_app,
    "agreement",
    "models/bracket --store inspections.db --begin May --reference testset/",
    "models/bracket --store inspections.db --out agreement/",
)
def agreement(
    bundle: BundlePath,
    store: StoreUrl,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for page, answers and JSON file.")] = None,
    name: Annotated[str | None, typer.Option("--study", help="Which study; by default the newest.")] = None,
    begin: Annotated[
        str | None, typer.Option(metavar="NAME", help="Begin a study of this name: ask for blind double reviews.")
    ] = None,
    parts: Annotated[int, typer.Option(min=2, help="With --begin: parts to judge.")] = 50,
    trials: Annotated[int, typer.Option(min=2, help="With --begin: how often everybody judges each part.")] = 2,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="With --begin: labelled pictures that say what the parts are. By default the answers in the store do."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="With --begin: another choice of parts.")] = 0,
    rejected_only: Annotated[
        bool, typer.Option("--rejected-only", help="The grey band counts as the system calling a part good.")
    ] = False,
    part_regex: PartRegex = None,
    by: By = None,
    json: Json = None,
) -> None:
    """Measure how far people agree with themselves, with each other and with the system.

    With --begin parts of the store are chosen; people judge them blind on the station's page Agreement. Later, without
    --begin, this reports what came of it (attribute agreement after the AIAG's MSA handbook).
    """
    from defectflow.bundle import open_bundle
    from defectflow.data import look_through
    from defectflow.gauge import analyse, choose_parts, known_by_answers, write_agreement
    from defectflow.store import Store

    opened = open_bundle(bundle)
    card = opened.card
    if begin is None and reference is not None:
        raise typer.BadParameter("--reference belongs to --begin")
    with Store.open(store, create=False) as kept:
        if begin is not None:
            if reference is None:
                known = known_by_answers(kept, card.bundle_id)
            else:
                usual = card.part_regex
                shown = look_through(reference, part_regex=part_regex, usual_part_regex=usual)
                known = _states(shown.showing(opened.product, reference).pictures)
            threshold = card.require_calibration().threshold.value
            chosen = choose_parts(
                kept,
                card.bundle_id,
                parts=parts,
                known=known,
                only_known=reference is not None,
                threshold=threshold,
                seed=seed,
            )
            study = kept.agreement.begin(card, begin, chosen, trials=trials, by=me(by))
            told = sum(part.defective is not None for part in study.parts)
            out.print(
                f"Study {study.name!r}: {len(study.parts)} parts, {trials} trials; the state of {told} parts is known. "
                "Everybody judges them on the station's page Agreement.",
                markup=False,
                highlight=False,
            )
            return
        result = analyse(kept, kept.agreement.get(card.bundle_id, name), rejected_only=rejected_only)
        page = None if to is None else write_agreement(to, kept, card, result)
    if not print_json(json, result.to_json()):
        _show_agreement(result)
        if page is not None:
            out.print(f"Page: {page}", markup=False, highlight=False, soft_wrap=True)


def _states(pictures: Sequence[Picture]) -> dict[str, bool]:
    """Part -> whether it is defective: if any of its pictures is."""
    states: dict[str, bool] = {}
    for picture in pictures:
        if picture.label is not None:
            states[picture.part] = states.get(picture.part, False) or picture.label == "defective"
    return states


def _show_agreement(result: AgreementResult) -> None:
    table = Table(title=f"Agreement: {result.study.name}")
    for column in ("", "same in all trials", "right in all trials", "missed", "false alarms", "kappa with system"):
        table.add_column(column, overflow="fold")
    for one in result.appraisers:
        against = one.reference
        table.add_row(
            escape(one.name),
            _counted(one.within.count, one.within.of),
            "-" if against is None else _counted(against.effective.count, against.effective.of),
            "-" if against is None else _counted(against.missed.count, against.missed.of),
            "-" if against is None else _counted(against.false_alarm.count, against.false_alarm.of),
            _kappa(one.system),
        )
    if (system := result.system) is not None:
        cells = ((one.count, one.of) for one in (system.effective, system.missed, system.false_alarm))
        table.add_row("the system", "-", *(_counted(*cell) for cell in cells), "-")
    out.print(table)
    for pair in result.pairs:
        out.print(f"{pair.first} and {pair.second}: kappa {_kappa(pair.kappa)}", markup=False, highlight=False)
    if result.kappa is not None:
        out.print(f"Everybody: Fleiss' kappa {_kappa(result.kappa)}", markup=False, highlight=False)
    for sentence in result.sentences():
        out.print(sentence, markup=False, highlight=False)


def _kappa(kappa: Kappa) -> str:
    if kappa.value is None or kappa.interval is None:
        return "- (all answers equal)"
    return f"{kappa.value:.2f} ({kappa.interval[0]:.2f} to {kappa.interval[1]:.2f})"


def _counted(count: int, of: int) -> str:
    return f"{count} of {of} ({count / of:.0%})" if of else "none"


def _curves(study: Detectability) -> Table:
    table = Table(title="Sizes that are found, in camera pixels (longest extent)")
    for column in ("of", "contrast", "found", "a50", "a90", "a90/95"):
        table.add_column(column, overflow="fold", justify="left" if column == "of" else "right")
    for group in study.groups:
        cells = [_size(group, value, study.mm_per_px) for value in (group.a50_px, group.a90_px, group.a90_95_px)]
        if group.why_none:
            cells = [group.why_none, "", ""]
        contrast = "" if group.contrast is None else f"{group.contrast:g}"
        table.add_row(escape(group.name), contrast, f"{group.found.sum()} of {len(group.found)}", *cells)
    return table


def _size(group: Group, px: float | None, mm_per_px: float | None) -> str:
    if px is None:
        return "-"
    sign, px = group.within(px)
    return f"{sign}{px:.1f}" if mm_per_px is None else f"{sign}{px:.1f} ({px * mm_per_px:.3g} mm)"


def _pair(text: str) -> tuple[float, float]:
    low, _, high = text.partition(":")
    try:
        return float(low), float(high)
    except ValueError as error:
        raise typer.BadParameter(f"--sizes {text}: give SMALLEST:LARGEST in pixels, as in 2:40") from error


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text}: give numbers with commas between, as in 10,25,60") from error
