"""Scores of known parts and what mistakes cost -> the cheapest thresholds, how sure they are, and what others cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from defectflow.bundle import Card
from defectflow.common import Progress, Watch, unwatched
from defectflow.data import Picture
from defectflow.errors import DataError, ImageError
from defectflow.line.inspector import Inspector
from defectflow.line.journal import Row
from defectflow.verdict import Cheapest, Costs, Point, Tradeoff, Uncertainty, is_gated, worst_score

CURVE_STEPS = 160
FEW_DEFECTIVE = 20
"""With fewer defective parts, one of them moves the estimated escape rate by more than 5 points."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What thresholds cost on known parts."""

    costs: Costs
    tradeoff: Tradeoff
    cheapest: Cheapest
    uncertainty: Uncertainty
    now: Point | None
    """At the bundle's thresholds; None where it has none."""

    @property
    def now_cost(self) -> float | None:
        return None if self.now is None else self.costs.per_part(self.now)

    @property
    def saving(self) -> float | None:
        """Of one inspected part, by the counts as they are."""
        return None if self.now_cost is None else self.now_cost - self.cheapest.cost_per_part

    def curve(self) -> list[tuple[float, float]]:
        """(threshold, cost of a part without a grey band), over the thresholds worth looking at."""
        bare = replace(self.costs, review=None)
        return [
            (float(cut), bare.per_part(self.tradeoff.at(float(cut))))
            for cut in np.linspace(*self.tradeoff.span, CURVE_STEPS)
        ]

    def sentences(self) -> Iterator[str]:
        """What the figures mean, and what they do not."""
        cut, (low, high) = self.cheapest.point.threshold, self.uncertainty.threshold
        yield (
            f"The cheapest threshold on these parts is {cut:.4f}. Those from {low:.4f} to {high:.4f} cannot be told "
            "from it with 95% confidence, as far as these parts reach."
        )
        if self.uncertainty.review is not None:
            low, high = self.uncertainty.review
            yield (
                f"The cheapest grey band begins at {self.cheapest.point.review:.4f} ({low:.4f} to {high:.4f}). It is "
                "assumed that whoever looks at a part of the grey band decides rightly."
            )
        elif self.costs.review is not None:
            yield "At these costs no grey band pays: a review costs more than it saves."
        few, many = self.uncertainty.cost
        yield (
            f"A part then costs {self.cheapest.cost_per_part:.4g} on average (95% interval {few:.4g} to {many:.4g} for "
            "thresholds named beforehand; these were chosen on the very parts, so expect somewhat more)."
        )
        yield (
            f"Counted on {len(self.tradeoff.good)} good and {len(self.tradeoff.defective)} defective parts. These are "
            "estimates for parts like them: thresholds chosen so promise nothing about good parts, and defects of "
            "other kinds may be missed more often."
        )
        if len(self.tradeoff.defective) < FEW_DEFECTIVE:
            yield (
                f"{len(self.tradeoff.defective)} defective parts are few: with one of them the estimated escape rate "
                f"moves by {1 / len(self.tradeoff.defective):.0%}."
            )

    def to_json(self) -> dict[str, Any]:
        costs = self.costs
        return {
            "costs": {
                "false_reject": costs.overkill,
                "escape": costs.escape,
                "review": costs.review,
                "defective_share": costs.defective_share,
            },
            "parts": {"good": len(self.tradeoff.good), "defective": len(self.tradeoff.defective)},
            "cheapest": _point_json(self.cheapest.point, self.cheapest.cost_per_part)
            | {
                "threshold_interval": list(self.uncertainty.threshold),
                "review_interval": None if self.uncertainty.review is None else list(self.uncertainty.review),
                "cost_interval": list(self.uncertainty.cost),
            },
            "now": None if self.now is None else _point_json(self.now, costs.per_part(self.now)),
            "notes": list(self.sentences()),
        }


def _point_json(point: Point, cost: float) -> dict[str, Any]:
    names = ("overkill", "escape", "reviewed_good", "reviewed_defective")
    shares = {name: getattr(point, name).to_json() for name in names}
    return {"threshold": point.threshold, "review": point.review, "cost_per_part": cost, **shares}


def weigh(tradeoff: Tradeoff, costs: Costs, card: Card) -> Weighed:
    """Raises CalibrationError without good or defective parts."""
    now = None
    if card.calibration is not None:
        cut, band = card.calibration.threshold.value, card.calibration.review.value
        now = tradeoff.at(cut, cut if costs.review is None else band)
    return Weighed(costs, tradeoff, tradeoff.cheapest(costs), tradeoff.uncertainty(costs), now)


def tradeoff_of(known: Iterable[tuple[str, bool, float]]) -> Tradeoff:
    """(part, whether this picture of it is defective, score) -> one score per part: a part is defective if any picture
    of it is."""
    scores: dict[str, list[float]] = {}
    defective = set[str]()
    for part, is_defective, score in known:
        scores.setdefault(part, []).append(score)
        if is_defective:
            defective.add(part)
    worst = {part: worst_score(several) for part, several in scores.items()}
    return Tradeoff(
        [score for part, score in worst.items() if part not in defective],
        [score for part, score in worst.items() if part in defective],
    )


def measure_known(
    inspector: Inspector, pictures: Iterable[Picture], *, watch: Watch = unwatched
) -> tuple[Tradeoff, list[tuple[str, str]]]:
    """Labelled pictures -> their parts' scores, and (file, reason) of pictures that cannot be used; a part of which one
    cannot be is left out. Good parts of the calibration stand in where no good picture is given.

    Raises DataError where no picture is labelled defective.
    """
    labelled = [picture for picture in pictures if picture.label is not None]
    if not any(picture.label == "defective" for picture in labelled):
        raise DataError(
            f"none of {len(labelled)} labelled pictures is defective, so escapes cannot be weighed; give pictures of "
            "defective parts, too"
        )
    seen, failed, not_whole = list[tuple[str, bool, float]](), list[tuple[str, str]](), set[str]()
    results = inspector.measure([picture.path for picture in labelled])
    for done, (picture, item) in enumerate(zip(labelled, results, strict=True), start=1):
        if isinstance(item, ImageError):
            failed.append((str(picture.path), str(item)))
            not_whole.add(picture.part)
        else:
            seen.append((picture.part, picture.label == "defective", item.calibrated_score))
        watch(Progress("measure", done, len(labelled)))
    found = tradeoff_of(one for one in seen if one[0] not in not_whole)
    if not len(found.good):
        calibration = [part.calibrated_score for part in inspector.card.calibration_parts]
        found = Tradeoff(calibration, found.defective.tolist())
    return found, failed


def weigh_rows(rows: Iterable[Row], costs: Costs, card: Card) -> Weighed | None:
    """The same of a scored folder; None where its labels do not tell both good and defective parts."""
    known = [
        (row.part, row.label == "defective", _calibrated_score(row))
        for row in rows
        if row.label is not None and row.score is not None
    ]
    tradeoff = tradeoff_of(known)
    return weigh(tradeoff, costs, card) if len(tradeoff.good) and len(tradeoff.defective) else None


def _calibrated_score(row: Row) -> float:
    gated = row.distance is not None and row.distance_limit is not None and is_gated(row.distance, row.distance_limit)
    return math.inf if gated or row.score is None else row.score
