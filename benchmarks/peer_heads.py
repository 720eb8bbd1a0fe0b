"""The heads of PaDiM and PatchCore on our own embeddings: what another density would find with the same backbone.

Both take levels of embeddings, (n, h_l, w_l, D_l) each, of training and of test pictures, and give one score per test
picture; higher is worse. Written after the papers, so that only the head differs from ours.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Levels = list[NDArray[np.float16]]
PADIM_VALUES = 100
PADIM_RIDGE = 0.01
PATCHCORE_SHARE = 0.1
PATCHCORE_MOST = 3000
"""Vectors in the memory, at most: greedy selection is quadratic, and more changed nothing on the development sets."""
PATCHCORE_CANDIDATES = 60_000
PROJECTED = 128
NEIGHBOURS = 9
CHUNK = 16


def padim(train: Levels, test: Levels, size_px: int) -> NDArray[np.float64]:
    """Largest value of the smoothed map of Mahalanobis distances, each place by its own Gaussian.

    100 of all channels, chosen at random; covariances get 0.01 on the diagonal; the map is blurred by 4 px.
    Source: Defard et al. 2021, arXiv:2011.08785.
    """
    depth = sum(level.shape[-1] for level in train)
    chosen = np.sort(np.random.default_rng(0).permutation(depth)[:PADIM_VALUES])
    side = train[0].shape[1]
    seen = torch.cat([_joined(train, rows, side)[..., chosen] for rows in _chunks(len(train[0]))]).double()
    n, flat = len(seen), seen.flatten(1, 2)  # (n, h*w, d)
    mean = flat.mean(0)
    inverse = torch.empty(flat.shape[1], len(chosen), len(chosen), dtype=torch.float64)
    for start in range(0, flat.shape[1], 512):
        centred = flat[:, start : start + 512] - mean[start : start + 512]
        covariance = torch.einsum("npd,npe->pde", centred, centred) / (n - 1)
        inverse[start : start + 512] = torch.linalg.inv(covariance + PADIM_RIDGE * torch.eye(len(chosen)))
    inverse = inverse.float()
    scores = []
    for rows in _chunks(len(test[0])):
        centred = _joined(test, rows, side)[..., chosen].flatten(1, 2) - mean.float()
        turned = torch.einsum("npd,pde->npe", centred, inverse)
        distances = (turned * centred).sum(-1).clamp_min(0).sqrt().reshape(-1, side, side).numpy()
        large = [cv2.resize(one, (size_px, size_px), interpolation=cv2.INTER_LINEAR) for one in distances]
        scores += [float(cv2.GaussianBlur(one, (0, 0), 4.0).max()) for one in large]
    return np.array(scores)


def patchcore(train: Levels, test: Levels) -> NDArray[np.float64]:
    """Largest distance to the nearest of a coreset of training vectors, weighted down where that one is lonely.

    The levels of strides 8 and 16, each place averaged with its neighbours (unless the embedding has done so).
    Source: Roth et al. 2022, arXiv:2106.08265, section 3.
    """
    side = train[0].shape[1]
    memory = torch.cat([_joined(train, rows, side).flatten(0, 2) for rows in _chunks(len(train[0]))])
    random = np.random.default_rng(0)
    memory = memory[np.sort(random.permutation(len(memory))[:PATCHCORE_CANDIDATES])]
    memory = memory[_coreset(memory, min(PATCHCORE_MOST, math.ceil(PATCHCORE_SHARE * len(memory))))]
    scores = []
    for rows in _chunks(len(test[0])):
        for vectors in _joined(test, rows, side).flatten(1, 2):
            distances = torch.cdist(vectors, memory)
            nearest, which = distances.min(1)
            worst = int(nearest.argmax())
            around = torch.cdist(memory[which[worst]][None], memory)[0].topk(NEIGHBOURS, largest=False).indices
            to_worst = torch.linalg.vector_norm(memory[around] - vectors[worst], dim=1)
            lonely = torch.exp(to_worst[0] - to_worst.logsumexp(0)) if len(around) > 1 else torch.tensor(0.0)
            scores.append(float((1 - lonely) * nearest[worst]))
    return np.array(scores)


def _coreset(vectors: Tensor, count: int) -> Tensor:
    """Greedy: the vector farthest from all chosen ones, again and again, seen through a random projection."""
    generator = torch.Generator().manual_seed(0)
    small = vectors @ torch.randn(vectors.shape[1], PROJECTED, generator=generator) / PROJECTED**0.5
    chosen = [0]
    away = torch.linalg.vector_norm(small - small[0], dim=1)
    while len(chosen) < count:
        chosen.append(int(away.argmax()))
        away = torch.minimum(away, torch.linalg.vector_norm(small - small[chosen[-1]], dim=1))
    return torch.tensor(chosen)


def _joined(levels: Levels, rows: slice, side: int) -> Tensor:
    """The levels side by side at the finest one's grid: (n, side, side, sum of D_l)."""
    maps = [torch.from_numpy(np.asarray(level[rows], np.float32)).permute(0, 3, 1, 2) for level in levels]
    grown = [F.interpolate(one, size=(side, side), mode="bilinear") if one.shape[2] != side else one for one in maps]
    return torch.cat(grown, 1).permute(0, 2, 3, 1)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
