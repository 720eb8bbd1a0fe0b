"""Random numbers -> pictures of surfaces, structures and prints, a batch at a time, on the training device.

A picture is up to three layers over one another, each one field of the kinds below with its own colours, then light
that falls across it. Fields are (N, S, S), without unit; lengths and frequencies are shares of the picture's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LAYERS = 3
SHAPES = 28
"""Shapes, cells or strokes in a picture, at most."""


class Dice:
    """Random numbers on one device from one seed, so that a batch can be drawn again."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self._generator, device=self.device)

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self.device)

    def integers(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self._generator, device=self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        """True with this probability."""
        return self.uniform(*shape) < share


def draw(count: int, side_px: int, dice: Dice) -> Tensor:
    """Pictures (N, 3, S, S) in 0..1."""
    picture = dice.uniform(count, 3, 1, 1, low=0.2, high=0.8).expand(-1, -1, side_px, side_px)
    relief = torch.zeros(count, side_px, side_px, device=dice.device)
    for layer in range(LAYERS):
        field = _fields(count, side_px, dice)
        colour = 0.22 * dice.normal(count, 1, 1, 1) + 0.10 * dice.normal(count, 3, 1, 1)
        material = picture + colour * field[:, None]
        if layer > 0:
            # Either all over, or where another field is high: a print, a coating, a second part.
            where = torch.sigmoid(_smooth(count, side_px, dice) * dice.log_uniform(count, 1, 1, low=2, high=60))
            where = torch.where(dice.chance(0.5, count, 1, 1), where, torch.ones_like(where))
            other = torch.where(
                dice.chance(0.4, count, 1, 1, 1), material, picture + 0.25 * dice.normal(count, 3, 1, 1)
            )
            present = dice.chance(0.6, count, 1, 1, 1)
            picture = torch.where(present, torch.lerp(picture, other, where[:, None]), picture)
        else:
            picture = material
        relief = relief + field * dice.chance(0.4, count, 1, 1)
    return _lit(picture, relief, dice).clamp(0, 1)


def _lit(picture: Tensor, relief: Tensor, dice: Dice) -> Tensor:
    """Light from one side on the relief, a slope of brightness, and the lens's blur."""
    count, side_px = relief.shape[0], relief.shape[1]
    turn = dice.uniform(count, 1, 1, high=2 * math.pi)
    rows, columns = _gradient(relief)
    slope = (columns * turn.cos() + rows * turn.sin()) * dice.uniform(count, 1, 1, high=0.5)
    y, x = _grid(side_px, dice.device)
    fall = (x * turn.sin() - y * turn.cos()) * 0.35 * dice.normal(count, 1, 1)
    lit = picture * (1 + torch.tanh(slope) + fall)[:, None]
    blurred = F.avg_pool2d(F.pad(lit, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.lerp(lit, blurred, dice.uniform(count, 1, 1, 1))


def _gradient(field: Tensor) -> tuple[Tensor, Tensor]:
    padded = F.pad(field[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    return padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1], padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]


def _fields(count: int, side_px: int, dice: Dice) -> Tensor:
    """One field of a random kind for each picture, zero mean, unit standard deviation, then bent."""
    kinds: tuple[Callable[[int, int, Dice], Tensor], ...] = (
        _noise,
        _grain,
        _gratings,
        _lattice,
        _weave,
        _cells,
        _shapes,
        _print,
        _strokes,
    )
    choice = dice.integers(len(kinds), count)
    fields = torch.empty(count, side_px, side_px, device=dice.device)
    for kind, draw_kind in enumerate(kinds):
        chosen = (choice == kind).nonzero()[:, 0]
        if len(chosen):
            fields[chosen] = _standard(draw_kind(len(chosen), side_px, dice))
    bend = dice.integers(4, count, 1, 1)
    fields = torch.where(bend == 1, torch.tanh(3 * (fields - 0.5)), fields)
    fields = torch.where(bend == 2, fields.abs(), fields)
    return _standard(fields)


def _noise(count: int, side_px: int, dice: Dice) -> Tensor:
    """Clouds to sand: noise with a power-law spectrum."""
    exponent = dice.uniform(count, 1, 1, low=0.3, high=2.5)
    return _filtered(lambda radius, _: radius**-exponent, count, side_px, dice)


def _smooth(count: int, side_px: int, dice: Dice) -> Tensor:
    """Soft patches, from a quarter of the picture down."""
    reach = dice.log_uniform(count, 1, 1, low=2, high=10)
    return _standard(_filtered(lambda radius, _: torch.exp(-((radius / reach) ** 2)), count, side_px, dice))


def _grain(count: int, side_px: int, dice: Dice) -> Tensor:
    """Brushed or cast metal, wood, leather: noise of one scale, along a direction or along none."""
    scale = dice.log_uniform(count, 1, 1, low=3, high=0.4 * side_px)
    width = dice.uniform(count, 1, 1, low=0.1, high=1.0)
    along = dice.uniform(count, 1, 1) ** 2 * 20
    turn = dice.uniform(count, 1, 1, high=math.pi)

    def spectrum(radius: Tensor, angle: Tensor) -> Tensor:
        band = torch.exp(-((torch.log(radius / scale) / width) ** 2) / 2)
        return band * torch.exp(along * (torch.cos(2 * (angle - turn)) - 1))

    return _filtered(spectrum, count, side_px, dice)


def _gratings(count: int, side_px: int, dice: Dice) -> Tensor:
    """Stripes, soft to sharp, straight to wavy."""
    phase, _ = _phases(count, side_px, dice)
    return torch.tanh(torch.sin(phase) * dice.log_uniform(count, 1, 1, low=0.5, high=8))


def _lattice(count: int, side_px: int, dice: Dice) -> Tensor:
    """Dots, holes, meshes: two crossing gratings multiplied, or the higher of the two."""
    first, second = _phases(count, side_px, dice)
    a, b = torch.sin(first), torch.sin(second)
    both = torch.where(dice.chance(0.5, count, 1, 1), a * b, torch.maximum(a, b))
    return torch.tanh((both - dice.uniform(count, 1, 1, high=0.5)) * dice.log_uniform(count, 1, 1, low=1, high=12))


def _weave(count: int, side_px: int, dice: Dice) -> Tensor:
    """Threads over and under one another."""
    first, second = _phases(count, side_px, dice)
    over = torch.sigmoid(8 * torch.sin(first / 2) * torch.sin(second / 2))
    return torch.lerp(torch.sin(first).abs(), torch.sin(second).abs(), over)


def _phases(count: int, side_px: int, dice: Dice) -> tuple[Tensor, Tensor]:
    """The phases of two crossing waves, bent a little, (N, S, S) each."""
    y, x = _grid(side_px, dice.device)
    bend = _smooth(count, side_px, dice) * dice.uniform(count, 1, 1) ** 3 * 1.5
    turn = dice.uniform(count, 1, 1, high=math.pi)
    crossing = turn + math.pi / 2 + 0.3 * dice.normal(count, 1, 1) * dice.chance(0.5, count, 1, 1)
    waves = 2 * math.pi * dice.log_uniform(count, 1, 1, low=2, high=0.25 * side_px)
    other = waves * dice.log_uniform(count, 1, 1, low=0.5, high=2)
    shift = dice.uniform(2, count, 1, 1, high=2 * math.pi)
    first = waves * (x * turn.cos() + y * turn.sin()) + shift[0] + bend
    return first, other * (x * crossing.cos() + y * crossing.sin()) + shift[1] + bend


def _cells(count: int, side_px: int, dice: Dice) -> Tensor:
    """Grains of a polished cut, leather, tiles: distance to the border between nearest points, or a tone per cell."""
    y, x = _grid(side_px, dice.device)
    turn, stretch = dice.uniform(count, 1, 1, high=math.pi), dice.log_uniform(count, 1, 1, low=0.3, high=1)
    nearest = torch.full((count, side_px, side_px), 9.0, device=dice.device)
    second, tone = nearest.clone(), torch.zeros_like(nearest)
    points = dice.uniform(SHAPES, 2, count, 1, 1, low=-0.2, high=1.2)
    tones = dice.normal(SHAPES, count, 1, 1)
    for (px, py), point_tone in zip(points, tones, strict=True):
        along = (x - px) * turn.cos() + (y - py) * turn.sin()
        aside = (y - py) * turn.cos() - (x - px) * turn.sin()
        distance = torch.hypot(along * stretch, aside)
        closer = distance < nearest
        second = torch.where(closer, nearest, torch.minimum(second, distance))
        tone = torch.where(closer, point_tone, tone)
        nearest = torch.where(closer, distance, nearest)
    border = torch.tanh((second - nearest) * dice.log_uniform(count, 1, 1, low=5, high=60))
    return torch.where(dice.chance(0.5, count, 1, 1), border, tone + border * 0.5)


def _shapes(count: int, side_px: int, dice: Dice) -> Tensor:
    """Dead leaves and parts: ellipses and boxes that hide one another, flat or shaded towards their edge."""
    y, x = _grid(side_px, dice.device)
    field = torch.zeros(count, side_px, side_px, device=dice.device)
    box = dice.chance(0.5, count, 1, 1)
    size = dice.log_uniform(count, 1, 1, low=0.04, high=0.35)
    upright = dice.chance(0.4, count, 1, 1)
    for _ in range(SHAPES):
        px, py = dice.uniform(2, count, 1, 1, low=-0.1, high=1.1)
        turn = torch.where(upright, torch.zeros(()), dice.uniform(count, 1, 1, high=math.pi))
        along = ((x - px) * turn.cos() + (y - py) * turn.sin()) / dice.log_uniform(count, 1, 1, low=0.4, high=1.6)
        aside = (y - py) * turn.cos() - (x - px) * turn.sin()
        away = torch.where(box, torch.maximum(along.abs(), aside.abs()), torch.hypot(along, aside))
        radius = size * dice.log_uniform(count, 1, 1, low=0.5, high=1.5)
        inside = torch.sigmoid((radius - away) * 1.5 * side_px)
        tone = dice.normal(count, 1, 1) + 0.6 * dice.normal(count, 1, 1) * away / radius
        field = torch.lerp(field, tone, inside)
    return field


def _print(count: int, side_px: int, dice: Dice) -> Tensor:
    """Codes, characters, pads: random bits on a grid of uneven rows and columns."""
    cells = 40
    bits = dice.chance(0.5, count, cells, cells).float()
    edges = dice.log_uniform(2, count, cells, low=0.4, high=2.5) * dice.log_uniform(2, count, 1, low=0.02, high=0.12)
    edges = edges.cumsum(-1)
    place = ((torch.arange(side_px, device=dice.device) + 0.5) / side_px).expand(2, count, side_px).contiguous()
    row, column = torch.searchsorted(edges.contiguous(), place).clamp(max=cells - 1)
    picked = bits.gather(1, row[:, :, None].expand(-1, -1, cells))  # (N, S, cells)
    return picked.gather(2, column[:, None].expand(-1, side_px, -1))  # (N, S, S)


def _strokes(count: int, side_px: int, dice: Dice) -> Tensor:
    """Wires, traces, hairs, machining marks: straight pieces of one width, at any angle or at eighths of a turn."""
    y, x = _grid(side_px, dice.device)
    field = torch.zeros(count, side_px, side_px, device=dice.device)
    width = dice.log_uniform(count, 1, 1, low=0.006, high=0.04)
    eighths = dice.chance(0.5, count, 1, 1)
    for _ in range(SHAPES // 2):
        px, py = dice.uniform(2, count, 1, 1)
        turn = dice.uniform(count, 1, 1, high=math.pi)
        turn = torch.where(eighths, (turn * 4 / math.pi).round() * math.pi / 4, turn)
        along = ((x - px) * turn.cos() + (y - py) * turn.sin()).abs() - dice.uniform(count, 1, 1, low=0.05, high=0.5)
        aside = ((y - py) * turn.cos() - (x - px) * turn.sin()).abs() - width
        field = torch.maximum(field, torch.sigmoid(-torch.maximum(along, aside) * 1.5 * side_px))
    return field


def _filtered(spectrum: Callable[[Tensor, Tensor], Tensor], count: int, side_px: int, dice: Dice) -> Tensor:
    """White noise through a filter of radius (cycles per picture) and angle, (N, S, S)."""
    rows = side_px * torch.fft.fftfreq(side_px, device=dice.device)[:, None]
    columns = side_px * torch.fft.rfftfreq(side_px, device=dice.device)[None]
    radius = torch.hypot(rows, columns).clamp_min(0.5)
    angle = torch.atan2(rows, columns.expand_as(radius))
    noise = torch.fft.rfft2(dice.normal(count, side_px, side_px))
    filtered: Tensor = torch.fft.irfft2(noise * spectrum(radius, angle), s=(side_px, side_px))
    return filtered


def _standard(fields: Tensor) -> Tensor:
    """Zero mean and unit standard deviation within each picture."""
    centred = fields - fields.mean((1, 2), keepdim=True)
    return centred / (centred.std((1, 2), keepdim=True) + 1e-4)


def _grid(side_px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """y (S, 1) and x (1, S) in 0..1."""
    place = (torch.arange(side_px, device=device) + 0.5) / side_px
    return place[:, None], place[None]
