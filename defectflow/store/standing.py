"""What people said last about each part, in SQL: for searches, counts and tables of what was inspected."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import ColumnElement, Subquery, and_, exists, func, select

from defectflow.store import schema
from defectflow.store.rows import Answer

Answered = Literal["differently", "good", "defective", "not this part", "nobody"]
"""`differently`: the answer contradicts the verdict; `nobody`: no answer stands, or the part was skipped."""
REJECTED = ("defect", "invalid")
_said, _seen = schema.reviews, schema.inspections


def standing() -> Subquery:
    """One row per part that somebody has answered: the answer that stands now, with all its columns."""
    undone = select(_said.c.undoes).where(_said.c.undoes.is_not(None))
    lasting = select(func.max(_said.c.id).label("last")).where(_said.c.answer.is_not(None), _said.c.id.not_in(undone))
    last = lasting.group_by(_said.c.bundle_id, _said.c.part).subquery()
    return select(_said).join(last, _said.c.id == last.c.last).subquery("standing")


def answered(wanted: Answered) -> ColumnElement[bool]:
    """A condition on an inspection: what people say of its part.

    A part that passed and is said to be defective counts with all its pictures; of one that was rejected and is said
    to be good, those that were rejected.
    """
    said = standing()
    same = and_(said.c.bundle_id == _seen.c.bundle_id, said.c.part == _seen.c.part)
    if wanted == "nobody":
        return ~exists(select(said.c.id).where(same, said.c.answer != Answer.SKIP.value))
    if wanted != "differently":
        return exists(select(said.c.id).where(same, said.c.answer == wanted))
    good = exists(select(said.c.id).where(same, said.c.answer == Answer.GOOD.value))
    bad = exists(select(said.c.id).where(same, said.c.answer == Answer.DEFECTIVE.value))
    other = _seen.alias()
    held = exists(
        select(other.c.id).where(
            other.c.bundle_id == _seen.c.bundle_id,
            other.c.part == _seen.c.part,
            other.c.decision.in_((*REJECTED, "review")),
        )
    )
    return (good & _seen.c.decision.in_(REJECTED)) | (bad & ~held)
