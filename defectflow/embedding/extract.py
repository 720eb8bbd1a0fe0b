"""Pictures -> cached embeddings: the backbone sees each training and tune picture only once.

For a tiled part all places would be gigabytes, and neighbours hardly differ; so a sample is kept of each picture.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectflow.common import Progress, Watch, unwatched
from defectflow.embedding.cache import EmbeddingCache, EmbeddingKey, Levels
from defectflow.embedding.embedding import Embedding
from defectflow.errors import DataError
from defectflow.image import Geometry, Tiling, read_image
from defectflow.recipe import Recipe

BATCH_PICTURES = 8
TILES_KEPT = 4
"""A tiled picture keeps as many places as this many tiles have, sampled over all its tiles."""
FORMAT = 4
"""Raised whenever the same settings would give other embeddings than before."""


def embedding_key(
    recipe: Recipe,
    embedding: Embedding,
    pixel_digests: Sequence[str],
    *,
    adapted_on: Sequence[str] = (),
    aligned_to: Sequence[str] = (),
) -> EmbeddingKey:
    """All that cached embeddings depend on: pixels in their order, settings, weights.

    embedding: before its backbone is adapted, on the pictures of digests `adapted_on`, in their order. `aligned_to`:
    those that pictures are aligned to, where they are.
    """
    settings = [recipe.image.model_dump(mode="json"), recipe.embedding.model_dump(mode="json")]
    made_by = [FORMAT, timm.__version__, embedding.backbone.digest(), list(adapted_on)]
    made_by.append([] if embedding.alignment is None else list(aligned_to))
    text = json.dumps([settings, made_by], sort_keys=True)
    return EmbeddingKey(hashlib.sha256(text.encode()).hexdigest(), tuple(pixel_digests))


def extract(
    embedding: Embedding,
    paths: Sequence[Path],
    full_scale: int | None,
    *,
    cache: EmbeddingCache,
    key: EmbeddingKey,
    device: torch.device,
    watch: Watch = unwatched,
) -> Levels:
    """One fp16 array (pictures, h_l, w_l, D_l) per level, memory-mapped from the cache; made there if absent."""
    return cache.levels(
        key,
        embedding.shapes,
        lambda levels, rows: _fill(levels, rows, embedding.to(device), paths, full_scale, device, watch),
    )


def extract_tiles(
    embedding: Embedding,
    paths: Sequence[Path],
    full_scale: int | None,
    *,
    geometry: Geometry,
    tiling: Tiling,
    cache: EmbeddingCache,
    key: EmbeddingKey,
    device: torch.device,
    watch: Watch = unwatched,
) -> tuple[Levels, NDArray[np.float16]]:
    """The same for tiled pictures: one array (pictures, 1, P_l, D_l) per level, of the places that `sampled_places`
    names; and the tiles' mean vectors, (pictures, tiles, sum of D_l).
    """
    shapes: list[tuple[int, ...]] = [
        (1, _kept(height * width, tiling), depth) for height, width, depth in embedding.shapes
    ]
    shapes.append((len(tiling), sum(shape[-1] for shape in embedding.shapes)))

    def fill(arrays: Levels, rows: Sequence[int]) -> None:
        embedding.to(device)
        for done, row in enumerate(rows, start=1):
            pixels = read_image(paths[row], full_scale=full_scale)
            tiles = tiling.cut(geometry.part(pixels))
            digest = key.pictures[row]
            places = [sampled_places(height * width, tiling, digest) for height, width, _ in embedding.shapes]
            for start in range(0, len(tiles), BATCH_PICTURES):
                levels = _embedded(embedding, tiles[start : start + BATCH_PICTURES], device)
                means = [level.mean(axis=(1, 2), dtype=np.float32) for level in levels]
                arrays[-1][row, start : start + BATCH_PICTURES] = np.concatenate(means, axis=1)
                for array, level, chosen in zip(arrays[:-1], levels, places, strict=True):
                    vectors = level.reshape(-1, level.shape[-1])  # (tiles of the batch * h_l * w_l, D_l)
                    first = start * level.shape[1] * level.shape[2]
                    low, high = np.searchsorted(chosen, (first, first + len(vectors)))
                    array[row, 0, low:high] = vectors[chosen[low:high] - first]
            watch(Progress("embed", done, len(rows), f"{len(tiles)} tiles each"))

    *levels, means = cache.levels(key, shapes, fill)
    return levels, means


def sampled_places(places: int, tiling: Tiling, digest: str) -> NDArray[np.int32]:
    """Which places of a level are kept of a picture, ascending, counted over all tiles of `places` each.

    digest: of its pixels, in hex. Others for each picture, so that together they cover the part; the same in every run.
    """
    random = np.random.default_rng((places, int(digest[:16], 16)))
    chosen = random.choice(len(tiling) * places, _kept(places, tiling), replace=False, shuffle=False)
    return np.sort(chosen).astype(np.int32)


def _kept(places: int, tiling: Tiling) -> int:
    return min(len(tiling), TILES_KEPT) * places


def level_batch(levels: Levels, start: int, stop: int) -> list[Tensor]:
    """Rows of every level as float32, (stop - start, h_l, w_l, D_l)."""
    return [torch.from_numpy(level[start:stop].astype(np.float32)) for level in levels]


def _fill(
    levels: Levels,
    rows: Sequence[int],
    embedding: Embedding,
    paths: Sequence[Path],
    full_scale: int | None,
    device: torch.device,
    watch: Watch,
) -> None:
    batch = dict[int, NDArray[np.uint8]]()
    for done, row in enumerate(rows):
        pixels = read_image(paths[row], full_scale=full_scale)
        if batch and (next(iter(batch.values())).shape != pixels.shape or len(batch) == BATCH_PICTURES):
            _embed(levels, embedding, batch, device)
            batch.clear()
            watch(Progress("embed", done, len(rows)))
        batch[row] = pixels
    _embed(levels, embedding, batch, device)
    watch(Progress("embed", len(rows), len(rows)))


def _embed(levels: Levels, embedding: Embedding, batch: dict[int, NDArray[np.uint8]], device: torch.device) -> None:
    """Write the rows of one batch of equally large pictures."""
    for array, level in zip(levels, _embedded(embedding, list(batch.values()), device), strict=True):
        array[list(batch)] = level


@torch.inference_mode()
def _embedded(embedding: Embedding, batch: list[NDArray[np.uint8]], device: torch.device) -> Levels:
    """Equally large pictures -> one (N, h_l, w_l, D_l) per level."""
    image = torch.from_numpy(np.stack(batch)).to(device)
    levels = []
    for level in embedding(image):
        largest = level.abs().max().item()
        if not largest < np.finfo(np.float16).max:
            raise DataError(
                f"the backbone's values reach {largest:.3g}, beyond what fp16 holds (65504); "
                "use other embedding.levels or other weights"
            )
        levels.append(level.cpu().numpy().astype(np.float16))
    return levels
