"""The networks of a flow's layers where the condition is constant: what it adds is a bias for each place."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.flows import ConditionedNet, MaskedNet, anchor


class PlaceNet(nn.Module):
    """A layer's network where the context is constant: relu(x A + a), relu(h B + b), h C + c; a and c by place.

    Shapes: x (N, h, w, D) -> (N, h, w, D').
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], anchored: bool = False) -> None:
        """layers: weight (out, in) and bias (out) or (h, w, out) of each."""
        super().__init__()
        self.anchored = anchored
        self.steps = nn.ModuleList(PlaceLinear(weight, bias) for weight, bias in layers)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        first, second, last = self.steps
        out: Tensor = last(F.relu(second(F.relu(first(x)))))
        return anchor(x) * out if self.anchored else out


class PlaceLinear(nn.Module):
    """y = x A + a, where a may differ from place to place.

    A position's bias is a sum over its row and its column; kept apart, they take a hundredth of the file, and an
    engine adds them up when it loads it.
    """

    matrix: Tensor
    bias: Tensor
    by_column: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """weight (out, in), bias (out) or (h, w, out)."""
        super().__init__()
        by_row, by_column = bias, None
        if bias.dim() == 3:
            rows, columns = bias[:, :1], bias[:1] - bias[:1, :1]  # (h, 1, out), (1, w, out)
            if torch.allclose(rows + columns, bias, rtol=0, atol=1e-12):
                by_row, by_column = rows, columns
        self.register_buffer("matrix", weight.T.contiguous())
        self.register_buffer("bias", by_row)
        self.register_buffer("by_column", by_column)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix + (self.bias if self.by_column is None else self.bias + self.by_column)


class PlaceMaskedNet(PlaceNet):
    """As PlaceNet, its two halves apart, as MaskedNet gives them."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        first, second = super().forward(x, context).chunk(2, dim=-1)
        return first, second


def at_places(net: ConditionedNet | MaskedNet, condition: Tensor) -> PlaceNet:
    def added(linear: nn.Linear, from_context: nn.Linear | None) -> Tensor:
        return linear.bias if from_context is None else linear.bias + from_context(condition)

    first, second, last = net.first, net.second, net.last
    entered = added(first, net.from_context)
    if isinstance(net, ConditionedNet):
        layers = [(first.weight, entered), (second.weight, second.bias), (last.weight, last.bias)]
        return PlaceNet(layers, net.anchored)
    weights = first.weight * net.into, second.weight * net.between, last.weight * net.out_of
    return PlaceMaskedNet(list(zip(weights, (entered, second.bias, added(last, net.straight)), strict=True)))
