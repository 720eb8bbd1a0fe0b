"""Two views of the same places -> a loss: descriptors of one place agree, of any two places differ.

Per level, with b a descriptor in the second view and a the same place's in the first,
loss = -log( exp(b.a / t) / sum_k exp(b.k / t) ), where k runs over all sampled places of the batch, and both ways.
Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4; place by place as Pinheiro et al. 2020, arXiv:2011.05499.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.pretraining.drawing import Dice
from defectflow.pretraining.settings import DescriptorSettings
from defectflow.pretraining.views import same_places


class Descriptors(nn.Module):
    """One small network per level: features (N, D_l, h, w) -> unit vectors (N, width, h, w). Thrown away afterwards."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(depth, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, width, 1))
            for depth in channels
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [F.normalize(head(level).float(), dim=1) for head, level in zip(self.heads, levels, strict=True)]


def descriptor_loss(
    descriptors: Tensor, matrix: Tensor, settings: DescriptorSettings, dice: Dice
) -> tuple[Tensor, float]:
    """One level's loss, and the share of places that were distinguished from all others.

    descriptors (2 N, W, h, w): the first views, then the second ones; matrix (N, 2, 3): see `views.warped`.
    """
    first, second = descriptors.chunk(2)
    second, seen = same_places(second, matrix)
    second = F.normalize(second, dim=1)
    order = dice.uniform(*seen.shape).masked_fill(~seen, -1)
    chosen = order.flatten().topk(min(settings.places, int(seen.sum()))).indices
    a, b = _at(first, chosen), _at(second, chosen)
    similar = b @ a.T / settings.temperature  # (P, P)
    own = torch.arange(len(chosen), device=similar.device)
    recognised = (similar.argmax(1) == own).float().mean().item()
    return (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) / 2, recognised


def _at(maps: Tensor, places: Tensor) -> Tensor:
    """(N, W, h, w) at flat places (P,) of N h w -> (P, W)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])[places]
