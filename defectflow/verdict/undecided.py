"""Two samples and a cost -> the thresholds that they cannot tell from the cheapest one.

The cheapest threshold of a sample has no usual standard error: it moves in steps, at the rate of the sample's cube
root, and drawing samples again does not imitate that. What can be imitated is the error of *differences* of cost. With
c the cost on these parts and e(t) = c*(t) - c(t) its error in parts drawn again, a threshold t is left undecided where

    c(t) - min c <= the 95% quantile of e(t) - min e

so that the truly cheapest one is among them with about 95% confidence or more. Source: Hansen, Lunde and Nason 2011,
doi:10.3982/ECTA5771 (sets of models that cannot be told from the best).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectflow.verdict.intervals import CONFIDENCE

Shares = NDArray[np.float64]
Places = NDArray[np.intp]
BLOCK_VALUES = 4_000_000
"""Values that are worked on at a time, to bound the memory."""


@dataclass(frozen=True, slots=True)
class Line:
    """constant + good * (share of good parts up to a threshold) + defective * (the same of defective parts)."""

    constant: float
    good: float
    defective: float

    def __add__(self, other: Line) -> Line:
        return Line(self.constant + other.constant, self.good + other.good, self.defective + other.defective)

    def at(self, good: Shares, defective: Shares) -> Shares:
        return self.constant + self.good * good + self.defective * defective


def undecided(line: Line, good: Places, defective: Places, cells: int, *, draws: int, seed: int) -> NDArray[np.bool_]:
    """(cells,): whether a threshold in this cell may be the cheapest one.

    Shapes: `good` (G,) and `defective` (D,) hold for each part the first cell whose thresholds let it pass; `cells` or
    more for one that none does.
    """
    random = np.random.default_rng(seed)
    cost = line.at(_passed(good[None], cells)[0], _passed(defective[None], cells)[0])  # (cells,)
    errors = []
    block = max(1, BLOCK_VALUES // (cells + len(good) + len(defective)))
    for start in range(0, draws, block):
        count = min(block, draws - start)
        drawn = [places[random.integers(len(places), size=(count, len(places)))] for places in (good, defective)]
        errors.append((line.at(*(_passed(places, cells) for places in drawn)) - cost).astype(np.float32))
    error = np.concatenate(errors)  # (draws, cells)
    left = np.arange(cells)
    while True:  # what is ruled out is no rival any more, so the others are compared among themselves
        rivals = error[:, left]
        limit = np.quantile(rivals - rivals.min(axis=1, keepdims=True), CONFIDENCE, axis=0)
        kept = left[cost[left] - cost.min() <= limit + 1e-6 * abs(cost.min())]
        if len(kept) == len(left):
            found = np.zeros(cells, bool)
            found[kept] = True
            return found
        left = kept


def _passed(places: Places, cells: int) -> Shares:
    """(N, parts) -> (N, cells): the share of parts that a threshold in each cell lets pass."""
    rows, parts = places.shape
    flat = np.minimum(places, cells) + (cells + 1) * np.arange(rows)[:, None]
    counts = np.bincount(flat.ravel(), minlength=rows * (cells + 1)).reshape(rows, cells + 1)
    return np.asarray(np.cumsum(counts[:, :-1], axis=1) / parts, np.float64)
