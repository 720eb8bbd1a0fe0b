"""Pictures -> crops, and two views of each crop with the map that carries places of one to places of the other."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from defectflow.pretraining.drawing import Dice


def crops(pictures: Tensor, count: int, side_px: int, dice: Dice) -> Tensor:
    """Turned and scaled cut-outs (N, 3, S, S) in 0..1 of random pictures (M, 3, P, P) uint8."""
    chosen = pictures[dice.integers(len(pictures), count)].float() / 255
    share = side_px / pictures.shape[-1]  # what a cut-out at the picture's own scale covers
    scale = dice.log_uniform(count, low=0.6 * share, high=min(1.0, 2.5 * share))
    turn = dice.uniform(count, high=2 * math.pi)
    shift = dice.uniform(count, 2, low=-1, high=1) * (1 - scale[:, None])
    return _sampled(chosen, _affine(turn, scale, shift), side_px)


def warped(crop: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """A second look at the same places: turned, scaled and shifted a little; (N, 3, S, S) and the map (N, 2, 3).

    The map carries coordinates of the new picture, -1..1, to those of the old one.
    """
    count = len(crop)
    turn = dice.uniform(count, low=-0.25, high=0.25)
    scale = dice.log_uniform(count, low=0.82, high=1.22)
    shift = dice.uniform(count, 2, low=-0.125, high=0.125)
    matrix = _affine(turn, scale, shift)
    return _sampled(crop, matrix, crop.shape[-1]), matrix


def same_places(maps: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (N, D, h, w) of a warped view at the first view's places, and which of these it shows (N, h, w)."""
    count, _, height, width = maps.shape
    last_row = matrix.new_tensor([0.0, 0.0, 1.0]).expand(count, 1, 3)
    back = torch.linalg.inv(torch.cat([matrix, last_row], dim=1))[:, :2]  # (N, 2, 3)
    grid = F.affine_grid(back, [count, 1, height, width], align_corners=False)
    inside = (grid.abs() < 1 - 1 / height).all(-1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False), inside


def toned(crop: Tensor, dice: Dice) -> Tensor:
    """Contrast that a batch of materials may have, from full to dim metal; the same in both views of a crop."""
    count = len(crop)
    mean = crop.mean((1, 2, 3), keepdim=True)
    grey = crop.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    colourless = dice.chance(0.5, count, 1, 1, 1)
    contrast = dice.log_uniform(count, 1, 1, 1, low=0.15, high=1.3)
    level = 0.5 * mean + 0.5 * dice.uniform(count, 1, 1, 1, low=0.15, high=0.85)
    return (torch.where(colourless, grey, crop) - mean) * contrast + level


def photographed(crop: Tensor, dice: Dice) -> Tensor:
    """What a camera may change between two shots: exposure, light fall-off, white balance, focus, noise; 0..1."""
    count, side_px = len(crop), crop.shape[-1]
    mean = crop.mean((1, 2, 3), keepdim=True)
    gain = (0.2 * dice.normal(count, 1, 1, 1) + 0.05 * dice.normal(count, 3, 1, 1)).exp()
    offset = 0.06 * dice.normal(count, 1, 1, 1) + 0.015 * dice.normal(count, 3, 1, 1)
    ramp = torch.linspace(-1, 1, side_px, device=crop.device)
    fall = 0.06 * (dice.normal(count, 1, 1, 1) * ramp + dice.normal(count, 1, 1, 1) * ramp[:, None])
    shot = (crop - mean) * gain + (mean + offset) * (1 + fall)
    soft = F.avg_pool2d(F.pad(shot, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    shot = torch.lerp(shot, soft, dice.uniform(count, 1, 1, 1) * dice.chance(0.5, count, 1, 1, 1))
    noise = dice.normal(*shot.shape) * dice.uniform(count, 1, 1, 1) ** 2 * 0.06
    return (shot + noise).clamp(0, 1)


def _affine(turn: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(N,), (N,), (N, 2) -> (N, 2, 3): new coordinates to old ones."""
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
    return torch.stack(rows, 1)


def _sampled(pictures: Tensor, matrix: Tensor, side_px: int) -> Tensor:
    grid = F.affine_grid(matrix, [len(pictures), 3, side_px, side_px], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
