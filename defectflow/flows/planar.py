"""The planar layer: bends space along one direction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.flows.bijection import Bijection
from defectflow.flows.networks import SOFTPLUS_OF_THIS_IS_1

BISECTIONS = 70
"""Halve a bracket to below double precision."""


class Planar(Bijection):
    """z = x + u tanh(w.x + b + v.c), with u bent back where needed so that w.u > -1 and the layer is invertible.

    log_det = log(1 + w.u (1 - tanh^2)). The inverse solves one monotone equation in one unknown, a = w.x, by
    bisection: a + w.u tanh(a + b + v.c) = w.z, whose root lies within |w.u| of w.z.
    Shapes: x (..., D), context (..., K) -> z (..., D), log_det (...).
    Source: Rezende and Mohamed 2015, arXiv:1505.05770, eq. 10 to 13 and appendix A.1.
    """

    def __init__(self, width: int, context_width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(width, generator=generator) / width**0.5)
        self.u = nn.Parameter(torch.zeros(width))
        self.b = nn.Parameter(torch.randn((), generator=generator))
        self.from_context = nn.Linear(context_width, 1, bias=False) if context_width else None

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        u, w_dot_u = self._invertible()
        bend = torch.tanh(x @ self.w + self._offset(context))
        return x + u * bend[..., None], torch.log1p(w_dot_u * (1 - bend * bend))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        u, w_dot_u = self._invertible()
        offset = self._offset(context)
        target = z @ self.w
        along = _root(target, w_dot_u, offset)
        # One step of Newton's method from the root changes nothing but carries the gradients.
        bend = torch.tanh(along + offset)
        along = along - (along + w_dot_u * bend - target) / (1 + w_dot_u * (1 - bend * bend)).detach()
        bend = torch.tanh(along + offset)
        return z - u * bend[..., None], -torch.log1p(w_dot_u * (1 - bend * bend))

    def _offset(self, context: Tensor) -> Tensor:
        return self.b if self.from_context is None else self.b + self.from_context(context)[..., 0]

    def _invertible(self) -> tuple[Tensor, Tensor]:
        """u' = u + (m(w.u) - w.u) w / |w|^2 with m(a) = softplus(a + shift) - 1, which keeps 0 at 0; and w.u'."""
        w_dot_u = self.w @ self.u
        wanted = F.softplus(w_dot_u + SOFTPLUS_OF_THIS_IS_1) - 1
        return self.u + (wanted - w_dot_u) * self.w / (self.w @ self.w), wanted


@torch.no_grad()
def _root(target: Tensor, w_dot_u: Tensor, offset: Tensor) -> Tensor:
    """a with a + w.u tanh(a + offset) = target, by halving its bracket to below double precision."""
    low, high = target - w_dot_u.abs(), target + w_dot_u.abs()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_low = middle + w_dot_u * torch.tanh(middle + offset) < target
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (low + high) / 2
