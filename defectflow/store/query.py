"""What may be asked of everything that was inspected -> conditions on its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, exists, func, select

from defectflow.store import schema
from defectflow.store.rows import stamp
from defectflow.store.standing import Answered, answered, standing
from defectflow.verdict import Word

_table = schema.inspections


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which inspections; every condition given must hold."""

    since: datetime | None = None
    until: datetime | None = None
    decisions: tuple[Word, ...] = ()
    file: str | None = None
    """Part of the file's name, case ignored."""
    part: str | None = None
    bundle_id: str | None = None
    calibration_id: str | None = None
    product: str | None = None
    """Whose limits judged it, of a model of several products: see `Inspection.product`."""
    audit: bool | None = None
    answered: Answered | None = None
    """What people say of the part."""
    kind: str | None = None
    """Of defect, as people say."""
    limit: int = 100
    offset: int = 0


EVERYTHING = Query()


def where(statement: Select[Any], query: Query) -> Select[Any]:
    """The statement about inspections, of those that the query asks for alone."""
    columns = _table.c
    if query.since is not None:
        statement = statement.where(columns.at >= stamp(query.since))
    if query.until is not None:
        statement = statement.where(columns.at < stamp(query.until))
    if query.decisions:
        statement = statement.where(columns.decision.in_(query.decisions))
    if query.file:
        statement = statement.where(func.lower(columns.file).contains(query.file.lower(), autoescape=True))
    for name in ("part", "bundle_id", "calibration_id"):
        value = getattr(query, name)
        if value is not None:
            statement = statement.where(columns[name] == value)
    if query.product is not None:
        ending = f"/{query.product}"  # compared, since LIKE takes no notice of case in one database and does in another
        longer = func.length(columns.model) - len(ending)
        statement = statement.where(longer > 0, func.substr(columns.model, longer + 1) == ending)
    if query.audit is not None:
        statement = statement.where(columns.audit == int(query.audit))
    if query.answered is not None:
        statement = statement.where(answered(query.answered))
    if query.kind is not None:
        said = standing()
        same = and_(said.c.bundle_id == columns.bundle_id, said.c.part == columns.part)
        statement = statement.where(exists(select(said.c.id).where(same, said.c.kind == query.kind)))
    return statement
