"""Scores of one master part over time -> a chart for individual values, its limits, and what stands out.

    centre = mean of the first n scores
    sigma  = (mean of the n - 1 moving ranges |x_i - x_(i-1)|) / 1.128
    limits = centre -+ 3 sigma

Two rules, on scores after the first n: one score outside the limits; or nine in a row on one side of the centre.
Source: Shewhart 1931; ISO 7870-2:2023 (individuals and moving range); Nelson 1984, rules 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BASELINE = 20
"""Scores that limits are computed from, where nothing else is said: about a week of three shifts."""
D2 = 1.128
"""Mean range of two normal values, in standard deviations: 2 / sqrt(pi)."""
WIDTH = 3.0
RUN = 9
"""So many scores in a row on one side of the centre have a chance of 1 in 256 while nothing has changed."""
OUTSIDE = "its score {score:.3f} is outside the limits {low:.3f} to {high:.3f}"
ONE_SIDE = f"its last {RUN} scores are all {{side}} the centre {{centre:.3f}}"


@dataclass(frozen=True, slots=True)
class Chart:
    """One master part's scores, in order. None where it could not be read or was not pictured."""

    name: str
    scores: tuple[float | None, ...]
    low: float | None
    """None while the limits are still being learned."""
    centre: float | None
    high: float | None
    stated: bool
    """Whether the limits were given, and not computed."""
    baseline: int
    signals: tuple[str, ...]
    """What each score gives away; empty: nothing."""


def chart_of(
    name: str,
    scores: Sequence[float | None],
    *,
    limits: tuple[float, float] | None = None,
    baseline: int = BASELINE,
    resolution: float = 1e-6,
    passed: Sequence[bool] | None = None,
) -> Chart:
    """`limits`: stated ones; else those of the first `baseline` scores. `resolution`: the smallest sigma, since
    differences below it are rounding. `passed`: whether each score's check passed; limits are learned from no others,
    since a line that was not fit for use would widen them. None: all did.
    """
    passed = [True] * len(scores) if passed is None else passed
    if limits is not None:
        low, high = limits
        centre = (low + high) / 2
        learned = 0
    else:
        known = [score for score, fit in zip(scores, passed, strict=True) if score is not None and fit]
        learned = baseline
        if len(known) < baseline:
            return Chart(name, tuple(scores), None, None, None, False, baseline, ("",) * len(scores))
        first = np.array(known[:baseline])
        sigma = max(float(np.abs(np.diff(first)).mean()) / D2, resolution)
        centre = float(first.mean())
        low, high = centre - WIDTH * sigma, centre + WIDTH * sigma
    signals, seen, side, run = list[str](), 0, 0, 0
    for score, fit in zip(scores, passed, strict=True):
        if score is None:
            signals.append("")
            continue
        if seen < learned:
            seen += fit
            signals.append("")
            continue
        now = int(np.sign(score - centre))
        run = run + 1 if now == side and now else abs(now)
        side = now
        if not low <= score <= high:
            signals.append(OUTSIDE.format(score=score, low=low, high=high))
        elif run >= RUN:
            signals.append(ONE_SIDE.format(side="above" if side > 0 else "below", centre=centre))
        else:
            signals.append("")
    return Chart(name, tuple(scores), low, centre, high, limits is not None, baseline, tuple(signals))
