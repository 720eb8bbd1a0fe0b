"""Everything that a store has seen of a model -> has production moved? The alarm, what it says, and who saw to it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from sqlalchemy import select

from defectflow.bundle import Card
from defectflow.errors import StoreError
from defectflow.store import chain, schema
from defectflow.store.history import PartScore
from defectflow.store.monitor import Monitor
from defectflow.store.rows import read, stamped_now

if TYPE_CHECKING:
    from defectflow.store.store import Store

_looked_into = schema.looked_into


@dataclass(frozen=True, slots=True)
class DriftPoint:
    """The evidence after one part."""

    part: str
    at: datetime
    p_value: float
    evidence: float
    """R; the alarm is at `Drift.run_length`."""
    alarm: bool
    calibration_id: str
    """The thresholds by which the part was judged."""

    def words(self) -> str:
        return f"part {self.part} ({self.at:%Y-%m-%d %H:%M} UTC)"


@dataclass(frozen=True, slots=True)
class LookedInto:
    """A person has seen to the alarms until then."""

    at: datetime
    by: str
    reason: str

    def __str__(self) -> str:
        return f"{self.by} looked into it on {self.at:%Y-%m-%d %H:%M} UTC ({self.reason})"


@dataclass(frozen=True)
class Drift:
    """The whole course of one model version."""

    points: tuple[DriftPoint, ...]
    run_length: int
    """Good parts between false alarms, on average, at least."""
    calibration_id: str | None
    """The thresholds that hold now."""
    looked_into: LookedInto | None = None
    """The last time that somebody wrote what the alarms until then were about."""

    @cached_property  # asked for at every look at the station's header, and there may be a million points
    def alarms(self) -> list[DriftPoint]:
        return [point for point in self.points if point.alarm]

    @property
    def standing(self) -> list[DriftPoint]:
        """The alarms that nobody has seen to: neither have the thresholds been set again, nor was it looked into."""
        seen = self.looked_into
        return [
            point
            for point in self.alarms
            if point.calibration_id == self.calibration_id and (seen is None or point.at > seen.at)
        ]

    def sentence(self) -> str:
        """What the course says, in words."""
        promise = f"While nothing changes, this watch alarms at most once in {self.run_length:,} good parts on average."
        count = f"{len(self.points):,} parts"
        if not self.points:
            return f"No part has been inspected with this model yet. {promise}"
        if not self.alarms:
            return f"No sign of drift in {count}; what is rejected or reviewed is no evidence. {promise}"
        said = f"{len(self.alarms)} alarm(s) in {count}, the last at {self.alarms[-1].words()}"
        if not self.standing and self.looked_into and self.alarms[-1].at <= self.looked_into.at:
            return f"No alarm since {self.looked_into}; before that, {said}. {promise}"
        if not self.standing:
            return f"No alarm since the thresholds were set again; before that, {said}. {promise}"
        return f"Production has moved: {said}. {promise}"


class Course:
    """The course of one model version, kept between looks: each reads only what was written since the one before.

    A part counts once, when it was first seen, with its worst picture, unless that was before production began
    (`DriftSettings.since`): it is compared with what was calibrated, and with what production has made since. Each coin
    depends on the part and the store's secret alone, so the same log always gives the same course, however often it was
    looked at in between. Where something later changes what came before (a worse picture of an earlier part, rows that
    were removed, another calibration), the monitor goes back to there. Not thread-safe.
    """

    def __init__(self, store: Store, bundle_id: str) -> None:
        self.bundle_id = bundle_id
        self._store = store
        self._forget(removed=0)
        self._monitor, self._basis = Monitor((), flat=0.5, run_length=1), object()

    def look(self, card: Card) -> Drift:
        """The course at this moment, under the calibration of a card of this model version."""
        changed = self._read()
        settings = self._store.settings.drift
        run_length = settings.run_length
        # audit parts that joined the calibration are in the stream already
        rows = [row for row in card.calibration_parts if row.part not in self._places]
        basis = [row.calibrated_score for row in rows], card.rule[2], run_length, settings.since
        if basis != self._basis:
            self._monitor, self._basis, changed = Monitor(basis[0], flat=basis[1], run_length=run_length), basis, 0
        self._go_on(changed, settings.since)
        return Drift(tuple(self._points), run_length, card.calibration_id, _last_look(self._store, card))

    def _forget(self, *, removed: int) -> None:
        self._parts: list[PartScore] = []
        """In order of first appearance; also those of which nothing could be read, which the monitor never sees."""
        self._places: dict[str, int] = {}
        self._points: list[DriftPoint] = []
        self._firsts: list[int] = []
        """For each point, the number of its part's first inspection."""
        self._last, self._removed = 0, removed

    def _read(self) -> int | None:
        """Take in what was written since. -> The first inspection of the earliest part that is another now."""
        if (removed := self._store.history.removed_through()) != self._removed:
            self._forget(removed=removed)
        changed: list[int] = []
        for part in self._store.history.part_scores(self.bundle_id, after=self._last):
            self._last = max(self._last, part.last)
            place = self._places.setdefault(part.part, len(self._parts))
            if place == len(self._parts):
                self._parts.append(part)
                changed.append(part.first)
            elif (joined := self._parts[place].joined(part)) != self._parts[place]:
                changed.append(joined.first)
                self._parts[place] = joined
        return min(changed, default=None)

    def _go_on(self, changed: int | None, since: datetime | None) -> None:
        """Bring monitor and points up to date from the part on whose first inspection was `changed`."""
        if changed is None:
            return
        kept = bisect_left(self._firsts, changed)
        self._monitor.rewind(kept)
        del self._points[kept:], self._firsts[kept:]
        for part in self._parts[bisect_left(self._parts, changed, key=attrgetter("first")) :]:
            if part.score is None or (since is not None and part.at < since):
                continue
            coin = self._store.fair_coin("drift", self.bundle_id, part.part)
            p_value, evidence, alarm = self._monitor.see(part.score, coin)
            self._points.append(DriftPoint(part.part, part.at, p_value, evidence, alarm, part.calibration_id))
            self._firsts.append(part.first)


def drift(store: Store, card: Card) -> Drift:
    """The course of one model version over everything that the store has seen of it."""
    return Course(store, card.bundle_id).look(card)


def look_into(store: Store, card: Card, *, by: str, reason: str) -> None:
    """Write what this model's alarms until now were about: they stand no longer, and nothing else changes.

    Raises StoreError without a reason.
    """
    if not reason.strip():
        raise StoreError("an alarm that was looked into needs a reason: say what was found, or what was put right")
    row = {"at": stamped_now(), "by": by, "reason": reason.strip(), "bundle_id": card.bundle_id}
    with store.database.writing() as connection:
        chain.append(connection, _looked_into, [row])


def _last_look(store: Store, card: Card) -> LookedInto | None:
    last = select(_looked_into).where(_looked_into.c.bundle_id == card.bundle_id).order_by(_looked_into.c.id.desc())
    with store.database.reading() as connection:
        row = connection.execute(last.limit(1)).mappings().first()
    return None if row is None else read(LookedInto, row)
