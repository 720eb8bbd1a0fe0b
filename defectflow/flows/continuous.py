"""Continuous flows: z is where an ordinary differential equation carries x.

dz/dt = f(z, t, c) from t = 0, data, to t = 1, latent; d log|det| / dt = trace of df/dz.
Source: Chen et al. 2018, arXiv:1806.07366, theorem 1; Grathwohl et al. 2018, arXiv:1810.01367.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from defectflow.flows.bijection import Bijection

Trace = Literal["exact", "gaussian", "rademacher"]
Rates = tuple[Tensor, ...]
Slopes = tuple[Tensor, Tensor]


class Velocity(nn.Module):
    """f(z, t, c) = V tanh(B tanh(A z + C c + a t + b) + b') + v, with V = v = 0 at first: nothing moves.

    Two hidden layers give the trace of df/dz in closed form, with d and d' the slopes of the two tanh layers:
    trace = d'^T (B * (A V)^T) d, where * is element by element. Cost: hidden^2 for each place, as f itself.
    Shapes: z (..., D), t a number, context (..., K) -> (..., D).
    """

    def __init__(self, width: int, context_width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.from_context = nn.Linear(context_width, hidden, bias=False) if context_width else None
        self.from_time = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, t: Tensor | float, context: Tensor) -> Tensor:
        return self.with_slopes(z, t, context)[0]

    def trace(self, slopes: Slopes) -> Tensor:
        """Of df/dz, (...)."""
        low, high = slopes
        mixed = self.second.weight * (self.first.weight @ self.last.weight).T  # (hidden, hidden)
        return (high * (low @ mixed.T)).sum(-1)

    def product(self, slopes: Slopes, vector: Tensor) -> Tensor:
        """df/dz times a vector, (..., D)."""
        low, high = slopes
        moved = low * (vector @ self.first.weight.T)
        moved = high * (moved @ self.second.weight.T)
        return moved @ self.last.weight.T

    def with_slopes(self, z: Tensor, t: Tensor | float, context: Tensor) -> tuple[Tensor, Slopes]:
        """f (..., D), and the slopes d and d' (..., hidden) of which all its derivatives are made."""
        hidden = self.first(z) + self.from_time * t
        if self.from_context is not None:
            hidden = hidden + self.from_context(context)
        low = torch.tanh(hidden)
        high = torch.tanh(self.second(low))
        return self.last(high), (1 - low * low, 1 - high * high)


class Continuous(Bijection):
    """z = x + integral of f from 0 to 1, by classical Runge-Kutta of fixed steps: one formula, so it exports.

    The map of the steps is invertible only as far as the steps are fine; both errors fall with the fourth power of
    their number. Shapes: x (..., D) -> z (..., D), log_det (...).
    """

    def __init__(self, width: int, context_width: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.velocity = Velocity(width, context_width, hidden)
        self.steps = steps

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrated(x, context, 0.0, 1.0)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self._integrated(z, context, 1.0, 0.0)

    def _integrated(self, start: Tensor, context: Tensor, begin: float, end: float) -> tuple[Tensor, Tensor]:
        def rates(t: float, state: Rates) -> Rates:
            f, slopes = self.velocity.with_slopes(state[0], t, context)
            return f, self.velocity.trace(slopes)

        z, log_det = runge_kutta(rates, (start, torch.zeros_like(start[..., 0])), begin, end, self.steps)
        return z, log_det


def runge_kutta(rates: Callable[[float, Rates], Rates], state: Rates, begin: float, end: float, steps: int) -> Rates:
    """The classical method of fourth order."""
    h = (end - begin) / steps

    def moved(by: float, along: Rates) -> Rates:
        return tuple(value + by * rate for value, rate in zip(state, along, strict=True))

    for step in range(steps):
        t = begin + step * h
        k1 = rates(t, state)
        k2 = rates(t + h / 2, moved(h / 2, k1))
        k3 = rates(t + h / 2, moved(h / 2, k2))
        k4 = rates(t + h, moved(h, k3))
        state = tuple(
            value + h / 6 * (a + 2 * b + 2 * c + d) for value, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True)
        )
    return state


def likelihood_loss(
    layer: Continuous,
    x: Tensor,
    context: Tensor,
    log_base: Callable[[Tensor], Tensor],
    *,
    trace: Trace,
    kinetic: float,
    jacobian: float,
    tolerance: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean of -log p(x) with an adaptive solver, plus kinetic * mean |f|^2 + jacobian * mean |df/dz e|^2.

    x (N, D), context (N, K). `trace`: in closed form, or Hutchinson's estimate e.(df/dz e) with one Gaussian or
    Rademacher e for each vector and the whole way.
    Source: Grathwohl et al. 2018, arXiv:1810.01367, eq. 7; Finlay et al. 2020, arXiv:2002.02798, eq. 9 and 10.
    """
    from torchdiffeq import odeint

    if trace == "gaussian":
        probe = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    else:
        probe = torch.randint(0, 2, x.shape, generator=generator, device=x.device).to(x.dtype) * 2 - 1

    def rates(t: Tensor, state: Rates) -> Rates:
        f, slopes = layer.velocity.with_slopes(state[0], t, context)
        pushed = layer.velocity.product(slopes, probe)
        rate = layer.velocity.trace(slopes) if trace == "exact" else (probe * pushed).sum(-1)
        return f, rate, (f * f).sum(-1), (pushed * pushed).sum(-1)

    nothing = torch.zeros_like(x[..., 0])
    times = torch.tensor([0.0, 1.0], device=x.device, dtype=x.dtype)
    path = odeint(rates, (x, nothing, nothing, nothing), times, method="dopri5", rtol=tolerance, atol=tolerance)
    z, log_det, energy, spread = (values[-1] for values in path)
    loss: Tensor = (-log_base(z) - log_det + kinetic * energy + jacobian * spread).mean()
    return loss


def matching_loss(layer: Continuous, x: Tensor, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Mean |f(x_t, t, c) - (e - x)|^2 with x_t = (1 - t) x + t e, e normal, t uniform: no solver at all.

    The marginal flow of these straight lines carries data to normals, so f may be used as if it had been trained
    by likelihood. x (N, D), context (N, K).
    Source: Lipman et al. 2022, arXiv:2210.02747, eq. 22 and 23, with time running from data to latent.
    """
    e = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    t = torch.rand((len(x), 1), generator=generator, device=x.device, dtype=x.dtype)
    wrong = layer.velocity((1 - t) * x + t * e, t, context) - (e - x)
    loss: Tensor = (wrong * wrong).sum(-1).mean()
    return loss
