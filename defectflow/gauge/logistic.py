"""Sizes and whether each was found -> the probability of detection over size, with its confidence band.

    logit P(found | x) = b0 + b1 x,   x = log(size)

Fitted by iteratively reweighted least squares. All bounds are likelihood-ratio bounds: with l(p, x) the largest
log-likelihood of all curves that pass through probability p at x, and l_max that of the fitted curve, a probability (or
a size) is inside while 2 (l_max - l(p, x)) <= 2.706, the 90% quantile of chi-square with one degree of freedom. So each
bound by itself holds with 95% confidence: the size where the lower bound reaches 0.9 is a90/95.

Source: MIL-HDBK-1823A (2009), hit/miss analysis, likelihood-ratio bounds; Cheng and Iles 1983, doi:10.2307/1268347.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import DataError

Values = NDArray[np.float64]
ONE_SIDED_95 = 2.705543454095404
"""The 90% quantile of chi-square with one degree of freedom: 1.6449 squared."""
STEEPEST = 200.0
"""Slopes that are looked at, up and down, per unit of x: a factor of e in size."""
FARTHEST = 12.0
"""How far beyond the fitted size a bound is searched, in units of x."""
HALVINGS = 32
NEWTON = 20
"""Steps to the best slope; where one would leave what is known to hold it, that is halved instead."""


@dataclass(frozen=True)
class Logistic:
    """A fitted curve. `x` (n,) and `found` (n,) are what it was fitted on."""

    intercept: float
    slope: float
    covariance: Values
    """(2, 2), of intercept and slope: the inverse of the information."""
    log_likelihood: float
    x: Values
    found: NDArray[np.bool_]

    def probability(self, x: Values) -> Values:
        return _expit(self.intercept + self.slope * x)

    def x_at(self, probability: float) -> float | None:
        """Where the curve reaches a probability; None where it does not rise."""
        return (_logit(probability) - self.intercept) / self.slope if self.slope > 0 else None

    def upper_x_at(self, probability: float) -> float | None:
        """With 95% confidence the curve has reached the probability there; None where these data cannot say that."""
        begin = self.x_at(probability)
        if begin is None:
            return None
        level = np.array([_logit(probability)])
        low, high = begin, begin + FARTHEST
        if self._deficit(np.array([high]), level)[0] <= ONE_SIDED_95:
            return None
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if self._deficit(np.array([middle]), level)[0] <= ONE_SIDED_95:
                low = middle
            else:
                high = middle
        return high

    def band(self, x: Values) -> tuple[Values, Values]:
        """Lower and upper bound of the probability at each x (m,); each with 95% confidence."""
        fitted = self.intercept + self.slope * x
        return _expit(self._edge(x, fitted, -40.0)), _expit(self._edge(x, fitted, 40.0))

    def _edge(self, x: Values, fitted: Values, reach: float) -> Values:
        """The logit (m,) at which curves through it are just likely enough."""
        inside, outside = fitted, fitted + reach
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            likely = self._deficit(x, middle) <= ONE_SIDED_95
            inside, outside = np.where(likely, middle, inside), np.where(likely, outside, middle)
        return inside

    def _deficit(self, x: Values, level: Values) -> Values:
        """2 (l_max - l) (m,), with l the largest log-likelihood of curves of logit `level` at `x`."""
        away = self.x[None] - x[:, None]  # (m, n)
        low, high = np.full(len(x), -STEEPEST), np.full(len(x), STEEPEST)
        slope = np.full(len(x), self.slope)
        for _ in range(NEWTON):  # the likelihood is concave in the slope: its derivative falls
            probability = _expit(level[:, None] + slope[:, None] * away)
            gradient = ((self._signed - probability) * away).sum(axis=1)
            low, high = np.where(gradient > 0, slope, low), np.where(gradient > 0, high, slope)
            curvature = (probability * (1 - probability) * away**2).sum(axis=1)
            reach = 1 + np.abs(slope)  # where the curve is flat, Newton's step goes anywhere
            step = slope + np.clip(gradient / np.maximum(curvature, 1e-12), -reach, reach)
            slope = np.where((step > low) & (step < high), step, (low + high) / 2)
        likelihood = _log_likelihood(level[:, None] + slope[:, None] * away, self.found)
        return np.asarray(2 * (self.log_likelihood - likelihood))

    @cached_property
    def _signed(self) -> Values:
        return self.found.astype(float)


def fit_logistic(x: Sequence[float] | Values, found: Sequence[bool] | NDArray[np.bool_]) -> Logistic:
    """Raises DataError, in words, where no curve is determined: all found or none, or sizes that separate them."""
    sizes, hits = np.asarray(x, float), np.asarray(found, bool)
    if reason := why_no_curve(sizes, hits):
        raise DataError(reason)
    design = np.stack([np.ones_like(sizes), sizes - sizes.mean()], axis=1)  # centred: the better conditioned
    beta = np.zeros(2)
    before = -math.inf
    for _ in range(100):
        logit = design @ beta
        probability = _expit(logit)
        weight = probability * (1 - probability)
        step = np.linalg.solve(design.T @ (weight[:, None] * design), design.T @ (hits - probability))
        now = float(_log_likelihood(design @ (beta + step), hits))
        while now < before and np.abs(step).max() > 1e-12:  # a step too far
            step = step / 2
            now = float(_log_likelihood(design @ (beta + step), hits))
        beta = beta + step
        if abs(now - before) < 1e-12 * max(1.0, abs(now)):
            break
        before = now
    probability = _expit(design @ beta)
    information = design.T @ ((probability * (1 - probability))[:, None] * design)
    back = np.array([[1.0, -sizes.mean()], [0.0, 1.0]])  # to the intercept at x = 0
    intercept, slope = back @ beta
    covariance = back @ np.linalg.inv(information) @ back.T
    return Logistic(
        float(intercept), float(slope), covariance, float(_log_likelihood(design @ beta, hits)), sizes, hits
    )


def why_no_curve(x: Values, found: NDArray[np.bool_]) -> str:
    """Why the likelihood has no maximum; empty where it has one."""
    if not len(x):
        return "nothing was tried"
    if found.all():
        return f"all {len(x)} were found"
    if not found.any():
        return f"none of {len(x)} was found"
    missed, hit = x[~found], x[found]
    if missed.max() <= hit.min() or hit.max() <= missed.min():
        return "sizes that were found and sizes that were missed do not overlap"
    return ""


def _log_likelihood(logit: Values, found: NDArray[np.bool_]) -> Values:
    """(..., n) -> (...): sum of log P of what was seen."""
    signed = np.where(found, logit, -logit)
    return np.asarray(-np.logaddexp(0.0, -signed).sum(axis=-1))


def _expit(logit: Values) -> Values:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logit)))


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
