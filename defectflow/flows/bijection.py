"""The interface that every layer of every flow implements, and the layer that swaps its directions."""

from __future__ import annotations

from torch import Tensor, nn


class Bijection(nn.Module):
    """An invertible map between data x and latent z, given a context.

    forward is always the scoring direction, x -> z.
    Shapes: x, z (..., D); context (..., K), broadcastable to x's places, K may be 0; log_det (...).
    """

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z and log|det dz/dx|."""
        raise TypeError(f"{type(self).__name__} must define forward")

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """x and log|det dx/dz|."""
        raise TypeError(f"{type(self).__name__} must define inverse")

    def initialise(self, x: Tensor, context: Tensor) -> None:
        """Set what depends on a first batch of data, x (N, D). Most layers have nothing to set."""

    def clamp_used(self, x: Tensor, context: Tensor) -> float | None:
        """The largest |log-scale| over these vectors as a share of its clamp; None for a layer without one."""
        return None


class Inverse(Bijection):
    """The same map with its two directions swapped."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.bijection(z, context)
        return out

    def clamp_used(self, x: Tensor, context: Tensor) -> float | None:
        return self.bijection.clamp_used(self.bijection.inverse(x, context)[0], context)
