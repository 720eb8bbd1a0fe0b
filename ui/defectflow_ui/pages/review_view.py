"""What the page Review shows, as HTML. Every name that came from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from defectflow.errors import DefectFlowError
from defectflow.runtime import Verdict
from defectflow.runtime.bundle import Bundle
from defectflow.runtime.image import read_image
from defectflow.runtime.overlay import overlay
from defectflow.store import Answer, CalibrationVersion, Inspection, PartInspection, Review
from defectflow.store.recalibration import Proposal
from defectflow_ui.pages.inspect_view import viewer
from defectflow_ui.pictures import Pixels, jpeg, large, thumbnail
from defectflow_ui.station import Station
from defectflow_ui.theme import badge, empty, moment, tip
from defectflow_ui.visitors import Visitor
from defectflow_ui.words import review as words

UPCOMING = 12
MOST_FLIPS = 60
KEYS = {Answer.GOOD: "g", Answer.DEFECTIVE: "d", Answer.NOT_THIS_PART: "n", Answer.SKIP: "s"}


def queue(station: Station, visitor: Visitor, parts: Sequence[PartInspection], chosen: str | None) -> str:
    """How many wait, and the next ones as thumbnails to choose from."""
    audit = sum(part.audit for part in parts)
    tiles = "".join(_tile(station, visitor, part, chosen) for part in parts[:UPCOMING])
    keys = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    return (
        f'<p role="status"><b>{words.waiting(audit, len(parts) - audit)}</b></p><div class="gallery">{tiles}</div>'
        f"<div data-keys-help hidden>{keys}</div>"
    )


def _tile(station: Station, visitor: Visitor, part: PartInspection, chosen: str | None) -> str:
    worst = part.worst
    score = "" if worst.score is None else f"{worst.score:.2f}"
    return (
        f'<button type="button" class="tile {part.decision}" data-part="{html.escape(part.part)}" '
        f'aria-pressed="{"true" if part.part == chosen else "false"}" title="{html.escape(worst.file)}">'
        f"{_small(station, visitor, worst)}{badge(part.decision, small=True)}"
        f'<span class="score">{score}</span><span class="name"><bdi>{html.escape(worst.file)}</bdi></span></button>'
    )


def _small(station: Station, visitor: Visitor, inspection: Inspection) -> str:
    file = station.store.picture(inspection)
    if file is None:
        return '<span class="no-picture">–</span>'
    address = visitor.shelf.put(lambda: jpeg(thumbnail(read_image(file))), "image/jpeg")
    return f'<img src="{address}" alt="" loading="lazy">'


def part(station: Station, visitor: Visitor, part: PartInspection | None, *, skipped: bool) -> str:
    """The part to answer for: its worst picture, large, why it is asked about, and what was said before."""
    if part is None:
        title, what = (
            (words.nothing_skipped, words.nothing_skipped_do) if skipped else (words.nothing, words.nothing_do)
        )
        return empty(title, what)
    worst = part.worst
    why = tip(words.audit, words.audit_tip) if part.audit else tip(words.grey, words.grey_tip)
    file = station.store.picture(worst)
    shown = f'<p class="problem">{words.no_picture}</p>' if file is None else _picture(station, visitor, worst, file)
    score = "" if worst.score is None else words.score(worst.score, worst.threshold)
    name = html.escape(part.part) if worst.part_known else ""  # a picture's number tells a reader nothing
    return (
        f'<div class="part" data-reviewed="{html.escape(part.part)}"><div class="part-head">{badge(part.decision)}'
        f'<b class="name">{html.escape(worst.file)}</b><span>{why}</span></div>{shown}'
        f'<p class="quiet">{name} {moment(worst.at)} · {score}</p>'
        f"{said(station.store.reviews.of_part(part.bundle_id, part.part))}</div>"
    )


def answers(part: PartInspection | None, *, may: bool) -> str:
    """A button per answer; each carries the number of what is shown, so that the answer is about nothing else."""
    if not may:
        return empty(words.may_not, words.may_not_do)
    buttons = "".join(
        f'<button type="button" class="link-button" data-answer="{part.worst.id} {answer.value}" data-key="{key}">'
        f"{words.buttons[answer]} <kbd>{key.upper()}</kbd></button>"
        for answer, key in KEYS.items()
        if part is not None
    )
    undo = f'<button type="button" class="link-button" data-undo="1" data-key="u">{words.undo} <kbd>U</kbd></button>'
    return f'<div class="chips answers">{buttons}{undo}</div>'


def _picture(station: Station, visitor: Visitor, inspection: Inspection, file: Path) -> str:
    """The picture; where its model is the active one, with heat and outlines as well."""
    bundle = active(station)
    full_scale = None if bundle is None else bundle.card.image.full_scale

    def original() -> Pixels:
        return large(read_image(file, full_scale=full_scale))

    def drawn() -> bytes:
        (item,) = station.bundles.inspector().inspect([file])
        return jpeg(overlay(original(), item) if isinstance(item, Verdict) else original())

    plain = visitor.shelf.put(lambda: jpeg(original()), "image/jpeg")
    same_model = bundle is not None and bundle.card.bundle_id == inspection.bundle_id
    heat = visitor.shelf.put(drawn, "image/jpeg") if same_model else plain
    return viewer((plain, heat), inspection.width_px or 1, inspection.height_px or 1)


def active(station: Station) -> Bundle | None:
    try:
        return station.bundles.active()
    except DefectFlowError:
        return None


def said(reviews: Sequence[Review]) -> str:
    """What people said about a part, oldest first; what was taken back is struck out."""
    undone = {review.undoes for review in reviews}
    lines = []
    for review in reviews:
        if review.undoes is not None:
            continue
        what = " · ".join(
            html.escape(piece)
            for piece in (review.answer and words.answers[review.answer], review.kind, review.comment)
            if piece
        )
        what = f"<s>{what}</s>" if review.id in undone else what
        lines.append(f"<li>{moment(review.at)} {html.escape(review.by)}: {what}</li>")
    return f"<h4>{words.said_before}</h4><ul>{''.join(lines)}</ul>" if lines else ""


def proposal(station: Station, visitor: Visitor, made: Proposal) -> str:
    """What new thresholds would promise, and every past part that they judge otherwise, before and after."""
    audit = made.audit
    before, after = made.bundle.card.judge(), made.card.judge()
    tally = words.tally(audit.good, audit.defective, audit.not_this_part, audit.missing, audit.parts)
    left_out = "".join(f"<li>{html.escape(part)}: {html.escape(why)}</li>" for part, why in audit.left_out)
    sentences = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in made.sentences())
    tiles = "".join(
        f'<figure class="flip" data-flip="{html.escape(flip.part.part)}">'
        f"{_small(station, visitor, flip.part.worst)}<figcaption>"
        f"{badge(flip.before, small=True)} → {badge(flip.after, small=True)}<br>"
        f"{html.escape(flip.part.worst.file)}</figcaption></figure>"
        for flip in made.flips[:MOST_FLIPS]
    )
    title = f"{words.flips}: {len(made.flips)}" if made.flips else words.no_flips
    more = f'<p class="quiet">{words.more(len(made.flips) - MOST_FLIPS)}</p>' if len(made.flips) > MOST_FLIPS else ""
    return (
        f'<div class="proposal"><p>{tally} {words.threshold(before.threshold.value, after.threshold.value, made.added)}'
        f'</p><ul class="warn">{left_out}</ul><ul>{sentences}</ul><h4>{title}</h4><div class="gallery">{tiles}</div>'
        f"{more}</div>"
    )


def versions(bundle: Bundle, found: Sequence[CalibrationVersion], *, may: bool) -> str:
    """All calibrations of the bundle, newest first, each with the way back to it."""
    if not found:
        return f'<p class="quiet">{words.versions_none}</p>'
    head = "".join(f"<th>{name}</th>" for name in words.versions_head)
    rows = []
    for version in found:
        calibration = version.card(bundle.card).judge()
        holds = version.calibration_id == bundle.card.calibration_id
        back = f'<button type="button" class="link-button" data-version="{version.id}">{words.roll_back}</button>'
        cells = (
            f'<span class="badge ok small"><b>✓</b> {words.active}</span>' if holds else "",
            html.escape(version.name),
            f"{version.at:%Y-%m-%d %H:%M}",
            html.escape(version.by),
            str(calibration.parts),
            words.estimate if calibration.guarantee == "estimate" else f"{100 * calibration.rate:g}%",
            f"{calibration.threshold.value:.3f}",
            html.escape(version.reason),
            back if may and not holds else "",
        )
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f'<table class="facts"><tr>{head}</tr>{"".join(rows)}</table>'
