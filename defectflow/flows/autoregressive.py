"""The layer of MAF, and by `Inverse` of IAF: each value is moved and stretched by what came before it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.flows.bijection import Bijection
from defectflow.flows.networks import soft_clamp


class MaskedAffine(Bijection):
    """z_i = x_i * exp(s_i) + t_i, with s_i and t_i functions of x_1 .. x_(i-1) and the context.

    forward is one pass; inverse needs D passes, one value after the other, so MAF scores fast and samples slowly
    and `Inverse(MaskedAffine)`, IAF's layer, the other way round.
    Shapes: x (..., D), context (..., K) -> z (..., D), log_det (...) = sum of s.
    Source: Papamakarios et al. 2017, arXiv:1705.07057, eq. 4 and 5 (with s the log of 1 / their scale).
    """

    clamp: float

    def __init__(self, width: int, context_width: int, hidden: int, clamp: float) -> None:
        super().__init__()
        self.width, self.clamp = width, clamp
        self.net = MaskedNet(width, context_width, hidden)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(x, context)
        return x * torch.exp(log_scale) + shift, log_scale.sum(-1)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        log_scale = torch.zeros_like(z)
        for _ in range(self.width):  # after pass i the first i values are right
            log_scale, shift = self._scale_and_shift(x, context)
            x = (z - shift) * torch.exp(-log_scale)
        return x, -log_scale.sum(-1)

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        return self._scale_and_shift(x, context)[0]

    def _scale_and_shift(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(x, context)
        return soft_clamp(raw, self.clamp), shift


class MaskedNet(nn.Module):
    """Two hidden layers whose output i sees inputs 1 .. i-1 only; the context enters the first, unmasked.

    Shapes: x (..., D), context (..., K) -> two of (..., D).
    Source: Germain et al. 2015, arXiv:1502.03509, eq. 12 and 13.
    """

    into: Tensor
    between: Tensor
    out_of: Tensor

    def __init__(self, width: int, context_width: int, hidden: int) -> None:
        super().__init__()
        rank = torch.arange(1, width + 1)
        # A hidden unit of degree d sees inputs 1 .. d; degrees are spread evenly, and none may see the last input.
        degree = 1 + torch.arange(hidden) * max(1, width - 1) // hidden
        self.register_buffer("into", (degree[:, None] >= rank).float(), persistent=False)
        self.register_buffer("between", (degree[:, None] >= degree).float(), persistent=False)
        self.register_buffer("out_of", (rank[:, None] > degree).float().repeat(2, 1), persistent=False)
        self.first = nn.Linear(width, hidden)
        self.from_context = nn.Linear(context_width, hidden, bias=False) if context_width else None
        # The first value sees no input, so without this its scale and shift would not know the context.
        self.straight = nn.Linear(context_width, 2 * width, bias=False) if context_width else None
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2 * width)
        for layer in (self.last, self.straight):
            if layer is not None:
                nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.linear(x, self.first.weight * self.into, self.first.bias)
        if self.from_context is not None:
            hidden = hidden + self.from_context(context)
        hidden = F.relu(F.linear(F.relu(hidden), self.second.weight * self.between, self.second.bias))
        out = F.linear(hidden, self.last.weight * self.out_of, self.last.bias)
        if self.straight is not None:
            out = out + self.straight(context)
        first, second = out.chunk(2, dim=-1)
        return first, second
