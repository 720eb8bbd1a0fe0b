"""Embeddings of good pictures -> how unusual each looks to densities that have never seen its part.

For each of K groups of parts a density is fitted on the other groups and asked about the group left out: a picture that
does not belong cannot vouch for itself. The densities are in closed form, so this costs seconds: per level a Gaussian
with a mean of its own at every place and one covariance for all places, and the gate's Gaussian for the whole picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectflow.density import Normalisation
from defectflow.embedding import Levels
from defectflow.score import Detector, Gate

FALSE_FLAGS = 0.05
"""In a set without a single wrong picture, about this is the probability that any picture is flagged."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Surprise:
    """How unusual each of N pictures looks to densities of the other parts. Higher is more unusual."""

    scores: Numbers
    """(N,): of its worst places, as a detector scores a picture."""
    places: Numbers
    """(N,): the same, in units of the upper tail (`tail_units`)."""
    whole: Numbers
    """(N,): the picture as a whole, in the same units."""
    maps: NDArray[np.float32]
    """(N, h, w): where."""

    @property
    def most(self) -> Numbers:
        """(N,): the larger of the two, by which pictures are ranked."""
        return np.maximum(self.places, self.whole)

    @property
    def limit(self) -> float:
        """Beyond it a picture stands out. With tails that fall exponentially, the larger of two values passes it in
        any of n/2 pictures beyond the middle with probability FALSE_FLAGS."""
        return math.log(max(2, len(self.places)) / FALSE_FLAGS)


def cross_fit(detector: Detector, levels: Levels, pooled: NDArray[np.float32], folds: NDArray[np.int64]) -> Surprise:
    """Levels (N, h_l, w_l, D_l), pooled embeddings (N, D) and groups (N,) -> how unusual each picture is.

    Uses the detector's way from level maps to a score, and sets its constants; its flows are not asked.
    """
    maps = held_out_maps(detector, levels, folds)
    detector.score.fit_maps(maps)
    anomaly_maps = detector.score.anomaly_map(maps)
    score, _ = detector.score.image_score(anomaly_maps)
    distance = torch.empty(len(pooled))
    everything = torch.from_numpy(pooled)
    for fold in np.unique(folds):
        gate = Gate(pooled.shape[1])
        gate.fit(everything[folds != fold])
        distance[folds == fold] = gate(everything[folds == fold])
    return Surprise(
        scores=score.double().numpy(),
        places=tail_units(score.double().numpy()),
        whole=tail_units(distance.double().numpy()),
        maps=anomaly_maps.numpy(),
    )


def tail_units(values: Numbers) -> Numbers:
    """(x - median) / b, with b such that a tail falling like exp(-x / b) has its median and 90% point where these are.

    A few wrong pictures move neither. Exponential tails are heavier than a normal law's, so that flags are rare.
    """
    median, ninth = np.quantile(values, [0.5, 0.9])
    scale = (ninth - median) / math.log(5)
    return np.asarray((values - median) / max(scale, 1e-12))


def held_out_maps(detector: Detector, levels: Levels, folds: NDArray[np.int64]) -> list[Tensor]:
    """Each level's values (N, h_l, w_l) by densities of the other groups; see `cross_fit`."""
    inside = [detector.score.inside_at(*level.shape[1:3]).flatten() for level in levels]
    return [_held_out_map(level, folds, within) for level, within in zip(levels, inside, strict=True)]


def _held_out_map(level: NDArray[np.float16], folds: NDArray[np.int64], inside: Tensor) -> Tensor:
    """Negative log-likelihood of each place in nats per dimension, up to a constant: (N, h, w, D) -> (N, h, w).

    Each fold's density follows from the sums over all pictures, less the fold's own.
    """
    count, height, width, depth = level.shape
    groups = int(folds.max()) + 1
    sums = torch.zeros(groups, height * width, depth, dtype=torch.float64)
    moments = torch.zeros(groups, depth, depth, dtype=torch.float64)
    for vectors, fold in zip(level, folds, strict=True):
        places = _places(vectors)
        sums[fold] += places
        moments[fold] += places[inside].T @ places[inside]
    maps = torch.empty(count, height * width)
    for fold in range(groups):
        left_out = np.flatnonzero(folds == fold)
        others = count - len(left_out)
        mean = (sums.sum(0) - sums[fold]) / others  # (h * w, D)
        seen = mean[inside]
        covariance = ((moments.sum(0) - moments[fold]) / others - seen.T @ seen) / len(seen)
        whiten = Normalisation(depth)
        whiten.fit(torch.zeros(depth), covariance, "whiten")
        for row in left_out:
            maps[row] = whiten((_places(level[row]) - mean).float()).square().mean(1) / 2
    return maps.reshape(count, height, width)


def _places(vectors: NDArray[np.float16]) -> Tensor:
    """(h, w, D) -> (h * w, D)"""
    return torch.from_numpy(vectors.reshape(-1, vectors.shape[-1]).astype(np.float64))
