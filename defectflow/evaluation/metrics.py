"""Scores and labels -> figures with intervals. Pure numbers: knows nothing about files, models or bundles.

A score is dimensionless; higher is worse. Every figure here describes scores that were fixed beforehand;
none of them may choose a threshold that is then used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats
from sklearn.metrics import average_precision_score, precision_recall_curve

from defectflow.errors import DataError
from defectflow.verdict import CONFIDENCE, auroc

Interval = tuple[float, float]
CHUNK_WEIGHTS = 2_000_000
"""Weights per block of bootstrap draws: 16 MB, so that 100,000 pictures need no more memory than 1,000."""


@dataclass(frozen=True, slots=True)
class ImageFigures:
    """How well image scores separate good from defective pictures. All in [0, 1]; higher is better.

    The intervals are 95% percentile bootstrap intervals by part; None with fewer than two parts on a side.
    Where the scores separate perfectly they have no width: the bootstrap cannot see what it never drew.
    """

    auroc: float
    ap: float
    f1_max: float
    auroc_interval: Interval | None
    ap_interval: Interval | None
    f1_max_interval: Interval | None


def average_precision(defective: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """sum_i (R_i - R_(i-1)) P_i over falling thresholds, with recall R and precision P.

    Shapes: (N,), (N,). Raises DataError unless there are good and defective pictures.
    """
    _need_both(defective)
    return float(average_precision_score(defective, scores))


def f1_max(defective: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """The largest F1 = 2PR / (P + R) that any threshold reaches: it bounds the scores, it chooses nothing.

    Shapes: (N,), (N,). Raises DataError unless there are good and defective pictures.
    """
    _need_both(defective)
    precision, recall, _ = precision_recall_curve(defective, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)))


def image_figures(
    defective: NDArray[np.bool_],
    scores: NDArray[np.floating],
    parts: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> ImageFigures:
    """AUROC, AP and F1-max over pictures, with intervals from resampling parts.

    Pictures of one part are not independent, so whole parts are drawn with replacement, good and defective
    parts apart. A part is defective if any of its pictures is. Shapes: (N,), (N,), N names.
    Raises DataError unless there are good and defective pictures.
    """
    names, part_of = np.unique(np.asarray(parts), return_inverse=True)  # (P,), (N,)
    part_defective = np.zeros(len(names), bool)
    np.logical_or.at(part_defective, part_of, defective)
    separation = auroc(scores[~defective], scores[defective])
    point = separation, average_precision(defective, scores), f1_max(defective, scores)
    if min(part_defective.sum(), (~part_defective).sum()) < 2:
        return ImageFigures(*point, None, None, None)
    blocks = _draw_parts(part_defective, draws, seed, block=max(1, CHUNK_WEIGHTS // len(part_of)))
    figures = np.concatenate([weighted_figures(defective, scores, block[:, part_of]) for block in blocks])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(figures, [tail, 1 - tail], axis=0)  # (draws, 3) -> (3,), (3,)
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return ImageFigures(*point, *intervals)


def weighted_figures(
    defective: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """AUROC, AP and F1-max for many weightings of the same pictures at once, ties included.

    Shapes: (N,), (N,), weights (B, N) -> (B, 3).
    """
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    starts = np.concatenate([[0], np.flatnonzero(falling[1:] != falling[:-1]) + 1])  # (T,) groups of equal scores
    ordered, is_defective = weights[:, order], defective[order]
    hits = np.add.reduceat(ordered * is_defective, starts, axis=1)  # (B, N) -> (B, T)
    alarms = np.add.reduceat(ordered * ~is_defective, starts, axis=1)
    all_hits, all_alarms = hits.cumsum(axis=1), alarms.cumsum(axis=1)
    defective_weight, good_weight = all_hits[:, -1], all_alarms[:, -1]
    area = (alarms * (all_hits - hits / 2)).sum(axis=1) / (defective_weight * good_weight)
    precision = all_hits / np.maximum(all_hits + all_alarms, np.finfo(float).tiny)
    ap = (hits * precision).sum(axis=1) / defective_weight
    f1 = (2 * all_hits / (all_hits + all_alarms + defective_weight[:, None])).max(axis=1)
    return np.stack([area, ap, f1], axis=1)


def split_pixels(
    anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """(h, w) map and ground truth -> values of the good pixels, and those of each connected defective region.

    Regions are 8-connected: pixels that touch at a corner belong together.
    """
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), bool))
    inside, values = labels[mask], anomaly_map[mask]
    order = np.argsort(inside, kind="stable")
    ends = np.cumsum(np.bincount(inside, minlength=count + 1)[1:])
    return anomaly_map[~mask], list(np.split(values[order], ends[:-1])) if count else []


@dataclass(frozen=True, slots=True, eq=False)
class PixelCurve:
    """Good and defective pixels counted at every value that a defective pixel takes.

    Between two such values only good pixels pass, so these T values give AUROC, AP and AUPRO exactly. Good
    pixels need sorting only, not arg-sorting: 4 bytes each, 0.25 GB for 240 maps of 512 x 512.
    """

    alarms_above: NDArray[np.int64]
    """(T,): good pixels with a score above the value; values fall."""
    alarms: NDArray[np.int64]
    """(T,): good pixels with at least the value."""
    hits: NDArray[np.int64]
    """(T,): defective pixels with at least the value."""
    overlap: NDArray[np.float64]
    """(T,): share of a region with at least the value, averaged over regions whatever their size."""
    good: int
    """Number of good pixels, those of defective pictures included."""

    @classmethod
    def count(cls, good: Iterable[NDArray[np.float32]], regions: Sequence[NDArray[np.float32]]) -> PixelCurve:
        """Build from blocks of good pixels, *each sorted ascending*, and one array per defective region.

        Costs O(N log N) once. Raises DataError unless there are good and defective pixels.
        """
        blocks = list(good)
        total = sum(map(len, blocks))
        if total == 0 or not regions:
            raise DataError(
                f"pixel figures need good and defective pixels; there are {total} good ones "
                f"and {len(regions)} defective regions"
            )
        values = np.concatenate(regions)
        weights = np.concatenate([np.full(len(region), 1 / len(region)) for region in regions])
        order = np.argsort(values)[::-1]
        falling = values[order]
        ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
        distinct = falling[ends]  # (T,)
        return cls(
            alarms_above=total - _ranks(blocks, distinct, "right"),
            alarms=total - _ranks(blocks, distinct, "left"),
            hits=ends + 1,
            overlap=np.cumsum(weights[order])[ends] / len(regions),
            good=total,
        )

    def auroc(self) -> float:
        """Area under hit rate against false-positive rate, over all pixels."""
        x, y = self._vertices(self.hits / self.hits[-1])
        return _area(x, y)

    def ap(self) -> float:
        """sum_i (R_i - R_(i-1)) P_i over falling thresholds, over all pixels."""
        precision = self.hits / (self.hits + self.alarms)
        return float(np.sum(np.diff(self.hits, prepend=0) * precision) / self.hits[-1])

    def aupro(self, limit: float) -> float:
        """Area under overlap per region against false-positive rate from 0 to `limit`, divided by `limit`.

        The curve is linear between thresholds and is cut, by interpolation, exactly at the limit.
        Source: Bergmann et al. 2021, doi:10.1007/s11263-020-01400-4, section 5.2.
        """
        if not 0 < limit <= 1:
            raise DataError(f"the false-positive limit of AUPRO is {limit:g}; it must be above 0 and at most 1")
        x, y = self._vertices(self.overlap)
        inside = int(np.searchsorted(x, limit, side="right"))
        if inside < len(x):
            share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
            y_limit = y[inside - 1] + share * (y[inside] - y[inside - 1])
            x, y = np.append(x[:inside], limit), np.append(y[:inside], y_limit)
        return _area(x, y) / limit

    def _vertices(self, height: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(T,) heights -> the corners of the curve, (2T + 2,) rates and heights, from (0, 0) to (1, 1)."""
        before = np.concatenate([[0.0], height[:-1]])
        x = np.stack([self.alarms_above, self.alarms], axis=1).ravel() / self.good
        y = np.stack([before, height], axis=1).ravel()
        return np.concatenate([[0.0], x, [1.0]]), np.concatenate([[0.0], y, [1.0]])


