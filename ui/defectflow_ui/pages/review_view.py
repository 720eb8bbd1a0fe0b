"""What the page Review shows, as HTML. Every name that came from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from defectflow.bundle import Bundle
from defectflow.errors import DefectFlowError
from defectflow.image import read_image
from defectflow.store import Answer, Inspection, PartInspection
from defectflow.store.recalibration import Proposal, tally_audit
from defectflow.verdict import Verdict, overlay
from defectflow_ui.markup.theme import badge, empty, moment, tip
from defectflow_ui.pages.answering import said
from defectflow_ui.pages.inspect_view import viewer
from defectflow_ui.pictures import Pixels, file_thumbnail, jpeg, large
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import review as words

UPCOMING = 12
MOST_FLIPS = 60
THUMBNAILS = "review.thumbnails"
"""The tab's addresses of thumbnails, by inspection; None where the picture is gone."""


def blind(part: PartInspection) -> bool:
    """Whether the part is asked about only since it was drawn by lot. Its answer may calibrate, so nothing that the
    model says is shown before: it would sway the witness."""
    return part.audit and part.decision != "review"


def shots(part: PartInspection) -> list[Inspection]:
    """The part's pictures, each once, in order."""
    return list({picture.sha256 or picture.file: picture for picture in reversed(part.pictures)}.values())[::-1]


def shown(part: PartInspection, chosen: int | None) -> Inspection:
    """The picture to show large: the chosen one; or the worst, but for a blind answer the first."""
    first = next(iter(part.judged), part.worst) if blind(part) else part.worst
    return next((shot for shot in shots(part) if shot.id == chosen), first)


def queue(station: Station, visitor: Visitor, parts: Sequence[PartInspection], chosen: str | None) -> str:
    """How many wait, and the next ones as thumbnails to choose from."""
    audit = sum(part.audit for part in parts)
    tiles = "".join(_tile(station, visitor, part, chosen) for part in parts[:UPCOMING])
    return f'<p role="status"><b>{words.waiting(audit, len(parts) - audit)}</b></p><div class="gallery">{tiles}</div>'


def _tile(station: Station, visitor: Visitor, part: PartInspection, chosen: str | None) -> str:
    picture = shown(part, None)
    said = "" if blind(part) else badge(part.decision, small=True) + _score(picture)
    return (
        f'<button type="button" class="tile" data-part="{html.escape(part.part)}" '
        f'aria-pressed="{"true" if part.part == chosen else "false"}" title="{html.escape(picture.file)}">'
        f"{_small(station, visitor, picture)}{said}"
        f'<span class="name"><bdi>{html.escape(picture.file)}</bdi></span></button>'
    )


def _score(picture: Inspection) -> str:
    return "" if picture.score is None else f'<span class="score">{picture.score:.2f}</span>'


def _small(station: Station, visitor: Visitor, inspection: Inspection) -> str:
    """A thumbnail. Each file is found and checked once for a tab, not once for each key that is pressed."""
    found: dict[int, str | None] = visitor.tab.setdefault(THUMBNAILS, {})
    if inspection.id not in found:
        file = station.store.picture(inspection)
        found[inspection.id] = None
        if file is not None:
            found[inspection.id] = visitor.served.put(lambda: file_thumbnail(file), "image/jpeg")
    address = found[inspection.id]
    return '<span class="no-picture">–</span>' if address is None else f'<img src="{address}" alt="" loading="lazy">'


