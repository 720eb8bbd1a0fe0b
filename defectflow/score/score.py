"""Level maps -> anomaly map -> image score. All constants are frozen before any calibration part is read."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.verdict import FLOOR

Kind = Literal["likelihood", "latent_norm", "typicality"]
Compression = Literal["none", "log"]
SMALLEST = 1e-6
"""Of standard deviations: good parts that are all alike would divide by zero."""
PRIOR_PICTURES = 20
"""With so many training pictures, what is measured at each place counts half, beside that of all places together."""
SURROUNDINGS = 0.7
"""Of 1 picture: the standard deviation of the blur over a place's surroundings, as a share of the map's side. Of m, it
is smaller by the root of m, so that equally many values are averaged: 5 of 40 places with 30 pictures, 1.8 with 240."""


class Standardised(nn.Module):
    """One level's nats per dimension -> how unusual each place is: v = (nll - mean) / std, over good parts.

    mean and std may differ from place to place: good parts vary more at some places than the density, measured on few
    parts, expects. With `compression: log`, the result is sign(v) log(1 + |v|). For `typicality` the distance
    |nll - typical| takes nll's place, typical being the mean over good places.
    The constants keep their names in a graph (`densities.0.mean`), so that they can be found there.
    Shapes: nll (N, h, w) -> (N, h, w); typical is a scalar, mean and std are (h, w).
    Source of typicality: Nalisnick et al. 2019, arXiv:1906.02994, section 4, for one place at a time.
    """

    typical: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, grid: tuple[int, int], kind: Kind, compression: Compression) -> None:
        super().__init__()
        self.grid, self.kind, self.compression = grid, kind, compression
        self.register_buffer("typical", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(grid))
        self.register_buffer("std", torch.ones(grid))

    def forward(self, nats: Tensor) -> Tensor:
        return compressed((self.unusual(nats) - self.mean) / self.std, self.compression)

    def unusual(self, nats: Tensor) -> Tensor:
        return (nats - self.typical).abs() if self.kind == "typicality" else nats

    @torch.no_grad()
    def fit(self, tune: Tensor, by_place: Tensor | None, inside: Tensor, share: float) -> None:
        """Freeze the constants; then v has mean 0 and standard deviation 1 over the tune parts.

        tune: nats of tune parts at places inside the region of interest; (n, places), or any shape without by_place.
        by_place (m, places): of training parts, each measured without its own part. From them, every place has a mean
        and a standard deviation of its own, see `_measure`. inside (h, w): the region of interest.
        """
        self.typical.copy_(tune.mean())
        self.mean.zero_()
        self.std.fill_(1)
        v = self.unusual(tune)
        if by_place is not None and share > 0:
            mean, std = self._measure(self.unusual(by_place), inside, share)
            v = (v - mean) / std
            self.mean[inside], self.std[inside] = mean, std
        self.mean.add_(self.std * v.mean())
        self.std.mul_(v.std().clamp_min(SMALLEST))

    def _measure(self, seen: Tensor, inside: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Each place's mean and standard deviation over training parts (m, places): (places,) each.

        Few pictures say little about one place: the fewer, the more of its surroundings count with it, and the more
        do all places together. A place's mean counts only where it is above that of all: what looks better there than
        elsewhere in a few pictures need not look so in the next.
        """
        count = len(seen)
        around = Blur(self.grid, SURROUNDINGS / math.sqrt(count) * self.grid[0])
        share = share * count / (count + PRIOR_PICTURES)
        mean = torch.maximum(around.within(seen.mean(0), inside), seen.mean())
        std = around.within(seen.var(0), inside).sqrt()
        return seen.mean().lerp(mean, share), seen.std().lerp(std, share).clamp_min(SMALLEST)


