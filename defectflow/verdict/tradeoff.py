"""Good and reviewed scores -> what thresholds would cost in overkill, escapes and reviews. Estimates only.

The rule of `calibration` needs good scores only, and keeps its promise because it does not look at what comes of it.
Here a person moves a threshold until the figures please. So each interval is that of a threshold named in advance:
whoever picks the best-looking of many must expect somewhat worse. One score per part counts, the largest over its
pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import CalibrationError
from defectflow.verdict.calibration import TOLERANCE
from defectflow.verdict.intervals import CONFIDENCE, Share
from defectflow.verdict.undecided import Line, undecided

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """What thresholds would do to the parts available: defect above the threshold, ok up to the grey band."""

    threshold: float
    review: float
    """Equal to the threshold where there is no grey band."""
    overkill: Share
    """Good parts rejected."""
    escape: Share
    """Defective parts called ok."""
    reviewed_good: Share
    """Good parts in the grey band."""
    reviewed_defective: Share
    """Defective parts in the grey band."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What mistakes and reviews cost, in any one currency, and how often parts are defective."""

    overkill: float
    """One good part rejected."""
    escape: float
    """One defective part passed."""
    defective_share: float
    """Of all parts that are inspected: 0.01 is one in a hundred."""
    review: float | None = None
    """A person looks at one part of the grey band, and decides rightly; None: there is no grey band."""

    def __post_init__(self) -> None:
        named = (("a rejected good part", self.overkill), ("a missed defect", self.escape), ("a review", self.review))
        for name, value in named:
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise CalibrationError(f"the cost of {name} is {value:g}; give a number from 0 on")
        if not 0 <= self.defective_share <= 1:
            raise CalibrationError(
                f"a share of defective parts of {self.defective_share:g} is impossible; give one from 0 to 1, like 0.01"
            )

    def terms(self, point: Point) -> list[tuple[float, Share]]:
        """(weight, share): the expected cost of one inspected part is the sum of their products,

        (1 - d) (c_o P(good rejected) + c_r P(good reviewed)) + d (c_e P(defective ok) + c_r P(defective reviewed)).
        """
        good, defective = 1 - self.defective_share, self.defective_share
        terms = [(good * self.overkill, point.overkill), (defective * self.escape, point.escape)]
        if self.review is not None:
            terms += [
                (good * self.review, point.reviewed_good),
                (defective * self.review, point.reviewed_defective),
            ]
        return terms

    def per_part(self, point: Point) -> float:
        """The expected cost of one inspected part, by the shares as they were counted."""
        return sum(weight * (share.rate or 0.0) for weight, share in self.terms(point))

    def interval(self, point: Point) -> tuple[float, float]:
        """Of `per_part`, with 95% confidence for thresholds named in advance: every share at an end of its exact
        interval, these narrow enough in number to hold all at once (Bonferroni)."""
        terms = [(weight, share) for weight, share in self.terms(point) if weight]
        confidence = 1 - (1 - CONFIDENCE) / max(1, len(terms))
        ends = [(weight, share.interval_at(confidence)) for weight, share in terms]
        return sum(weight * low for weight, (low, _) in ends), sum(weight * high for weight, (_, high) in ends)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Which other thresholds these parts cannot tell from the cheapest one, with 95% confidence."""

    threshold: tuple[float, float]
    """Lowest and highest of them."""
    review: tuple[float, float] | None
    """The same of where the grey band begins; None where the cheapest thresholds have none."""
    cost: tuple[float, float]
    """What a part costs at the cheapest thresholds."""


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The thresholds with the lowest cost on these parts."""

    point: Point
    cost_per_part: float
    between: tuple[float, float]
    """Every threshold from the first up to the second does the same to these parts."""


