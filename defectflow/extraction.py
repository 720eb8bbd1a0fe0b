"""Pictures -> cached embeddings: the backbone sees each training and tune picture once, ever."""

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

from defectflow.cache import EmbeddingCache, Levels
from defectflow.detector import Detector
from defectflow.embedding import Embedding
from defectflow.errors import DataError
from defectflow.runtime.image import read_image
from defectflow.runtime.progress import Progress, Watch, unwatched
from defectflow.settings import Recipe

BATCH_PICTURES = 8
FORMAT = 1
"""Raised whenever the same settings would give other embeddings than before."""


def embedding_key(recipe: Recipe, embedding: Embedding, pixel_digests: Sequence[str]) -> str:
    """A digest of all that cached embeddings depend on: pixels in their order, settings, weights."""
    settings = [recipe.image.model_dump(mode="json"), recipe.embedding.model_dump(mode="json")]
    made_by = [FORMAT, timm.__version__, embedding.backbone.digest()]
    text = json.dumps([list(pixel_digests), settings, made_by], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def extract(
    embedding: Embedding,
    paths: Sequence[Path],
    full_scale: int | None,
    *,
    cache: EmbeddingCache,
    key: str,
    device: torch.device,
    watch: Watch = unwatched,
) -> Levels:
    """One fp16 array (pictures, h_l, w_l, D_l) per level, memory-mapped from the cache; made there if absent."""
    return cache.levels(
        key,
        len(paths),
        embedding.shapes,
        lambda levels: _fill(levels, embedding.to(device), paths, full_scale, device, watch),
    )


def level_batch(levels: Levels, start: int, stop: int) -> list[Tensor]:
    """Rows of every level as float32, (stop - start, h_l, w_l, D_l)."""
    return [torch.from_numpy(level[start:stop].astype(np.float32)) for level in levels]


@torch.no_grad()
def pooled_embeddings(detector: Detector, levels: Levels) -> NDArray[np.float32]:
    """Pooled embeddings of all cached pictures, (pictures, sum of D_l)."""
    starts = range(0, len(levels[0]), BATCH_PICTURES)
    return torch.cat([detector.pooled(level_batch(levels, row, row + BATCH_PICTURES)) for row in starts]).numpy()


def _fill(
    levels: Levels,
    embedding: Embedding,
    paths: Sequence[Path],
    full_scale: int | None,
    device: torch.device,
    watch: Watch,
) -> None:
    batch: list[NDArray[np.uint8]] = []
    for done, path in enumerate(paths):
        pixels = read_image(path, full_scale=full_scale)
        if batch and (batch[0].shape != pixels.shape or len(batch) == BATCH_PICTURES):
            _embed(levels, embedding, batch, done - len(batch), device)
            batch.clear()
            watch(Progress("embed", done, len(paths)))
        batch.append(pixels)
    _embed(levels, embedding, batch, len(paths) - len(batch), device)
    watch(Progress("embed", len(paths), len(paths)))


@torch.inference_mode()
def _embed(
    levels: Levels, embedding: Embedding, batch: list[NDArray[np.uint8]], start: int, device: torch.device
) -> None:
    """Write the rows of one batch of equally large pictures."""
    image = torch.from_numpy(np.stack(batch)).to(device)
    for array, level in zip(levels, embedding(image), strict=True):
        largest = level.abs().max().item()
        if not largest < np.finfo(np.float16).max:
            raise DataError(
                f"the backbone's values reach {largest:.3g}, beyond what fp16 holds (65504); "
                "use other embedding.levels or other weights"
            )
        array[start : start + len(batch)] = level.cpu().numpy().astype(np.float16)
