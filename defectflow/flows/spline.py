"""The layer of a neural spline flow: a coupling whose moved values go through monotone curves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from defectflow.flows.bijection import Bijection
from defectflow.flows.coupling import halves, kept_values
from defectflow.flows.networks import SOFTPLUS_OF_THIS_IS_1, ConditionedNet

SMALLEST_BIN = 1e-3
SMALLEST_SLOPE = 1e-3


class SplineCoupling(Bijection):
    """z_a = x_a; z_b = g(x_b), each value by its own curve g, whose knots are a function of x_a and the context.

    g is monotone rational-quadratic between K + 1 knots on [-B, B] and the identity outside.
    Shapes: x (..., D) -> z (..., D), log_det (...) = sum of log g'.
    Source: Durkan et al. 2019, arXiv:1906.04032, section 3.1 and appendix A.1.
    """

    def __init__(
        self, width: int, context_width: int, hidden: int, bins: int, bound: float, anchored: bool = False
    ) -> None:
        super().__init__()
        self.kept, self.bins, self.bound = kept_values(width), bins, bound
        self.net = ConditionedNet(self.kept, context_width, hidden, (width - self.kept) * (3 * bins - 1), anchored)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = halves(x, self.kept)
        z, log_slope = self._curve(moved, kept, context, inverse=False)
        return torch.cat([kept, z], dim=-1), log_slope.sum(-1)

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = halves(z, self.kept)
        x, log_slope = self._curve(moved, kept, context, inverse=True)
        return torch.cat([kept, x], dim=-1), log_slope.sum(-1)

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        kept, moved = halves(x, self.kept)
        return self._curve(moved, kept, context, inverse=False)[1]

    def _curve(self, value: Tensor, kept: Tensor, context: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Values through their curves, or back; and the log of the slope of the direction taken."""
        raw = self.net(kept, context)
        raw = raw.reshape(*raw.shape[:-1], -1, 3 * self.bins - 1)  # (..., D - D / 2, 3 K - 1)
        x_knots = self._knots(raw[..., : self.bins])
        y_knots = self._knots(raw[..., self.bins : 2 * self.bins])
        slopes = SMALLEST_SLOPE + (1 - SMALLEST_SLOPE) * F.softplus(raw[..., 2 * self.bins :] + SOFTPLUS_OF_THIS_IS_1)
        slopes = F.pad(slopes, (1, 1), value=1.0)  # meets the identity outside
        inside = value.abs() < self.bound
        here = value.clamp(-self.bound, self.bound)
        known = y_knots if inverse else x_knots
        bin_ = (here[..., None] >= known[..., 1:-1]).sum(-1, keepdim=True)  # (..., D - D / 2, 1)
        x0, x1 = x_knots.gather(-1, bin_)[..., 0], x_knots.gather(-1, bin_ + 1)[..., 0]
        y0, y1 = y_knots.gather(-1, bin_)[..., 0], y_knots.gather(-1, bin_ + 1)[..., 0]
        slope0, slope1 = slopes.gather(-1, bin_)[..., 0], slopes.gather(-1, bin_ + 1)[..., 0]
        mean_slope = (y1 - y0) / (x1 - x0)
        bend = slope0 + slope1 - 2 * mean_slope
        if inverse:
            rise = here - y0
            a = (y1 - y0) * (mean_slope - slope0) + rise * bend
            b = (y1 - y0) * slope0 - rise * bend
            c = -mean_slope * rise
            # The stable root of a t^2 + b t + c; b > 0 here, and the root under the sign is never negative.
            t = 2 * c / (-b - torch.sqrt((b * b - 4 * a * c).clamp_min(0)))
            out = x0 + t * (x1 - x0)
        else:
            t = (here - x0) / (x1 - x0)
            out = y0 + (y1 - y0) * (mean_slope * t * t + slope0 * t * (1 - t)) / (mean_slope + bend * t * (1 - t))
        slope = mean_slope**2 * (slope1 * t * t + 2 * mean_slope * t * (1 - t) + slope0 * (1 - t) ** 2)
        log_slope = torch.log(slope) - 2 * torch.log(mean_slope + bend * t * (1 - t))
        log_slope = torch.where(inside, -log_slope if inverse else log_slope, torch.zeros_like(value))
        return torch.where(inside, out, value), log_slope

    def _knots(self, raw: Tensor) -> Tensor:
        """K raw values -> K + 1 ascending knots from -B to B."""
        share = SMALLEST_BIN + (1 - SMALLEST_BIN * self.bins) * torch.softmax(raw, dim=-1)
        knots = F.pad(share.cumsum(-1), (1, 0))
        return self.bound * (2 * knots / knots[..., -1:] - 1)
