"""Density heads -> is the model numerically sound? Looked at with vectors of tune parts, which it has not learned from.

Source of the questions: Behrmann et al. 2020, arXiv:2006.09347 (exploding inverses); Kingma and Dhariwal 2018,
arXiv:1807.03039, and Dinh et al. 2017, arXiv:1605.08803 (log-scales).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import scipy.stats
import torch
from torch import Tensor

from defectflow.flows.base import StudentT
from defectflow.flows.flow import Flow
from defectflow.heads import Head

Finding = Literal["ok", "watch", "unfit"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question about one level. `value` is compared with `watch` and `unfit`; larger is worse."""

    level: int
    question: str
    value: float
    watch: float
    unfit: float
    remedy: str

    @property
    def finding(self) -> Finding:
        """Anything that is not a number is unfit."""
        if not self.value < self.unfit:
            return "unfit"
        return "ok" if self.value < self.watch else "watch"


@torch.no_grad()
def examine(heads: list[Head]) -> list[Check]:
    """All checks of all levels."""
    return [check for head in heads for check in _checks(head)]


def _checks(head: Head) -> Iterator[Check]:
    flow, x, context = head.flow, head.vectors, head.context
    log_prob = flow.log_prob(x, context)
    z, log_det = flow.latent(x, context)
    spread = float(log_prob.std())

    exact = copy.deepcopy(flow).double()
    difference = float((exact.log_prob(x.double(), context.double()) - log_prob).abs().max()) / spread
    yield Check(
        head.level,
        "float32 against float64, in standard deviations of log p",
        difference,
        1e-3,
        1e-2,
        "lower flow.layers or flow.clamp, or use embedding.normalise: standardise",
    )
    for name, worst in _way_back(flow, x, context):
        yield Check(
            head.level,
            f"inverse of {name}: largest error, in units of its input",
            worst,
            1e-3,
            1e-1,
            "harmless for verdicts, but `draw` is wrong; lower flow.clamp or flow.layers",
        )
    largest = _largest_log_scale(flow, x, context)
    if largest is not None:
        yield Check(
            head.level,
            "largest log-scale of a layer, as a share of its clamp",
            largest,
            0.98,
            math.inf,
            "scales press against flow.clamp: raise it a little, or train with fewer steps",
        )
    yield from _moments(head.level, flow, z)
    yield Check(
        head.level,
        "share of the score's variance that the log-determinant brings",
        float(log_det.var() / log_prob.var()),
        1.0,
        100.0,
        "stretch outweighs distance: compare score.kind: latent_norm, or lower flow.clamp",
    )


def _way_back(flow: Flow, x: Tensor, context: Tensor) -> Iterator[tuple[str, float]]:
    """Each layer's own error there and back, the worst of each kind; then that of the whole flow."""
    worst: dict[str, float] = {}
    start = x = flow.lifted(x)
    for layer in flow.layers():
        after, _ = layer(x, context)
        back, _ = layer.inverse(after, context)
        kind = type(layer).__name__
        # max() keeps its first argument where the second is not a number.
        error = _relative(back, x)
        worst[kind] = error if math.isnan(error) else max(worst.get(kind, 0.0), error)
        x = after
    yield from worst.items()
    for layer in reversed(flow.layers()):
        x, _ = layer.inverse(x, context)
    yield "the whole flow", _relative(x, start)


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.std())


def _largest_log_scale(flow: Flow, x: Tensor, context: Tensor) -> float | None:
    """Over all layers that clamp their log-scales, the largest share of the clamp that is used; None without such."""
    shares = []
    x = flow.lifted(x)
    for layer in flow.layers():
        share = layer.clamp_used(x, context)
        if share is not None:
            shares.append(share)
        x, _ = layer(x, context)
    return max(shares, default=None)


def _moments(level: int, flow: Flow, z: Tensor) -> Iterator[Check]:
    """z of good parts must look as the base density says: standardised by it, mean 0, variance 1, and its shape."""
    learn = "raise training.steps or flow.layers; if tune parts differ from training parts, add parts to train on"
    yield Check(
        level, "mean of z, root mean square over its values", float(z.mean(0).square().mean().sqrt()), 0.3, 2, learn
    )
    if isinstance(flow.base, StudentT):
        degrees = flow.base.degrees()
        laws: list[Callable[..., Any]] = [scipy.stats.t(df=float(nu)).cdf for nu in degrees]
        variance = z.var(0) * (degrees - 2) / degrees
    else:
        laws = [scipy.stats.norm.cdf] * z.shape[1]
        variance = z.var(0)
        kurtosis = float((((z - z.mean(0)) / z.std(0)) ** 4).mean() - 3)
        heavy = "tails are heavier than a normal's: try flow.base: student_t"
        yield Check(level, "excess kurtosis of z", kurtosis, 3.0, math.inf, heavy)
    off = float(variance.clamp_min(1e-12).log().abs().mean().exp())
    yield Check(level, "variance of z, factor by which it is off", off, 1.5, 10, learn)
    distances = [
        float(scipy.stats.kstest(column.double().numpy(), law).statistic) for column, law in zip(z.T, laws, strict=True)
    ]
    yield Check(
        level, "Kolmogorov-Smirnov distance of z's values, mean", sum(distances) / len(distances), 0.1, 0.5, learn
    )
