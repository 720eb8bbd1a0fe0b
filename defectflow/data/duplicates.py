"""Pictures that show the same thing twice: by their pixels, or by their embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectflow.data.pictures import Picture

NEAR_SHARE = 0.1
"""Twins are nearer than this share of the median distance between a picture and its nearest neighbour."""
Pairs = list[tuple[Picture, Picture]]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Pictures none of which repeats another's pixels."""

    pictures: tuple[Picture, ...]
    repeats: tuple[tuple[Picture, Picture], ...]
    """(the picture that stays, one with the same pixels that is left out)."""

    def notes(self) -> list[str]:
        """A sentence about what is left out, if anything is."""
        if not self.repeats:
            return []
        first, other = self.repeats[0]
        count = f"{len(self.repeats)} of {len(self.pictures) + len(self.repeats)} pictures repeat the pixels of another"
        return [f"{count} and are left out, so that each part counts once: the first is {other.path}, as {first.path}"]


def distinct(pictures: Sequence[Picture], pixel_digests: Mapping[Path, str]) -> Distinct:
    """Each picture once. Parts that share a picture are one part, under the name that sorts first."""
    first: dict[str, Picture] = {}
    joined: dict[str, str] = {}

    def name_of(part: str) -> str:
        while part in joined:
            part = joined[part]
        return part

    repeats = Pairs()
    for picture in pictures:
        twin = first.setdefault(pixel_digests[picture.path], picture)
        if twin is picture:
            continue
        repeats.append((twin, picture))
        kept, gone = sorted((name_of(twin.part), name_of(picture.part)))
        if kept != gone:
            joined[gone] = kept
    return Distinct(tuple(replace(one, part=name_of(one.part)) for one in first.values()), tuple(repeats))


def near_duplicates(pictures: Sequence[Picture], groups: NDArray[np.int64], pooled: NDArray[np.floating[Any]]) -> Pairs:
    """For each picture with a near-twin in a lower group (its number, (N,)): (the nearest such twin, it).

    Near means an embedding distance below NEAR_SHARE times the median, over all pictures, of the distance to the
    nearest other picture. `pooled` (N, D) holds one embedding per picture, in the order of `pictures`.
    """
    if pooled.shape[0] != len(pictures):
        raise ValueError(f"{pooled.shape[0]} embeddings for {len(pictures)} pictures")
    limit = NEAR_SHARE * np.median(nearest_pictures(pooled)[0])
    distance, twins = nearest_pictures(pooled, groups)
    return [(pictures[int(twins[i])], pictures[i]) for i in np.flatnonzero(distance < limit).tolist()]


def nearest_pictures(
    pooled: NDArray[np.floating[Any]], groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance (N,) and index (N,) of the nearest other picture; with `groups`, of the nearest in a lower group.

    Infinite if there is none. Memory: O(N D + N * 256).
    """
    vectors = pooled.astype(np.float64) - pooled.mean(axis=0, dtype=np.float64)  # centred: less cancellation
    squared_norms = np.einsum("nd,nd->n", vectors, vectors)
    count = len(vectors)
    distance, index = np.empty(count), np.empty(count, dtype=np.int64)
    for start, stop in pairwise([*range(0, count, 256), count]):
        rows = np.arange(start, stop)
        squared = squared_norms[rows, None] + squared_norms[None] - 2 * vectors[rows] @ vectors.T  # (rows, N)
        distances = np.sqrt(np.maximum(squared, 0))
        if groups is None:
            distances[rows - start, rows] = np.inf
        else:
            distances[groups[None, :] >= groups[rows, None]] = np.inf
        index[rows] = distances.argmin(axis=1)
        distance[rows] = distances.min(axis=1)
    return distance, index
