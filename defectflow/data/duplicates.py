"""Pictures that show the same thing twice: by their pixels, or by their embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectflow.data.pictures import Picture

NEAR_SHARE = 0.1
"""Twins are nearer than this share of the median distance between a picture and its nearest neighbour."""
Pairs = list[tuple[Picture, Picture]]


def exact_duplicates(pictures: Sequence[Picture], pixel_digests: Mapping[Path, str]) -> Pairs:
    """Pictures with the same pixels that count as two parts: (the first of them, the other)."""
    first: dict[str, Picture] = {}
    pairs = []
    for picture in pictures:
        twin = first.setdefault(pixel_digests[picture.path], picture)
        if twin.part != picture.part:
            pairs.append((twin, picture))
    return pairs


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

    Infinite where there is none. Memory: O(N D + N * 256).
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