def rejected_interval(calibration_parts: int, rank: int, test_parts: int) -> tuple[int, int]:
    """The central 95% of how many of m good test parts a calibrated threshold rejects.

    With n calibration parts and rank k the number is BetaBinomial(m, n + 1 - k, k): it varies with the
    calibration parts and with the test parts, so it is wider than a binomial at the nominal rate. The law
    holds for a threshold at the k-th score; at the midpoint to the next one the number is slightly lower.
    Raises DataError for a rank outside 1..n. Source: Vovk 2012, arXiv:1209.2673.
    """
    if not 1 <= rank <= calibration_parts:
        raise DataError(f"rank {rank} of {calibration_parts} calibration parts: must lie in 1..n")
    counts = np.arange(test_parts + 1)
    cumulative = np.cumsum(stats.betabinom.pmf(counts, test_parts, calibration_parts + 1 - rank, rank))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.searchsorted(cumulative, [tail, 1 - tail])
    return int(low), min(int(high), test_parts)


def _need_both(defective: NDArray[np.bool_]) -> None:
    positives = int(np.count_nonzero(defective))
    if positives in (0, len(defective)):
        raise DataError(f"separation needs good and defective pictures; {positives} of {len(defective)} are defective")


def _draw_parts(part_defective: NDArray[np.bool_], draws: int, seed: int, block: int) -> Iterator[NDArray[np.float64]]:
    """How often each part is drawn, good and defective parts apart. Yields (at most `block`, P)."""
    generator = np.random.default_rng(seed)
    for first in range(0, draws, block):
        size = min(block, draws - first)
        times = np.empty((size, len(part_defective)))
        for side in (part_defective, ~part_defective):
            parts = int(side.sum())
            times[:, side] = generator.multinomial(parts, np.full(parts, 1 / parts), size=size)
        yield times


def _ranks(
    blocks: Sequence[NDArray[np.float32]], values: NDArray[np.float32], side: Literal["left", "right"]
) -> NDArray[np.int64]:
    """(T,): how many elements of all blocks lie below each value ("left"), or at or below it ("right")."""
    total = np.zeros(len(values), np.int64)
    for block in blocks:
        total += np.searchsorted(block, values, side=side)
    return total


def _area(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)
