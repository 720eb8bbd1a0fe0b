"""Level maps -> anomaly map -> image score. All constants are frozen before any calibration part is read."""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.verdict import FLOOR

Kind = Literal["likelihood", "latent_norm", "typicality"]
Compression = Literal["none", "log"]


class Score(nn.Module):
    """Each level's negative log-likelihood is standardised, the levels are summed, the sum is smoothed.

    map = blur( sum_l (nll_l - mean_l) / std_l ), the image score is the mean of the map's top fraction.
    With `compression: log`, v = (nll_l - mean_l) / std_l enters the sum as sign(v) log(1 + |v|).
    For `typicality` the distance |nll_l - typical_l| takes nll_l's place, typical_l being the mean of good places.
    nll_l is in nats per dimension; map and score are dimensionless; higher is worse.
    Shapes: nll_l (N, h_l, w_l) -> map (N, h, w) at the finest level's grid, score (N,).
    Source of typicality: Nalisnick et al. 2019, arXiv:1906.02994, section 4, for one place at a time.
    """

    typical: Tensor
    mean: Tensor
    std: Tensor
    inside: Tensor
    places: Tensor
    blur_rows: Tensor
    blur_columns: Tensor
    blurred_inside: Tensor

    def __init__(
        self,
        levels: int,
        grid: tuple[int, int],
        smoothing_places: float,
        top_fraction: float,
        inside: Tensor,
        kind: Kind = "likelihood",
        compression: Compression = "none",
    ) -> None:
        """`inside` (h, w): True where the region of interest is scored; `smoothing_places`: blur in grid cells."""
        super().__init__()
        self.grid = grid
        self.kind, self.compression = kind, compression
        self.register_buffer("typical", torch.zeros(levels))
        self.register_buffer("mean", torch.zeros(levels))
        self.register_buffer("std", torch.ones(levels))
        self.register_buffer("inside", inside)
        self.register_buffer("places", inside.flatten().nonzero()[:, 0])  # indices, since a graph needs fixed shapes
        kernel = _gaussian(smoothing_places)
        self.register_buffer("blur_rows", _blur_matrix(grid[0], kernel).T.contiguous(), persistent=False)
        self.register_buffer("blur_columns", _blur_matrix(grid[1], kernel), persistent=False)
        self.register_buffer("blurred_inside", self._blur(inside.float()[None])[0])
        self.everywhere = bool(inside.all())
        self.top_places = max(1, round(top_fraction * int(inside.sum())))

    @torch.no_grad()
    def fit(self, level_maps: list[Tensor]) -> None:
        """Freeze the levels' constants from the maps of tune parts, each (N, h_l, w_l)."""
        self.fit_values([values[:, self.inside_at(values.shape[1], values.shape[2])] for values in level_maps])

    @torch.no_grad()
    def fit_values(self, level_values: list[Tensor]) -> None:
        """The same from nll_l at places inside the region of interest, of any shape."""
        for level, seen in enumerate(level_values):
            self.typical[level] = seen.mean()
            seen = self._unusual(level, seen)
            self.mean[level] = seen.mean()
            self.std[level] = seen.std().clamp_min(1e-6)

    def anomaly_map(self, level_maps: list[Tensor]) -> Tensor:
        """Level maps (N, h_l, w_l), fine to coarse -> (N, h, w); 0 outside the region of interest."""
        return self.joined(
            [
                compressed((self._unusual(level, values) - self.mean[level]) / self.std[level], self.compression)
                for level, values in enumerate(level_maps)
            ]
        )

    def joined(self, standard_maps: list[Tensor]) -> Tensor:
        """The levels' standardised maps -> their smoothed sum, as `anomaly_map`."""
        on_grid = [values if values.shape[1:] == self.grid else self._to_grid(values) for values in standard_maps]
        total = functools.reduce(torch.add, on_grid)
        if self.everywhere:
            return self._blur(total)
        # Dividing by the blurred mask keeps what lies outside from leaking in at the region's edge.
        nothing = torch.zeros_like(total)
        smooth = self._blur(torch.where(self.inside, total, nothing)) / self.blurred_inside.clamp_min(1e-6)
        return torch.where(self.inside, smooth, nothing)

    def image_score(self, anomaly_map: Tensor) -> tuple[Tensor, Tensor]:
        """(N, h, w) -> mean of the top places (N,) and the lowest of them (N,)."""
        inside = anomaly_map.flatten(1)  # (N, h, w) -> (N, h * w)
        if not self.everywhere:
            inside = inside[:, self.places]  # (N, places inside)
        top = inside.topk(self.top_places, dim=1).values
        return top.mean(1), top[:, -1].clamp_min(FLOOR)

    def inside_at(self, height: int, width: int) -> Tensor:
        """The region of interest on a level's own grid, (h_l, w_l)."""
        return F.interpolate(self.inside.float()[None, None], size=(height, width), mode="area")[0, 0] >= 0.5

    def _unusual(self, level: int, values: Tensor) -> Tensor:
        return (values - self.typical[level]).abs() if self.kind == "typicality" else values

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

    def _blur(self, maps: Tensor) -> Tensor:
        """(N, h, w) -> (N, h, w), edges repeated; by matrices, since engines pad a convolution's one channel to 16."""
        return self.blur_rows @ maps @ self.blur_columns


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
