"""Flows over whole maps or pictures, with one log-determinant for each: multi-scale RealNVP and Glow.

They serve the study of flows on pixels; the product's density heads act place by place.
Shapes: maps x (N, H, W, C), channel-last; log_det and log_prob (N,).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.flows import ActNorm, Bijection, Mixing, soft_clamp

Mask = Literal["channel", "checkerboard", "horizontal", "cycle"]


class MaskedMapCoupling(Bijection):
    """z = (1 - m) x + m (x exp(s) + t), with (s, t) = net(k x): what the mask m moves by what the mask k shows.

    s is softly clamped.

    Shapes: x (N, H, W, C) -> z (N, H, W, C), log_det (N,).
    Source: Dinh et al. 2017, arXiv:1605.08803, eq. 9; masks as in Kirichenko et al. 2020, arXiv:2006.08545, section 5.
    """

    seen: Tensor
    moved: Tensor
    clamp: float

    def __init__(self, shape: tuple[int, int, int], mask: Mask, turn: int, hidden: int, clamp: float) -> None:
        """shape (H, W, C); `turn`: the layer's number, by which masks alternate or go round."""
        super().__init__()
        self.clamp = clamp
        seen, moved = masks_of(shape, mask, turn)
        self.register_buffer("seen", seen, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        channels = shape[-1]
        last = nn.Conv2d(hidden, 2 * channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        self.net = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(x)
        z = (1 - self.moved) * x + self.moved * (x * torch.exp(log_scale) + shift)
        return z, log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(z)
        x = (1 - self.moved) * z + self.moved * (z - shift) * torch.exp(-log_scale)
        return x, -log_scale.flatten(1).sum(1)

    def _scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.net((self.seen * x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        raw, shift = out.chunk(2, dim=-1)
        return soft_clamp(raw, self.clamp) * self.moved, shift


def masks_of(shape: tuple[int, int, int], mask: Mask, turn: int) -> tuple[Tensor, Tensor]:
    """What a coupling sees and what it moves, (H, W, C) each, 1 or 0.

    `channel`: half of the channels; `checkerboard`: every other place; `horizontal`: the upper or the lower half, each
    moved by the other; `cycle`: one quarter after the other, moved by the one before it alone, so that what a
    quarter tells comes back to it only after three layers.
    """
    height, width, channels = shape
    row, column = torch.arange(height)[:, None, None], torch.arange(width)[None, :, None]
    match mask:
        case "channel":
            seen = (torch.arange(channels) < channels // 2) == (turn % 2 == 0)
        case "checkerboard":
            seen = (row + column) % 2 == turn % 2
        case "horizontal":
            seen = (row < height // 2) == (turn % 2 == 0)
        case "cycle":
            right = (column >= width // 2).long()
            quarter = torch.where(row < height // 2, right, 3 - right)  # clockwise from the upper left
            seen, moved = quarter == turn % 4, quarter == (turn + 1) % 4
            return seen.expand(shape).float(), moved.expand(shape).float()
    seen = seen.expand(shape).float()
    return seen, 1 - seen


class Squeeze(Bijection):
    """Each 2 x 2 block of places becomes one place with four times the channels.

    Shapes: x (N, H, W, C) -> z (N, H / 2, W / 2, 4 C), log_det (N,) = 0.
    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6.
    """

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z = F.pixel_unshuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        return z, x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pixel_shuffle(z.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        return x, z.new_zeros(len(z))


class Everywhere(Bijection):
    """A map of vectors, applied at every place; its log-determinants are summed.

    Shapes: x (N, H, W, C) -> z (N, H, W, C), log_det (N,).
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.bijection(x, context)
        return z, log_det.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.bijection.inverse(z, context)
        return x, log_det.flatten(1).sum(1)

    def initialise(self, x: Tensor, context: Tensor) -> None:
        self.bijection.initialise(x.flatten(0, -2), context)


class MapFlow(nn.Module):
    """log p(x) = sum over scales of log N(z_s; 0, I) + sum of log|det|: after each scale half the channels stay as z_s.

    Shapes: x (N, H, W, C) -> log_prob (N,), in nats. Unconditional.
    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6.
    """

    def __init__(self, scales: Sequence[Sequence[Bijection]], shape: tuple[int, int, int]) -> None:
        """scales: the layers of each scale, the first a squeeze; shape (H, W, C) of the pictures."""
        super().__init__()
        self.scales = nn.ModuleList(nn.ModuleList(layers) for layers in scales)
        self.shape = shape

    def latent(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """z of every scale, fine to coarse, and log|det| (N,)."""
        total, latents = x.new_zeros(len(x)), []
        for number, layers in enumerate(self._scales()):
            for layer in layers:
                x, log_det = layer(x, _nothing(x))
                total = total + log_det
            if number < len(self.scales) - 1:
                latent, x = x.chunk(2, dim=-1)
                latents.append(latent)
        return [*latents, x], total

    def log_prob(self, x: Tensor) -> Tensor:
        latents, total = self.latent(x)
        squares = torch.stack([z.flatten(1).square().sum(1) for z in latents]).sum(0)
        return total - 0.5 * squares - 0.5 * math.prod(self.shape) * math.log(2 * math.pi)

    def inverse(self, latents: Sequence[Tensor]) -> Tensor:
        """z of every scale, fine to coarse -> x (N, H, W, C)."""
        *others, x = latents
        for number, layers in reversed(list(enumerate(self._scales()))):
            if number < len(self.scales) - 1:
                x = torch.cat([others[number], x], dim=-1)
            for layer in reversed(layers):
                x, _ = layer.inverse(x, _nothing(x))
        return x

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count, H, W, C)."""
        height, width, channels = self.shape
        latents = []
        for number in range(len(self.scales)):
            height, width, channels = height // 2, width // 2, 4 * channels
            if number < len(self.scales) - 1:
                channels //= 2
            latents.append(torch.randn(count, height, width, channels, generator=generator))
        return self.inverse(latents)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Let each layer set what depends on a first batch, as it arrives there."""
        for number, layers in enumerate(self._scales()):
            for layer in layers:
                layer.initialise(x, _nothing(x))
                x, _ = layer(x, _nothing(x))
            if number < len(self.scales) - 1:
                x = x.chunk(2, dim=-1)[1]

    def _scales(self) -> list[list[Bijection]]:
        return [cast("list[Bijection]", list(cast(nn.ModuleList, layers))) for layers in self.scales]


def build_map_flow(
    shape: tuple[int, int, int],
    *,
    family: Literal["realnvp", "glow"],
    mask: Mask,
    scales: int = 3,
    layers: int = 4,
    hidden: int = 64,
    clamp: float = 2.0,
    seed: int = 0,
) -> MapFlow:
    """shape (H, W, C), H and W divisible by 2^scales. `glow` adds ActNorm and 1 x 1 mixing before each coupling.

    Each scale squeezes first and couples then; but with `checkerboard`, half of its layers couple neighbouring places
    before that, and the others channels after it. Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6.
    """
    height, width, channels = shape
    if height % 2**scales or width % 2**scales:
        raise ValueError(f"{height} x {width} cannot be halved {scales} times; use multiples of {2**scales}")
    neighbours = layers // 2 if mask == "checkerboard" else 0
    built: list[list[Bijection]] = []
    for scale in range(scales):
        steps: list[Bijection] = []
        for layer in range(layers):
            if layer == neighbours:
                height, width, channels = height // 2, width // 2, 4 * channels
                steps.append(Squeeze())
            if family == "glow":
                key = seed * 1000 + scale * 100 + layer
                steps += [Everywhere(ActNorm(channels)), Everywhere(Mixing(channels, key))]
            shown: Mask = "channel" if 0 < neighbours <= layer else mask
            steps.append(MaskedMapCoupling((height, width, channels), shown, layer, hidden, clamp))
        built.append(steps)
        channels //= 2
    return MapFlow(built, shape)


def _nothing(x: Tensor) -> Tensor:
    """A context of width 0."""
    return x.new_zeros(0)
