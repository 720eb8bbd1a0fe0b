"""What the page Inspect shows beside its gallery."""

from __future__ import annotations

import json

from markupsafe import Markup

from defectflow.errors import DefectFlowError
from defectflow.store import Role
from defectflow.verdict import Calibration, Verdict
from defectflow_ui.inspecting.exports import Drawn
from defectflow_ui.inspecting.inspection import Inspection
from defectflow_ui.markup.elements import empty, note, problem
from defectflow_ui.markup.render import render
from defectflow_ui.pages.inspect_tab import judging
from defectflow_ui.pages.viewer import Marks, download, places, viewer
from defectflow_ui.station import Station
from defectflow_ui.visits.uploads import ACCEPTED
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import calibrate, models, train
from defectflow_ui.words import inspect as words

STRIP_WIDTH, STRIP_HEIGHT, MARGIN = 600, 56, 30


def obstacle(station: Station, visitor: Visitor) -> Markup | None:
    """What has to be done before anything can be dropped; None: nothing."""
    if not visitor.may(Role.OPERATOR):
        return empty(words.may_not, words.may_not_do)
    try:
        for bundle in judging(station, visitor):
            bundle.card.require_calibration()
    except DefectFlowError as error:
        return empty(words.no_bundle, str(error), *_way_out(station, visitor))
    return None


def _way_out(station: Station, visitor: Visitor) -> tuple[str, str]:
    """The page where a station without a usable model is helped, and what the button there says."""
    if not visitor.may(Role.ENGINEER):
        return "", ""
    found = [one.bundle for one in station.bundles.all() if one.bundle is not None]
    if not found:
        return train.tab, words.to_train
    calibrated = any(bundle.card.calibration is not None for bundle in found)
    return (models.tab, words.to_models) if calibrated else (calibrate.tab, words.to_calibrate)


def drop_zone(station: Station, tab: str, *, trial: bool, production: bool = False) -> Markup:
    """Where to drop pictures, and what is kept of them. `tab`: by which the browser finds this tab's pictures again."""
    kept = words.keeps_copies if station.store.kept_as(temporary=True) == "copy" else words.keeps_verdicts
    kept = words.keeps_nothing if trial else f"{kept} {words.in_production}" if production else kept
    camera = {
        "problems": words.camera_problems,
        "triggers": list(words.camera_triggers.items()),
        "results": words.camera_results,
    }
    return render(
        "inspect/drop_zone.html",
        words=words,
        accepted=ACCEPTED,
        kept=kept,
        camera={name: json.dumps(texts) for name, texts in camera.items()},
        tab=tab,
    )


def nothing_chosen() -> Markup:
    return empty(words.nothing_chosen, words.nothing_chosen_do)


def status(inspection: Inspection) -> Markup:
    """How far it is, in words and as a bar; while it runs, with a button to stop it."""
    done, expected = len(inspection.rows), inspection.expected
    if inspection.running:
        total = max(expected, done)
        return _progress(words.judging(done, total), done, total)
    parts = len({row.part or row.name for row in inspection.rows})
    said = note(words.stopped(done) if inspection.stopped else words.done(done, parts))
    if inspection.problem is not None:
        said += problem(inspection.problem)
    if tried := sum(row.recorded is None for row in inspection.rows):
        said += note(words.tried(tried))
    said += Markup().join(map(note, inspection.skipped))
    return said if inspection.notice is None else said + note(inspection.notice)


def _progress(said: str, done: int, total: int) -> Markup:
    return render("inspect/progress.html", words=words, said=said, done=done, total=total)


def part(inspection: Inspection, kind: str | None = None) -> Markup:
    """The chosen picture, large, with everything that is known about it. `kind`: of defect, as people said."""
    row = inspection.find(inspection.chosen)
    if row is None:
        return nothing_chosen()
    told = {"words": words, "row": row, "decision": row.decision(inspection.what_if)}
    view, verdict = inspection.view(row), row.verdict
    if view is None or verdict is None:
        return render("inspect/part.html", view=None, **told)
    cut, card = _cut(inspection, verdict), inspection.inspector.card_of(verdict.product)
    return render(
        "inspect/part.html",
        view=view,
        viewer=viewer(
            view.original, view.heat, verdict.width_px, verdict.height_px, Marks.of(verdict, view.regions), view.good
        ),
        places=places(verdict, view.regions, mm_per_px=card.mm_per_px, kind=kind),
        shows=words.shows(str(verdict.product), verdict.reason) if inspection.inspector.is_open else "",
        p_value=_p_value(inspection.calibration_of(verdict), verdict),
        strip=_strip(inspection, verdict),
        cut=cut,
        review=min(verdict.review_threshold, cut),
        good_part=words.good_part.format(part=view.beside.part) if view.beside else "",
        **told,
    )


def _cut(inspection: Inspection, verdict: Verdict) -> float:
    """The threshold on show."""
    return verdict.threshold if inspection.what_if is None else inspection.what_if


def _p_value(calibration: Calibration, verdict: Verdict) -> str:
    if verdict.reason is not None:
        return words.reasons[verdict.reason]
    finest = verdict.p_value < 1.5 / (calibration.parts + 1)  # 1 / (n + 1) is the smallest there is
    return words.p_value(verdict.p_value, calibration.parts, finest)


def what_if_range(inspection: Inspection) -> tuple[float, float]:
    """Thresholds that make sense to ask about: around the good parts, and not up to the grossest defect."""
    calibration = inspection.calibration
    known = [*calibration.scores, calibration.threshold.value]
    low, high = min(known), max(known)
    room = high - low or 1.0
    return round(low - 0.1 * room, 2), round(high + room, 2)


def _strip(inspection: Inspection, verdict: Verdict) -> Markup:
    """Where this part lies among good parts, as a drawing."""
    good, cut = inspection.calibration_of(verdict).scores, _cut(inspection, verdict)
    low, most = min(*good, verdict.score, cut), max(*good, cut, verdict.threshold)
    # A gross defect would squeeze the good parts into one dot, so the drawing ends not far above the threshold.
    high = max(most, min(verdict.score, most + 0.6 * (most - low)))

    def x(score: float) -> float:
        return MARGIN + (STRIP_WIDTH - 2 * MARGIN) * (min(score, high) - low) / ((high - low) or 1.0)

    return render(
        "inspect/strip.html",
        words=words,
        width=STRIP_WIDTH,
        height=STRIP_HEIGHT,
        good=[x(score) for score in good],
        lines=[("review", x(min(verdict.review_threshold, cut))), ("cut", x(cut))],
        at=x(verdict.score),
        score=verdict.score,
        beyond=verdict.score > high,
        decision=verdict.decision.word if inspection.what_if is None else verdict.what_if(cut).word,
    )


def flips(inspection: Inspection) -> Markup:
    """What the what-if threshold would change, and the way back."""
    if inspection.what_if is None:
        return Markup()
    said = words.flipped(len(inspection.flips()), inspection.calibration.p_value(inspection.what_if))
    return render("inspect/flips.html", words=words, said=said)


def drawing(drawn: Drawn, total: int) -> Markup:
    """How far the ZIP is, with a button to stop it; at the end, where it can be had."""
    if drawn.address is None:
        return _progress(words.drawing(drawn.done, total), drawn.done, total)
    left_out = problem(words.left_out(drawn.left_out)) if drawn.left_out else Markup()
    return download(drawn.address, words.export_zip) + left_out