class Blur(nn.Module):
    """Gaussian, edges repeated: (..., h, w) -> same. By matrices, since engines pad a convolution's channel to 16."""

    rows: Tensor
    columns: Tensor

    def __init__(self, grid: tuple[int, int], places: float) -> None:
        """places: the standard deviation."""
        super().__init__()
        kernel = _gaussian(places)
        self.register_buffer("rows", _blur_matrix(grid[0], kernel).T.contiguous(), persistent=False)
        self.register_buffer("columns", _blur_matrix(grid[1], kernel), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        return self.rows @ maps @ self.columns

    def within(self, values: Tensor, inside: Tensor) -> Tensor:
        """Values at the places inside the region of interest (h, w), blurred over these alone: (places,) -> same."""
        on_grid = torch.zeros(inside.shape).masked_scatter(inside, values)
        return (self.forward(on_grid) / self.forward(inside.float()))[inside]


class Score(nn.Module):
    """Each level's negative log-likelihood is standardised, the levels are summed, the sum is smoothed.

    map = blur( sum_l v_l ), see `Standardised`; the image score is the mean of the map's top fraction.
    nll_l is in nats per dimension; map and score are dimensionless; higher is worse.
    Shapes: nll_l (N, h_l, w_l) -> map (N, h, w) at the finest level's grid, score (N,).
    """

    inside: Tensor
    places: Tensor
    blurred_inside: Tensor

    def __init__(
        self,
        grids: Sequence[tuple[int, int]],
        smoothing_places: float,
        top_fraction: float,
        inside: Tensor,
        kind: Kind = "likelihood",
        compression: Compression = "none",
        by_place: float = 0.0,
    ) -> None:
        """grids: (h_l, w_l) of each level, fine to coarse; inside (h, w): True where the region of interest is scored;
        smoothing_places: blur in grid cells; by_place: each place's share in its constants, see `Standardised.fit`.
        """
        super().__init__()
        self.grid = grids[0]
        self.by_place = by_place
        self.levels = nn.ModuleList(Standardised(grid, kind, compression) for grid in grids)
        self.register_buffer("inside", inside)
        self.register_buffer("places", inside.flatten().nonzero()[:, 0])  # indices, since a graph needs fixed shapes
        self.blur = Blur(self.grid, smoothing_places)
        self.register_buffer("blurred_inside", self.blur(inside.float()))
        self.everywhere = bool(inside.all())
        self.top_places = max(1, round(top_fraction * int(inside.sum())))

    @property
    def standardised(self) -> list[Standardised]:
        """Of each level, fine to coarse."""
        return cast("list[Standardised]", list(self.levels))

    def fit(self, tune: Sequence[Tensor], train: Sequence[Tensor | None] | None = None) -> None:
        """Freeze the constants of each level from nats per dimension at the places inside the region of interest.

        tune: (n, places_l) of tune parts; train: (m, places_l) of training parts, each measured without its own part,
        or None, and then a level's constants are the same everywhere.
        """
        for level, values, by_place in zip(self.standardised, tune, train or [None] * len(tune), strict=True):
            level.fit(values, by_place, self.inside_at(*level.grid), self.by_place)

    def fit_maps(self, tune: Sequence[Tensor]) -> None:
        """The same from the tune parts' maps alone, each (n, h_l, w_l)."""
        self.fit([values[:, self.inside_at(*values.shape[1:])] for values in tune])

    def anomaly_map(self, level_maps: list[Tensor]) -> Tensor:
        """Level maps (N, h_l, w_l), fine to coarse -> (N, h, w); 0 outside the region of interest."""
        return self.joined([level(values) for level, values in zip(self.standardised, level_maps, strict=True)])

    def joined(self, standard_maps: list[Tensor]) -> Tensor:
        """The levels' standardised maps -> their smoothed sum, as `anomaly_map`."""
        on_grid = [values if values.shape[1:] == self.grid else self._to_grid(values) for values in standard_maps]
        total = functools.reduce(torch.add, on_grid)
        if self.everywhere:
            return self.blur.forward(total)
        # Dividing by the blurred mask keeps what lies outside from leaking in at the region's edge.
        nothing = torch.zeros_like(total)
        smooth = self.blur(torch.where(self.inside, total, nothing)) / self.blurred_inside.clamp_min(1e-6)
        return torch.where(self.inside, smooth, nothing)

    def image_score(self, anomaly_map: Tensor) -> tuple[Tensor, Tensor]:
        """(N, h, w) -> mean of the top places (N,) and the lowest of them (N,)."""
        inside = anomaly_map.flatten(1)  # (N, h, w) -> (N, h * w)
        if not self.everywhere:
            inside = inside[:, self.places]  # (N, places inside)
        top = inside.topk(self.top_places, dim=1).values
        return top.mean(1), top[:, -1].clamp_min(FLOOR)

    def top_floor(self, anomaly_map: Tensor) -> Tensor:
        """The lowest of as many top places of a map that has been laid on its picture, (N, h, w) -> (N,)."""
        return anomaly_map.flatten(1).topk(self.top_places, dim=1).values[:, -1].clamp_min(FLOOR)

    def inside_at(self, height: int, width: int) -> Tensor:
        """The region of interest on a level's own grid, (h_l, w_l)."""
        return F.interpolate(self.inside.float()[None, None], size=(height, width), mode="area")[0, 0] >= 0.5

    def _to_grid(self, level_map: Tensor) -> Tensor:
        """(N, h_l, w_l) -> (N, h, w), bilinear; places outside the region of interest are ignored.

        A place that has none of the level's places inside the region nearby gets 0, an average good place's value.
        """
        if self.everywhere:
            return F.interpolate(level_map[:, None], size=self.grid, mode="bilinear")[:, 0]
        inside = self.inside_at(level_map.shape[1], level_map.shape[2]).float()
        sums = F.interpolate((level_map * inside)[:, None], size=self.grid, mode="bilinear")[:, 0]
        shares = F.interpolate(inside[None, None], size=self.grid, mode="bilinear")[0, 0]
        return sums / shares.clamp_min(1e-6)


def compressed(values: Tensor, compression: Compression) -> Tensor:
    """v -> sign(v) log(1 + |v|), or v itself. Any shape."""
    return torch.sign(values) * torch.log1p(values.abs()) if compression == "log" else values


def _gaussian(sigma: float) -> Tensor:
    """A normalised kernel that reaches three standard deviations; [1] for no smoothing."""
    reach = math.ceil(3 * sigma)
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (places / max(sigma, 1e-3)) ** 2)
    return kernel / kernel.sum()


def _blur_matrix(side: int, kernel: Tensor) -> Tensor:
    """(side, side): row i holds what place i gives to each place, its nearest edge repeated beyond the map."""
    reach = len(kernel) // 2
    spread = F.pad(torch.eye(side)[:, None], (reach, reach), mode="replicate")  # (side, 1, side + 2 reach)
    return F.conv1d(spread, kernel[None, None])[:, 0]
