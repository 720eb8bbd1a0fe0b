"""What the page Inspect shows, as HTML. Every name that came from outside is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from defectflow.errors import DefectFlowError
from defectflow.store import Role
from defectflow.verdict import Calibration, Region, Verdict
from defectflow_ui.inspecting.exports import Drawn
from defectflow_ui.inspecting.inspection import Inspection
from defectflow_ui.inspecting.picture_views import Beside
from defectflow_ui.markup.theme import badge, empty, problem, tip
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect as words
from defectflow_ui.words.verdicts import VERDICTS

STRIP_WIDTH, STRIP_HEIGHT, MARGIN = 600, 56, 30
MOST_REGIONS = 8


def obstacle(station: Station, visitor: Visitor) -> str | None:
    """What has to be done before anything can be dropped; None: nothing."""
    if not visitor.may(Role.OPERATOR):
        return empty(words.may_not, words.may_not_do)
    try:
        station.bundles.active().card.judge()
    except DefectFlowError as error:
        return empty(words.no_bundle, str(error))
    return None


def drop_zone(station: Station) -> str:
    """Where to drop pictures, and what is kept of them."""
    kept = words.keeps_copies if station.store.kept_as(temporary=True) == "copy" else words.keeps_verdicts
    camera = html.escape(json.dumps(words.camera_problems))
    keys = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    return (
        f'<div class="drop-zone" data-none="{words.no_picture_in_it}"><b>{words.drop}</b>'
        '<input type="file" multiple hidden accept=".png,.jpg,.jpeg,.bmp,.tif,.tiff,.webp,.zip">'
        f'<button type="button" class="link-button" data-choose data-key="o">{words.choose}</button>'
        f'<button type="button" class="link-button" data-camera data-key="c">{words.camera}</button>'
        f'<p class="quiet small">{words.formats} {kept}</p><p class="problem" role="alert"></p>'
        f'<div class="camera" data-shoot="{words.shoot}" data-problems="{camera}"></div>'
        f"<div data-keys-help hidden>{keys}</div></div>"
    )


def nothing_chosen() -> str:
    return empty(words.nothing_chosen, words.nothing_chosen_do)


def status(inspection: Inspection) -> str:
    """How far it is, in words and as a bar; while it runs, with a button to stop it."""
    done, expected = len(inspection.rows), inspection.expected
    if inspection.running:
        total = max(expected, done)
        return _progress(words.judging(done, total), done, total)
    parts = len({row.part or row.name for row in inspection.rows})
    said = note(words.stopped(done) if inspection.stopped else words.done(done, parts))
    if inspection.problem is not None:
        said += problem(inspection.problem)
    return said + (note(inspection.notice) if inspection.notice is not None else "")


def _progress(said: str, done: int, total: int) -> str:
    return (
        f'<div class="job" role="status"><progress max="{total}" value="{done}"></progress><span>{said}</span>'
        f'<button type="button" data-stop="1">{words.stop}</button></div>'
    )


def part(inspection: Inspection) -> str:
    """The chosen picture, large, with everything that is known about it."""
    row = inspection.find(inspection.chosen)
    if row is None:
        return nothing_chosen()
    head = (
        f'<div class="part-head">{badge(row.decision(inspection.what_if))}<b class="name">{html.escape(row.name)}</b>'
        f'<button type="button" data-step="-1" data-key="left" aria-label="{words.previous}">←</button>'
        f'<button type="button" data-step="1" data-key="right" aria-label="{words.next}">→</button></div>'
    )
    begin = f'<div class="part" data-chosen="{row.number}">{head}'
    look, verdict = inspection.view(row), row.verdict
    if look is None or verdict is None:
        return f'{begin}<p class="problem">{html.escape(str(row.item))}</p></div>'
    return (
        f"{begin}{viewer((look.original, look.marked), verdict.width_px, verdict.height_px)}"
        f'<p class="p-value">{_p_value(inspection.calibration, verdict)}</p>'
        f"{_strip(inspection, verdict)}{_numbers(inspection, verdict)}"
        f"{_beside(look.beside)}{_regions(look.regions, dashed=verdict.mask_is_top_fraction)}</div>"
    )


def viewer(layers: Sequence[str], width_px: int, height_px: int) -> str:
    """A picture, and over it, if given, the same with heat and outlines; blended and zoomed in the browser."""
    ratio = f"{width_px} / {height_px}"
    plain, *marked = (f'<img src="{address}" alt="" draggable="false">' for address in layers)
    over = "".join(picture.replace("<img", '<img class="over"') for picture in marked)
    blend = (
        f'<span>{words.original}</span><input type="range" min="0" max="100" value="70" data-blend '
        f'aria-label="{words.original} – {words.marked}"><span>{words.marked}</span>'
    )
    return (
        f'<div class="viewer" style="aspect-ratio: {ratio}" title="{words.zoom}"><div class="layers">'
        f'{plain}{over}</div></div><div class="viewer-bar">{blend if over else ""}'
        f'<button type="button" data-do="zoom-out" data-key="minus" aria-label="{words.zoom_out}">−</button>'
        f'<button type="button" data-do="zoom-in" data-key="plus" aria-label="{words.zoom_in}">+</button>'
        f'<button type="button" data-do="zoom-reset" data-key="0">{words.fit}</button></div>'
    )


def _p_value(calibration: Calibration, verdict: Verdict) -> str:
    if verdict.gated:
        return html.escape(VERDICTS["invalid"][1])
    finest = verdict.p_value < 1.5 / (calibration.parts + 1)  # 1 / (n + 1) is the smallest there is
    return html.escape(words.p_value(verdict.p_value, calibration.parts, finest))


def what_if_range(inspection: Inspection) -> tuple[float, float]:
    """Thresholds that make sense to ask about: around the good parts, and not up to the grossest defect."""
    calibration = inspection.calibration
    known = [*calibration.scores, calibration.threshold.value]
    low, high = min(known), max(known)
    room = high - low or 1.0
    return round(low - 0.1 * room, 2), round(high + room, 2)


def _strip(inspection: Inspection, verdict: Verdict) -> str:
    """Where this part lies among good parts, as a drawing."""
    good = inspection.calibration.scores
    cut = verdict.threshold if inspection.what_if is None else inspection.what_if
    review = min(verdict.review_threshold, cut)
    low, most = min(*good, verdict.score, cut), max(*good, cut, verdict.threshold)
    # A gross defect would squeeze the good parts into one dot, so the drawing ends not far above the threshold.
    high = max(most, min(verdict.score, most + 0.6 * (most - low)))

    def x(score: float) -> float:
        return MARGIN + (STRIP_WIDTH - 2 * MARGIN) * (min(score, high) - low) / ((high - low) or 1.0)

    def line(score: float, kind: str) -> str:
        return f'<line x1="{x(score):.1f}" x2="{x(score):.1f}" y1="20" y2="52" class="{kind}"/>'

    dots = "".join(f'<circle cx="{x(score):.1f}" cy="38" r="4" class="good"/>' for score in good)
    at = x(verdict.score)
    beyond = " »" if verdict.score > high else ""
    decision = verdict.decision.word if inspection.what_if is None else verdict.what_if(cut).word
    return (
        f'<svg class="strip" viewBox="0 0 {STRIP_WIDTH} {STRIP_HEIGHT}" role="img" aria-label="{words.strip}">'
        f"<title>{words.strip}</title>"
        f'<line x1="4" x2="{STRIP_WIDTH - 4}" y1="38" y2="38" class="axis"/>{dots}'
        f"{line(review, 'review')}{line(cut, 'cut')}"
        f'<path d="M {at:.1f} 31 l -8 -14 h 16 z" class="this {decision}"/>'
        f'<text x="{at:.1f}" y="13" text-anchor="middle">{verdict.score:.2f}{beyond}</text></svg>'
    )


def _numbers(inspection: Inspection, verdict: Verdict) -> str:
    cut = verdict.threshold if inspection.what_if is None else inspection.what_if
    pairs = (
        (tip(words.score, words.score_tip), verdict.score),
        (tip(words.threshold, words.threshold_tip), cut),
        (tip(words.review_threshold, words.review_tip), min(verdict.review_threshold, cut)),
    )
    return f'<div class="numbers">{"".join(f"<span>{name} <b>{value:.3f}</b></span>" for name, value in pairs)}</div>'


def _regions(regions: Sequence[Region], *, dashed: bool) -> str:
    if not regions:
        return f'<p class="quiet">{words.no_region}</p>'
    head = "".join(f"<th>{name}</th>" for name in words.region_head)
    rows = "".join(
        f"<tr><td>{number}</td><td>{one.left_px}, {one.top_px}</td><td>{one.width_px} × {one.height_px}</td>"
        f"<td>{one.area_px}</td><td>{one.peak:.2f}</td></tr>"
        for number, one in enumerate(regions[:MOST_REGIONS], start=1)
    )
    note = f'<p class="quiet">{words.dashed}</p>' if dashed else ""
    left_out = len(regions) - MOST_REGIONS
    more = f'<p class="quiet">{words.more_regions(left_out)}</p>' if left_out > 0 else ""
    return (
        f"<h4>{tip(words.region, words.region_tip)}</h4>{note}"
        f"<table class='regions'><tr>{head}</tr>{rows}</table>{more}"
    )


def _beside(beside: Beside | None) -> str:
    if beside is None:
        return ""
    good = html.escape(words.good_part.format(part=beside.part))
    return (
        f"<h4>{words.beside}</h4><div class='beside'>"
        f"<figure><img src='{beside.here}' alt=''><figcaption>{words.here}</figcaption></figure>"
        f"<figure><img src='{beside.there}' alt=''><figcaption>{good}</figcaption></figure></div>"
    )


def flips(inspection: Inspection) -> str:
    """What the what-if threshold would change, and the way back."""
    if inspection.what_if is None:
        return ""
    rate = inspection.calibration.p_value(inspection.what_if)
    said = html.escape(words.flipped(len(inspection.flips()), rate))
    return (
        f'<p role="status">{said} <button type="button" class="link-button" data-reset="1">{words.reset}</button></p>'
    )


def note(text: str) -> str:
    return f'<p class="quiet" role="status">{html.escape(text)}</p>'


def drawing(drawn: Drawn, total: int) -> str:
    """How far the ZIP is, with a button to stop it; at the end, where it can be had."""
    if drawn.address is None:
        return _progress(words.drawing(drawn.done, total), drawn.done, total)
    left_out = problem(words.left_out(drawn.left_out)) if drawn.left_out else ""
    return download(drawn.address, words.export_zip) + left_out


def download(address: str, what: str) -> str:
    return f'<a class="link-button" href="{address}" download>⭳ {words.download}: {html.escape(what)}</a>'
