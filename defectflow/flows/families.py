"""The one place where a family is put together from its layers."""

from __future__ import annotations

from typing import Literal

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
    layers: int = 4,
    hidden: int = 128,
    clamp: float = 2.0,
    bins: int = 8,
    bound: float = 4.0,
    steps: int = 8,
    objective: Literal["likelihood", "matching"] = "likelihood",
    trace: Trace = "exact",
    kinetic: float = 0.0,
    jacobian: float = 0.0,
    tolerance: float = 1e-3,
    augmented: int = 0,
    seed: int = 0,
) -> Flow:
    """A family by name -> a flow over vectors of `width` values. It starts as the identity or a rotation.

    Each family uses the numbers it knows: `bins` and `bound` the splines', from `steps` on `cnf`'s.
    """
    whole, width = width, width + (augmented if family == "cnf" else 0)
    bijections: list[Bijection] = []
    if context_width and family == "nice":
        bijections.append(ContextShift(width, context_width, hidden))  # a scale by place would end the one Jacobian
    elif context_width and objective == "likelihood":  # matching has no term that would keep this layer's scale up
        bijections.append(ContextAffine(width, context_width, hidden, clamp))
    for layer in range(layers):
        key = seed * 1000 + layer
        match family:
            case "nice":
                bijections += [Permutation(width, key), AdditiveCoupling(width, context_width, hidden)]
            case "realnvp":
                bijections += [Permutation(width, key), AffineCoupling(width, context_width, hidden, clamp)]
            case "glow":
                bijections += [ActNorm(width), Mixing(width, key)]
                bijections.append(AffineCoupling(width, context_width, hidden, clamp))
            case "maf":
                bijections += [Permutation(width, key), MaskedAffine(width, context_width, hidden, clamp)]
            case "iaf":
                bijections += [Permutation(width, key), Inverse(MaskedAffine(width, context_width, hidden, clamp))]
            case "planar":
                bijections.append(Planar(width, context_width, key))
            case "spline":
                bijections.append(Permutation(width, key))
                bijections.append(SplineCoupling(width, context_width, hidden, bins, bound))
            case "cnf" | "gaussian":
                break
    if family == "nice":
        bijections.append(DiagonalScale(width))
    density = Normal() if base == "normal" else StudentT(width)
    if family == "cnf":
        bijections.append(Continuous(width, context_width, hidden, steps))
        return ContinuousFlow(
            whole,
            context_width,
            bijections,
            density,
            objective=objective,
            trace=trace,
            kinetic=kinetic,
            jacobian=jacobian,
            tolerance=tolerance,
            augmented=augmented,
        )
    return Flow(width, context_width, bijections, density)
