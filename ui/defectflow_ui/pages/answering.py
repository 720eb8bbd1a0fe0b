"""The answer bar: what a person says about a part, asked and taken in one way on every page.

Each button carries the number of the inspection that it is about and of the answer that stood when it was drawn: an
answer never falls on a part that was not shown, nor over another answer that was not seen. Whether it may calibrate is
not decided here, but by the draw when the part was first judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from defectflow.errors import AnsweredMeanwhile, StoreError
from defectflow.store import LONGEST_COMMENT, LONGEST_KIND, Answer, Inspection, Review, Role, standing_answers
from defectflow_ui.markup.elements import block, clicks, notice
from defectflow_ui.markup.render import render
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import answering as words

KEYS = {Answer.GOOD: "g", Answer.DEFECTIVE: "d", Answer.NOT_THIS_PART: "n"}
COMMENT, TAKE_BACK = "comment", "take back"
MOST_KINDS = 6
"""Kinds of this product that can be chosen by a click; all of them are offered while one types."""
LARGEST = 2**63
"""What a database takes for a row's number."""


def answer_block(elem_id: str) -> gr.HTML:
    """Where a page puts its bar. Its event is `answer`, for `take`; that of a queue has `undo` as well."""
    return block(elem_id=elem_id, events=f"station.answers(element, trigger, 'answer'); {clicks('undo')}")


def bar(station: Station, visitor: Visitor, about: Inspection | None, *, page: str, note: str = "") -> Markup:
    """Buttons, kind and comment for the part on this inspection, and the answer that stands."""
    return _render("bar", station, visitor, about, page=page, note=note)


def queue_bar(station: Station, visitor: Visitor, about: Inspection | None, *, note: str = "") -> Markup:
    """The same for a part that waits in a queue: it may be skipped, and undo brings back the part answered last."""
    return _render("queue_bar", station, visitor, about, note=note)


def _render(name: str, station: Station, visitor: Visitor, about: Inspection | None, **more: str) -> Markup:
    return render(
        f"answering/{name}.html",
        words=words,
        told=None if about is None else Told.of(station, about),
        may=visitor.may(Role.OPERATOR),
        keys=KEYS,
        kinds=[] if about is None else station.store.reviews.kinds(about.model),
        most_kinds=MOST_KINDS,
        take_back=TAKE_BACK,
        comment_only=COMMENT,
        longest_kind=LONGEST_KIND,
        longest_comment=LONGEST_COMMENT,
        **more,
    )


def find(station: Station, number: int | None) -> Inspection | None:
    """An inspection by a number from the browser."""
    return station.store.history.get(number) if number is not None and 0 < number < LARGEST else None


def take(station: Station, visitor: Visitor) -> tuple[Inspection, str]:
    """Do what was pressed: answer, comment or take back. -> what it is about, and a notice of what has happened.

    Raises StoreError if there is nothing to answer about, or nothing to take back.
    """
    number, seen, what = [*str(visitor.event.get("answer")).split(" ", 2), "", ""][:3]
    about = find(station, _whole(number))
    if about is None:
        raise StoreError(words.not_in_log)
    kind, comment = (str(visitor.event.get(name) or "").strip() for name in ("kind", "comment"))
    reviews, by = station.store.reviews, visitor.user
    if what == COMMENT:
        reviews.comment(about.id, comment, by=by)
        return about, notice(words.commented)
    if what == TAKE_BACK:
        standing = reviews.standing(about.bundle_id, about.part)
        if seen != _number(standing):
            return about, notice(words.answered_meanwhile)
        if standing is None:
            raise StoreError(words.nothing_to_take_back)
        reviews.undo(standing.id, by=by)
        return about, notice(words.taken_back)
    over = _whole(seen)
    if what not in set(Answer) or over is None:
        raise StoreError(words.no_such_answer)
    kind_of = kind if what == Answer.DEFECTIVE else ""
    try:
        reviews.answer(about.id, Answer(what), by=by, kind=kind_of or None, comment=comment or None, over=over)
    except AnsweredMeanwhile:
        return about, notice(words.answered_meanwhile)
    if what == Answer.GOOD and about.decision in ("defect", "invalid"):
        return about, notice(words.rejected(about.file, sampled=about.audit))
    return about, notice(words.answered(about.file, words.answers[what]))


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 20 else None


def said(reviews: Sequence[Review]) -> Markup:
    """What people said about a part, oldest first; what was taken back is struck out."""
    undone = {review.undoes for review in reviews}
    told = [review for review in reviews if review.undoes is None]
    return render("answering/said.html", words=words, reviews=told, undone=undone)


@dataclass(frozen=True, slots=True)
class Told:
    """What a bar is about, and what was said about it when it was drawn."""

    about: Inspection
    standing: Review | None
    latest: int
    """Number of the last thing that was said, 0 for nothing: once another is, what was typed has been taken."""

    @classmethod
    def of(cls, station: Station, about: Inspection) -> Told:
        reviews = station.store.reviews.of_part(about.bundle_id, about.part)
        standing = standing_answers(reviews).get(about.part)
        return cls(about, standing, max((review.id for review in reviews), default=0))


def _number(standing: Review | None) -> str:
    return "0" if standing is None else str(standing.id)
