"""One settings class per family of flows: `flow: {family: ...}` in a recipe."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from defectflow.recipe.tree import Settings

PLACE = ("place", "shrinkage", "block")
"""Settings of what is measured at each place, before a flow."""


class _FlowSettings(Settings):
    shared: ClassVar[tuple[str, ...]] = ("base", "hidden", "clamp", "anchored", *PLACE)
    place: Literal["none", "spread", "full"] = "full"
    """What is measured at each place of the training parts before the flow learns: nothing, mean and spread, or mean
    and covariance."""
    shrinkage: float = Field(0.3, ge=0, le=1)
    """Share of the mean of all places' covariances in each place's own."""
    block: int = Field(1, ge=1, le=8)
    """Side, in places, of the squares that share one covariance; each place has its own mean."""
    base: Literal["normal", "student_t"] = "normal"
    """What the flow carries good vectors to; `student_t` learns how heavy the tails are."""
    hidden: int = Field(128, ge=8, le=4096)
    """Width of the networks inside."""

    def of_layers(self) -> dict[str, Any]:
        """What shapes the flow itself: all but what is measured before it."""
        return self.model_dump(exclude=set(PLACE))


class _AnchoredSettings(_FlowSettings):
    anchored: bool | None = None
    """Whether couplings fade to the identity far from good vectors, where nothing was learned; null: where each place
    was measured before."""

    def of_layers(self) -> dict[str, Any]:
        anchored = self.place != "none" if self.anchored is None else self.anchored
        return super().of_layers() | {"anchored": anchored}


class NiceSettings(_AnchoredSettings):
    """Additive couplings and one scale for all (Dinh 2014): the Jacobian is the same everywhere."""

    family: Literal["nice"] = "nice"
    layers: int = Field(4, ge=1, le=64)
    """Coupling layers per level."""


class _ScalingSettings(_FlowSettings):
    clamp: float = Field(2.0, gt=0, le=10)
    """Largest |log scale| of one layer."""


class GaussianSettings(_ScalingSettings):
    """No flow: each place's mean and spread, on whitened vectors. What every flow has to beat."""

    family: Literal["gaussian"] = "gaussian"


class PlanarSettings(_ScalingSettings):
    """Bends along one direction each (Rezende 2015). Cheap, weak."""

    family: Literal["planar"] = "planar"
    layers: int = Field(16, ge=1, le=256)
    """Bends per level."""


class _LayeredSettings(_ScalingSettings):
    layers: int = Field(4, ge=1, le=64)
    """Layers per level."""


class RealNVPSettings(_LayeredSettings, _AnchoredSettings):
    """Affine couplings with fixed permutations between them (Dinh 2016)."""

    family: Literal["realnvp"] = "realnvp"


class GlowSettings(_LayeredSettings, _AnchoredSettings):
    """ActNorm, learned invertible mixing and affine couplings (Kingma 2018)."""

    family: Literal["glow"] = "glow"


class MAFSettings(_LayeredSettings):
    """Masked autoregressive layers (Papamakarios 2017): scores in one pass, samples value by value."""

    family: Literal["maf"] = "maf"


class IAFSettings(_LayeredSettings):
    """The inverse (Kingma 2016): samples in one pass, scores value by value, too slow to be exported."""

    family: Literal["iaf"] = "iaf"


class SplineSettings(_LayeredSettings, _AnchoredSettings):
    """Couplings through monotone rational-quadratic curves (Durkan 2019)."""

    family: Literal["spline"] = "spline"
    bins: int = Field(8, ge=2, le=64)
    """Pieces of each curve."""
    bound: float = Field(4.0, gt=0, le=100)
    """Beyond this, in standard deviations of good vectors, a curve is the identity."""


class ContinuousSettings(_ScalingSettings):
    """A differential equation (Grathwohl 2018), scored with Runge-Kutta of fixed steps."""

    family: Literal["cnf"] = "cnf"
    steps: int = Field(8, ge=1, le=256)
    """Runge-Kutta steps when scoring."""
    objective: Literal["likelihood", "matching"] = "likelihood"
    """`likelihood` solves the equation in every step of training; `matching` never does (Lipman 2022)."""
    trace: Literal["exact", "gaussian", "rademacher"] = "exact"
    """How training by likelihood finds the divergence: in closed form, or estimated (Hutchinson)."""
    kinetic: float = Field(0.01, ge=0, le=100)
    """Weight of the mean square velocity, which keeps paths short (Finlay 2020)."""
    jacobian: float = Field(0.01, ge=0, le=100)
    """Weight of the velocity's mean square derivative along a random direction, which keeps paths straight."""
    tolerance: float = Field(1e-3, gt=0, le=0.1)
    """Of the adaptive solver, in training."""
    augmented: int = Field(0, ge=0, le=256)
    """Dimensions of noise beside the vector's own (Dupont 2019): paths may cross; the likelihood becomes a bound."""

    @model_validator(mode="after")
    def _matching_has_no_likelihood(self) -> ContinuousSettings:
        """Only what differs from its default was asked for: a saved recipe states all."""
        if self.objective == "matching":
            if self.base != "normal":
                raise ValueError(
                    f"objective: matching learns paths to a normal, not to base: {self.base}; use base: normal, or "
                    "objective: likelihood"
                )
            fields = type(self).model_fields
            ignored = [name for name in LIKELIHOOD_ONLY if getattr(self, name) != fields[name].default]
            if ignored:
                said = ", ".join(f"{name}: {getattr(self, name)}" for name in ignored)
                raise ValueError(
                    f"objective: matching does not use {said}; leave that out, or use objective: likelihood"
                )
        return self


LIKELIHOOD_ONLY = ("trace", "kinetic", "jacobian", "tolerance")
"""What training by likelihood alone knows."""


FlowSettings = Annotated[
    NiceSettings
    | RealNVPSettings
    | GlowSettings
    | MAFSettings
    | IAFSettings
    | PlanarSettings
    | SplineSettings
    | ContinuousSettings
    | GaussianSettings,
    Field(discriminator="family"),
]
