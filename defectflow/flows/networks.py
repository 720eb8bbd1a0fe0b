"""The networks inside the flows. They may be any function, since no layer inverts them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConditionedNet(nn.Module):
    """Two hidden layers; the context enters the first as an added term.

    h = relu(A x + C c + b); h = relu(B h + b'); y = V h + v, with V = v = 0 at first, so that a flow starts
    as the identity. Anchored, y is multiplied by `anchor(x)`, and a layer is the identity far from good vectors.
    Shapes: x (..., D_in), context (..., K) -> (..., D_out).
    """

    def __init__(
        self, width_in: int, context_width: int, width_hidden: int, width_out: int, anchored: bool = False
    ) -> None:
        super().__init__()
        self.anchored = anchored
        self.first = nn.Linear(width_in, width_hidden)
        # Kept apart from `first`: the context of a place never changes, so an exported graph holds C c as
        # a constant instead of computing it for every picture.
        self.from_context = nn.Linear(context_width, width_hidden, bias=False) if context_width else None
        self.second = nn.Linear(width_hidden, width_hidden)
        self.last = nn.Linear(width_hidden, width_out)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        hidden = self.first(x)
        if self.from_context is not None:
            hidden = hidden + self.from_context(context)
        hidden = F.relu(self.second(F.relu(hidden)))
        out: Tensor = self.last(hidden)
        return anchor(x) * out if self.anchored else out


def anchor(x: Tensor) -> Tensor:
    """g = exp(-max(0, |x|^2 / D - 1.2) / 0.3): 1 for x (..., D) as long as whitened good vectors, 0 far out. (..., 1).

    What a network has learned among good vectors says nothing about others: there, it could hide a defect.
    """
    return torch.exp(-F.relu(x.square().mean(-1, keepdim=True) - ANCHOR_REACH) / ANCHOR_FADE)


ANCHOR_REACH, ANCHOR_FADE = 1.2, 0.3
"""Mean squares, in units of good vectors' variance: up to which a network counts in full, and over which it fades."""


def soft_clamp(raw: Tensor, limit: float) -> Tensor:
    """limit * tanh(raw / limit): unbounded log-scales made training diverge."""
    return limit * torch.tanh(raw / limit)


SOFTPLUS_OF_THIS_IS_1 = 0.5413248546129181
"""log(e - 1), for what starts at 1 and must stay positive."""
