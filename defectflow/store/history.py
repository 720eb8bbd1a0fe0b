"""Rows -> search, counts, yield, a part's story, CSV."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal, TextIO

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select

from defectflow.common import cell
from defectflow.image import PICTURE_SUFFIXES
from defectflow.store import schema
from defectflow.store.database import Database
from defectflow.store.query import EVERYTHING, Query, where
from defectflow.store.rows import Answer, Inspection, Review, product_in, read, stamp
from defectflow.store.standing import standing
from defectflow.store.versions import CalibrationVersion
from defectflow.verdict import PRECEDENCE, Reason, Word, worst_score

_table, _removals = schema.inspections, schema.removals
EXPORTED = tuple(name for name in _table.columns.keys() if name not in ("pixel_sha256", "regions"))  # noqa: SIM118
ANSWERED = {"answer": "answer", "kind": "kind", "comment": "comment", "answered_by": "by", "answered_at": "at"}
"""Further columns of the table, and those of the answer that stands that they are taken from."""
PAGE = 1000
Every = Literal["hour", "day", "week", "month"]
STAMP_LENGTH: dict[Every, int] = {"hour": 13, "day": 10, "week": 10, "month": 7}
"""How many characters of a stored time give its hour, day or month; a week is found from its day."""


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of a part, oldest first."""

    part: str
    inspections: tuple[Inspection, ...]
    reviews: tuple[Review, ...]
    calibrations: tuple[CalibrationVersion, ...]
    """The versions whose thresholds it was judged by."""


