"""Our heads of PaDiM and PatchCore against anomalib's own, on the same features.

    PYTHON benchmarks/check_peer_heads.py          # of an environment with anomalib and OpenCV

The features are drawn: two levels of a backbone's size, of good parts and of parts with a few strange places. PaDiM is
compared as a whole. Of PatchCore, what is random in both, the choice of the memory, is compared by how well it covers
the vectors; nearest distances and their weights are compared on one and the same memory. Ends with 1 where anything
differs by more than rounding does.
"""

from __future__ import annotations

import sys

import numpy as np
import peer_heads
import torch
from anomalib.models.components import KCenterGreedy, MultiVariateGaussian
from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from torch import Tensor

GOOD, LOOKED_AT, SIZE_PX = 120, 24, 128
LEVELS = ((16, 40), (8, 112))
"""(side, values) of strides 8 and 16 at 128 px, as EfficientNet-Lite0 has them."""
ROUNDING, COVERED = 1e-3, 0.1


def main() -> int:
    random = np.random.default_rng(0)
    train, test = _drawn(random, GOOD), _drawn(random, LOOKED_AT)
    for level in test:
        level[LOOKED_AT // 2 :, 2:4, 2:4] += 2.0
    side = LEVELS[0][0]
    seen, looked = (peer_heads._joined(levels, slice(None), side).permute(0, 3, 1, 2) for levels in (train, test))
    found = {
        "PaDiM, image scores": (_padim_difference(seen, looked, train, test), ROUNDING),
        "PatchCore, image scores on one memory": (_patchcore_difference(seen, looked, train, test), ROUNDING),
        "PatchCore, largest distance to a memory of 5%": (_coverage_difference(seen), COVERED),
    }
    for name, (difference, limit) in found.items():
        sys.stdout.write(f"{name}: relative difference at most {difference:.2g} (limit {limit:g})\n")
    return 0 if all(difference <= limit for difference, limit in found.values()) else 1


def _drawn(random: np.random.Generator, count: int) -> peer_heads.Levels:
    """Each place with a mean of its own, and values that hang together."""
    levels = []
    for side, depth in LEVELS:
        shape = np.random.default_rng(depth)
        mixing = shape.normal(size=(depth, depth)) / depth**0.5
        mean = shape.normal(size=(side, side, depth))
        levels.append((mean + random.normal(size=(count, side, side, depth)) @ mixing).astype(np.float16))
    return levels


def _padim_difference(seen: Tensor, looked: Tensor, train: peer_heads.Levels, test: peer_heads.Levels) -> float:
    depth = seen.shape[1]
    chosen = np.sort(np.random.default_rng(0).permutation(depth)[: peer_heads.PADIM_VALUES])
    gaussian = MultiVariateGaussian()
    gaussian.fit(seen[:, chosen])
    maps = AnomalyMapGenerator(sigma=4)(
        embedding=looked[:, chosen],
        mean=gaussian.mean,
        inv_covariance=gaussian.inv_covariance,
        image_size=(SIZE_PX, SIZE_PX),
    )
    theirs = maps.flatten(1).max(1).values.numpy()
    return _relative(peer_heads.padim(train, test, SIZE_PX), theirs)


def _patchcore_difference(seen: Tensor, looked: Tensor, train: peer_heads.Levels, test: peer_heads.Levels) -> float:
    model = PatchcoreModel(layers=["layer2"], backbone="resnet18", pre_trained=False, num_neighbors=9)
    model.memory_bank = _vectors(seen)
    peer_heads.PATCHCORE_SHARE, peer_heads.PATCHCORE_MOST = 1.0, len(model.memory_bank)
    vectors = _vectors(looked)
    scores, places = model.nearest_neighbors(embedding=vectors, n_neighbors=1)
    scores, places = scores.reshape(len(looked), -1), places.reshape(len(looked), -1)
    theirs = model.compute_anomaly_score(scores, places, vectors).flatten().numpy()
    return _relative(peer_heads.patchcore(train, test), theirs)


def _coverage_difference(seen: Tensor) -> float:
    """A greedy memory is as good as its farthest vector is near."""
    vectors = _vectors(seen)[:6000]
    share = 0.05
    ours = vectors[peer_heads._coreset(vectors, round(share * len(vectors)))]
    theirs = KCenterGreedy(embedding=vectors, sampling_ratio=share).sample_coreset()
    radius = [float(torch.cdist(vectors, memory).min(1).values.max()) for memory in (ours, theirs)]
    return abs(radius[0] / radius[1] - 1)


def _vectors(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.max(np.abs(ours - theirs) / np.abs(theirs)))


if __name__ == "__main__":
    sys.exit(main())
