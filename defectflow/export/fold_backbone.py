"""The backbone with its pixels' scale inside its first convolution."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from defectflow.embedding import Backbone


class FoldedBackbone(nn.Module):
    """Pixels 0..255 (N, 3, S, S) -> the backbone's features (N, D_l, H_l, W_l), fine to coarse."""

    mean: Tensor
    std: Tensor | None

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor | None) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, square: Tensor) -> list[Tensor]:
        centred = square - self.mean
        features: list[Tensor] = self.net(centred if self.std is None else centred / self.std)
        return features


@torch.no_grad()
def fold_backbone(backbone: Backbone, size_px: int) -> FoldedBackbone:
    """The pixels' scale moves into the first convolution; their mean cannot, because the zeros that pad it mean "mean".

    Where no single convolution takes the pixels, the scale stays.
    """
    net = copy.deepcopy(backbone.net)
    for module in net.modules():
        if getattr(module, "inplace", False):  # torch 2.15 takes twice as long to export what is done in place
            cast(Any, module).inplace = False
    whole = FoldedBackbone(copy.deepcopy(net), backbone.mean, backbone.std)
    square = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0)).to(backbone.mean) * 255
    takers: list[nn.Conv2d] = []

    def watch(convolution: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given and given[0] is square:
            takers.append(cast(nn.Conv2d, convolution))

    hooks = [module.register_forward_pre_hook(watch) for module in net.modules() if isinstance(module, nn.Conv2d)]
    net(square)
    for hook in hooks:
        hook.remove()
    if len(takers) != 1 or takers[0].weight.shape[1] != 3:
        return whole
    takers[0].weight /= backbone.std
    folded = FoldedBackbone(net, backbone.mean, None)
    # Something else than the convolution may read the pixels, too: only the outcome tells.
    pairs = zip(folded(square), whole(square), strict=True)
    same = all(torch.allclose(one, other, rtol=0, atol=1e-3 * float(other.std())) for one, other in pairs)
    return folded if same else whole
