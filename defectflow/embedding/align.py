"""A square -> the same, shifted and turned so that the part lies as training parts lie on average.

Parts lie a few pixels apart from picture to picture, and the statistics of each place then take their edges for noise.
The motion that makes a picture most like the mean training picture is found in a few least-squares steps on three small
grey copies, coarse to fine. Where a part looks the same however it is turned, or moved along an edge, a little
weight on small motions keeps it where it is. No part is moved farther than good parts lie apart. Parts that lie turned
any way are looked at in many turns first, and the steps begin with the one that fits best.
Source: Baker and Matthews 2004, "Lucas-Kanade 20 Years On", with the template's gradients, and a prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FINE = 80
"""Places on a side of the finest copy, about."""
COARSER = (4, 2, 1)
"""How much coarser than that each copy is."""
STEPS = 5
"""On each of them."""
ROUNDS = 3
"""In which the template becomes the mean of aligned pictures."""
FARTHEST = 0.2
"""Of a shift, and of a turn at half a side from the middle, in halves of the side: what steps alone can find."""
TURNS = 36
"""In which a part that may lie turned any way is looked at."""
MARGIN = 1.5
"""How much farther than the farthest good part a part may be moved."""
SMALL_MOTIONS = 0.1
"""Weight of small motions, as a share of what the template tells of a motion on average."""
FROM_A_TURN = 0.003
"""The same of motions from one of the turns: which of them is nearest says nothing."""
CLIPPED = 1.0
"""Larger differences, in a picture's standard deviations, count no more than this: a defect must not move the part."""
GRID = 2.0**-12
"""Of motions, in halves of the side: engines that differ in the last digits then move a part alike."""
LEAST_APART = 0.004
"""Of the side. Where parts lie closer together, resampling their pictures costs more than it gains."""
MOST_UNLIKE = 0.16
"""Of the variance of an unseen good part's picture, on average: what differs by more cannot be laid on each other."""
WRONGLY_LAID = 0.5
"""The same of a single part. Above it, the part was laid where it does not belong."""
MOST_WRONGLY_LAID = 0.02
"""Of all parts. One odd picture among many is no reason to look at all the others as they lie."""
MOST_ODD = 0.1
"""Of all parts. Where more cannot be laid on the others, none of them is odd: so it is with textures."""


