"""Bijections + base density -> log-likelihood and samples; and the one place where a family is put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from defectflow.flows.bijection import Bijection
from defectflow.flows.coupling import AffineCoupling, ContextAffine, Permutation
from defectflow.flows.glow import ActNorm, Mixing

Family = Literal["realnvp", "glow"]


class Flow(nn.Module):
    """log p(x | c) = log N(z; 0, I) + sum of log|det| over the bijections, z being x after all of them.

    Shapes: x (..., D), context (..., K) -> log_prob (...), in nats. Any width of context, 0 included.
    """

    def __init__(self, width: int, context_width: int, bijections: Sequence[Bijection]) -> None:
        super().__init__()
        self.width = width
        self.context_width = context_width
        self.bijections = nn.ModuleList(bijections)

    def latent(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., D) and log|det dz/dx| (...)."""
        total = torch.zeros_like(x[..., 0])
        for bijection in self._layers():
            x, log_det = bijection(x, context)
            total = total + log_det
        return x, total

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """(..., D), (..., K) -> (...), in nats. Computed in the weights' precision, never under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            z, log_det = self.latent(x, context)
            return log_det - 0.5 * (z * z).sum(-1) - 0.5 * self.width * math.log(2 * math.pi)

    def sample(self, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One x for each context: (N, K) -> (N, D)."""
        reference = next(self.parameters())
        x = torch.randn(len(context), self.width, generator=generator, device=reference.device, dtype=reference.dtype)
        for bijection in reversed(self._layers()):
            x, _ = bijection.inverse(x, context)
        return x

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor) -> None:
        """Let each layer set what depends on a first batch, x (N, D), as it arrives at that layer."""
        for bijection in self._layers():
            bijection.initialise(x, context)
            x, _ = bijection(x, context)

    def _layers(self) -> list[Bijection]:
        return cast("list[Bijection]", list(self.bijections))


def build_flow(
    family: Family, width: int, context_width: int, *, layers: int, hidden: int, clamp: float, seed: int = 0
) -> Flow:
    """A family by name -> a flow over vectors of `width` values. It starts as the identity or a rotation."""
    bijections: list[Bijection] = []
    if context_width:
        bijections.append(ContextAffine(width, context_width, hidden, clamp))
    for layer in range(layers):
        match family:
            case "realnvp":
                bijections.append(Permutation(width, seed=seed * 1000 + layer))
            case "glow":
                bijections += [ActNorm(width), Mixing(width, seed=seed * 1000 + layer)]
        bijections.append(AffineCoupling(width, context_width, hidden, clamp))
    return Flow(width, context_width, bijections)
