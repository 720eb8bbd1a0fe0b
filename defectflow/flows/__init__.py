"""Pure density: invertible maps and base densities in torch. Knows no images and no settings."""

from defectflow.flows.autoregressive import MaskedAffine, MaskedNet
from defectflow.flows.base import Normal, StudentT
from defectflow.flows.bijection import Bijection
from defectflow.flows.build import Family, build_flow
from defectflow.flows.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    ContextAffine,
    ContextShift,
    DiagonalScale,
    Permutation,
)
from defectflow.flows.flow import BOUND, ContinuousFlow, Flow
from defectflow.flows.glow import ActNorm, Mixing
from defectflow.flows.networks import ConditionedNet, anchor, soft_clamp
from defectflow.flows.spline import SplineCoupling

__all__ = [
    "BOUND",
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "Bijection",
    "ConditionedNet",
    "ContextAffine",
    "ContextShift",
    "ContinuousFlow",
    "DiagonalScale",
    "Family",
    "Flow",
    "MaskedAffine",
    "MaskedNet",
    "Mixing",
    "Normal",
    "Permutation",
    "SplineCoupling",
    "StudentT",
    "anchor",
    "build_flow",
    "soft_clamp",
]