def part(
    station: Station, visitor: Visitor, part: PartInspection | None, chosen: int | None = None, *, skipped: bool
) -> str:
    """The part to answer for: one picture large, all of them small, why it is asked about, what was said before."""
    if part is None:
        title, what = (
            (words.nothing_skipped, words.nothing_skipped_do) if skipped else (words.nothing, words.nothing_do)
        )
        return empty(title, what)
    picture, unseen = shown(part, chosen), blind(part)
    why = tip(words.audit, words.audit_tip) if part.audit else tip(words.grey, words.grey_tip)
    file = station.store.picture(picture)
    large = (
        f'<p class="problem">{html.escape(picture.error or words.no_picture)}</p>'
        if file is None
        else _picture(station, visitor, picture, file, marked=not unseen)
    )
    score = "" if picture.score is None or unseen else words.score(picture.score, picture.threshold)
    name = html.escape(part.part) if picture.part_known else ""  # a picture's number tells a reader nothing
    facts = " · ".join(fact for fact in (name, moment(picture.at), score) if fact)
    unread = f'<p class="warn">{html.escape(words.unread.format(names=", ".join(part.unread)))}</p>'
    keys = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    return (
        f'<div class="part" data-reviewed="{html.escape(part.part)}"><div class="part-head">'
        f'{"" if unseen else badge(part.decision)}<b class="name">{html.escape(picture.file)}</b><span>{why}</span>'
        f"</div>{large}{_shots(station, visitor, part, picture)}"
        f'<p class="quiet">{facts}</p>{f"<p>{words.blind}</p>" if unseen else ""}{unread if part.unread else ""}'
        f"{said(station.store.reviews.of_part(part.bundle_id, part.part))}<div data-keys-help hidden>{keys}</div></div>"
    )


def _shots(station: Station, visitor: Visitor, part: PartInspection, chosen: Inspection) -> str:
    """All pictures of the part, to choose the large one from; nothing where there is only one."""
    found = shots(part)
    if len(found) < 2:
        return ""
    place = next(place for place, shot in enumerate(found) if shot.id == chosen.id)

    def step(by: int, key: str, arrow: str) -> str:
        to = found[(place + by) % len(found)].id
        return f'<button type="button" class="link-button" data-shot="{to}" data-key="{key}">{arrow}</button>'

    tiles = "".join(
        f'<button type="button" class="tile" data-shot="{shot.id}" title="{html.escape(shot.file)}" '
        f'aria-pressed="{"true" if shot.id == chosen.id else "false"}">{_small(station, visitor, shot)}'
        f"{'' if blind(part) else _score(shot)}</button>"
        for shot in found
    )
    return (
        f'<div class="views" role="group" aria-label="{words.shots}">{step(-1, "left", "←")}{tiles}'
        f"{step(1, 'right', '→')}</div>"
    )


def _picture(station: Station, visitor: Visitor, inspection: Inspection, file: Path, *, marked: bool) -> str:
    """The picture; where it may be marked and its model is the active one, with heat and outlines as well."""
    bundle = active(station)
    full_scale = None if bundle is None else bundle.card.image.full_scale

    def original() -> Pixels:
        return large(read_image(file, full_scale=full_scale))

    def drawn() -> bytes:
        (item,) = station.bundles.inspector().inspect([file])
        return jpeg(overlay(original(), item) if isinstance(item, Verdict) else original())

    layers = [visitor.served.put(lambda: jpeg(original()), "image/jpeg")]
    if marked and bundle is not None and bundle.card.bundle_id == inspection.bundle_id:
        layers.append(visitor.served.put(drawn, "image/jpeg"))
    return viewer(layers, inspection.width_px or 1, inspection.height_px or 1)


def revealed(parts: Sequence[PartInspection], answered: Inspection | None) -> str:
    """What the model makes of the part that was answered just now, where that was not shown before."""
    part = next((part for part in parts if answered is not None and part.part == answered.part), None)
    if part is None or not blind(part) or part.answer in (None, Answer.SKIP):
        return ""
    return f'<p class="quiet">{words.model_said} {badge(part.decision, small=True)} {_score(part.worst)}</p>'


def drawn(parts: Sequence[PartInspection], bundle: Bundle, allowed: float) -> str:
    """What is still missing before the answers may set thresholds. `parts`: all that people are asked about."""
    sample, _ = tally_audit([part for part in parts if part.audit], bundle)
    if not sample.parts:
        return ""
    needed = sample.wanting(allowed)
    told = words.drawn(sample, allowed, needed)
    return f'<p class="{"warn" if needed else "said"}">{told}</p>'


def active(station: Station) -> Bundle | None:
    try:
        return station.bundles.active()
    except DefectFlowError:
        return None


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
