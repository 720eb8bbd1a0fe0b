"""What the page Review shows."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from defectflow.bundle import Bundle
from defectflow.store import Answer, Inspection, PartInspection, ReviewSettings
from defectflow.store.recalibration import Proposal, tally_audit
from defectflow_ui.markup.elements import empty
from defectflow_ui.markup.render import render
from defectflow_ui.pages.answering import said
from defectflow_ui.pages.kept_picture import enlarged
from defectflow_ui.pictures import file_thumbnail
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import review as words

UPCOMING = 12
MOST_FLIPS = 60
THUMBNAILS = "review.thumbnails"
"""The tab's addresses of thumbnails, by inspection; None where the picture is gone."""


def blind(part: PartInspection) -> bool:
    """Whether the part is asked about only since it was sampled at random. Its answer may calibrate, so nothing that
    the model says is shown before: it would sway the witness."""
    return part.audit and part.decision != "review"


def shots(part: PartInspection) -> list[Inspection]:
    """The part's pictures, each once, in order."""
    return list({picture.sha256 or picture.file: picture for picture in reversed(part.pictures)}.values())[::-1]


def shown(part: PartInspection, chosen: int | None) -> Inspection:
    """The picture to show large: the chosen one; or the worst, but for a blind answer the first."""
    first = next(iter(part.judged), part.worst) if blind(part) else part.worst
    return next((shot for shot in shots(part) if shot.id == chosen), first)


def queue(station: Station, visitor: Visitor, parts: Sequence[PartInspection], chosen: str | None) -> Markup:
    """How many wait, and the next ones as thumbnails to choose from."""
    audit = sum(part.audit for part in parts)
    upcoming = [(part, shown(part, None)) for part in parts[:UPCOMING]]
    return render(
        "review/queue.html",
        words=words,
        audit=audit,
        others=len(parts) - audit,
        tiles=[(part, picture, _thumbnail(station, visitor, picture)) for part, picture in upcoming],
        chosen=chosen,
        blind=blind,
    )


def _thumbnail(station: Station, visitor: Visitor, inspection: Inspection) -> str | None:
    """Its address. Each file is found and checked once for a tab, not once for each key that is pressed."""
    found: dict[int, str | None] = visitor.tab.setdefault(THUMBNAILS, {})
    if inspection.id not in found:
        file = station.store.picture(inspection)
        found[inspection.id] = None
        if file is not None:
            found[inspection.id] = visitor.served.put(lambda: file_thumbnail(file), "image/jpeg")
    return found[inspection.id]


def part(
    station: Station, visitor: Visitor, part: PartInspection | None, chosen: int | None = None, *, skipped: bool
) -> Markup:
    """The part to answer for: one picture large, all of them small, why it is asked about, what was said before."""
    if part is None:
        nothing, what = words.nothing, words.nothing_do(station.store.settings.review.audit_rate)
        if skipped:
            nothing, what = words.nothing_skipped, words.nothing_skipped_do
        return empty(nothing, what)
    picture, found = shown(part, chosen), shots(part)
    place = next(place for place, shot in enumerate(found) if shot.id == picture.id)
    small = [(shot, _thumbnail(station, visitor, shot)) for shot in found] if len(found) > 1 else []
    return render(
        "review/part.html",
        words=words,
        part=part,
        picture=picture,
        unseen=blind(part),
        viewer=enlarged(station, visitor, picture, marked=not blind(part)),
        shots=small,
        previous=found[place - 1].id,
        following=found[(place + 1) % len(found)].id,
        unread=words.unread.format(names=", ".join(part.unread)),
        said=said(station.store.reviews.of_part(part.bundle_id, part.part)),
    )


def revealed(parts: Sequence[PartInspection], answered: Inspection | None) -> Markup:
    """What the model makes of the part that was answered just now, where that was not shown before."""
    part = next((part for part in parts if answered is not None and part.part == answered.part), None)
    if part is None or not blind(part) or part.answer in (None, Answer.SKIP):
        return Markup()
    return render("review/revealed.html", words=words, part=part)


def drawn(parts: Sequence[PartInspection], bundle: Bundle, settings: ReviewSettings) -> Markup:
    """What is still missing before the answers may set thresholds. `parts`: all that people are asked about."""
    sample, added = tally_audit([part for part in parts if part.audit], bundle)
    needed = sample.wanting(settings.unanswered)
    told = words.none_drawn(settings.audit_rate)
    if sample.parts:
        told = words.drawn(sample, settings.unanswered, needed, len(added))
    return render(
        "review/drawn.html",
        told=told,
        enough=not needed and bool(added),
        reasons=sample.reasons(),
        words=words,
    )


def proposal(station: Station, visitor: Visitor, made: Proposal) -> Markup:
    """What new thresholds would promise, and every past part that they judge otherwise, before and after."""
    audit = made.audit
    before, after = made.bundle.card.require_calibration(), made.card.require_calibration()
    return render(
        "review/proposal.html",
        words=words,
        tally=words.tally(audit.good, audit.defective, audit.not_this_part, audit.missing, audit.parts),
        thresholds=words.threshold(before.threshold.value, after.threshold.value, made.added),
        left_out=audit.left_out,
        sentences=made.sentences(),
        count=len(made.flips),
        lost=words.lost(lost) if (lost := sum(flip.lets_pass for flip in made.flips)) else "",
        flips=[(flip, _thumbnail(station, visitor, flip.part.worst)) for flip in made.flips[:MOST_FLIPS]],
    )
