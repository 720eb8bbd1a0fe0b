"""What the page Inspect shows, as HTML. Every name that came from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from defectflow.errors import DefectFlowError
from defectflow.runtime import Verdict
from defectflow.runtime.calibration import Calibration
from defectflow.store import Role
from defectflow_ui.inspection import DECISIONS, Inspection, Judged
from defectflow_ui.station import Station
from defectflow_ui.theme import badge, empty, tip
from defectflow_ui.visitors import Visitor
from defectflow_ui.words import inspect as words
from defectflow_ui.words.verdicts import VERDICTS

STRIP_WIDTH, STRIP_HEIGHT, MARGIN = 600, 56, 30
MOST_REGIONS = 8


def drop_zone(station: Station, visitor: Visitor) -> str:
    """Where to drop pictures; or what has to be done first."""
    if not visitor.may(Role.OPERATOR):
        return empty(words.may_not, words.may_not_do)
    try:
        station.bundles.active().card.judge()
    except DefectFlowError as error:
        return empty(words.no_bundle, str(error))
    kept = words.keeps_verdicts if station.store.settings.pictures == "none" else words.keeps_copies
    keys = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    return (
        f'<div class="drop-zone"><b>{words.drop}</b>'
        '<input type="file" multiple hidden accept=".png,.jpg,.jpeg,.bmp,.tif,.tiff,.webp,.zip">'
        f'<button type="button" class="link-button" data-choose data-key="o">{words.choose}</button>'
        f'<button type="button" class="link-button" data-camera data-key="c">{words.camera}</button>'
        f'<p class="quiet small">{words.formats} {kept}</p><p class="problem" role="alert"></p>'
        f'<div class="camera" data-shoot="{words.shoot}"></div><div data-keys-help hidden>{keys}</div></div>'
    )


def nothing_yet() -> str:
    return empty(words.nothing_yet, words.nothing_yet_do)


def nothing_chosen() -> str:
    return empty(words.nothing_chosen, words.nothing_chosen_do)


def status(inspection: Inspection) -> str:
    """How far it is, in words and as a bar; while it runs, with a button to stop it."""
    done, expected = len(inspection.rows), inspection.expected
    if inspection.running:
        total = max(expected, done)
        return _progress(words.judging(done, total), done, total)
    if inspection.stopped:
        return note(words.stopped(done))
    return note(words.done(done, len({row.part or row.name for row in inspection.rows})))


def _progress(said: str, done: int, total: int) -> str:
    return (
        f'<div class="job" role="status"><progress max="{total}" value="{done}"></progress><span>{said}</span>'
        f'<button type="button" data-stop="1">{words.stop}</button></div>'
    )


def counts(inspection: Inspection) -> str:
    """A button per decision with its count; pressed: only those are shown."""
    found = inspection.counts()
    chips = [_chip("all", words.all, len(inspection.rows), inspection.only is None, ' data-key="a"')]
    chips += [
        _chip(decision, badge(decision, small=True), found[decision], inspection.only == decision)
        for decision in DECISIONS
        if found[decision] or inspection.only == decision
    ]
    if inspection.what_if is not None:
        chips.append(_chip("flip", words.flips, len(inspection.flips()), inspection.only == "flip"))
    return f'<div class="chips">{"".join(chips)}</div>'


def _chip(only: str, label: str, count: int, pressed: bool, more: str = "") -> str:
    state = "true" if pressed else "false"
    return (
        f'<button type="button" class="chip" data-only="{only}" aria-pressed="{state}"{more}>{label} {count}</button>'
    )


def gallery(inspection: Inspection) -> str:
    rows = inspection.shown()
    if not rows:
        return empty(words.nothing_shown, words.nothing_shown_do) if inspection.rows else nothing_yet()
    return f'<div class="gallery">{"".join(_tile(inspection, row) for row in rows)}</div>'


def _tile(inspection: Inspection, row: Judged) -> str:
    now, before = row.decision(inspection.what_if), row.decision()
    name = html.escape(row.name)
    picture = (
        f'<img src="{row.thumbnail}" alt="" loading="lazy">' if row.thumbnail else '<span class="no-picture">!</span>'
    )
    score = f"{row.verdict.score:.2f}" if row.verdict is not None else ""
    changed = f'<span class="changed">{words.flip(before, now)}</span>' if now != before else ""
    return (
        f'<button type="button" class="tile {now}" data-number="{row.number}" data-decision="{now}" title="{name}" '
        f'aria-pressed="{"true" if row.number == inspection.chosen else "false"}">{picture}{badge(now, small=True)}'
        f'<span class="score">{score}</span>{changed}<span class="name"><bdi>{name}</bdi></span></button>'
    )


def part(inspection: Inspection) -> str:
    """The chosen picture, large, with everything that is known about it."""
    row = inspection.find(inspection.chosen)
    if row is None:
        return nothing_chosen()
    head = (
        f'<div class="part-head">{badge(row.decision(inspection.what_if))}<b class="name">{html.escape(row.name)}</b>'
        '<button type="button" data-step="-1" data-key="left" aria-label="previous">←</button>'
        '<button type="button" data-step="1" data-key="right" aria-label="next">→</button></div>'
    )
    layers, verdict = inspection.layers(row), row.verdict
    if layers is None or verdict is None:
        return f'<div class="part">{head}<p class="problem">{html.escape(str(row.item))}</p></div>'
    return (
        f'<div class="part">{head}{viewer(layers, verdict.width_px, verdict.height_px)}'
        f'<p class="p-value">{_p_value(inspection.calibration, verdict)}</p>'
        f"{_strip(inspection, verdict)}{_numbers(inspection, verdict)}"
        f"{_beside(inspection, row)}{_regions(verdict)}</div>"
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
        '<button type="button" data-do="zoom-out" data-key="minus" aria-label="zoom out">−</button>'
        '<button type="button" data-do="zoom-in" data-key="plus" aria-label="zoom in">+</button>'
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


def _regions(verdict: Verdict) -> str:
    regions = verdict.regions()
    if not regions:
        return f'<p class="quiet">{words.no_region}</p>'
    head = "".join(f"<th>{name}</th>" for name in words.region_head)
    rows = "".join(
        f"<tr><td>{number}</td><td>{one.left_px}, {one.top_px}</td><td>{one.width_px} × {one.height_px}</td>"
        f"<td>{one.area_px}</td><td>{one.peak:.2f}</td></tr>"
        for number, one in enumerate(regions[:MOST_REGIONS], start=1)
    )
    dashed = f'<p class="quiet">{words.dashed}</p>' if verdict.mask_is_top_fraction else ""
    return f"<h4>{tip(words.region, words.region_tip)}</h4>{dashed}<table class='regions'><tr>{head}</tr>{rows}</table>"


def _beside(inspection: Inspection, row: Judged) -> str:
    pair = inspection.beside(row)
    if pair is None:
        return ""
    here, there, similar = pair
    good = html.escape(words.good_part.format(part=similar))
    return (
        f"<h4>{words.beside}</h4><div class='beside'>"
        f"<figure><img src='{here}' alt=''><figcaption>{words.here}</figcaption></figure>"
        f"<figure><img src='{there}' alt=''><figcaption>{good}</figcaption></figure></div>"
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


def drawing(done: int, total: int) -> str:
    """How far the export is, with a button to stop it."""
    return _progress(words.drawing(done, total), done, total)


def download(address: str, what: str) -> str:
    return f'<a class="link-button" href="{address}" download>⭳ {words.download}: {html.escape(what)}</a>'
