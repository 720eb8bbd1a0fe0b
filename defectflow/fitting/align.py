"""Training and tune pictures -> an embedding that lays every part alike, where recipe or pictures ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectflow.common import Progress, Watch
from defectflow.data import Picture, Splits, fold_by_part
from defectflow.embedding import Alignment, Embedding, Lie, geometry_of
from defectflow.image import read_image, size_px
from defectflow.recipe import Align, ImageSettings, Recipe

LEARNED_FROM = 64
"""Training pictures, at most: their mean hardly changes with more."""
LOOKED_AT = 96
"""Those and tune pictures, at most, decide whether parts are aligned."""


def align(embedding: Embedding, recipe: Recipe, splits: Splits, watch: Watch) -> tuple[Recipe, Lie | None]:
    """Give the embedding its alignment, where `image.align` says so; `auto` leaves it to how the parts lie.

    Returns the recipe with what was decided, and how the parts lie, where that was measured: never for tiles.
    """
    image = recipe.image
    if image.align == "never" or image.tiling.tile is not None:
        return _decided(recipe, "never"), None
    watch(Progress("align", 0, 1))
    aspect = _aspect(image, splits.train[0])
    learned_from = _some(splits.train, LEARNED_FROM)
    looked_at = [*learned_from, *_some(splits.tune, LOOKED_AT - len(learned_from))]
    copies = _copies(embedding, image, looked_at)
    folds = torch.from_numpy(fold_by_part([picture.part for picture in looked_at]))
    ways: tuple[Align, ...] = (image.align,)
    if image.align == "auto":
        ways = ("small",) if image.roi.is_of_a_part else ("small", "turned")
    for way in ways:
        alignment = Alignment(image.size, aspect=aspect, any_turn=way == "turned")
        alignment.fit([small[: len(learned_from)] for small in copies])
        lie = alignment.look(copies, folds, [picture.path for picture in looked_at])
        if lie.can_be_aligned or lie.lies_alike:
            break
    decided = way if image.align != "auto" or lie.can_be_aligned else "never"
    if decided != "never":
        embedding.alignment = alignment
    watch(Progress("align", 1, 1, _said(lie, decided)))
    return _decided(recipe, decided), lie


@torch.no_grad()
def laid_back(
    embedding: Embedding, anomaly_map: NDArray[np.float32], path: Path, full_scale: int | None
) -> NDArray[np.float32]:
    """A map (h, w) of an aligned picture -> as the part lies on the picture."""
    if embedding.alignment is None:
        return anomaly_map
    square = embedding.square(torch.from_numpy(read_image(path, full_scale=full_scale))[None])
    motion = embedding.alignment.motion(embedding.alignment.copies(square))
    return np.asarray(embedding.alignment.laid_back(torch.from_numpy(anomaly_map)[None], motion)[0])


def _said(lie: Lie, decided: Align) -> str:
    match decided:
        case "turned":
            return "parts lie turned any way; they are aligned"
        case "small":
            return f"parts lie {lie.apart:.1%} of the picture's side apart; they are aligned"
    if lie.lies_alike:
        return "parts lie alike"
    odd = lie.odd_ones
    which = f" ({len(odd)} of {lie.looked_at}, most of all {odd[0]})" if odd else ""
    return f"parts cannot be laid on each other{which}; they are looked at as they lie"


def _decided(recipe: Recipe, decided: Align) -> Recipe:
    return recipe.model_copy(update={"image": recipe.image.model_copy(update={"align": decided})})


def _aspect(image: ImageSettings, picture: Picture) -> float:
    """Width / height of what is made square."""
    if image.aspect != "stretch":
        return 1.0
    width, height = size_px(picture.path)
    cut = geometry_of(image).cut(height, width)
    aspect: float = (cut.right - cut.left) / (cut.bottom - cut.top)
    return aspect


def _some(pictures: Sequence[Picture], most: int) -> list[Picture]:
    return [pictures[row] for row in np.random.default_rng(0).permutation(len(pictures))[:most]]


@torch.no_grad()
def _copies(embedding: Embedding, image: ImageSettings, pictures: Sequence[Picture]) -> list[Tensor]:
    """Small copies of pictures, by size."""
    alignment = Alignment(image.size)
    read = (torch.from_numpy(read_image(picture.path, full_scale=image.full_scale))[None] for picture in pictures)
    copies = [alignment.copies(embedding.square(pixels)) for pixels in read]
    return [torch.cat(each) for each in zip(*copies, strict=True)]
