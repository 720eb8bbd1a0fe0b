"""The condition of a flow: the position of a place on the part."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CONDITION_WIDTH = 32
"""Width of the condition."""
WHOLE = torch.tensor([0.0, 0.0, 1.0, 1.0])
"""The whole part: left, top, width, height."""


def position_condition(height: int, width: int, rectangle: Tensor = WHOLE) -> Tensor:
    """Where on the part each place lies: (h, w, K), sines and cosines of x and y at octaves of half a turn.

    rectangle (..., 4): left, top, width, height of what the places cover, as fractions of the part -> (..., h, w, K).
    Source: the encoding of Vaswani et al. 2017, arXiv:1706.03762, section 3.5, on a [0, 1] plane.
    """
    octaves = 2.0 ** torch.arange(CONDITION_WIDTH // 4) * math.pi  # (K / 4,)
    y, x = place_centres(height, width, rectangle)
    y, x = y[..., None] * octaves, x[..., None] * octaves  # (..., h, K / 4), (..., w, K / 4)
    rows = torch.cat([torch.sin(y), torch.cos(y)], -1)[..., :, None, :]  # (..., h, 1, K / 2)
    columns = torch.cat([torch.sin(x), torch.cos(x)], -1)[..., None, :, :]  # (..., 1, w, K / 2)
    shape = (*rectangle.shape[:-1], height, width, CONDITION_WIDTH // 2)
    return torch.cat([rows.expand(shape), columns.expand(shape)], dim=-1)


def place_centres(height: int, width: int, rectangle: Tensor = WHOLE) -> tuple[Tensor, Tensor]:
    """Where on the part the rows and the columns of a grid lie, as fractions: y (..., h), x (..., w)."""
    left, top, wide, tall = (rectangle[..., side, None] for side in range(4))  # (..., 1) each
    return (
        top + tall * ((torch.arange(height) + 0.5) / height),
        left + wide * ((torch.arange(width) + 0.5) / width),
    )
