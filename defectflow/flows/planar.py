"""The planar layer: bends space along one direction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.flows.bijection import Bijection
from defectflow.flows.networks import SOFTPLUS_OF_THIS_IS_1

BISECTIONS = 70
"""Halve a bracket to below double precision."""
SMALLEST_SLOPE = 1e-3
"""Of z along w. Nearer to 0 the way back would lose all digits of single precision, and the log all of its own."""


class Planar(Bijection):
    """z = x + u tanh(w.x + b + v.c), with u bent back where needed so that s = 1 + w.u > 0 and the layer is invertible.

    log_det = log(tanh^2 + s (1 - tanh^2)), which keeps its digits where s is small. The inverse solves one monotone
    equation in one unknown, a = w.x, by bisection: a + w.u tanh(a + b + v.c) = w.z; its root lies within |w.u| of w.z.
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
        u, slope = self._invertible()
        bend = torch.tanh(x @ self.w + self._offset(context))
        return x + u * bend[..., None], torch.log(_steepness(slope, bend))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        u, slope = self._invertible()
        offset = self._offset(context)
        target = z @ self.w
        along = _root(target, slope - 1, offset)
        # One step of Newton's method from the root changes nothing but carries the gradients.
        bend = torch.tanh(along + offset)
        along = along - (along + (slope - 1) * bend - target) / _steepness(slope, bend).detach()
        bend = torch.tanh(along + offset)
        return z - u * bend[..., None], -torch.log(_steepness(slope, bend))

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        """Along w, the one direction that is stretched."""
        return self.forward(x, context)[1]

    def _offset(self, context: Tensor) -> Tensor:
        return self.b if self.from_context is None else self.b + self.from_context(context)[..., 0]

    def _invertible(self) -> tuple[Tensor, Tensor]:
        """u' = u + (s - 1 - w.u) w / |w|^2 with s = floor + (1 - floor) softplus(w.u + shift), 1 if w.u = 0; and s."""
        w_dot_u, along = self.w @ self.u, self.w / (self.w @ self.w)
        slope = SMALLEST_SLOPE + (1 - SMALLEST_SLOPE) * F.softplus(w_dot_u + SOFTPLUS_OF_THIS_IS_1)
        across = self.u - w_dot_u * along
        across = across - (self.w @ across) * along  # what rounding left of a long u would drown a small s
        return across + (slope - 1) * along, slope


def _steepness(slope: Tensor, bend: Tensor) -> Tensor:
    """How fast w.z changes with w.x: `slope` in the middle of the bend, 1 far from it."""
    return bend * bend + slope * (1 - bend * bend)


@torch.no_grad()
def _root(target: Tensor, w_dot_u: Tensor, offset: Tensor) -> Tensor:
    """a with a + w.u tanh(a + offset) = target, by halving its bracket to below double precision."""
    low, high = target - w_dot_u.abs(), target + w_dot_u.abs()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_low = middle + w_dot_u * torch.tanh(middle + offset) < target
        low, high = torch.where(too_low, middle, low), torch.where(too_low, high, middle)
    return (low + high) / 2
