"""Good and reviewed scores -> what a threshold would cost in overkill and escapes. Estimates only.

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
from defectflow.verdict.intervals import Share

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


@dataclass(frozen=True, slots=True)
class Costs:
    """What the two mistakes cost, in any one currency, and how often parts are defective."""

    overkill: float
    """One good part rejected."""
    escape: float
    """One defective part passed."""
    defective_share: float
    """Of all parts that are inspected: 0.01 is one in a hundred."""

    def __post_init__(self) -> None:
        for name, value in (("a rejected good part", self.overkill), ("a missed defect", self.escape)):
            if not (math.isfinite(value) and value >= 0):
                raise CalibrationError(f"the cost of {name} is {value:g}; give a number from 0 on")
        if not 0 <= self.defective_share <= 1:
            raise CalibrationError(
                f"a share of defective parts of {self.defective_share:g} is impossible; give one from 0 to 1, like 0.01"
            )

    def per_part(self, overkill_rate: float, escape_rate: float) -> float:
        """Expected cost of one inspected part: (1 - d) c_o P(overkill) + d c_e P(escape)."""
        good = (1 - self.defective_share) * self.overkill * overkill_rate
        return good + self.defective_share * self.escape * escape_rate


@dataclass(frozen=True, slots=True)
class Cheapest:
    """The threshold with the lowest cost on these parts."""

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
        )

    def cheapest(self, costs: Costs) -> Cheapest:
        """The middle of the range of thresholds with the lowest estimated cost; of several ranges the lowest, which
        lets the fewest defects pass.

        Raises CalibrationError without good or without defective parts: their mistakes could not be weighed.
        """
        if not len(self.good) or not len(self.defective):
            raise CalibrationError(
                f"{len(self.good)} good and {len(self.defective)} defective parts: weighing both mistakes needs some "
                "of each; review more parts, or type a rate"
            )
        cells = self._cells()
        middles = (cells[:-1] + cells[1:]) / 2
        passed_good = np.searchsorted(self.good, middles, side="right")
        passed_defective = np.searchsorted(self.defective, middles, side="right")
        cost = [
            costs.per_part(1 - good / len(self.good), defective / len(self.defective))
            for good, defective in zip(passed_good.tolist(), passed_defective.tolist(), strict=True)
        ]
        best = int(np.argmin(cost))
        point = self.at(float(middles[best]))
        return Cheapest(point, cost[best], (float(cells[best]), float(cells[best + 1])))

    def _cells(self) -> Scores:
        """Ascending borders between which a threshold does the same: the scores, and a margin on either side."""
        scores = np.concatenate([self.good, self.defective])
        finite = np.unique(scores[np.isfinite(scores)])
        if not len(finite):
            raise CalibrationError("there are no scores to set a threshold between; calibrate with good parts first")
        margin = max(TOLERANCE * float(np.std(finite)), 1e-6)
        return np.concatenate([finite[:1] - 2 * margin, finite, finite[-1:] + 2 * margin])
