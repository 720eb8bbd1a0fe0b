"""Scores in order -> has production moved? A test that may be looked at after every part.

Each part is ranked among the calibration parts *and all earlier parts of this model version*:

    p_t = (#{i < t: s_i > s_t} + u_t (1 + #{i < t: s_i = s_t})) / (n + t),   u_t uniform on (0, 1)

While parts are exchangeable the p_t are independent and uniform, exactly and whatever the scores' distribution. (Ranks
against the calibration parts alone are not independent: they all share one sample, and alarm falsely.) Bets f_j with
mean 1 turn them into evidence, and each Shiryaev-Roberts statistic adds it up over all moments at which a shift may
have begun:

    R_j <- (1 + R_j) f_j(p_t),   R = mean of the R_j,   alarm where R >= A

R_t - t is a martingale while nothing has moved, so alarms are at least A parts apart on average, and the chance of one
within the first m parts is at most m / A. Every f_j is 1 for p below the review rate: what the line rejects or reviews
anyway is no evidence, so ordinary defects, even a burst of them, do not fire it. It watches how *good* parts score.

Source: Vovk, Nouretdinov, Gammerman 2003 (exchangeability online); Vovk 2020, arXiv:2006.02329 (Shiryaev-Roberts).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING

from sqlalchemy import select

from defectflow.bundle import Card
from defectflow.errors import StoreError
from defectflow.store import chain, schema
from defectflow.store.records import read, stamped_now

if TYPE_CHECKING:
    from defectflow.store.store import Store

SHIFTS = (-1.0, -0.5, 0.5, 1.0)
"""The shifts that are bet on, in standard deviations of good scores: down and up, half and whole."""
CLIPPED = 3.0
"""Beyond so many standard deviations, no further evidence."""
_normal = NormalDist()
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
        """The alarms that nobody has seen to: neither have the thresholds been set anew, nor was it looked into."""
        seen = self.looked_into
        return [
            point
            for point in self.alarms
            if point.calibration_id == self.calibration_id and (seen is None or point.at > seen.at)
        ]

    def sentence(self) -> str:
        """What the course says, in words."""
        promise = f"False alarms come at least {self.run_length:,} good parts apart on average."
        count = f"{len(self.points):,} parts"
        if not self.points:
            return f"No part has been inspected with this model yet. {promise}"
        if not self.alarms:
            return f"No sign of drift in {count}. {promise}"
        said = f"{len(self.alarms)} alarm(s) in {count}, the last at {self.alarms[-1].words()}"
        if not self.standing and self.looked_into and self.alarms[-1].at <= self.looked_into.at:
            return f"No alarm since {self.looked_into}; before that, {said}. {promise}"
        if not self.standing:
            return f"No alarm since the thresholds were set anew; before that, {said}. {promise}"
        return f"Production has moved: {said}. {promise}"


class Monitor:
    """Takes scores one by one. `flat`: the share of the most unusual parts that is no evidence (the review rate)."""

    def __init__(self, calibration_scores: Iterable[float], *, flat: float, run_length: float) -> None:
        self._scores = sorted(calibration_scores)
        self._flat = flat
        self._run_length = run_length
        self._edge = _normal.inv_cdf(1 - flat)
        self._scale = [(1 - flat) / (math.exp(shift**2 / 2) * _capped_mass(shift, self._edge)) for shift in SHIFTS]
        self._evidence = [0.0] * len(SHIFTS)

    def see(self, score: float, coin: float) -> tuple[float, float, bool]:
        """The next part's score, and its u_t -> p-value, evidence, alarm. After an alarm the evidence begins anew."""
        p_value = self._rank(score, coin)
        bets = self.bets(p_value)
        self._evidence = [(1 + before) * bet for before, bet in zip(self._evidence, bets, strict=True)]
        evidence = math.fsum(self._evidence) / len(self._evidence)
        alarm = evidence >= self._run_length
        if alarm:
            self._evidence = [0.0] * len(SHIFTS)
        return p_value, evidence, alarm

    def bets(self, p_value: float) -> list[float]:
        """f_j(p): 1 below the flat share; above it the likelihood ratio of a shift, scaled to mean 1."""
        if p_value <= self._flat:
            return [1.0] * len(SHIFTS)
        z = max(_normal.inv_cdf(1 - p_value), -CLIPPED) if p_value < 1 else -CLIPPED
        return [scale * math.exp(shift * z) for shift, scale in zip(SHIFTS, self._scale, strict=True)]

    def _rank(self, score: float, coin: float) -> float:
        low, high = bisect_left(self._scores, score), bisect_right(self._scores, score)
        above, equal = len(self._scores) - high, high - low
        insort(self._scores, score)
        return (above + coin * (1 + equal)) / len(self._scores)


def _capped_mass(shift: float, edge: float) -> float:
    """exp(-shift^2 / 2) times the integral of exp(shift z) over standard normal z < edge, z capped at -CLIPPED."""
    between = _normal.cdf(edge - shift) - _normal.cdf(-CLIPPED - shift)
    return between + math.exp(-shift * CLIPPED - shift**2 / 2) * _normal.cdf(-CLIPPED)


def drift(store: Store, card: Card) -> Drift:
    """The course of one model version over everything that the store has seen of it.

    A part counts once, when it was first seen, with its worst picture. Each coin depends on the part and the store's
    secret alone, so the same log always gives the same course.
    """
    run_length = store.settings.drift.run_length
    parts = store.history.part_scores(card.bundle_id)
    seen = {part.part for part in parts}  # audit parts that joined the calibration are in the stream already
    fixed = [math.inf if row.score is None else row.score for row in card.calibration_parts if row.part not in seen]
    _, _, review_rate = card.rule
    monitor = Monitor(fixed, flat=review_rate, run_length=run_length)
    points = []
    for part in parts:
        coin = store.fair_coin("drift", card.bundle_id, part.part)
        p_value, evidence, alarm = monitor.see(part.score, coin)
        points.append(DriftPoint(part.part, part.at, p_value, evidence, alarm, part.calibration_id))
    return Drift(tuple(points), run_length, card.calibration_id, _last_look(store, card))


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