class Tradeoff:
    """Good and defective scores, one per part; +infinity where the gate refuses a part, whatever the threshold."""

    def __init__(self, good: Sequence[float], defective: Sequence[float] = ()) -> None:
        self.good, self.defective = (np.sort(np.asarray(scores, float)) for scores in (good, defective))
        if np.isnan(self.good).any() or np.isnan(self.defective).any():
            raise CalibrationError("some scores are not numbers; measure these parts again")

    @property
    def span(self) -> tuple[float, float]:
        """Thresholds worth looking at: from just below the smallest score to just above the largest.

        Raises CalibrationError if there are no finite scores.
        """
        cells = self._cells()
        return float(cells[0]), float(cells[-1])

    def at(self, threshold: float, review: float | None = None) -> Point:
        """What this threshold would do, with a grey band from `review` on if one is given."""
        review = threshold if review is None else min(review, threshold)
        passed_good = int(np.searchsorted(self.good, threshold, side="right"))
        passed_defective = int(np.searchsorted(self.defective, review, side="right"))
        return Point(
            threshold,
            review,
            overkill=Share(len(self.good) - passed_good, len(self.good)),
            escape=Share(passed_defective, len(self.defective)),
            reviewed_good=Share(passed_good - int(np.searchsorted(self.good, review, side="right")), len(self.good)),
            reviewed_defective=Share(
                int(np.searchsorted(self.defective, threshold, side="right")) - passed_defective, len(self.defective)
            ),
        )

    def cheapest(self, costs: Costs) -> Cheapest:
        """The middle of the range of thresholds with the lowest estimated cost; of several ranges the lowest, which
        lets the fewest defects pass. Where a review has a cost, with the cheapest grey band, which may be none.

        Raises CalibrationError without good or without defective parts: their mistakes could not be weighed.
        """
        if not len(self.good) or not len(self.defective):
            raise CalibrationError(
                f"{len(self.good)} good and {len(self.defective)} defective parts: weighing both mistakes needs some "
                "of each; review more parts, or type a rate"
            )
        cells = self._cells()
        middles = (cells[:-1] + cells[1:]) / 2
        upper, lower = self._sums(costs)
        if costs.review is None:
            best = begun = int(np.argmin(upper + lower))
        else:  # of all grey bands that end at a threshold, the cheapest begins where `lower` is smallest so far
            first = np.minimum.accumulate(lower)
            best = int(np.argmin(upper + first))
            begun = int(np.argmin(lower[: best + 1]))
        point = self.at(float(middles[best]), float(middles[begun]))
        return Cheapest(point, costs.per_part(point), (float(cells[best]), float(cells[best + 1])))

    def uncertainty(self, costs: Costs, *, draws: int = 1000, seed: int = 0) -> Uncertainty:
        """How sure the cheapest thresholds are, by drawing as many parts again. Raises CalibrationError."""
        found = self.cheapest(costs)
        cells = self._cells()
        upper, lower = _lines(costs)
        banded = found.point.review < found.point.threshold
        good, defective = (np.searchsorted(cells, scores, side="left") for scores in (self.good, self.defective))

        def span(line: Line) -> tuple[float, float]:
            open_ones = np.flatnonzero(undecided(line, good, defective, len(cells) - 1, draws=draws, seed=seed))
            return float(cells[open_ones[0]]), float(cells[open_ones[-1] + 1])

        if not banded:
            return Uncertainty(span(upper + lower), None, costs.interval(found.point))
        return Uncertainty(span(upper), span(lower), costs.interval(found.point))

    def _sums(self, costs: Costs) -> tuple[Scores, Scores]:
        """What the cost of a part is made of, at each place for the threshold, and at each for the grey band."""
        cells = self._cells()
        middles = (cells[:-1] + cells[1:]) / 2
        passed_good = np.searchsorted(self.good, middles, side="right") / len(self.good)
        passed_defective = np.searchsorted(self.defective, middles, side="right") / len(self.defective)
        upper, lower = _lines(costs)
        return upper.at(passed_good, passed_defective), lower.at(passed_good, passed_defective)

    def _cells(self) -> Scores:
        """Ascending borders between which a threshold does the same: the scores, and a margin on either side."""
        scores = np.concatenate([self.good, self.defective])
        finite = np.unique(scores[np.isfinite(scores)])
        if not len(finite):
            raise CalibrationError("there are no scores to set a threshold between; calibrate with good parts first")
        margin = max(TOLERANCE * float(np.std(finite)), 1e-6)
        return np.concatenate([finite[:1] - 2 * margin, finite, finite[-1:] + 2 * margin])


def _lines(costs: Costs) -> tuple[Line, Line]:
    """Of the shares of good and defective parts up to the threshold, and up to the grey band: the cost is their sum.

    Without a grey band both are taken at the threshold, and what a review costs cancels out.
    """
    good, defective = 1 - costs.defective_share, costs.defective_share
    review = costs.review or 0.0
    upper = Line(good * costs.overkill, -good * (costs.overkill - review), defective * review)
    return upper, Line(0.0, -good * review, defective * (costs.escape - review))
