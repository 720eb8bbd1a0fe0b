"""Bijections + base density -> log-likelihood and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from defectflow.flows.base import Normal, StudentT
from defectflow.flows.bijection import Bijection
from defectflow.flows.continuous import Continuous, Trace, likelihood_loss, matching_loss

BOUND = "flow.augmented: likelihoods are estimates of a lower bound, from one fixed draw of the added dimensions"
"""What is to be told wherever a flow's `is_bound` is true."""


class Flow(nn.Module):
    """log p(x | c) = log p(z) + sum of log|det| over the bijections, z being x after all of them.

    Shapes: x (..., D), context (..., K) -> log_prob (...), in nats. Any width of context, 0 included.
    """

    def __init__(
        self, width: int, context_width: int, bijections: Sequence[Bijection], base: Normal | StudentT
    ) -> None:
        super().__init__()
        self.width = width
        self.context_width = context_width
        self.bijections = nn.ModuleList(bijections)
        self.base = base

    @property
    def is_bound(self) -> bool:
        """Whether log_prob estimates a lower bound on log p(x), and is not log p(x) itself."""
        return False

    def augment(self, x: Tensor, anew: torch.Generator | None = None) -> Tensor:
        """What the layers act on: x itself, unless a family adds dimensions, always the same or redrawn for each."""
        return x

    def latent(self, x: Tensor, context: Tensor, anew: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """z (..., D) and log|det dz/dx| (...)."""
        return _through(self.layers(), self.augment(x, anew), context)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """(..., D), (..., K) -> (...), in nats. Computed in the weights' precision, never under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            z, log_det = self.latent(x, context)
            return self.base.log_prob(z) + log_det

    def latent_log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """log p(z) alone, without the log-determinant: with a normal base, the squared norm of z. (...), in nats."""
        with torch.autocast(x.device.type, enabled=False):
            return self.base.log_prob(self.latent(x, context)[0])

    def loss(self, x: Tensor, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What training lowers, for vectors (N, D): the negative log-likelihood in nats per dimension.

        generator: where a family's loss draws from; most draw nothing.
        """
        return -self.log_prob(x, context).mean() / self.width

    @torch.no_grad()
    def sample(self, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One x for each context: (N, K) -> (N, D)."""
        shape = (len(context), self.augment(context.new_zeros(self.width)).shape[-1])
        x = self.base.sample(shape, generator, like=self._reference(context))
        for bijection in reversed(self.layers()):
            x, _ = bijection.inverse(x, context)
        return x

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor) -> None:
        """Let each layer set what depends on a first batch, x (N, D), as it arrives at that layer."""
        x = self.augment(x)
        for bijection in self.layers():
            bijection.initialise(x, context)
            x, _ = bijection(x, context)

    def layers(self) -> list[Bijection]:
        """From data to latent."""
        return cast("list[Bijection]", list(self.bijections))

    def _reference(self, context: Tensor) -> Tensor:
        """A tensor of the flow's device and precision; a flow without weights goes by its context."""
        return next(iter(self.parameters()), context)


class ContinuousFlow(Flow):
    """A flow whose last layer is a differential equation, trained by likelihood or by flow matching.

    With `augmented` dimensions e ~ q = N(0, I) beside x there is a bound: E_q[log p(x, e) - log q(e)] <= log p(x).
    Training draws e for every vector; log_prob estimates the bound by one e, drawn once and kept with the weights.
    Source of the augmentation: Dupont et al. 2019, arXiv:1904.01681; of the bound: Huang et al. 2020, arXiv:2002.07101.
    """

    extra: Tensor

    def __init__(
        self,
        width: int,
        context_width: int,
        bijections: Sequence[Bijection],
        base: Normal | StudentT,
        *,
        objective: Literal["likelihood", "matching"],
        trace: Trace,
        kinetic: float,
        jacobian: float,
        tolerance: float,
        augmented: int = 0,
    ) -> None:
        """bijections: over width + augmented values; kinetic, jacobian: weights of the penalties that keep paths short
        and straight; tolerance: of the solver.
        """
        super().__init__(width, context_width, bijections, base)
        self.objective, self.trace = objective, trace
        self.kinetic, self.jacobian, self.tolerance = kinetic, jacobian, tolerance
        self.register_buffer("extra", torch.randn(augmented, generator=torch.Generator().manual_seed(0)))

    @property
    def is_bound(self) -> bool:
        return len(self.extra) > 0

    def augment(self, x: Tensor, anew: torch.Generator | None = None) -> Tensor:
        extra = self.extra.expand(*x.shape[:-1], -1)
        if anew is not None:
            extra = torch.randn(extra.shape, generator=anew, device=x.device, dtype=x.dtype)
        return torch.cat([x, extra], dim=-1)

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        return super().log_prob(x, context) - Normal().log_prob(self.extra)

    @torch.no_grad()
    def sample(self, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return super().sample(context, generator)[:, : self.width]

    def loss(self, x: Tensor, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """By likelihood with its penalties, in nats per dimension; or the mean square error of matching."""
        *before, last = self.layers()
        extra = torch.randn(len(x), len(self.extra), generator=generator, device=x.device, dtype=x.dtype)
        x, log_det = _through(before, torch.cat([x, extra], dim=-1), context)
        layer = cast(Continuous, last)
        if self.objective == "matching":
            return matching_loss(layer, x, context, generator) / self.width
        whole = likelihood_loss(
            layer,
            x,
            context,
            self.base.log_prob,
            trace=self.trace,
            kinetic=self.kinetic,
            jacobian=self.jacobian,
            tolerance=self.tolerance,
            generator=generator,
        )
        loss: Tensor = (whole - (log_det - Normal().log_prob(extra)).mean()) / self.width
        return loss


def _through(layers: Sequence[Bijection], x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """x after all layers, and the sum of their log-determinants."""
    total = torch.zeros_like(x[..., 0])
    for layer in layers:
        x, log_det = layer(x, context)
        total = total + log_det
    return x, total
