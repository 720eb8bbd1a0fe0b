"""Rows of a scored folder -> the numbers of the report's charts. The marks are in the template."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectflow.bundle import Card
from defectflow.line.cost import Weighed, weigh_rows
from defectflow.line.journal import Part, Row
from defectflow.verdict import Costs, auroc

BINS = 48
REJECTED = ("defect", "invalid")


@dataclass(frozen=True, slots=True)
class Panel:
    name: str
    count: int
    bars: tuple[int, ...]
    """Pictures per bin, of BINS."""


@dataclass(frozen=True, slots=True)
class Histogram:
    low: float
    high: float
    clipped_low: int
    """Pictures with a lower score, counted in the first bin."""
    clipped_high: int
    """Pictures with a higher score, counted in the last bin."""
    logarithmic: bool
    tallest: int
    ticks: tuple[float, ...]
    lines: tuple[tuple[str, float], ...]
    panels: tuple[Panel, ...]

    def across(self, score: float) -> float:
        """Score -> 0 (left) to 1 (right)."""
        return (score - self.low) / (self.high - self.low)

    def up(self, count: int) -> float:
        """Count -> 0 (bottom) to 1 (top)."""
        if self.logarithmic:
            return math.log1p(count) / math.log1p(self.tallest)
        return count / self.tallest


def histogram_of(rows: Sequence[Row], card: Card) -> Histogram | None:
    """Scores of all readable pictures, good and defective apart where labels tell."""
    scored = [row for row in rows if row.score is not None]
    if not scored:
        return None
    scores = np.array([row.score_or_lowest for row in scored])
    lines: list[tuple[str, float]] = []
    if card.calibration is not None:
        lines = [("review", card.calibration.review.value), ("threshold", card.calibration.threshold.value)]
    low, high = _score_range(scores, lines)
    edges = np.linspace(low, high, BINS + 1)
    panels: list[Panel] = []
    for label, name in (("good", "good"), ("defective", "defective"), (None, "all pictures")):
        values = np.array([row.score_or_lowest for row in scored if row.label == label])
        if len(values):
            bars = np.histogram(np.clip(values, low, high), edges)[0]
            shown = "without label" if label is None and panels else name
            panels.append(Panel(shown, len(values), tuple(int(bar) for bar in bars)))
    tallest = max(max(panel.bars) for panel in panels)
    smallest = min(bar for panel in panels for bar in panel.bars if bar)
    return Histogram(
        low=low,
        high=high,
        clipped_low=int((scores < low).sum()),
        clipped_high=int((scores > high).sum()),
        logarithmic=tallest >= 20 * smallest,
        tallest=tallest,
        ticks=tuple(_ticks(low, high)),
        lines=tuple(lines),
        panels=tuple(panels),
    )


def _score_range(scores: NDArray[np.float64], lines: Sequence[tuple[str, float]]) -> tuple[float, float]:
    """Ends of the score axis: wide enough for threshold and bulk, deaf to outliers."""
    quarter, middle, three_quarters = np.quantile(scores, [0.25, 0.5, 0.75])
    values = [value for _, value in lines]
    reach = 5 * max(three_quarters - quarter, *(abs(value - middle) for value in values), 1e-6)
    low = max(float(scores.min()), middle - reach)
    high = min(float(scores.max()), middle + reach)
    low, high = min([low, *values]), max([high, *values])
    width = 1.06 * max(high - low, 1e-6) / (BINS - 1)
    # The last line, the threshold, lies between two bars, so that no bar is on both sides of it.
    middle = values[-1] if values else low
    low = middle - math.ceil((middle - low) / width) * width
    return low, low + BINS * width


def _ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers between the ends, about ten."""
    rough = (high - low) / 10
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    tick = math.ceil(low / step)
    while tick * step <= high:
        yield tick * step
        tick += 1


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    pictures: int
    parts: int
    auroc: float | None
    escapes: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What the labels say about scores and verdicts."""

    auroc: float | None
    curve: tuple[tuple[float, float], ...]
    """(false-positive rate, hit rate) of pictures over falling thresholds."""
    at_threshold: tuple[float, float] | None
    good_parts: int
    overkill: int
    good_review: int
    defective_parts: int
    escapes: int
    kinds: tuple[Kind, ...]


def truth_of(rows: Sequence[Row], parts: Sequence[Part], card: Card) -> Truth | None:
    """None where no readable picture has a label."""
    labelled = [row for row in rows if row.label is not None and row.score is not None]
    if not labelled:
        return None
    good = np.sort([row.score_or_lowest for row in labelled if row.label == "good"])
    bad = [row for row in labelled if row.label == "defective"]
    defective = np.sort([row.score_or_lowest for row in bad])
    judged = [part for part in parts if part.decision != "error"]
    good_parts = [part for part in judged if part.label == "good"]
    bad_parts = [part for part in judged if part.label == "defective"]
    kinds = []
    for name in sorted({row.kind or "" for row in bad}):
        of_kind = [row for row in bad if (row.kind or "") == name]
        names = {row.part for row in of_kind}
        escapes = sum(part.name in names and part.decision == "ok" for part in bad_parts)
        value = auroc(good, np.array([row.score_or_lowest for row in of_kind])) if len(good) else None
        kinds.append(Kind(name or "unknown", len(of_kind), len(names), value, escapes))
    at_threshold = None
    if card.calibration is not None and len(good) and len(defective):
        value = card.calibration.threshold.value
        at_threshold = float((good > value).mean()), float((defective > value).mean())
    return Truth(
        auroc=auroc(good, defective) if len(good) and len(defective) else None,
        curve=roc_corners(good, defective),
        at_threshold=at_threshold,
        good_parts=len(good_parts),
        overkill=sum(part.decision in REJECTED for part in good_parts),
        good_review=sum(part.decision == "review" for part in good_parts),
        defective_parts=len(bad_parts),
        escapes=sum(part.decision == "ok" for part in bad_parts),
        kinds=tuple(kinds),
    )


def roc_corners(good: NDArray[np.float64], defective: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Corners of the ROC curve from (0, 0) to (1, 1); both sorted ascending. Empty where a side is empty."""
    if not len(good) or not len(defective):
        return ()
    thresholds = np.unique(np.concatenate([good, defective]))[::-1]
    x = 1 - np.searchsorted(good, thresholds, side="left") / len(good)
    y = 1 - np.searchsorted(defective, thresholds, side="left") / len(defective)
    corners = [(0.0, 0.0), *zip(x.tolist(), y.tolist(), strict=True)]
    # A point in the middle of a level or upright run draws nothing.
    kept = [
        here
        for before, here, after in zip(corners, corners[1:], corners[2:], strict=False)
        if not (before[0] == here[0] == after[0] or before[1] == here[1] == after[1])
    ]
    return (corners[0], *kept, corners[-1])


@dataclass(frozen=True, slots=True)
class CostChart:
    """The cost of a part over thresholds without grey band, in shares of the chart's width and height."""

    weighed: Weighed
    curve: tuple[tuple[float, float], ...]
    """(across, up), each 0 to 1."""
    dearest: float
    """The cost at the top."""
    ticks: tuple[float, ...]
    low: float
    high: float

    def across(self, threshold: float) -> float:
        return min(1.0, max(0.0, (threshold - self.low) / (self.high - self.low)))


def cost_chart_of(rows: Sequence[Row], costs: Costs, card: Card) -> CostChart | None:
    """None where labels do not tell both good and defective parts."""
    weighed = weigh_rows(rows, costs, card)
    if weighed is None:
        return None
    course = weighed.curve()
    low, high = course[0][0], course[-1][0]
    dearest = max(cost for _, cost in course) or 1.0
    curve = tuple(((cut - low) / (high - low), cost / dearest) for cut, cost in course)
    return CostChart(weighed, curve, dearest, tuple(_ticks(low, high)), low, high)
