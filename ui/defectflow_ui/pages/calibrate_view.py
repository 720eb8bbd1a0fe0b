"""The page Calibrate: scores as a histogram, what thresholds would do, what they promise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from defectflow.bundle import Card
from defectflow.gauge import PartScores
from defectflow.verdict import Point
from defectflow_ui.markup.elements import empty
from defectflow_ui.markup.render import render
from defectflow_ui.words import calibrate as words

WIDTH, HALF, FOOT = 640, 130, 22
"""Of the histogram, in its own pixels: good parts above the axis, defective ones below it."""
TALLEST = HALF - 8
"""Of a bar."""
BINS = 40


@dataclass(frozen=True, slots=True)
class Bar:
    """How many parts of a group score alike."""

    group: str
    x: float
    y: float
    width: float
    height: float
    told: str


def no_bundle() -> Markup:
    return empty(words.no_bundle, words.no_bundle_do)


def engineers_only() -> Markup:
    return empty(words.engineers_only, words.engineers_only_do)


def histogram(scores: PartScores, cuts: Sequence[tuple[str, float]], on: tuple[float, float, float]) -> Markup:
    """Good parts above the axis, defective ones, where there are any, below; `cuts`: (CSS class, threshold);
    `on`: an `axis`.

    Scores beyond the axis are in its last bar, and told.
    """
    low, high, _ = on
    beyond = {name: sum(math.isfinite(one) and one > high for one in group) for name, group in scores.groups.items()}

    def x(score: float) -> float:
        return (min(max(score, low), high) - low) / (high - low) * WIDTH

    return render(
        "calibrate/histogram.html",
        words=words,
        width=WIDTH,
        axis=HALF,
        bottom=2 * HALF if scores.defective else HALF + 4,
        foot=FOOT,
        bars=_bars(scores, _edges(low, high, dict(cuts).get("cut", low)), x),
        cuts=[(name, x(cut)) for name, cut in cuts],
        beyond=words.beyond(high, beyond["good"] + beyond["other"], beyond["defective"]),
        ticks=[(min(max(x(value), 14), WIDTH - 14), value) for value in np.linspace(low, high, BINS // 10 + 1)],
        legend=[
            (name, len(group), sum(math.isinf(score) for score in group))
            for name in words.legend
            if (group := scores.groups[name])
        ],
    )


def _edges(low: float, high: float, cut: float) -> np.ndarray:
    """Of bars about equally wide. The threshold is one, so that no bar stands on both of its sides."""
    if not low < cut < high:
        return np.linspace(low, high, BINS + 1)
    left = min(max(round((cut - low) / (high - low) * BINS), 1), BINS - 1)
    return np.concatenate([np.linspace(low, cut, left + 1), np.linspace(cut, high, BINS - left + 1)[1:]])


def _bars(scores: PartScores, edges: np.ndarray, x: Callable[[float], float]) -> list[Bar]:
    """Good parts stand on the axis, those not counted upon them, defective ones hang from it."""
    counts = {
        name: np.histogram(np.clip(_finite(group), edges[0], edges[-1]), edges)[0]
        for name, group in scores.groups.items()
    }
    tallest = max(1, int((counts["good"] + counts["other"]).max()), int(counts["defective"].max()))
    bars = list[Bar]()
    for name, count in counts.items():
        heights = count / tallest * TALLEST
        foot = HALF - counts["good"] / tallest * TALLEST if name == "other" else np.full(len(count), float(HALF))
        for index in np.flatnonzero(count):
            top = foot[index] if name == "defective" else foot[index] - heights[index]
            low, high = float(edges[index]), float(edges[index + 1])
            told = words.bar(int(count[index]), low, high)
            bars.append(Bar(name, x(low) + 0.5, top, x(high) - x(low) - 1, heights[index], told))
    return bars


def _finite(scores: Iterable[float]) -> list[float]:
    return [score for score in scores if math.isfinite(score)]


def axis(scores: PartScores, *cuts: float) -> tuple[float, float, float]:
    """Lowest, highest and step, in round numbers, of the histogram and of the sliders below it."""
    low, high = scores.limits(*cuts)
    step = 10.0 ** math.floor(math.log10((high - low) / 300))
    return round(math.floor(low / step) * step, 10), round(math.ceil(high / step) * step, 10), step  # not 12.79000001


def promise(card: Card) -> Markup:
    """What a rate leads to, in the words that go with it everywhere. Raises NotCalibrated."""
    calibration = card.require_calibration()
    cut, review = calibration.threshold.value, calibration.review.value
    return render(
        "calibrate/promise.html",
        words=words,
        promised=card.promised is not None,
        cut=cut,
        review=review,
        sentences=card.guarantee(),
    )


def table(rows: Iterable[tuple[str, Point]]) -> Markup:
    """One row per pair of thresholds; always with the label that says what these figures are."""
    return render("calibrate/table.html", words=words, rows=rows)
