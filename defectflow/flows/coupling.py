"""Layers of NICE and RealNVP: couplings, fixed permutation, diagonal scale; and maps that know the context alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectflow.flows.bijection import Bijection
from defectflow.flows.networks import ConditionedNet, soft_clamp


class AffineCoupling(Bijection):
    """z_a = x_a; z_b = x_b * exp(s) + t, with (s, t) = net(x_a, context) and s softly clamped.

    Shapes: x (..., D) -> z (..., D), log_det (...) = sum of s.
    Source: Dinh et al. 2017, arXiv:1605.08803, eq. 8.
    """

    clamp: float

    def __init__(self, width: int, context_width: int, hidden: int, clamp: float, anchored: bool = False) -> None:
        super().__init__()
        self.kept = kept_values(width)
        self.clamp = clamp
        self.net = ConditionedNet(self.kept, context_width, hidden, 2 * (width - self.kept), anchored)

    def _scale_and_shift(self, kept: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(kept, context).chunk(2, dim=-1)
        return soft_clamp(raw, self.clamp), shift

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = halves(x, self.kept)
        log_scale, shift = self._scale_and_shift(kept, context)
        moved = moved * torch.exp(log_scale) + shift
        return torch.cat([kept, moved], dim=-1), log_scale.sum(-1)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = halves(z, self.kept)
        log_scale, shift = self._scale_and_shift(kept, context)
        moved = (moved - shift) * torch.exp(-log_scale)
        return torch.cat([kept, moved], dim=-1), -log_scale.sum(-1)

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        return self._scale_and_shift(x[..., : self.kept], context)[0]


class AdditiveCoupling(Bijection):
    """z_a = x_a; z_b = x_b + net(x_a, context): moves, never stretches.

    Shapes: x (..., D) -> z (..., D), log_det (...) = 0.
    Source: Dinh et al. 2015, arXiv:1410.8516, eq. 10.
    """

    def __init__(self, width: int, context_width: int, hidden: int, anchored: bool = False) -> None:
        super().__init__()
        self.kept = kept_values(width)
        self.net = ConditionedNet(self.kept, context_width, hidden, width - self.kept, anchored)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = halves(x, self.kept)
        return torch.cat([kept, moved + self.net(kept, context)], dim=-1), torch.zeros_like(x[..., 0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = halves(z, self.kept)
        return torch.cat([kept, moved - self.net(kept, context)], dim=-1), torch.zeros_like(z[..., 0])


class DiagonalScale(Bijection):
    """z_i = x_i * exp(s_i), with s learned: the only layer of NICE that stretches, everywhere alike.

    Shapes: x (..., D) -> z (..., D), log_det (...) = sum of s.
    Source: Dinh et al. 2015, arXiv:1410.8516, section 3.3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return x * torch.exp(self.log_scale), self.log_scale.sum() + torch.zeros_like(x[..., 0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return z * torch.exp(-self.log_scale), torch.zeros_like(z[..., 0]) - self.log_scale.sum()

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        return self.log_scale


class Permutation(Bijection):
    """z_i = x_{p(i)}, with p drawn once from a seed and stored with the weights.

    Shapes: x (..., D) -> z (..., D), log_det (...) = 0.
    """

    order: Tensor
    back: Tensor

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        order = torch.randperm(width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("order", order)
        self.register_buffer("back", torch.argsort(order))

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., self.order], torch.zeros_like(x[..., 0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return z[..., self.back], torch.zeros_like(z[..., 0])


class ContextAffine(Bijection):
    """z = x * exp(s(c)) + t(c): a scale and shift for each value that know only the context.

    Under a fixed position its scale and shift are constants, so it costs one multiplication per value on the
    line, and it lets every place on the part have its own mean and spread before any coupling.
    Shapes: x (..., D), context (..., K) -> z (..., D), log_det (...).
    """

    clamp: float

    def __init__(self, width: int, context_width: int, hidden: int, clamp: float) -> None:
        super().__init__()
        self.clamp = clamp
        self.net = _context_net(context_width, hidden, 2 * width)

    def _scale_and_shift(self, context: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(context).chunk(2, dim=-1)
        return soft_clamp(raw, self.clamp), shift

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(context)
        return x * torch.exp(log_scale) + shift, log_scale.sum(-1) + torch.zeros_like(x[..., 0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(context)
        return (z - shift) * torch.exp(-log_scale), torch.zeros_like(z[..., 0]) - log_scale.sum(-1)

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        return self._scale_and_shift(context)[0]


class ContextShift(Bijection):
    """z = x + t(c): every place has its own mean, and all places one and the same stretch.

    Shapes: x (..., D), context (..., K) -> z (..., D), log_det (...) = 0.
    """

    def __init__(self, width: int, context_width: int, hidden: int) -> None:
        super().__init__()
        self.net = _context_net(context_width, hidden, width)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return x + self.net(context), torch.zeros_like(x[..., 0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return z - self.net(context), torch.zeros_like(z[..., 0])


def _context_net(context_width: int, hidden: int, width_out: int) -> nn.Sequential:
    """From the context alone; gives 0 at first."""
    last = nn.Linear(hidden, width_out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(context_width, hidden), nn.ReLU(), last)


def halves(x: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The first `kept` values, and the others. One operator in a graph, where two slices would be two."""
    first, second = torch.split(x, [kept, x.shape[-1] - kept], dim=-1)
    return first, second


def kept_values(width: int) -> int:
    """How many values a coupling leaves as they are."""
    if width < 2:
        raise ValueError(f"a coupling splits its vector, so it needs at least 2 values, not {width}")
    return width // 2
