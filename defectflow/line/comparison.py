"""Two sights of the same pictures -> flips, borderline cases and differences: the rule by which backends are judged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from defectflow.bundle import Card
from defectflow.errors import ImageError
from defectflow.line.certificate import Comparison
from defectflow.verdict import Calibration, Decision, Measurement, Verdict, decide, is_gated

MAP_TOLERANCE = 10
"""A single place of a map may differ by so many times what a score, a mean over many places, may."""
LISTED = 20
"""Flipped pictures that a comparison names, at most."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a picture must give."""

    score: float
    distance: float
    decision: Decision | None
    """None while the bundle is uncalibrated."""
    anomaly_map: NDArray[np.float32]

    @classmethod
    def of(cls, item: Measurement) -> Reference:
        decision = item.decision if isinstance(item, Verdict) else None
        return cls(item.score, item.distance, decision, item.anomaly_map)


@dataclass
class BackendTally:
    """Differences of one backend from the reference, gathered picture by picture."""

    backend: str
    source: Literal["golden", "images"]
    card: Card
    calibration: Calibration | None
    pictures: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    flipped: dict[str, None] = field(default_factory=dict)  # in order of appearance
    borderline: set[str] = field(default_factory=set)
    too_far: set[str] = field(default_factory=set)
    largest: float = 0.0
    largest_on_map: float = 0.0
    largest_distance: float = 0.0
    total: float = 0.0
    compared: int = 0
    correlation: float = 1.0
    failure: str = ""
    """Why the first picture that must give a verdict gave none."""

    def add(self, name: str, was: Reference | None, item: Measurement | ImageError, tolerance: float) -> None:
        """One picture; `was` is None where it must be refused."""
        self.pictures.add(name)
        if was is None or isinstance(item, ImageError):
            if was is None and isinstance(item, ImageError):
                self.refused.add(name)
            else:
                self.flipped[name] = None
                self.failure = self.failure or (str(item) if isinstance(item, ImageError) else "")
            return
        # Far outside, scores are huge and good scores no measure of them: there they are compared with themselves.
        gated = is_gated(was.distance, self.card.distance_limit)
        unit = max(self.card.good_spread, abs(was.score)) if gated else self.card.good_spread
        difference = abs(item.score - was.score) / unit
        on_map = float(np.abs(item.anomaly_map - was.anomaly_map).max()) / unit
        distance = abs(item.distance - was.distance) / max(self.card.distance_limit, was.distance)
        # Not "above the tolerance": what is not a number is too far, too.
        if not (difference <= tolerance and on_map <= MAP_TOLERANCE * tolerance and distance <= tolerance):
            self.too_far.add(name)
        # np.maximum and not max, which would overlook what is not a number.
        self.largest = float(np.maximum(self.largest, difference))
        self.largest_on_map = float(np.maximum(self.largest_on_map, on_map))
        self.largest_distance = float(np.maximum(self.largest_distance, distance))
        self.total += difference
        self.compared += 1
        self.correlation = float(np.minimum(self.correlation, _correlation(was.anomaly_map, item.anomaly_map)))
        possible = _possible(was, self.card, self.calibration, tolerance)
        found = item.decision if isinstance(item, Verdict) else (Decision.INVALID if item.gated else Decision.OK)
        if found not in possible:
            self.flipped[name] = None
        elif len(possible) > 1:
            self.borderline.add(name)

    def row(self, p95_ms: float | None) -> Comparison:
        return Comparison(
            backend=self.backend,
            source=self.source,
            pictures=len(self.pictures),
            refused=len(self.refused),
            flips=len(self.flipped),
            borderline=len(self.borderline.difference(self.flipped)),
            largest_difference=self.largest,
            mean_difference=self.total / self.compared if self.compared else 0.0,
            largest_map_difference=self.largest_on_map,
            largest_distance_difference=self.largest_distance,
            map_correlation=self.correlation,
            p95_ms=p95_ms,
            flipped=tuple(self.flipped)[:LISTED],
        )

    def problem(self, tolerance: float) -> str | None:
        """Why this backend must not be used; None where it may. What to do about it, whoever compares knows."""
        where = f"{self.backend}, {'golden pictures' if self.source == 'golden' else 'your pictures'}"
        if self.flipped:
            more = f" and {len(self.flipped) - LISTED} more" if len(self.flipped) > LISTED else ""
            why = f" ({self.failure})" if self.failure else ""
            return f"{where}: the verdict flips on {', '.join([*self.flipped][:LISTED])}{more}{why}"
        if self.too_far:
            return (
                f"{where}: no verdict flips, but {len(self.too_far)} pictures differ by more than the tolerance of "
                f"{tolerance:g} allows: scores by up to {self.largest:.2g} and maps by up to {self.largest_on_map:.2g} "
                f"standard deviations of the good scores (maps may by {MAP_TOLERANCE} times the tolerance), distances "
                f"by up to {self.largest_distance:.2g} of the gate's limit"
            )
        if not self.compared:
            return f"{where}: none of {len(self.pictures)} can be used, so nothing was compared"
        return None


def _possible(was: Reference, card: Card, calibration: Calibration | None, tolerance: float) -> set[Decision]:
    """The verdict, and those that differences within the tolerance could make of it. While uncalibrated, the gate's."""
    cuts = (math.inf, math.inf) if calibration is None else (calibration.threshold.value, calibration.review.value)
    possible = set() if was.decision is None else {was.decision}
    near, limit = tolerance * card.distance_limit, card.distance_limit
    if not was.distance + near <= limit:
        possible.add(Decision.INVALID)
    if was.distance - near <= limit:
        near = tolerance * card.good_spread
        least, most = (decide(score, *cuts, gated=False) for score in (was.score - near, was.score + near))
        possible.update(Decision(number) for number in range(least, most + 1))
    return possible


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Pearson's, of two maps; of equal ones 1, even where they are flat."""
    if np.array_equal(first, second):
        return 1.0
    with np.errstate(all="ignore"):  # a flat map has none: not a number, which the certificate then says
        return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
