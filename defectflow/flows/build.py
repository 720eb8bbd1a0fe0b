"""Where each family of flows is built from its layers: one builder each, with the settings that it has."""

from __future__ import annotations

from typing import Any, Literal

from defectflow.flows.autoregressive import MaskedAffine
from defectflow.flows.base import Normal, StudentT
from defectflow.flows.bijection import Bijection, Inverse
from defectflow.flows.continuous import Continuous, Trace
from defectflow.flows.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    ContextAffine,
    ContextShift,
    DiagonalScale,
    Permutation,
)
from defectflow.flows.flow import ContinuousFlow, Flow
from defectflow.flows.glow import ActNorm, Mixing
from defectflow.flows.planar import Planar
from defectflow.flows.spline import SplineCoupling

Family = Literal["nice", "realnvp", "glow", "maf", "iaf", "planar", "spline", "cnf", "gaussian"]
Base = Literal["normal", "student_t"]


def build_flow(
    family: Family,
    width: int,
    context_width: int,
    *,
    base: Base = "normal",
    measured: bool = False,
    seed: int = 0,
    **settings: Any,
) -> Flow:
    """A family by name -> a flow over vectors of `width` values. It starts as the identity or a rotation.

    measured: the vectors come whitened place by place, so no layer needs to learn each place's mean and spread.
    settings: those of the family's builder below; TypeError for any other.
    """
    learned = context_width > 0 and not measured
    sizes = width, context_width
    match family:
        case "nice":
            layers = _nice(*sizes, learned, seed, **settings)
        case "realnvp":
            layers = _realnvp(*sizes, learned, seed, **settings)
        case "glow":
            layers = _glow(*sizes, learned, seed, **settings)
        case "maf":
            layers = _maf(*sizes, learned, seed, **settings)
        case "iaf":
            layers = [
                Inverse(layer) if isinstance(layer, MaskedAffine) else layer
                for layer in _maf(*sizes, learned, seed, **settings)
            ]
        case "planar":
            layers = _planar(*sizes, learned, seed, **settings)
        case "spline":
            layers = _spline(*sizes, learned, seed, **settings)
        case "gaussian":
            layers = _place(*sizes, learned, **settings)
        case "cnf":
            return _cnf(*sizes, learned, base, **settings)
    return Flow(width, context_width, layers, _base(base, width))


def _nice(
    width: int,
    context_width: int,
    learned: bool,
    seed: int,
    *,
    layers: int = 4,
    hidden: int = 128,
    anchored: bool = False,
) -> list[Bijection]:
    # A scale by place would end the one Jacobian.
    bijections: list[Bijection] = [ContextShift(width, context_width, hidden)] if learned else []
    for key in _keys(seed, layers):
        bijections += [Permutation(width, key), AdditiveCoupling(width, context_width, hidden, anchored)]
    return [*bijections, DiagonalScale(width)]


def _realnvp(
    width: int,
    context_width: int,
    learned: bool,
    seed: int,
    *,
    layers: int = 4,
    hidden: int = 128,
    clamp: float = 2.0,
    anchored: bool = False,
) -> list[Bijection]:
    bijections = _place(width, context_width, learned, hidden=hidden, clamp=clamp)
    for key in _keys(seed, layers):
        bijections += [Permutation(width, key), AffineCoupling(width, context_width, hidden, clamp, anchored)]
    return bijections


def _glow(
    width: int,
    context_width: int,
    learned: bool,
    seed: int,
    *,
    layers: int = 4,
    hidden: int = 128,
    clamp: float = 2.0,
    anchored: bool = False,
) -> list[Bijection]:
    bijections = _place(width, context_width, learned, hidden=hidden, clamp=clamp)
    for key in _keys(seed, layers):
        bijections += [ActNorm(width), Mixing(width, key)]
        bijections.append(AffineCoupling(width, context_width, hidden, clamp, anchored))
    return bijections


def _maf(
    width: int,
    context_width: int,
    learned: bool,
    seed: int,
    *,
    layers: int = 4,
    hidden: int = 128,
    clamp: float = 2.0,
) -> list[Bijection]:
    bijections = _place(width, context_width, learned, hidden=hidden, clamp=clamp)
    for key in _keys(seed, layers):
        bijections += [Permutation(width, key), MaskedAffine(width, context_width, hidden, clamp)]
    return bijections


def _planar(
    width: int,
    context_width: int,
    learned: bool,
    seed: int,
    *,
    layers: int = 16,
    hidden: int = 128,
    clamp: float = 2.0,
) -> list[Bijection]:
    bends = [Planar(width, context_width, key) for key in _keys(seed, layers)]
    return [*_place(width, context_width, learned, hidden=hidden, clamp=clamp), *bends]


def _spline(
    width: int,
    context_width: int,
    learned: bool,
    seed: int,
    *,
    layers: int = 4,
    hidden: int = 128,
    clamp: float = 2.0,
    bins: int = 8,
    bound: float = 4.0,
    anchored: bool = False,
) -> list[Bijection]:
    bijections = _place(width, context_width, learned, hidden=hidden, clamp=clamp)
    for key in _keys(seed, layers):
        bijections.append(Permutation(width, key))
        bijections.append(SplineCoupling(width, context_width, hidden, bins, bound, anchored))
    return bijections


def _cnf(
    width: int,
    context_width: int,
    learned: bool,
    base: Base,
    *,
    hidden: int = 128,
    clamp: float = 2.0,
    steps: int = 8,
    objective: Literal["likelihood", "matching"] = "likelihood",
    trace: Trace = "exact",
    kinetic: float = 0.0,
    jacobian: float = 0.0,
    tolerance: float = 1e-3,
    augmented: int = 0,
) -> Flow:
    whole = width + augmented
    # Matching has no term that would keep the scale of a layer before the equation up.
    bijections = _place(whole, context_width, learned and objective == "likelihood", hidden=hidden, clamp=clamp)
    return ContinuousFlow(
        width,
        context_width,
        [*bijections, Continuous(whole, context_width, hidden, steps)],
        _base(base, whole),
        objective=objective,
        trace=trace,
        kinetic=kinetic,
        jacobian=jacobian,
        tolerance=tolerance,
        augmented=augmented,
    )


def _place(width: int, context_width: int, learned: bool, *, hidden: int = 128, clamp: float = 2.0) -> list[Bijection]:
    """Each place's own mean and spread, learned from its position; nothing where they were measured."""
    return [ContextAffine(width, context_width, hidden, clamp)] if learned else []


def _base(base: Base, width: int) -> Normal | StudentT:
    return Normal() if base == "normal" else StudentT(width)


def _keys(seed: int, layers: int) -> range:
    """A seed of its own for each layer."""
    return range(seed * 1000, seed * 1000 + layers)