@dataclass(frozen=True, slots=True)
class PartScore:
    """A part as calibration ranks it: what it scored, and when and by which thresholds it was first judged."""

    first: int
    """Number of its first inspection."""
    last: int
    part: str
    at: datetime
    calibration_id: str
    score: float | None
    """The largest over its pictures; +infinity where one of them was invalid; None where none could be read."""

    def joined(self, later: PartScore) -> PartScore:
        """With later pictures of the same part. Equal to this one where they change nothing."""
        if later.score is None or (self.score is not None and self.score >= later.score):
            return self
        return replace(self, score=later.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldCount:
    """Parts of one stretch of time, by the decision of their worst picture."""

    start: str
    """UTC: an hour "2026-05-31T14", a day "2026-05-31", a week by its Monday, or a month "2026-05"; "" of all time."""
    ok: int = 0
    review: int = 0
    defect: int = 0
    invalid: int = 0
    error: int = 0

    @property
    def rejected(self) -> int:
        return self.defect + self.invalid

    @property
    def judged(self) -> int:
        return self.ok + self.review + self.rejected

    @property
    def yield_share(self) -> float | None:
        """Share of judged parts that are ok, so that they pass unseen by anybody; None where none was judged."""
        return self.ok / self.judged if self.judged else None


def total(counts: Iterable[YieldCount]) -> YieldCount:
    """Of all these stretches together."""
    listed = list(counts)
    return YieldCount(start="", **{word: sum(getattr(one, word) for one in listed) for word in _PLACES.values()})


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """Parts that people call defective, of one kind, in one stretch of time."""

    start: str
    """As of YieldCount."""
    kind: str | None
    """None: nobody has said which."""
    parts: int


class History:
    """Everything that was inspected."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def search(self, query: Query = EVERYTHING) -> list[Inspection]:
        """Inspections, newest first, `limit` of them from `offset` on."""
        wanted = where(select(_table), query).order_by(_table.c.id.desc()).limit(query.limit).offset(query.offset)
        with self._database.reading() as connection:
            return [read(Inspection, row) for row in connection.execute(wanted).mappings()]

    def count(self, query: Query = EVERYTHING) -> int:
        """How many inspections there are, on all pages."""
        with self._database.reading() as connection:
            return int(connection.execute(where(select(func.count()).select_from(_table), query)).scalar_one())

    def get(self, inspection_id: int) -> Inspection | None:
        with self._database.reading() as connection:
            row = connection.execute(select(_table).where(_table.c.id == inspection_id)).mappings().first()
        return None if row is None else read(Inspection, row)

    def counts(self, query: Query = EVERYTHING, *, every: Every = "day") -> list[YieldCount]:
        """Parts by decision, over time. A part counts once, when it was first seen, as its worst picture was judged.

        `since`, `until` and `decisions` are about the part so counted, the other conditions about any of its pictures:
        asking for "ok" leaves out a rejected part of which one picture is ok.
        """
        parts = _parts(query).subquery()
        start = func.substr(parts.c.at, 1, STAMP_LENGTH[every]).label("start")
        wanted = select(start, parts.c.rank, func.count().label("parts")).group_by(start, parts.c.rank)
        found: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(PRECEDENCE, 0))
        with self._database.reading() as connection:
            for row in connection.execute(wanted):
                begun = _monday(row.start) if every == "week" else row.start
                found[begun][_PLACES[row.rank]] += row.parts
        return [YieldCount(start=start, **counts) for start, counts in sorted(found.items())]

    def by_product(self, query: Query = EVERYTHING) -> dict[str, Counter[str]]:
        """Parts by decision, of each product by name; they count as in `counts`. Other models' parts are in none."""
        parts = _parts(query).subquery()
        wanted = select(parts.c.bundle_id, parts.c.rank, func.count().label("parts"))
        products = {bundle_id: product_in(name) for bundle_id, name in self.models()}
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        with self._database.reading() as connection:
            for row in connection.execute(wanted.group_by(parts.c.bundle_id, parts.c.rank)):
                if product := products.get(row.bundle_id):
                    found[product][_PLACES[row.rank]] += row.parts
        return dict(sorted(found.items()))

    def kinds(self, query: Query = EVERYTHING, *, every: Every = "day") -> list[KindCount]:
        """Parts that people call defective, by kind, over time; they count as in `counts`."""
        parts, said = _parts(query).subquery(), standing()
        same = and_(parts.c.bundle_id == said.c.bundle_id, parts.c.part == said.c.part)
        start = func.substr(parts.c.at, 1, STAMP_LENGTH[every]).label("start")
        wanted = select(start, said.c.kind, func.count().label("parts")).select_from(parts.join(said, same))
        wanted = wanted.where(said.c.answer == Answer.DEFECTIVE.value).group_by(start, said.c.kind)
        found: defaultdict[tuple[str, str | None], int] = defaultdict(int)
        with self._database.reading() as connection:
            for row in connection.execute(wanted):
                found[_monday(row.start) if every == "week" else row.start, row.kind] += row.parts
        ordered = sorted(found.items(), key=lambda one: (one[0][0], one[0][1] or ""))
        return [KindCount(start=begun, kind=kind, parts=count) for (begun, kind), count in ordered]

    def story(self, part: str, *, bundle_id: str | None = None) -> Story:
        """Everything about the part of this name, by one model or by all."""
        inspections, reviews = schema.inspections, schema.reviews
        with self._database.reading() as connection:

            def rows(table: Any) -> Iterator[Any]:
                wanted = select(table).where(table.c.part == part).order_by(table.c.id)
                wanted = wanted if bundle_id is None else wanted.where(table.c.bundle_id == bundle_id)
                return iter(connection.execute(wanted).mappings())

            seen = tuple(read(Inspection, row) for row in rows(inspections))
            said = tuple(read(Review, row) for row in rows(reviews))
            versions = select(schema.calibrations).where(
                schema.calibrations.c.calibration_id.in_({item.calibration_id for item in seen})
            )
            judged_by = tuple(
                read(CalibrationVersion, row)
                for row in connection.execute(versions.order_by(schema.calibrations.c.id)).mappings()
            )
        return Story(part, seen, said, judged_by)

    def part_scores(self, bundle_id: str, *, after: int = 0) -> list[PartScore]:
        """Every part that a model has seen, in order of first appearance: `Reviews.parts`, without the pictures.

        `after`: only from inspections with a higher number than this one.
        """
        no_number = and_(_table.c.score.is_(None), _table.c.decision != "error")
        gated = case((or_(_table.c.decision == "invalid", no_number), 1), else_=0)
        columns = {
            "first": func.min(_table.c.id),
            "last": func.max(_table.c.id),
            "score": func.max(_table.c.score),
            "gated": func.max(gated),
        }
        grouped = select(*(column.label(name) for name, column in columns.items()))
        # Joined with nothing, or SQLite would go through the index of all parts to find the few later ones.
        later = and_(_table.c.bundle_id + "" == bundle_id, _table.c.id > after)
        parts = grouped.where(later).group_by(_table.c.part).subquery()
        shown = select(_table.c.part, _table.c.at, _table.c.calibration_id, *parts.c)
        wanted = shown.join(parts, parts.c.first == _table.c.id).order_by(_table.c.id)
        with self._database.reading() as connection:
            return [
                PartScore(
                    row.first,
                    row.last,
                    row.part,
                    datetime.fromisoformat(row.at),
                    row.calibration_id,
                    math.inf if row.gated else None if row.score is None else worst_score([row.score]),
                )
                for row in connection.execute(wanted)
            ]

    def removed_through(self) -> int:
        """The number up to which retention has removed inspections; 0: none."""
        with self._database.reading() as connection:
            return connection.execute(select(func.max(_removals.c.through))).scalar() or 0

    def models(self) -> list[tuple[str, str]]:
        """(bundle_id, name) of every model that has inspected anything, the one used last first."""
        wanted = (
            select(_table.c.bundle_id, func.max(_table.c.model).label("name"))
            .group_by(_table.c.bundle_id)
            .order_by(func.max(_table.c.id).desc())
        )
        with self._database.reading() as connection:
            return [(row.bundle_id, row.name) for row in connection.execute(wanted)]

    def export_csv(self, stream: TextIO, query: Query = EVERYTHING) -> int:
        """Every inspection of the query, whatever its page, oldest first, with the answer that stands; how many.

        In bounded memory.
        """
        said = standing()
        same = and_(said.c.bundle_id == _table.c.bundle_id, said.c.part == _table.c.part)
        answers = [said.c[name].label(f"said_{name}") for name in ANSWERED.values()]
        columns = [*(_table.c[name] for name in EXPORTED), _reason().label("reason"), *answers]
        wanted = where(select(*columns).select_from(_table.outerjoin(said, same)), query).order_by(_table.c.id)
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((*EXPORTED, "reason", *ANSWERED, "product"))
        count = 0
        with self._database.reading() as connection:
            for row in connection.execution_options(yield_per=PAGE).execute(wanted):
                writer.writerow([cell(value) for value in (*row, product_in(row.model))])
                count += 1
        return count


def _parts(query: Query) -> Select[Any]:
    """(bundle_id, part, at, rank): the parts of a query as `counts` means them, when each was first seen, and its
    worst picture's place."""
    rank = func.max(_place())
    first = func.min(_table.c.at)
    meant = where(select(_table.c.bundle_id, _table.c.part).distinct(), replace(query, decisions=())).subquery()
    same = and_(_table.c.bundle_id == meant.c.bundle_id, _table.c.part == meant.c.part)
    columns = _table.c.bundle_id, _table.c.part, first.label("at"), rank.label("rank")
    grouped = select(*columns).select_from(_table.join(meant, same)).group_by(_table.c.bundle_id, _table.c.part)
    if query.since is not None:
        grouped = grouped.having(first >= stamp(query.since))
    if query.until is not None:
        grouped = grouped.having(first < stamp(query.until))
    if query.decisions:
        wanted_places = {place for place, word in _PLACES.items() if word in query.decisions}
        grouped = grouped.having(rank.in_(wanted_places))
    return grouped


_PLACES: dict[int, Word] = {-1: "error", **dict(enumerate(PRECEDENCE))}
"""A part's worst place -> its verdict; -1 where nothing but what does not count was found of it."""


def _place() -> ColumnElement[int]:
    """Where a picture's verdict stands in `PRECEDENCE`; below all others where it does not count: it could not be read,
    and was read at another look, or is not a picture by its name (`PartInspection.worst`)."""
    again = _table.alias()
    same = and_(*(again.c[name] == _table.c[name] for name in ("bundle_id", "part", "file")))
    settled = exists().where(same, again.c.decision != "error").correlate(_table)
    named = [func.lower(_table.c.file).endswith(suffix) for suffix in PICTURE_SUFFIXES if suffix]
    picture = or_(~_table.c.file.contains("."), *named)
    unread = and_(picture, ~settled)
    ranks = {word: place for place, word in enumerate(PRECEDENCE)}
    return case((and_(_table.c.decision == "error", ~unread), -1), else_=case(ranks, value=_table.c.decision))


def _reason() -> ColumnElement[str | None]:
    """`Inspection.reason`."""
    marked = and_(_table.c.regions.is_not(None), _table.c.regions != "[]")
    gross = case((marked, Reason.GROSS_DEFECT.value), else_=Reason.WRONG_PICTURE.value)
    return case((_table.c.decision == "invalid", gross), else_=None)


def _monday(day: str) -> str:
    """The day on which the week of a day begins."""
    there = date.fromisoformat(day)
    return (there - timedelta(days=there.weekday())).isoformat()
