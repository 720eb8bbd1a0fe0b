"""What a study of detectability is about and has found: plan, trials, curves over size; the words beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import SettingsError
from defectflow.gauge.flaws import FLAW_KINDS, FlawKind, Pixels
from defectflow.gauge.logistic import Logistic
from defectflow.verdict import Share, Word

ENOUGH = 60
"""Flaws of a curve, at least: what MIL-HDBK-1823A asks for where an outcome is found or missed."""
REAL = "real defects"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn."""

    sizes_px: tuple[float, float] = (2.0, 40.0)
    """Smallest and largest; in between by equal ratios."""
    contrasts: tuple[float, ...] = (10.0, 25.0, 60.0)
    """In grey levels of 255."""
    flaws: int = ENOUGH
    """Of each kind and contrast."""
    kinds: tuple[FlawKind, ...] = FLAW_KINDS
    rejected_only: bool = False
    """Whether a part in the grey band counts as missed."""
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.sizes_px
        if not 0 < low < high:
            raise SettingsError(f"sizes of {low:g} to {high:g} px cannot be drawn; give a smaller and a larger one")
        if not self.contrasts or not all(0 < one <= 255 for one in self.contrasts):
            raise SettingsError(
                f"contrasts of {', '.join(f'{one:g}' for one in self.contrasts) or 'nothing'} cannot be drawn; give "
                "grey levels above 0, up to 255"
            )
        if self.flaws < 10:
            raise SettingsError(f"{self.flaws} flaws say nothing about a curve; draw {ENOUGH} or more, at least 10")


@dataclass(frozen=True, slots=True)
class Trial:
    """One flaw, and what became of it."""

    picture: str
    part: str
    kind: str
    contrast: float
    size_px: float
    x_px: float
    y_px: float
    region: str
    decision: Word
    score: float
    found: bool


@dataclass(frozen=True)
class Group:
    """Trials that one curve is about."""

    by: str
    """"kind", "region" or "real"."""
    name: str
    contrast: float | None
    """None for real defects, which have any."""
    sizes_px: NDArray[np.float64] = field(repr=False)
    found: NDArray[np.bool_] = field(repr=False)
    curve: Logistic | None = field(repr=False)
    why_none: str
    """Why there is no curve; empty where there is one."""

    @property
    def a50_px(self) -> float | None:
        return None if self.curve is None else _px(self.curve.x_at(0.5))

    @property
    def a90_px(self) -> float | None:
        return None if self.curve is None else _px(self.curve.x_at(0.9))

    @property
    def a90_95_px(self) -> float | None:
        """With 95% confidence flaws of this size are found with probability 0.9 or more."""
        return None if self.curve is None else _px(self.curve.upper_x_at(0.9))

    def within(self, size_px: float) -> tuple[str, float]:
        """A size of the curve as it may be told: beyond the sizes that were tried, it is only said to be beyond."""
        low, high = float(self.sizes_px.min()), float(self.sizes_px.max())
        return ("> ", high) if size_px > high else ("< ", low) if size_px < low else ("", size_px)

    def in_sixths(self) -> Iterator[tuple[float, Share]]:
        """(middle size, found of tried) of six equally large groups of sizes: what the curve should pass by."""
        order = np.argsort(self.sizes_px)
        for places in np.array_split(order, 6):
            if len(places):
                middle = float(np.exp(np.log(self.sizes_px[places]).mean()))
                yield middle, Share(int(self.found[places].sum()), len(places))


@dataclass(frozen=True)
class Detectability:
    """The whole study."""

    plan: Plan
    bundle_id: str
    calibration_id: str
    model: str
    mm_per_px: float | None
    clean: Share
    """Good pictures that were not called ok without any flaw: nothing was drawn on them."""
    parts: int
    """Good parts that flaws were drawn on."""
    unreadable: tuple[tuple[str, str], ...]
    fitted: int
    """Good pictures that the model has learned from, or was calibrated with."""
    painted_regions: bool
    """Whether a picture said where flaws may lie."""
    not_drawn: int
    """Flaws for which no place was found where black or white leaves enough of their contrast."""
    trials: tuple[Trial, ...]
    real: tuple[Trial, ...]
    groups: tuple[Group, ...]
    examples: tuple[tuple[str, float, Pixels], ...] = field(repr=False)
    """(kind, contrast, cut-out) of flaws of middle size."""

    def groups_by(self, by: str) -> list[Group]:
        return [group for group in self.groups if group.by == by]

    def sentences(self) -> Iterator[str]:
        """What the figures mean, and what they do not."""
        yield (
            "Drawn flaws are not real ones: they have no relief, shadow or gloss, and a real defect of the same size "
            "may be found more often or less often. Compare these sizes between models, cameras and regions, and do "
            "not promise them for real defects."
        )
        if not self.painted_regions:
            yield (
                "The flaws lie anywhere that the model looks at, also on the background beside a part, where they are "
                "found at other sizes. Where the part does not fill the picture, give --regions a picture in which the "
                "background is black."
            )
        counts = "is rejected" if self.plan.rejected_only else "is not called ok"
        yield (
            f"A flaw counts as found where its picture {counts}. {self.clean.count} of {self.clean.of} pictures of "
            "good parts were not called ok without any flaw; nothing was drawn on them."
        )
        yield (
            f"The flaws were drawn on {self.parts} good parts, each several times where there are more flaws than "
            "parts: the bounds are about further places on parts like these, and too narrow where parts differ much."
        )
        if self.fitted:
            yield (
                f"{self.fitted} of the good pictures were used in the fit or the calibration: on new parts somewhat "
                "other sizes are found. Use parts that were kept apart."
            )
        if self.not_drawn:
            yield f"{self.not_drawn} flaws were not drawn: black or white would have left too little of them."
        few = [len(group.sizes_px) for group in self.groups if len(group.sizes_px) < ENOUGH]
        if few:
            yield (
                f"MIL-HDBK-1823A asks for {ENOUGH} flaws for a curve; behind {len(few)} of {len(self.groups)} curves "
                f"are fewer, the least {min(few)}."
            )


def _px(x: float | None) -> float | None:
    return None if x is None else math.exp(x)
