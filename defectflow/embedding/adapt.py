"""Training pictures -> a backbone with their batch statistics instead of those of its pretraining.

Batch normalisation centres and scales every channel by a mean and a variance. On dim metal, say, the channels of a
network that knows photographs hardly move, and those of bright prints saturate; so both are measured once on train
parts, and then stay as fixed as the weights, which nothing changes here. Source: Li et al. 2016, arXiv:1603.04779.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from defectflow.common import Progress, Watch, unwatched
from defectflow.embedding.backbone import Backbone
from defectflow.embedding.embedding import Embedding, geometry_of
from defectflow.image import Tiling, read_image
from defectflow.recipe import ImageSettings

ADAPTED_ON = 128
"""Pictures that statistics are measured on, at most: of each they see thousands of places."""
BATCH_PIXELS = 32 * 256**2
"""Of the squares that one batch holds."""
LEAST_SHARE = 0.01
"""The least share of a channel's learned variance: no channel is amplified more than tenfold."""


def adapt(
    embedding: Embedding,
    tiling: Tiling | None,
    image: ImageSettings,
    paths: Sequence[Path],
    device: torch.device,
    watch: Watch = unwatched,
) -> None:
    """Give the embedding's backbone the batch statistics of training pictures; of tiled ones, of one tile each.

    A network without batch normalisation is left unchanged, and so is any where there is a single picture.
    """
    backbone = embedding.to(device).backbone
    if len(paths) < 2 or not _norms(backbone):
        return
    chosen = [paths[row] for row in np.random.default_rng(0).permutation(len(paths))[:ADAPTED_ON]]
    watch(Progress("adapt", 0, len(chosen)))
    measure_statistics(backbone, _batches(embedding, tiling, image, chosen, device, watch))


@torch.no_grad()
def measure_statistics(backbone: Backbone, batches: Iterable[Tensor]) -> None:
    """batches of squares (N, 3, S, S), 0..255: their statistics replace the learned ones; every batch counts alike."""
    norms = _norms(backbone)
    learned = [norm.state_dict()["running_var"].clone() for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for squares in batches:
        backbone(squares)
    for norm, variance in zip(norms, learned, strict=True):
        norm.eval()
        norm.state_dict()["running_var"].clamp_(min=LEAST_SHARE * variance)


def _norms(backbone: Backbone) -> list[_BatchNorm]:
    return [module for module in backbone.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def _batches(
    embedding: Embedding,
    tiling: Tiling | None,
    image: ImageSettings,
    paths: Sequence[Path],
    device: torch.device,
    watch: Watch,
) -> Iterator[Tensor]:
    """The pictures' squares, aligned where the embedding aligns, in equally large batches."""
    count, done = -(-len(paths) * image.size**2 // BATCH_PIXELS), 0
    for rows in np.array_split(np.arange(len(paths)), min(count, len(paths))):
        squares = (embedding.square(_look(tiling, image, paths, row).to(device)) for row in rows)
        yield torch.cat([embedding.aligned(square)[0] for square in squares])
        done += len(rows)
        watch(Progress("adapt", done, len(paths)))


def _look(tiling: Tiling | None, image: ImageSettings, paths: Sequence[Path], row: int) -> Tensor:
    """(1, H, W, 3): the whole picture, or one of its tiles, of each picture another one."""
    pixels = read_image(paths[row], full_scale=image.full_scale)
    if tiling is not None:
        tiles = tiling.cut(geometry_of(image).part(pixels))
        pixels = tiles[row % len(tiles)]
    return torch.from_numpy(pixels)[None]
