"""Names and embeddings -> do several pictures show one part, unknown to us? Then the guarantee would fail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectflow.data.duplicates import nearest_pictures
from defectflow.data.pictures import Picture
from defectflow.verdict import beta_cdf

PATTERNS = (
    r"^(.+?)[_\-. ]+[A-Za-z]*\d+\.\w+$",  # part12_shot1.png, part12-2.png
    r"^(.*\d)[_\-. ]?[A-Za-z]\.\w+$",  # 12a.png, 12_b.png
    r"^(.+)/[^/]+$",  # part12/left.png
)
"""How names often tell a part from its pictures, as expressions for --part-regex."""
FEWEST_GROUPS = 4
MOST_NAMES = 0.8
"""A pattern is looked at if at least this share of the names follows it; the others are stragglers."""
TIMES_CHANCE, P_VALUE_LIMIT = 3.0, 1e-3
"""Names alone prove nothing: so many times more of a group's pictures must be nearest to one of their own than if
pictures were grouped at random, and so seldom may chance do as much."""


@dataclass(frozen=True, slots=True)
class Siblings:
    """Pictures that seem to show one part, by their names and by their looks."""

    part_regex: str
    parts: int
    pictures: int
    """Pictures that share a part with another one."""
    alike: float
    """Share of those whose nearest neighbour, among all pictures, belongs to their own group."""
    example: tuple[str, str]
    stragglers: tuple[str, ...] = ()
    """Names that do not follow the pattern: each counts as a part by itself."""


def find_siblings(pictures: Sequence[Picture], pooled: NDArray[np.floating[Any]]) -> Siblings | None:
    """The naming pattern that fits best, if one does; `pooled` (N, D): one whitened embedding per picture.

    Only for pictures that count as separate parts. What people call them counts, not what their files are called.
    """
    nearest = nearest_pictures(pooled)[1]
    found = [_test(pattern, pictures, nearest) for pattern in PATTERNS]
    return max((one for one in found if one is not None), key=lambda one: one.alike, default=None)


def _test(pattern: str, pictures: Sequence[Picture], nearest: NDArray[np.int64]) -> Siblings | None:
    matches = [re.search(pattern, picture.name) for picture in pictures]
    stragglers = tuple(picture.name for picture, match in zip(pictures, matches, strict=True) if match is None)
    if len(stragglers) > (1 - MOST_NAMES) * len(pictures):
        return None
    groups = [picture.name if match is None else match[1] for picture, match in zip(pictures, matches, strict=True)]
    sizes = Counter(groups)
    shared = [row for row, group in enumerate(groups) if sizes[group] > 1]
    if len(sizes) < FEWEST_GROUPS or not shared:
        return None
    alike = sum(groups[row] == groups[nearest[row]] for row in shared)
    chance = float(np.mean([(sizes[groups[row]] - 1) / (len(groups) - 1) for row in shared]))
    by_chance = beta_cdf(chance, len(shared), len(shared) - alike + 1) if alike else 1.0  # P(Binomial >= alike)
    if alike < TIMES_CHANCE * chance * len(shared) or by_chance > P_VALUE_LIMIT:
        return None
    first, second, *_ = (PurePosixPath(pictures[row].name).name for row in shared if groups[row] == groups[shared[0]])
    return Siblings(pattern, len(sizes), len(shared), alike / len(shared), (first, second), stragglers)
