"""Base densities: what z follows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Normal(nn.Module):
    """log p(z) of independent standard normals.

    Shapes: z (..., D) -> log_prob (...).
    """

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z * z).sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)

    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
        """z of this shape, on the device and in the precision of `like`."""
        return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)

    def fixed(self) -> Normal:
        """As it will be for good: itself, having learned nothing."""
        return self


class StudentT(nn.Module):
    """log p(z) of independent Student t variables with learned degrees of freedom, above 2, one for each value.

    Heavier tails than a normal: a good part that is unusual in one respect is less surprising.
    Shapes: z (..., D) -> log_prob (...).
    Source: Laszkiewicz et al. 2022, arXiv:2206.10311, section 3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full((width,), math.log(START - 2) / SPEED))

    def degrees(self) -> Tensor:
        """(D,), each above 2, so that a variance exists."""
        return 2 + torch.exp(SPEED * self.raw)

    def log_prob(self, z: Tensor) -> Tensor:
        nu = self.degrees()
        return _student_log_prob(z, nu, _student_constant(nu))

    @torch.no_grad()
    def sample(self, shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
        """A normal over the root of a chi-square over its degrees, the latter by inverting its distribution."""
        normal = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
        nu = self.degrees().to(like.dtype).expand(shape)
        gamma = _standard_gamma(nu / 2, generator)
        return normal * torch.sqrt(nu / 2 / gamma)

    def fixed(self) -> FixedStudentT:
        """As it will be for good: what it has learned as constants, for a graph."""
        return FixedStudentT(self.degrees().detach())


class FixedStudentT(StudentT):
    """The same density with degrees of freedom (D,) that no longer change: no graph has the log of a gamma function."""

    nu: Tensor
    constant: Tensor

    def __init__(self, nu: Tensor) -> None:
        nn.Module.__init__(self)  # without what is learned
        self.register_buffer("nu", nu)
        self.register_buffer("constant", _student_constant(nu.double()).to(nu.dtype))

    def degrees(self) -> Tensor:
        return self.nu

    def log_prob(self, z: Tensor) -> Tensor:
        return _student_log_prob(z, self.nu, self.constant)


def _student_constant(nu: Tensor) -> Tensor:
    return torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - 0.5 * torch.log(math.pi * nu)


def _student_log_prob(z: Tensor, nu: Tensor, constant: Tensor) -> Tensor:
    return (constant - (nu + 1) / 2 * torch.log1p(z * z / nu)).sum(-1)


START = 10.0
"""Degrees of freedom at first: tails a little heavier than a normal's."""
SPEED = 10.0
"""The degrees learn this much faster than weights do, since they have orders of magnitude to go."""


def _standard_gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gamma variables of these shape parameters, all above 1, from a generator (torch's own takes none).

    Source: Marsaglia and Tsang 2000, A simple method for generating gamma variables, ACM TOMS 26(3).
    """
    d = shape - 1 / 3
    c = 1 / torch.sqrt(9 * d)
    out = torch.zeros_like(shape)
    todo = torch.ones_like(shape, dtype=torch.bool)
    while bool(todo.any()):
        x = torch.randn(shape.shape, generator=generator, device=shape.device, dtype=shape.dtype)
        v = (1 + c * x) ** 3
        u = torch.rand(shape.shape, generator=generator, device=shape.device, dtype=shape.dtype)
        fits = (v > 0) & (torch.log(u) < 0.5 * x * x + d - d * v + d * torch.log(v.clamp_min(1e-30)))
        out = torch.where(todo & fits, d * v, out)
        todo = todo & ~fits
    return out
