"""Counts of parts -> rates with exact intervals: the Beta law of conformal thresholds and of shares, without SciPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

CONFIDENCE = 0.95
"""Of every interval, and of the confident guarantee."""


@lru_cache(maxsize=4096)  # a table of many thresholds asks for the same ones again at each drag of a slider
def beta_quantile(share: float, n: int, k: int) -> float:
    """The rate r with P(Beta(n + 1 - k, k) <= r) = share, by bisection; k in 1..n."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if beta_cdf(middle, n, k) >= share else (middle, high)
    return high


def beta_cdf(rate: float, n: int, k: int) -> float:
    """P(Beta(n + 1 - k, k) <= rate) = P(Binomial(n, rate) > n - k)."""
    if rate <= 0 or rate >= 1:
        return float(rate >= 1)
    below, log_p, log_q = n - k, math.log(rate), math.log1p(-rate)
    if below >= n * rate:
        return _binomial_tail(log_p, log_q, n, below + 1)
    return 1.0 - _binomial_tail(log_q, log_p, n, n - below)


def _binomial_tail(log_p: float, log_q: float, n: int, j: int) -> float:
    """P(Binomial(n, p) >= j), with q = 1 - p, for j from the mean on. There the terms only fall.

    More than 5 sqrt(n) + 50 of them would be summed for nothing: by Bernstein's inequality less than 1e-20 is left.
    """
    if j == n:
        return math.exp(n * log_p)
    log_first = math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) + j * log_p + (n - j) * log_q
    successes = np.arange(j, min(n, j + 5 * math.isqrt(n) + 50))
    ratios = math.exp(log_p - log_q) * (n - successes) / (successes + 1)  # of each term to the one before
    return math.exp(log_first) * (1.0 + float(np.cumprod(ratios).sum()))


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of` parts; the rate behind it is unknown if there are none."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95% interval of the rate; (0, 1) where nothing was seen."""
        return self.interval_at(CONFIDENCE)

    def interval_at(self, confidence: float) -> tuple[float, float]:
        """The exact interval of the rate.

        Source: Clopper, Pearson 1934, doi:10.1093/biomet/26.4.404.
        """
        tail = (1 - confidence) / 2
        low = beta_quantile(tail, self.of, self.of - self.count + 1) if self.count else 0.0
        high = beta_quantile(1 - tail, self.of, self.of - self.count) if self.count < self.of else 1.0
        return low, high

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "of": self.of, "rate": self.rate, "interval": list(self.interval)}
