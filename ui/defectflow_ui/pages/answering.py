"""The answer bar: what a person says about a part, asked and taken in one way on every page.

Each button carries the number of the inspection that it is about and of the answer that stood when it was drawn: an
answer never falls on a part that was not shown, nor over another answer that was not seen. Whether it may calibrate is
not decided here, but by the draw when the part was first judged.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

from defectflow.errors import AnsweredMeanwhile, StoreError
from defectflow.store import LONGEST_COMMENT, LONGEST_KIND, Answer, Inspection, Review, Role, standing_answers
from defectflow_ui.markup.theme import block, clicks, moment, notice, tip
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import answering as words

KEYS = {Answer.GOOD: "g", Answer.DEFECTIVE: "d", Answer.NOT_THIS_PART: "n"}
COMMENT, TAKE_BACK = "comment", "take back"
LARGEST = 2**63
"""What a database takes for a row's number."""


def answer_block(elem_id: str) -> gr.HTML:
    """Where a page puts its bar. Its event is `answer`, for `take`; that of a queue has `undo` as well."""
    return block(elem_id=elem_id, events=f"station.answers(element, trigger, 'answer'); {clicks('undo')}")


def bar(station: Station, visitor: Visitor, about: Inspection | None, *, page: str, note: str = "") -> str:
    """Buttons, kind and comment for the part on this inspection, and the answer that stands."""
    if about is None:
        return _framed(note, f'<p class="quiet">{words.not_in_log}</p>')
    told, may = _Told.of(station, about), visitor.may(Role.OPERATOR)
    name = tip(words.part(about.part), words.whole_part) if about.part_known else html.escape(about.file)
    back = _button(told, TAKE_BACK, words.take_back, "u") if may and told.standing is not None else ""
    head = f'<div class="head"><b>{name}</b><span>{_standing(told.standing)}</span>{back}</div>'
    asked = _asked(station, told, page) if may else f'<p class="quiet">{words.may_not}</p>'
    return _framed(note, head + asked + (_keys_help([words.take_back_key]) if back else ""), told)


def queue_bar(station: Station, visitor: Visitor, about: Inspection | None, *, note: str = "") -> str:
    """The same for a part that waits in a queue: it may be skipped, and undo brings back the part answered last."""
    if not visitor.may(Role.OPERATOR):
        return _framed(note, f'<p class="quiet">{words.may_not}</p>')
    undo = f'<button type="button" class="link-button" data-undo="1" data-key="u">{words.undo} <kbd>U</kbd></button>'
    undo += _keys_help(words.queue_keys)
    if about is None:
        return _framed(note, f'<div class="chips answers">{undo}</div>')
    told = _Told.of(station, about)
    skip = _button(told, Answer.SKIP, words.buttons[Answer.SKIP], "s")
    return _framed(note, _asked(station, told, "review", skip + undo), told)


def find(station: Station, number: int | None) -> Inspection | None:
    """An inspection by a number from the browser."""
    return station.store.history.get(number) if number is not None and 0 < number < LARGEST else None


def take(station: Station, visitor: Visitor) -> tuple[Inspection, str]:
    """Do what was pressed: answer, comment or take back. -> what it is about, and a notice of what has happened.

    Raises StoreError where there is nothing to answer about, or nothing to take back.
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
    return about, notice(words.answered(about.file, words.answers[what]))


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 20 else None


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


@dataclass(frozen=True, slots=True)
class _Told:
    """What a bar is about, and what was said about it when it was drawn."""

    about: Inspection
    standing: Review | None
    latest: int
    """Number of the last thing that was said, 0 for nothing: once another is, what was typed has been taken."""

    @classmethod
    def of(cls, station: Station, about: Inspection) -> _Told:
        reviews = station.store.reviews.of_part(about.bundle_id, about.part)
        standing = standing_answers(reviews).get(about.part)
        return cls(about, standing, max((review.id for review in reviews), default=0))


def _framed(note: str, content: str, told: _Told | None = None) -> str:
    about = "" if told is None else f"{told.about.id} {told.latest}"  # station.js clears the texts once it changes
    return f'<div class="answering" data-about="{about}">{note}{content}</div>'


def _asked(station: Station, told: _Told, page: str, more: str = "") -> str:
    buttons = "".join(_button(told, answer, words.buttons[answer], key) for answer, key in KEYS.items())
    kinds = "".join(f'<option value="{html.escape(kind)}">' for kind in station.store.reviews.kinds())
    return (
        f'<div class="chips answers">{buttons}{more}</div><div class="texts">'
        f'<label>{words.kind} <kbd>K</kbd><input data-kind data-key="k" list="kinds-{page}" maxlength="{LONGEST_KIND}" '
        f'placeholder="{words.kind_hint}" autocomplete="off"></label><datalist id="kinds-{page}">{kinds}</datalist>'
        f'<label>{words.comment} <kbd>T</kbd><input data-comment data-key="t" maxlength="{LONGEST_COMMENT}" '
        f'placeholder="{words.comment_hint}" autocomplete="off"></label>'
        f"{_button(told, COMMENT, words.comment_only, 'w')}</div>{_keys_help(words.keys)}"
    )


def _button(told: _Told, what: str, text: str, key: str) -> str:
    stands = "true" if told.standing is not None and told.standing.answer == what else "false"
    return (
        f'<button type="button" class="link-button" data-answer="{told.about.id} {_number(told.standing)} {what}" '
        f'data-key="{key}" aria-pressed="{stands}">{text} <kbd>{key.upper()}</kbd></button>'
    )


def _standing(standing: Review | None) -> str:
    if standing is None or standing.answer is None:
        return words.nobody
    told = words.standing(words.answers[standing.answer], standing.kind, standing.by)
    return f"{html.escape(told)}, {moment(standing.at)}"


def _number(standing: Review | None) -> str:
    return "0" if standing is None else str(standing.id)


def _keys_help(keys: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in keys)
    return f"<div data-keys-help hidden>{lines}</div>"
