"""Density heads -> is the model numerically sound? Checked with vectors of tune parts, which were not trained on.

Source of the questions: Behrmann et al. 2020, arXiv:2006.09347 (exploding inverses); Kingma and Dhariwal 2018,
arXiv:1807.03039, and Dinh et al. 2017, arXiv:1605.08803 (log-scales).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import scipy.stats
import torch
from torch import Tensor

from defectflow.density.saved import Head
from defectflow.flows import Family, StudentT

Finding = Literal["ok", "watch", "unfit"]
GENTLER: dict[Family, str] = {
    "nice": "lower flow.layers",
    "planar": "lower flow.layers",
    "spline": "lower flow.layers or flow.bins",
    "cnf": "raise flow.steps",
    "gaussian": "lower flow.clamp",
}
"""What keeps a family's numbers in bounds; of the others, `lower flow.layers or flow.clamp`."""
ABLER: dict[Family, str] = {
    "cnf": "raise training.steps or flow.hidden",
    "gaussian": "choose another flow.family",
}
"""What lets a family learn more; of the others, `raise training.steps or flow.layers`."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a level or a layer of it. `value` is compared with `watch` and `unfit`; larger is worse."""

    level: int
    layer: str
    """Its number, from data to latent, and kind; empty for what concerns the whole level."""
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

    def to_json(self) -> dict[str, Any]:
        """With null for what JSON does not have: values that are not numbers, and missing limits."""
        plain = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }
        return plain | {"finding": self.finding}


@torch.no_grad()
def examine(heads: list[Head]) -> list[Check]:
    """All checks of all levels."""
    return [check for head in heads for check in _checks(head)]


def _checks(head: Head) -> Iterator[Check]:
    flow, x, context = head.flow, head.vectors, head.context
    gentler = GENTLER.get(head.family, "lower flow.layers or flow.clamp")
    log_prob = flow.log_prob(x, context)
    _, log_det = flow.latent(x, context)
    spread = float(log_prob.std())

    exact = copy.deepcopy(flow).double()
    difference = float((exact.log_prob(x.double(), context.double()) - log_prob).abs().max()) / spread
    yield Check(
        head.level,
        "",
        "float32 against float64, in standard deviations of log p",
        difference,
        1e-3,
        1e-2,
        f"{gentler}, or use embedding.normalise: standardise",
    )
    yield from _layers(head, gentler)
    yield from _moments(head)
    yield Check(
        head.level,
        "",
        "share of the score's variance that the log-determinant brings",
        float(log_det.var() / log_prob.var()),
        1.0,
        100.0,
        f"the log-determinant dominates: compare with score.kind: latent_norm, or {gentler}",
    )


def _layers(head: Head, gentler: str) -> Iterator[Check]:
    """Each layer's round-trip error and log-scales, then the round-trip error of the whole flow."""
    level, flow, context = head.level, head.flow, head.context
    start = x = flow.augment(head.vectors)
    for number, layer in enumerate(flow.layers(), start=1):
        name = f"{number} {type(layer).__name__}"
        after, _ = layer(x, context)
        yield _inverse(level, name, layer.inverse(after, context)[0], x, gentler)
        scales = layer.log_scales(x, context)
        if scales is not None:
            largest = float(scales.abs().max())
            yield Check(level, name, "largest |log-scale|", largest, 5.0, 10.0, f"it stretches too far: {gentler}")
        if scales is not None and layer.clamp is not None:
            yield Check(
                level,
                name,
                "largest log-scale, as a share of its clamp",
                largest / layer.clamp,
                0.98,
                math.inf,
                "scales reach the limit flow.clamp: raise it a little, or train with fewer steps",
            )
        x = after
    for layer in reversed(flow.layers()):
        x, _ = layer.inverse(x, context)
    yield _inverse(level, "", x, start, gentler)


def _inverse(level: int, layer: str, found: Tensor, expected: Tensor, gentler: str) -> Check:
    """Verdicts need no inverse; but without one, several x share a z, and log p is no longer a likelihood."""
    return Check(
        level,
        layer,
        "round trip: largest error, in units of its input",
        float((found - expected).abs().max() / expected.std()),
        1e-3,
        1e-1,
        f"samples of `draw` are off by this much; from 0.1 on, log p is no longer a likelihood: {gentler}",
    )


def _moments(head: Head) -> Iterator[Check]:
    """z of good parts must look as the base density says: standardised by it, mean 0, variance 1, and its shape.

    Dimensions that a family adds follow their law over many draws only, not in the one draw of scoring.
    """
    level, flow = head.level, head.flow
    z, _ = flow.latent(head.vectors, head.context, anew=torch.Generator().manual_seed(0))
    abler = ABLER.get(head.family, "raise training.steps or flow.layers")
    learn = f"{abler}; if tune parts differ from training parts, add parts to train on"
    yield Check(
        level, "", "mean of z, root mean square over its values", float(z.mean(0).square().mean().sqrt()), 0.3, 2, learn
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
        yield Check(level, "", "excess kurtosis of z", kurtosis, 3.0, math.inf, heavy)
    off = float(variance.clamp_min(1e-12).log().abs().mean().exp())
    yield Check(level, "", "variance of z, factor by which it is off", off, 1.5, 10, learn)
    distances = [
        float(scipy.stats.kstest(column.double().numpy(), law).statistic) for column, law in zip(z.T, laws, strict=True)
    ]
    yield Check(
        level, "", "Kolmogorov-Smirnov distance of z's values, mean", sum(distances) / len(distances), 0.1, 0.5, learn
    )
