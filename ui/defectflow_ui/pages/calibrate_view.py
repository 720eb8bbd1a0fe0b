"""The page Calibrate as HTML: scores as a histogram, what thresholds would do, versions."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

import numpy as np

from defectflow.bundle import Card
from defectflow.verdict import Point, Share
from defectflow_ui.markup.theme import empty, tip
from defectflow_ui.models.part_scores import PartScores
from defectflow_ui.words import calibrate as words

WIDTH, HALF, FOOT = 640, 130, 22
"""Of the histogram, in its own pixels: good parts above the axis, defective ones below it."""


HATCHED = (
    '<defs class="hatchings"><pattern id="calibrate-other" width="8" height="8" patternUnits="userSpaceOnUse">'
    '<rect class="review" width="8" height="8"/><path d="M-2 2 l4 -4 M0 8 l8 -8 M6 10 l4 -4"/></pattern></defs>'
)
"""Good parts that are not counted: told from the others without their colour as well."""


def no_bundle() -> str:
    return empty(words.no_bundle, words.no_bundle_do)


def engineers_only() -> str:
    return empty(words.engineers_only, words.engineers_only_do)


def histogram(evidence: PartScores, cuts: Sequence[tuple[str, float]]) -> str:
    """Good parts above the axis, defective ones, where there are any, below; `cuts`: (CSS class, threshold)."""
    edges = evidence.edges()
    low, high = float(edges[0]), float(edges[-1])
    counts = {name: np.histogram(_finite(scores), edges)[0] for name, scores in evidence.groups.items()}
    tallest = max(1, int((counts["good"] + counts["other"]).max()), int(counts["defective"].max()))
    bar = WIDTH / (len(edges) - 1)
    bottom = 2 * HALF if evidence.defective else HALF + 4

    def x(score: float) -> float:
        return (min(max(score, low), high) - low) / (high - low) * WIDTH

    def bars(name: str, from_y: np.ndarray, up: bool) -> str:
        drawn = []
        for index in np.flatnonzero(counts[name]):
            height = counts[name][index] / tallest * (HALF - 8)
            top = from_y[index] - height if up else from_y[index]
            place = f'x="{index * bar + 0.5:.1f}" y="{top:.1f}" width="{bar - 1:.1f}" height="{height:.1f}"'
            told = f"<title>{counts[name][index]}: {edges[index]:.2f} to {edges[index + 1]:.2f}</title>"
            fill = ' fill="url(#calibrate-other)"' if name == "other" else ""
            drawn.append(f'<rect class="{name}" {place}{fill}>{told}</rect>')
        return "".join(drawn)

    axis = np.full(len(edges) - 1, float(HALF))
    stacked = axis - counts["good"] / tallest * (HALF - 8)
    body = bars("good", axis, True) + bars("other", stacked, True) + bars("defective", axis, False)
    lines = "".join(
        f'<line class="{name}" x1="{x(cut):.1f}" x2="{x(cut):.1f}" y1="0" y2="{bottom}"/>' for name, cut in cuts
    )
    ticks = "".join(
        f'<text x="{min(max(x(value), 14), WIDTH - 14):.0f}" y="{bottom + 16}">{value:.1f}</text>'
        for value in edges[::10]
    )
    legend = "".join(
        f'<span><i class="{name}"></i>{tip(label, words.legend_tips[name])} ({len(scores)}{_refused(scores)})</span>'
        for name, label in words.legend.items()
        if (scores := evidence.groups[name])
    )
    return (
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {bottom + FOOT}" role="img">{HATCHED}{body}'
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HALF}" y2="{HALF}"/>{lines}{ticks}</svg>'
        f'<div class="legend">{legend}</div>'
    )


def _finite(scores: Iterable[float]) -> list[float]:
    return [score for score in scores if math.isfinite(score)]


def _refused(scores: Sequence[float]) -> str:
    count = sum(math.isinf(score) for score in scores)
    return f"; {words.out_of_range.format(count=count)}" if count else ""


def slider_range(values: Sequence[float], highest: float) -> tuple[float, float, float]:
    """Lowest, highest and step of a slider, in round numbers: fine among these values, and up to `highest`."""
    step = 10.0 ** math.floor(math.log10((max(values) - min(values)) / 300))
    low, high = math.floor(min(values) / step), math.ceil(max(*values, highest) / step)
    return round(low * step, 10), round(high * step, 10), step  # not 12.790000000000001


def promise(card: Card) -> str:
    """What a rate leads to, in the words that go with it everywhere. Raises NotCalibrated."""
    calibration = card.judge()
    said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in card.guarantee())
    cut, review = calibration.threshold.value, calibration.review.value
    return (
        f"<p class='said'>{words.threshold} {cut:.4f}; {words.review.lower()} {review:.4f}</p>"
        f"<ul class='promise'>{said}</ul>"
    )


def table(rows: Iterable[tuple[str, Point]]) -> str:
    """One row per pair of thresholds; always with the label that says what these figures are."""
    head = "".join(f"<th>{tip(*column) if column[1] else column[0]}</th>" for column in words.columns)
    keys = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    body = "".join(
        f"<tr data-row='{label}'><th>{label}</th><td>{point.threshold:.3f}</td><td>{_band(point)}</td>"
        f"<td>{_share(point.overkill)}</td><td>{_share(point.escape)}</td></tr>"
        for label, point in rows
    )
    return (
        f"<p><b class='badge small review'><b>≈</b> {words.estimate}</b></p>"
        f"<table class='figures tradeoff'><tr>{head}</tr>{body}</table><p class='quiet small'>{words.estimate_note}</p>"
        f"<div data-keys-help hidden>{keys}</div>"
    )


def _band(point: Point) -> str:
    return "–" if point.review == point.threshold else f"{point.review:.3f}"


def _share(estimate: Share) -> str:
    return words.share(estimate.count, estimate.of, estimate.interval)
