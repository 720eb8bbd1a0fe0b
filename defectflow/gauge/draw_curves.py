"""Groups of trials -> where the marks of their curves stand: probability of detection over size, sizes in ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectflow.gauge.detectability import Group

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 12, 12, HEIGHT - 40
STEPS = 60
TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
NINE_TENTHS = 0.9

XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One group: its curve, the band around it, and what was seen, in pixels of the drawing."""

    name: str
    place: int
    """Which of the chart's colours and dashes."""
    line: tuple[XY, ...]
    band: tuple[XY, ...]
    """A closed outline."""
    dots: tuple[tuple[float, float, str], ...]
    """(x, y, what it says) of six groups of sizes."""


@dataclass(frozen=True, slots=True)
class CurveChart:
    title: str
    curves: tuple[Curve, ...]
    ticks: tuple[tuple[float, float], ...]
    """(size in px, x)."""
    levels: tuple[tuple[float, float], ...]
    """(probability, y)."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    bottom: int = BOTTOM


def draw_curves(title: str, groups: Sequence[Group], *, whole: Sequence[Group] = ()) -> CurveChart:
    """One chart; its axis spans the sizes of `whole`, or of the groups themselves."""
    sizes = np.concatenate([group.sizes_px for group in whole or groups if len(group.sizes_px)])
    low, high = math.log(float(sizes.min())), math.log(float(sizes.max()))
    room = 0.02 * (high - low) or 0.5
    low, high = low - room, high + room

    def across(x: float) -> float:
        return LEFT + (RIGHT - LEFT) * (x - low) / (high - low)

    def down(probability: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * probability

    curves = []
    for place, group in enumerate(groups):
        if not len(group.sizes_px):
            continue
        line: tuple[XY, ...] = ()
        band: tuple[XY, ...] = ()
        if group.curve is not None:
            x = np.linspace(max(low, np.log(group.sizes_px.min())), min(high, np.log(group.sizes_px.max())), STEPS)
            line = _along(x, group.curve.probability(x), across, down)
            below, above = group.curve.band(x)
            band = (*_along(x, above, across, down), *_along(x, below, across, down)[::-1])
        dots = tuple(
            (across(math.log(size)), down(share.count / share.of), f"{size:.1f} px: {share.count} of {share.of} found")
            for size, share in group.in_sixths()
        )
        name = group.name if group.contrast is None else f"{group.name}, {group.contrast:g} grey levels"
        curves.append(Curve(name, place % 4, line, band, dots))
    ticks = tuple((tick, across(math.log(tick))) for tick in TICKS if low <= math.log(tick) <= high)
    levels = tuple((level, down(level)) for level in (0.0, 0.5, NINE_TENTHS, 1.0))
    return CurveChart(title, tuple(curves), ticks, levels)


def _along(
    x: NDArray[np.float64],
    probability: NDArray[np.float64],
    across: Callable[[float], float],
    down: Callable[[float], float],
) -> tuple[XY, ...]:
    return tuple((across(float(at)), down(float(p))) for at, p in zip(x, probability, strict=True))
