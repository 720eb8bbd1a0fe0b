"""Whitened embeddings -> the same, whitened place by place: the flow's first bijection, measured instead of learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

Place = Literal["none", "spread", "full"]
FEWEST = 2
"""Vectors that a place needs for its own spread."""
STRIP = 64
"""At most so many columns of a factor are multiplied at once; the time is that of reading it from memory."""
RIDGE = 1e-3
"""Added to the mean covariance, as a share of its mean variance: good parts may be exactly alike in some direction."""


class PlaceWhitening(nn.Module):
    """z = (x - mean[place]) U[place], U upper triangular with U U^T = inverse of the place's shrunk covariance.

    Places lie on a grid of (rows, columns); each has its own mean, and squares of `block` x `block` share a covariance,
    C = (1 - a) S + a (mean of all S) with S measured around the places' own means. With `spread`, only S's diagonal is
    kept. The log-determinant, sum of log diag U, is exact and constant at each place.
    U is rounded to fp16, in which files hold its triangle: it is the largest part of a bundle beside the backbone.
    Shapes: x (N, rows, columns, D) -> z (N, rows, columns, D).
    Source of a Gaussian by place: Defard et al. 2021, arXiv:2011.08785.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, width: int, grid: tuple[int, int], block: int) -> None:
        super().__init__()
        self.grid = grid
        self.block = (_divisor(grid[0], block), _divisor(grid[1], block))
        self.register_buffer("mean", torch.zeros(*grid, width))
        self.register_buffer("factor", torch.eye(width).repeat(self.squares, 1, 1))

    @property
    def squares(self) -> int:
        """How many covariances there are."""
        return (self.grid[0] // self.block[0]) * (self.grid[1] // self.block[1])

    def forward(self, x: Tensor) -> Tensor:
        """All places of the grid at once."""
        return self.turned(x - self.mean)

    def turned(self, x: Tensor) -> Tensor:
        """The linear part: x (N, rows, columns, D) times each place's U."""
        (rows, columns), (tall, wide), width = self.grid, self.block, x.shape[-1]
        by_block = x.reshape(-1, rows // tall, tall, columns // wide, wide, width)
        by_square = by_block.permute(1, 3, 0, 2, 4, 5).reshape(self.squares, -1, width)  # (squares, N tall wide, D)
        # What lies below the diagonal is nothing: of a wide factor, a strip of columns needs the rows down to its end.
        spans = [(start, min(start + STRIP, width)) for start in range(0, width, STRIP)]
        strips = [by_square[..., :end] @ self.factor[:, :end, start:end] for start, end in spans]
        z = torch.cat(strips, dim=-1).reshape(rows // tall, columns // wide, -1, tall, wide, width)
        back: Tensor = z.permute(2, 0, 3, 1, 4, 5).reshape(x.shape)
        return back

    def at(self, x: Tensor, places: Tensor) -> Tensor:
        """Vectors of any places: x (..., D), places (...) counted row by row -> (..., D)."""
        factor = self.factor[self.square_of(places)]  # (..., D, D)
        return ((x - self.mean.flatten(0, 1)[places])[..., None, :] @ factor)[..., 0, :]

    def back(self, z: Tensor, places: Tensor) -> Tensor:
        """The inverse of `at`."""
        factor = self.factor[self.square_of(places)]
        x = torch.linalg.solve_triangular(factor, z[..., None, :], upper=True, left=False)[..., 0, :]
        found: Tensor = x + self.mean.flatten(0, 1)[places]
        return found

    def log_det(self, places: Tensor) -> Tensor:
        """log|det dz/dx| at places (...), in nats."""
        by_square: Tensor = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return by_square[self.square_of(places)]

    def square_of(self, places: Tensor) -> Tensor:
        """Which covariance each place has."""
        columns, (tall, wide) = self.grid[1], self.block
        row = torch.div(places, columns, rounding_mode="floor")
        across = torch.div(places % columns, wide, rounding_mode="floor")
        return torch.div(row, tall, rounding_mode="floor") * (columns // wide) + across

    @torch.no_grad()
    def fit(self, moments: Moments, kind: Place, shrinkage: float, unit: float = 1.0) -> None:
        """From the sums over training vectors; z is divided by `unit`."""
        mean, covariance = moments.statistics(kind, shrinkage)
        precision = torch.linalg.inv(covariance)
        # The lower factor of the flipped matrix is the upper factor of the matrix itself.
        upper = torch.linalg.cholesky(precision.flip(-2, -1)).flip(-2, -1)
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.factor.copy_((upper / unit).half())


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over vectors, from which each place's mean and each square's covariance follow. Double precision."""

    square: Tensor
    """(places,): which square each place belongs to."""
    count: Tensor
    """(places,)"""
    sum: Tensor
    """(places, D)"""
    outer: Tensor
    """(squares, D, D): of each square's vectors, the sum of x^T x."""

    @classmethod
    def of_none(cls, whitening: PlaceWhitening) -> Moments:
        rows, columns, width = whitening.mean.shape
        places = rows * columns
        zeros = partial(torch.zeros, dtype=torch.float64)
        square = whitening.square_of(torch.arange(places))
        return cls(square, zeros(places), zeros(places, width), zeros(whitening.squares, width, width))

    def add(self, x: Tensor, places: Tensor) -> None:
        """Vectors (n, D) and the places (n,) they are from."""
        x = x.double()
        self.count.index_add_(0, places, torch.ones(len(x), dtype=torch.float64))
        self.sum.index_add_(0, places, x)
        squares = self.square[places]
        order = squares.argsort()
        counts = torch.bincount(squares, minlength=len(self.outer)).tolist()
        for square, rows in enumerate(torch.split(x[order], counts)):
            self.outer[square] += rows.T @ rows

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.square, self.count + other.count, self.sum + other.sum, self.outer + other.outer)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.square, self.count - other.count, self.sum - other.sum, self.outer - other.outer)

    def statistics(self, kind: Place, shrinkage: float) -> tuple[Tensor, Tensor]:
        """Means (places, D), and shrunk covariances (squares, D, D); the overall ones where nothing was seen."""
        squares, width = len(self.outer), self.outer.shape[-1]
        overall = self.sum.sum(0) / self.count.sum()
        mean = torch.where(self.count[:, None] > 0, self.sum / self.count.clamp_min(1)[:, None], overall)
        between = torch.zeros_like(self.outer)
        between.index_add_(0, self.square, torch.einsum("pd,pe->pde", mean * self.count[:, None], mean))
        seen = torch.zeros(squares, dtype=torch.float64).index_add_(0, self.square, self.count)
        means = torch.zeros(squares, dtype=torch.float64).index_add_(0, self.square, (self.count > 0).double())
        freedom = seen - means  # each place's own mean takes one
        own = (self.outer - between) / freedom.clamp_min(1)[:, None, None]
        pooled = (self.outer - between).sum(0) / freedom.sum().clamp_min(1)
        pooled = pooled + RIDGE * (pooled.trace() / width).clamp_min(1e-6) * torch.eye(width, dtype=torch.float64)
        if kind == "spread":
            own, pooled = (torch.diag_embed(c.diagonal(dim1=-2, dim2=-1)) for c in (own, pooled))
        share = torch.where(freedom >= FEWEST - 1, shrinkage, 1.0)[:, None, None]
        return mean, (1 - share) * own + share * pooled


def packed(factor: Tensor) -> Tensor:
    """Upper triangles (squares, D, D) -> their values, row by row, as fp16, which holds them exactly: half the half."""
    rows, columns = torch.triu_indices(factor.shape[-1], factor.shape[-1])
    return factor[:, rows, columns].half()


def unpacked(triangle: Tensor) -> Tensor:
    """The way back: (squares, D (D + 1) / 2) -> (squares, D, D)."""
    width = (math.isqrt(8 * triangle.shape[1] + 1) - 1) // 2
    rows, columns = torch.triu_indices(width, width)
    factor = torch.zeros(len(triangle), width, width)
    factor[:, rows, columns] = triangle.float()
    return factor


def _divisor(side: int, block: int) -> int:
    """The largest block that fills a side evenly."""
    return max(size for size in range(1, block + 1) if side % size == 0)
