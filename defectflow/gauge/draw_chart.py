"""A control chart -> where its marks stand. The marks are in templates/control_chart.html.j2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from defectflow.gauge.control import Chart

WIDTH, HEIGHT = 640, 150
LEFT, RIGHT, TOP, BOTTOM = 64, WIDTH - 12, 12, HEIGHT - 26
SHOWN = 90
"""The last checks that are drawn: a month of three shifts."""


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float
    kind: str
    """"point", "signal", or "learned": limits were computed from it."""
    told: str


@dataclass(frozen=True, slots=True)
class DrawnChart:
    """All lengths in pixels of the drawing."""

    chart: Chart
    points: tuple[Point, ...]
    lines: tuple[tuple[str, float], ...]
    """("low" | "centre" | "high", y)."""
    ticks: tuple[tuple[float, float], ...]
    """(score, y)."""
    days: tuple[tuple[str, float, str], ...]
    """(day, x, text-anchor) of the first check that is drawn, and of the last."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    bottom: int = BOTTOM


def draw_chart(chart: Chart, moments: Sequence[datetime]) -> DrawnChart:
    """`moments`: of the checks, in the order of the chart's scores."""
    limits = [value for value in (chart.low, chart.centre, chart.high) if value is not None]
    first = max(0, len(chart.scores) - SHOWN)
    shown = [(place, score) for place, score in enumerate(chart.scores) if score is not None and place >= first]
    values = [*limits, *(score for _, score in shown)] or [0.0]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.5
    low, high = low - room, high + room
    count = max(2, len(chart.scores) - first)

    def down(score: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (score - low) / (high - low)

    known = 0 if chart.stated or chart.low is None else chart.baseline
    numbers = {place: number for number, place in enumerate(p for p, s in enumerate(chart.scores) if s is not None)}
    points = [
        Point(
            LEFT + 10 + (RIGHT - LEFT - 20) * (place - first) / (count - 1),
            down(score),
            "signal" if chart.signals[place] else "learned" if numbers[place] < known else "point",
            f"{moments[place]:%Y-%m-%d %H:%M} UTC: {score:.4f}"
            + (f"; {chart.signals[place]}" if chart.signals[place] else ""),
        )
        for place, score in shown
    ]
    names = ("low", "centre", "high")
    lines = [(name, down(value)) for name, value in zip(names, limits, strict=False)]
    ticks = limits or [min(values), max(values)]
    days = []
    if shown:
        ends = ((points[0], shown[0], "start"), (points[-1], shown[-1], "end"))
        days = [(f"{moments[place]:%Y-%m-%d}", point.x, anchor) for point, (place, _), anchor in ends]
    return DrawnChart(
        chart,
        tuple(points),
        tuple(lines),
        tuple((value, down(value)) for value in dict.fromkeys(ticks)),
        tuple(days if len(shown) > 1 else days[:1]),
    )
