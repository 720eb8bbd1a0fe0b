"""The interface that every layer of every flow implements, and the layer that swaps its directions."""

from __future__ import annotations

from torch import Tensor, nn


class Bijection(nn.Module):
    """An invertible map between data x and latent z, given a context.

    forward is always the scoring direction, x -> z.
    Shapes: x, z (..., D); context (..., K), broadcastable to x's places, K may be 0; log_det (...).
    """

    clamp: float | None = None
    """Largest |log-scale| that the layer can have; None where nothing holds it."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z and log|det dz/dx|."""
        raise TypeError(f"{type(self).__name__} must define forward")

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """x and log|det dx/dz|."""
        raise TypeError(f"{type(self).__name__} must define inverse")

    def initialise(self, x: Tensor, context: Tensor) -> None:
        """Set what depends on a first batch of data, x (N, D). Most layers have nothing to set."""

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor | None:
        """By how much each value, or direction, of these vectors is stretched, as logs; None where nothing is."""
        return None


class Inverse(Bijection):
    """The same map with its two directions swapped."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection
        self.clamp = bijection.clamp

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = self.bijection(z, context)
        return out

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor | None:
        return self.bijection.log_scales(self.bijection.inverse(x, context)[0], context)
