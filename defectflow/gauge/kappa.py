"""Answers of several people about the same parts -> how far they agree beyond chance.

    kappa = (p_o - p_e) / (1 - p_e)

with p_o the share of agreement that was seen, and p_e the share that chance alone would give. 1: always, 0: by chance.
Source: Cohen 1960, doi:10.1177/001316446002000104 (two); its standard error: Fleiss, Cohen and Everitt 1969,
doi:10.1037/h0028106; Fleiss 1971, doi:10.1037/h0031619 (several).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from defectflow.verdict import CONFIDENCE

DRAWS = 2000
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Kappa:
    """`value` None: where everybody always gives the same answer, nothing can be said beyond chance."""

    value: float | None
    interval: tuple[float, float] | None
    """95%; None where there is none."""
    parts: int


def cohen(first: Sequence[bool] | Flags, second: Sequence[bool] | Flags) -> Kappa:
    """Of two people, or one person twice, about the same parts in the same order. Shapes (n,), (n,)."""
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    n = len(a)
    if not n:
        return Kappa(None, None, 0)
    table = np.array([[(~a & ~b).sum(), (~a & b).sum()], [(a & ~b).sum(), (a & b).sum()]]) / n
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    seen, chance = float(np.trace(table)), float(rows @ columns)
    if chance >= 1:
        return Kappa(None, None, n)
    value = (seen - chance) / (1 - chance)
    diagonal = sum(table[i, i] * (1 - (rows[i] + columns[i]) * (1 - value)) ** 2 for i in range(2))
    off = (1 - value) ** 2 * sum(
        table[i, j] * (columns[i] + rows[j]) ** 2 for i in range(2) for j in range(2) if i != j
    )
    variance = (diagonal + off - (value - chance * (1 - value)) ** 2) / ((1 - chance) ** 2 * n)
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(max(0.0, float(variance)))
    return Kappa(value, (max(-1.0, value - reach), min(1.0, value + reach)), n)


def fleiss(answers: NDArray[np.bool_], *, seed: int = 0) -> Kappa:
    """Of several people: (parts, people). The interval is that of parts drawn again."""
    parts, people = answers.shape
    if parts < 1 or people < 2:
        return Kappa(None, None, parts)
    yes = answers.sum(axis=1).astype(float)  # (parts,)
    value = _fleiss(yes[None], people)[0]
    if math.isnan(value):
        return Kappa(None, None, parts)
    drawn = yes[np.random.default_rng(seed).integers(parts, size=(DRAWS, parts))]
    again = _fleiss(drawn, people)
    again = again[~np.isnan(again)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(again, [tail, 1 - tail]) if len(again) else (value, value)
    return Kappa(float(value), (float(low), float(high)), parts)


def _fleiss(yes: NDArray[np.float64], people: int) -> NDArray[np.float64]:
    """(draws, parts) of how many said yes -> (draws,); not a number where all answers are equal."""
    no = people - yes
    seen = ((yes * (yes - 1) + no * (no - 1)) / (people * (people - 1))).mean(axis=1)
    share = yes.mean(axis=1) / people
    chance = share**2 + (1 - share) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance < 1, (seen - chance) / (1 - chance), np.nan))
