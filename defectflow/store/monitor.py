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
from collections.abc import Iterable
from statistics import NormalDist

from sortedcontainers import SortedList

SHIFTS = (-1.0, -0.5, 0.5, 1.0)
"""The shifts that are bet on, in standard deviations of good scores: down and up, half and whole."""
CLIPPED = 3.0
"""Beyond so many standard deviations, no further evidence."""
NONE_YET = [0.0] * len(SHIFTS)
"""No evidence for any shift."""
_normal = NormalDist()


class Monitor:
    """Takes scores one by one. `flat`: the share of the most unusual parts that is no evidence (the review rate)."""

    def __init__(self, calibration_scores: Iterable[float], *, flat: float, run_length: float) -> None:
        self._ranked = SortedList(calibration_scores)
        self._flat = flat
        self._run_length = run_length
        self._edge = _normal.inv_cdf(1 - flat)
        self._scale = [(1 - flat) / (math.exp(shift**2 / 2) * _capped_mass(shift, self._edge)) for shift in SHIFTS]
        self._course: list[tuple[float, list[float]]] = []
        """Each part's score, and the R_j after it."""

    def see(self, score: float, coin: float) -> tuple[float, float, bool]:
        """The next part's score, and its u_t -> p-value, evidence, alarm. After an alarm the evidence begins anew."""
        p_value = self._rank(score, coin)
        before = self._course[-1][1] if self._course else NONE_YET
        after = [(1 + one) * bet for one, bet in zip(before, self.bets(p_value), strict=True)]
        evidence = math.fsum(after) / len(after)
        alarm = evidence >= self._run_length
        self._course.append((score, NONE_YET if alarm else after))
        return p_value, evidence, alarm

    def rewind(self, parts: int) -> None:
        """As it was after the first `parts` parts."""
        while len(self._course) > parts:
            self._ranked.remove(self._course.pop()[0])

    def bets(self, p_value: float) -> list[float]:
        """f_j(p): 1 below the flat share; above it the likelihood ratio of a shift, scaled to mean 1."""
        if p_value <= self._flat:
            return [1.0] * len(SHIFTS)
        z = max(_normal.inv_cdf(1 - p_value), -CLIPPED) if p_value < 1 else -CLIPPED
        return [scale * math.exp(shift * z) for shift, scale in zip(SHIFTS, self._scale, strict=True)]

    def _rank(self, score: float, coin: float) -> float:
        low, high = self._ranked.bisect_left(score), self._ranked.bisect_right(score)
        above, equal = len(self._ranked) - high, high - low
        self._ranked.add(score)
        return float((above + coin * (1 + equal)) / len(self._ranked))


def _capped_mass(shift: float, edge: float) -> float:
    """exp(-shift^2 / 2) times the integral of exp(shift z) over standard normal z < edge, z capped at -CLIPPED."""
    between = _normal.cdf(edge - shift) - _normal.cdf(-CLIPPED - shift)
    return between + math.exp(-shift * CLIPPED - shift**2 / 2) * _normal.cdf(-CLIPPED)