class Alignment(nn.Module):
    """Shapes: square (N, 3, S, S), 0..255 -> the aligned square, and the motion (N, 3).

    A motion is two shifts (x, y) and a turn in radians; lengths are in halves of the side. Place p of the aligned
    square shows what lies at R (p + s) of the square, in coordinates from -1 to 1. See `moved` and `back`.
    """

    limit: Tensor
    starts: Tensor

    def __init__(self, size_px: int, *, aspect: float = 1.0, any_turn: bool = False) -> None:
        """aspect: width / height of what was made square. any_turn: whether parts lie turned any way."""
        super().__init__()
        self.size_px, self.aspect, self.any_turn = size_px, aspect, any_turn
        turns = torch.arange(TURNS if any_turn else 1) * (2 * math.pi / TURNS)
        self.register_buffer("starts", F.pad(turns[:, None], (2, 0)))
        self.pooled_px = [coarser * max(1, round(size_px / FINE)) for coarser in COARSER]
        self.templates = nn.ModuleList(Template(size_px // pooled_px, aspect) for pooled_px in self.pooled_px)
        self.register_buffer("limit", torch.full((3,), FARTHEST))

    def forward(self, square: Tensor) -> tuple[Tensor, Tensor]:
        motion = self.motion(self.copies(square))
        return moved(square, motion, self.aspect), motion

    def laid_back(self, maps: Tensor, motion: Tensor) -> Tensor:
        """Maps (N, h, w) of aligned squares -> as they lie on the squares; 0 where the aligned square shows nothing."""
        return moved(maps[:, None], back(motion, self.aspect), self.aspect, beyond="zeros")[:, 0]

    def copies(self, square: Tensor) -> list[Tensor]:
        """Small grey copies (N, 1, side, side), coarse to fine."""
        grey = square.mean(1, keepdim=True)
        return [F.avg_pool2d(grey, pooled_px) for pooled_px in self.pooled_px]

    def motion(self, copies: Sequence[Tensor]) -> Tensor:
        """Of pictures by their small copies, (N, 3); zero where none makes a picture more like the mean."""
        still = torch.zeros_like(copies[0][:, :, 0, :3].flatten(1))
        start = self._best_start(copies[0]) if self.any_turn else still
        motion = start
        for template, small in zip(self._templates, copies, strict=True):
            motion = template.improved(motion, start, small, self.limit)
        before, after = (self._templates[-1].difference(copies[-1], each).abs().mean(1) for each in (still, motion))
        return torch.where((after < before)[:, None], motion, still).div(GRID).round() * GRID

    def _best_start(self, small: Tensor) -> Tensor:
        """Of coarse copies, the turn that makes each most like the template: (N, 3)."""
        count, template = len(self.starts), self._templates[0]
        each = small.repeat_interleave(count, 0)
        starts = self.starts.repeat(small.shape[0], 1)
        worst = template.difference(each, starts).abs().mean(1).reshape(-1, count)
        return self.starts[worst.argmin(1)]

    @torch.no_grad()
    def fit(self, copies: Sequence[Tensor]) -> None:
        """The templates, and how far a part may be moved, from the copies of training pictures."""
        motion = copies[0].new_zeros(len(copies[0]), 3)
        self.limit.fill_(FARTHEST)
        shown = slice(1) if self.any_turn else slice(None)  # the mean of all turns shows nothing
        for _ in range(ROUNDS):
            for template, small in zip(self._templates, copies, strict=True):
                seen = _seen(small, motion, self.aspect)[shown].mean(0)
                template.fit(seen, FROM_A_TURN if self.any_turn else SMALL_MOTIONS)
            shown = slice(None)
            motion = self.motion(copies)
            if not self.any_turn:
                motion = motion - motion.mean(0)
        self.limit.copy_((MARGIN * self._from_start(motion).abs().amax(0)).clamp(max=FARTHEST))

    def _from_start(self, motion: Tensor) -> Tensor:
        """Motions without the turns that they may have begun with."""
        if not self.any_turn:
            return motion
        shift, turn = motion[:, :2], motion[:, 2:]
        step = 2 * math.pi / TURNS
        return torch.cat([shift, turn - (turn / step).round() * step], 1)

    @torch.no_grad()
    def look(self, copies: Sequence[Tensor], folds: Tensor, paths: Sequence[Path]) -> Lie:
        """How parts lie, from the copies of good pictures, the fold of each, (N,), and its file.

        Each is also laid on the mean of the other folds, which has not seen it: on what it is part of, any would fit.
        """
        motion = self.motion(copies)
        shift_x, shift_y, turn = (motion - motion.mean(0)).square().mean(0).tolist()
        unlike = torch.zeros(len(motion))
        for fold in set(folds.tolist()):
            unlike[folds == fold] = self._unlike(copies, folds == fold)
        most_unlike = unlike.argsort(descending=True)[: int((unlike > WRONGLY_LAID).sum())]
        wrongly_laid = tuple(paths[row] for row in most_unlike.tolist())
        apart = math.sqrt(shift_x + shift_y + 2 * turn) / 2
        return Lie(apart, float(unlike.mean()), wrongly_laid, len(motion), self.any_turn)

    def _unlike(self, copies: Sequence[Tensor], unseen: Tensor) -> Tensor:
        """What is left of the unseen pictures once they are laid on the mean of the others, (unseen,)."""
        others = Alignment(self.size_px, aspect=self.aspect, any_turn=self.any_turn)
        others.fit([small[~unseen] for small in copies])
        looked_at = [small[unseen] for small in copies]
        return others._templates[-1].difference(looked_at[-1], others.motion(looked_at)).square().mean(1)

    @property
    def _templates(self) -> list[Template]:
        """Coarse to fine."""
        return cast("list[Template]", list(self.templates))


class Template(nn.Module):
    """The mean training picture at one size, and how its values change with a motion."""

    values: Tensor
    step: Tensor
    prior: Tensor

    def __init__(self, side: int, aspect: float) -> None:
        super().__init__()
        self.side, self.aspect = side, aspect
        self.register_buffer("values", torch.zeros(side * side))
        self.register_buffer("step", torch.zeros(side * side, 3))
        self.register_buffer("prior", torch.zeros(3, 3))

    @torch.no_grad()
    def fit(self, values: Tensor, small_motions: float) -> None:
        """values (places,): grey, whose mean and spread do not matter; small_motions: their weight."""
        values = _normalised(values[None])[0]
        y, x = torch.gradient(values.reshape(self.side, self.side), spacing=2 / self.side)
        places = _coordinates(self.side)
        turn = y * places[..., 0] * self.aspect - x * places[..., 1] / self.aspect
        jacobian = torch.stack([x, y, turn], -1).reshape(-1, 3)
        hessian = jacobian.T @ jacobian
        weight = small_motions * (hessian.trace() / 3).clamp_min(1e-6) * torch.eye(3)
        inverse = torch.linalg.inv(hessian + weight)
        self.values.copy_(values)
        self.step.copy_(jacobian @ inverse)
        self.prior.copy_(weight @ inverse)

    def improved(self, motion: Tensor, start: Tensor, small: Tensor, limit: Tensor) -> Tensor:
        """A motion of each picture that makes it more like the template than the one given does, (N, 3).

        It stays near `start`, and within the limit of it.
        """
        further = motion - start
        for _ in range(STEPS):
            difference = self.difference(small, start + further).clamp(-CLIPPED, CLIPPED)
            further = further - difference @ self.step - further @ self.prior
            further = torch.minimum(torch.maximum(further, -limit), limit)
        return start + further

    def difference(self, small: Tensor, motion: Tensor) -> Tensor:
        """Between what a motion shows of small copies and the template, (N, places)."""
        return _seen(small, motion, self.aspect) - self.values


@dataclass(frozen=True, slots=True)
class Lie:
    """How good parts lie from picture to picture, once each is laid on the mean of others as well as it goes."""

    apart: float
    """How far their corners lie apart without that, root mean square, as a share of the side."""
    unlike: float
    """What is left of an unseen part's difference from the mean of others, as a share of its variance, on average."""
    wrongly_laid: tuple[Path, ...]
    """Pictures of parts that are not alike even then, the most unlike first."""
    looked_at: int
    """Of so many."""
    any_turn: bool = False
    """Whether they were looked at in all turns."""

    @property
    def lies_alike(self) -> bool:
        """Whether parts lie so close together that there is nothing to gain."""
        return self.apart < LEAST_APART

    @property
    def odd_ones(self) -> tuple[Path, ...]:
        """Pictures that keep the others from being aligned, or are unlike them; none where parts vary anyhow."""
        few = len(self.wrongly_laid) <= MOST_ODD * self.looked_at
        return self.wrongly_laid if few and not self.lies_alike else ()

    @property
    def can_be_aligned(self) -> bool:
        """Whether it is worthwhile: they lie apart, and are alike when they are laid on each other."""
        few_wrong = len(self.wrongly_laid) <= MOST_WRONGLY_LAID * self.looked_at
        return not self.lies_alike and self.unlike <= MOST_UNLIKE and few_wrong


def moved(maps: Tensor, motion: Tensor, aspect: float = 1.0, beyond: Literal["border", "zeros"] = "border") -> Tensor:
    """What a motion shows of maps (N, C, h, w); beyond their edge, the edge is repeated, or 0.

    aspect: width / height of what they show, so that turns are turns there.
    """
    count, _, height, width = maps.shape
    places = _coordinates(width).to(motion).reshape(1, -1, 2) + motion[:, None, :2]
    grid = _turned(places, motion[:, None, 2:], aspect).reshape(count, height, width, 2)
    return F.grid_sample(maps, grid, padding_mode=beyond, align_corners=False)


def back(motion: Tensor, aspect: float = 1.0) -> Tensor:
    """The inverse of a motion: (N, 3) -> (N, 3)."""
    turn = motion[:, 2:]
    return -torch.cat([_turned(motion[:, :2], turn, aspect), turn], 1)


def _turned(places: Tensor, turn: Tensor, aspect: float) -> Tensor:
    """Coordinates (..., 2) of what is turned by so many radians, (..., 1)."""
    # Not a matrix product, in whose last digits engines differ.
    quarter = places.flip(-1) * places.new_tensor([-1 / aspect, aspect])
    return torch.cos(turn) * places + torch.sin(turn) * quarter


def _coordinates(side: int) -> Tensor:
    """x and y of the middle of each place, from -1 to 1: (side, side, 2)."""
    middle = (torch.arange(side) + 0.5) * (2 / side) - 1
    return torch.stack(torch.meshgrid(middle, middle, indexing="xy"), -1)


def _seen(small: Tensor, motion: Tensor, aspect: float) -> Tensor:
    """What a motion shows of small copies, with mean 0 and variance 1: (N, places)."""
    return _normalised(moved(small, motion, aspect).flatten(1))


def _normalised(values: Tensor) -> Tensor:
    centred = values - values.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(1e-3)
