"""Raw pixels -> per-level vectors: the square, the backbone, neighbourhood averages, normalisation, the condition."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.embedding.align import Alignment
from defectflow.embedding.backbone import Backbone, Weights, build_backbone
from defectflow.errors import SettingsError
from defectflow.image import PADDING_GREY, PARTS_PER_WHOLE, Geometry, Tiling
from defectflow.recipe import EmbeddingSettings, ImageSettings

MOST_TILES = 400
"""At tens of milliseconds each, more than anyone would wait for."""


class Embedding(nn.Module):
    """uint8 pictures of one size -> the backbone's levels, each place averaged with its neighbours.

    Shapes: image (N, H, W, 3) uint8 RGB, any H and W -> one (N, h_l, w_l, D_l) per level.
    """

    def __init__(self, backbone: Backbone, geometry: Geometry, size_px: int, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.geometry = geometry
        self.size_px = size_px
        self.neighbourhood, self.weighting = settings.neighbourhood, settings.weighting
        self.averaged_to_px, self.spacing_px = settings.averaged_to_px, settings.spacing_px
        self.alignment: Alignment | None = None
        """What lays a part as training parts lie; None: it is looked at as it lies."""
        with torch.no_grad():
            shapes = [tuple(level.shape[1:]) for level in self.levels(torch.zeros(1, 3, size_px, size_px))]
        self.shapes: list[tuple[int, ...]] = shapes
        """(h_l, w_l, D_l) of each level, fine to coarse."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.look(image)[0]

    def look(self, image: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The levels, and the motion (N, 3) that has aligned the square, or None; see `Alignment`."""
        square, motion = self.aligned(self.square(image))
        return self.levels(square), motion

    def aligned(self, square: Tensor) -> tuple[Tensor, Tensor | None]:
        """The square as the backbone meets it, and the motion that has aligned it, or None."""
        if self.alignment is None:
            return square, None
        aligned, motion = self.alignment(square)
        return aligned, motion

    def square(self, image: Tensor) -> Tensor:
        """Region of interest, aspect policy, antialiased resize: (N, H, W, 3) uint8 -> (N, 3, S, S), 0..255."""
        cut = self.geometry.cut(image.shape[1], image.shape[2])
        x = image[:, cut.top : cut.bottom, cut.left : cut.right].permute(0, 3, 1, 2).to(torch.float32)
        height, width = x.shape[2], x.shape[3]
        match self.geometry.aspect:
            case "letterbox":
                side = torch.sym_max(height, width)
                above, left = (side - height) // 2, (side - width) // 2
                border: list[Any] = [left, side - width - left, above, side - height - above]  # symbols, in an export
                x = F.pad(x, border, value=PADDING_GREY)
            case "crop":
                side = torch.sym_min(height, width)
                above, left = (height - side) // 2, (width - side) // 2
                x = x[:, :, above : above + side, left : left + side]
            case "stretch":
                pass
        torch._check(x.shape[2] > 0)  # the exporter cannot know it of a symbolic size
        torch._check(x.shape[3] > 0)
        return F.interpolate(x, size=(self.size_px, self.size_px), mode="bilinear", antialias=True)

    def levels(self, square: Tensor) -> list[Tensor]:
        """(N, 3, S, S) -> one (N, h_l, w_l, D_l) per level."""
        return self.averaged(self.backbone.forward(square))

    def averaged(self, features: list[Tensor]) -> list[Tensor]:
        """Places of the backbone's levels, each with its neighbours, (N, h_l, w_l, D_l) each.

        Where not every place is kept, an average reaches to the next one that is, so that nothing goes unseen.
        """
        kept = []
        for level in features:
            place_px = round(self.size_px / level.shape[1])
            step = -(-self.spacing_px // place_px)  # rounded up, so that no level keeps more places than a finer one
            neighbourhood = self.neighbourhood if place_px <= self.averaged_to_px else 1
            side = max(neighbourhood, step + 1 - step % 2)
            if side > 1:
                maps = level.permute(0, 3, 1, 2)
                if self.weighting == "binomial":
                    maps = _binomial(maps, side, step)
                else:
                    maps = F.avg_pool2d(maps, side, stride=step, padding=side // 2, count_include_pad=False)
                level = maps.permute(0, 2, 3, 1)
            kept.append(level)
        return kept


def _binomial(maps: Tensor, side: int, step: int) -> Tensor:
    """Averages over squares of `side` places, by 1 2 1 or longer rows of Pascal's triangle; edges are repeated.

    Shapes: (N, D, h, w) -> (N, D, ceil(h / step), ceil(w / step)).
    """
    row = torch.tensor([math.comb(side - 1, place) for place in range(side)], dtype=maps.dtype, device=maps.device)
    kernel = torch.outer(row, row) / row.sum() ** 2
    padded = F.pad(maps, [side // 2] * 4, mode="replicate")
    return F.conv2d(padded, kernel.expand(maps.shape[1], 1, side, side), stride=step, groups=maps.shape[1])


def geometry_of(image: ImageSettings) -> Geometry:
    """Where a recipe's square lies on a picture, in whole ten-thousandths."""
    if image.roi.rectangle is None:
        return Geometry(image.aspect)
    left, top, width, height = (round(share * PARTS_PER_WHOLE) for share in image.roi.rectangle)
    # Rounding may add up to one part too many, which would reach beyond a large picture.
    width, height = min(width, PARTS_PER_WHOLE - left), min(height, PARTS_PER_WHOLE - top)
    return Geometry(image.aspect, (left, top, width, height))


def tiling_of(image: ImageSettings, side: int) -> Tiling | None:
    """How a recipe's part becomes tiles of `side` x `side` places; None where it is looked at whole.

    Raises SettingsError for a tile that is larger than the part, or for more tiles than anyone would wait for.
    """
    tile = image.tiling.tile
    if tile is None:
        return None
    if image.tiling.picture is None:
        raise SettingsError("image.tiling.picture: null is for `fit`, which finds the size; give [width, height]")
    width, height = image.tiling.picture
    cut = geometry_of(image).cut(height, width)
    tall, wide = cut.bottom - cut.top, cut.right - cut.left
    if tile > min(tall, wide):
        raise SettingsError(
            f"image.tiling.tile: {tile} px is larger than the part, which is {wide} x {tall} px; use at most "
            f"{min(tall, wide)}, or null to process the whole picture at once"
        )
    tiling = Tiling(
        rows=round(tall * side / tile),
        columns=round(wide * side / tile),
        side=side,
        overlap=math.ceil(image.tiling.overlap * side / tile),
    )
    if len(tiling) > MOST_TILES:
        raise SettingsError(
            f"image.tiling.tile: {tile} px makes {len(tiling)} tiles of a part of {wide} x {tall} px, more than "
            f"{MOST_TILES}; use a larger tile, or a smaller overlap"
        )
    return tiling


def build_embedding(image: ImageSettings, embedding: EmbeddingSettings) -> tuple[Embedding, Weights]:
    """The embedding of a recipe, and the weights that its backbone was given."""
    backbone, weights = build_backbone(embedding, image.size)
    # Tiles are cut before they are embedded, region of interest and all.
    geometry = geometry_of(image) if image.tiling.tile is None else Geometry()
    return Embedding(backbone, geometry, image.size, embedding), weights
