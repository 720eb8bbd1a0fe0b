"""Bijections + base density -> log-likelihood and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from defectflow.flows.base import Normal, StudentT
from defectflow.flows.bijection import Bijection
from defectflow.flows.continuous import Continuous, Trace, likelihood_loss, matching_loss


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

    def latent(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., D) and log|det dz/dx| (...)."""
        total = torch.zeros_like(x[..., 0])
        for bijection in self.layers():
            x, log_det = bijection(x, context)
            total = total + log_det
        return x, total

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """(..., D), (..., K) -> (...), in nats. Computed in the weights' precision, never under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            z, log_det = self.latent(x, context)
            return self.base.log_prob(z) + log_det

    def latent_log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        """log p(z) alone, without the log-determinant: with a normal base, the squared norm of z. (...), in nats."""
        with torch.autocast(x.device.type, enabled=False):
            return self.base.log_prob(self.latent(x, context)[0])

    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        """What training lowers, for vectors (N, D): the negative log-likelihood in nats per dimension."""
        return -self.log_prob(x, context).mean() / self.width

    @torch.no_grad()
    def sample(self, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One x for each context: (N, K) -> (N, D)."""
        x = self.base.sample((len(context), self.width), generator, like=self._reference(context))
        for bijection in reversed(self.layers()):
            x, _ = bijection.inverse(x, context)
        return x

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor) -> None:
        """Let each layer set what depends on a first batch, x (N, D), as it arrives at that layer."""
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
    """A flow whose last layer is a differential equation, trained by likelihood or by flow matching."""

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
    ) -> None:
        """kinetic, jacobian: weights of the two penalties that keep paths straight; tolerance: of the solver."""
        super().__init__(width, context_width, bijections, base)
        self.objective, self.trace = objective, trace
        self.kinetic, self.jacobian, self.tolerance = kinetic, jacobian, tolerance

    def loss(self, x: Tensor, context: Tensor) -> Tensor:
        """By likelihood with its penalties, in nats per dimension; or the mean square error of matching."""
        *before, last = self.layers()
        total = torch.zeros_like(x[..., 0])
        for bijection in before:
            x, log_det = bijection(x, context)
            total = total + log_det
        layer = cast(Continuous, last)
        if self.objective == "matching":
            return matching_loss(layer, x, context) / self.width
        whole = likelihood_loss(
            layer,
            x,
            context,
            self.base.log_prob,
            trace=self.trace,
            kinetic=self.kinetic,
            jacobian=self.jacobian,
            tolerance=self.tolerance,
        )
        return (whole - total.mean()) / self.width
