"""Raw pixels -> per-level vectors: the square, the backbone, neighbourhood averages, normalisation, the condition."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.backbone import Backbone, build_backbone
from defectflow.runtime.geometry import PADDING_GREY, PARTS_PER_WHOLE, Geometry
from defectflow.settings import EmbeddingSettings, ImageSettings

CONDITION_WIDTH = 32
"""Values that tell a flow where on the part a place lies."""


class Embedding(nn.Module):
    """uint8 pictures of one size -> the backbone's levels, each place averaged with its neighbours.

    Shapes: image (N, H, W, 3) uint8 RGB, any H and W -> one (N, h_l, w_l, D_l) per level.
    """

    def __init__(self, backbone: Backbone, geometry: Geometry, size_px: int, neighbourhood: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.geometry = geometry
        self.size_px = size_px
        self.neighbourhood = neighbourhood
        with torch.no_grad():
            shapes = [tuple(level.shape[1:]) for level in self.levels(torch.zeros(1, 3, size_px, size_px))]
        self.shapes: list[tuple[int, ...]] = shapes
        """(h_l, w_l, D_l) of each level, fine to coarse."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.levels(self.square(image))

    def square(self, image: Tensor) -> Tensor:
        """Region of interest, aspect policy, antialiased resize: (N, H, W, 3) uint8 -> (N, 3, S, S), 0..255."""
        x = image.permute(0, 3, 1, 2).to(torch.float32)
        cut = self.geometry.cut(x.shape[2], x.shape[3])
        x = x[:, :, cut.top : cut.bottom, cut.left : cut.right]
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
        """Each place of the backbone's levels with its neighbours, (N, h_l, w_l, D_l) each."""
        reach = self.neighbourhood // 2
        if reach == 0:
            return features
        return [
            F.avg_pool2d(
                level.permute(0, 3, 1, 2),
                self.neighbourhood,
                stride=1,
                padding=reach,
                count_include_pad=False,
            ).permute(0, 2, 3, 1)
            for level in features
        ]


class Normalisation(nn.Module):
    """v -> (v - mean) M, with statistics of the training parts, never of the batch or the picture.

    Shapes: (..., D) -> (..., D).
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    def forward(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) @ self.matrix

    def fit(self, mean: Tensor, covariance: Tensor, how: str) -> None:
        """`whiten`: M = C^(-1/2); `standardise`: M = diag(C)^(-1/2); both after adding a little to C's diagonal.

        mean (D,), covariance (D, D). Without that little, dead channels would be blown up to the size of live ones.
        """
        covariance = covariance.double()
        width = len(covariance)
        covariance = covariance + SHRINKAGE * covariance.trace() / width * torch.eye(width, dtype=torch.float64)
        if how == "standardise":
            matrix = torch.diag(covariance.diagonal().rsqrt())
        else:
            values, vectors = torch.linalg.eigh(covariance)
            matrix = vectors @ torch.diag(values.rsqrt()) @ vectors.T
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)


SHRINKAGE = 1e-3
"""Added to a level's covariance, as a share of its mean variance."""


def geometry_of(image: ImageSettings) -> Geometry:
    """Where a recipe's square lies on a picture, in whole ten-thousandths."""
    if image.roi.rectangle is None:
        return Geometry(image.aspect)
    left, top, width, height = (round(share * PARTS_PER_WHOLE) for share in image.roi.rectangle)
    # Rounding may add up to one part too many, which would reach beyond a large picture.
    width, height = min(width, PARTS_PER_WHOLE - left), min(height, PARTS_PER_WHOLE - top)
    return Geometry(image.aspect, (left, top, width, height))


def build_embedding(image: ImageSettings, embedding: EmbeddingSettings) -> tuple[Embedding, list[str]]:
    """The embedding of a recipe, and the names of tensors in the weights that found no place."""
    backbone, unused = build_backbone(embedding, image.size)
    return Embedding(backbone, geometry_of(image), image.size, embedding.neighbourhood), unused


def position_condition(height: int, width: int) -> Tensor:
    """Where on the part each place lies: (h, w, K), sines and cosines of x and y at octaves of half a turn.

    Source: the encoding of Vaswani et al. 2017, arXiv:1706.03762, section 3.5, on a [0, 1] plane.
    """
    octaves = 2.0 ** torch.arange(CONDITION_WIDTH // 4) * math.pi  # (K / 4,)
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    rows = torch.cat([torch.sin(y[:, None] * octaves), torch.cos(y[:, None] * octaves)], 1)  # (h, K / 2)
    columns = torch.cat([torch.sin(x[:, None] * octaves), torch.cos(x[:, None] * octaves)], 1)  # (w, K / 2)
    return torch.cat([rows[:, None].expand(height, width, -1), columns[None].expand(height, width, -1)], dim=-1)
