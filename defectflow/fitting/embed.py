"""Pictures, whole or in tiles -> the vectors that densities learn from, and a pooled embedding of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from defectflow.common import Watch
from defectflow.embedding import (
    BATCH_PICTURES,
    EmbeddingCache,
    EmbeddingKey,
    Levels,
    Vectors,
    extract,
    extract_tiles,
    geometry_of,
    level_batch,
    sampled_places,
)
from defectflow.recipe import ImageSettings
from defectflow.score import Detector


def embed_pictures(
    detector: Detector,
    image: ImageSettings,
    paths: list[Path],
    *,
    cache: EmbeddingCache,
    key: EmbeddingKey,
    device: torch.device,
    watch: Watch,
) -> tuple[list[Vectors], NDArray[np.float32]]:
    """Per level, the vectors of all pictures; and the pictures' pooled embeddings (n, sum of D_l)."""
    embedding, tiling = detector.embedding, detector.tiling
    if tiling is None:
        levels = extract(embedding, paths, image.full_scale, cache=cache, key=key, device=device, watch=watch)
        places = [detector.score.inside_at(*shape[:2]).flatten().nonzero()[:, 0].numpy() for shape in embedding.shapes]
        whole = [Vectors(level, inside) for level, inside in zip(levels, places, strict=True)]
        return whole, pooled_embeddings(detector, levels)
    levels, means = extract_tiles(
        embedding,
        paths,
        image.full_scale,
        geometry=geometry_of(image),
        tiling=tiling,
        cache=cache,
        key=key,
        device=device,
        watch=watch,
    )
    vectors = []
    for level, (height, width, _) in zip(levels, embedding.shapes, strict=True):
        sampled = np.stack([sampled_places(height * width, tiling, digest) for digest in key.pictures])
        vectors.append(Vectors(level, np.arange(sampled.shape[1]), sampled))
    return vectors, tiling.shares @ means.astype(np.float32)


@torch.no_grad()
def pooled_embeddings(detector: Detector, levels: Levels) -> NDArray[np.float32]:
    """Pooled embeddings of all cached pictures, (pictures, sum of D_l)."""
    starts = range(0, len(levels[0]), BATCH_PICTURES)
    return torch.cat([detector.pooled(level_batch(levels, row, row + BATCH_PICTURES)) for row in starts]).numpy()
