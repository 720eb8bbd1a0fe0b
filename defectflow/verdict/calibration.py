"""Good scores -> threshold and guarantee; score -> p-value. The statistics that the product promises.

One score per good part (the largest over its pictures) goes in. With n parts and rate a,
k = n + 1 - floor(a (n + 1)) scores must lie at or below the threshold. Then a new good part, exchangeable
with the calibration parts, exceeds it with probability at most (n + 1 - k) / (n + 1) <= a, and the realised
rate of a given calibration is Beta(n + 1 - k, k) distributed.

Source: Vovk, Gammerman, Shafer 2005 (split conformal); Vovk 2012, arXiv:1209.2673 (the Beta law).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

import numpy as np

from defectflow.errors import CalibrationError
from defectflow.verdict.intervals import CONFIDENCE, beta_cdf, beta_quantile

Guarantee = Literal["expected", "confident"]
Basis = Literal["expected", "confident", "estimate"]
"""What thresholds rest on; `estimate`: chosen after looking at scores, by a person or by a rate that pleased, so that
nothing is promised."""
PEAK_SHARE = 0.7
"""Chosen on development sets with masks, with the threshold of the score as that of places; docs/accuracy.md."""
TOLERANCE = 1e-3
"""Differences up to this many standard deviations of the good scores are numerical, not evidence."""
LIMITS = (
    "It covers good parts made and pictured like the calibration parts; it says nothing about defects that are missed."
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A cut between scores, and what it promises about good parts."""

    value: float
    """Scores above it are on the wrong side."""
    rank: int
    """k: how many of the n calibration scores lie at or below it."""
    expected_rate: float
    """(n + 1 - k) / (n + 1): the average share of good parts above it is at most this."""
    confident_rate: float
    """With 95% confidence in this calibration sample, the share of good parts above it is at most this.

    For a threshold that a person chose, both are what they would be had it been chosen without looking at scores."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a bundle knows about good parts. Scores are dimensionless; higher is worse."""

    scores: tuple[float, ...]
    """One per calibration part that passed the gate, ascending."""
    gated: int
    """Calibration parts that the invalid gate refused; each counts as a score of +infinity."""
    rate: float
    guarantee: Basis
    review_rate: float
    threshold: Threshold
    review: Threshold
    pixel_threshold: float
    """Places of the map above it are marked; it is the threshold of the score, which is a mean over places."""
    peak_share: float
    """Places below this share of their picture's highest one are not marked: a strong defect lifts all around it."""
    parts_known: bool
    """False where every picture was counted as a separate part."""
    pictures: int
    review_guarantee: Literal["estimate"] | None = None
    """None: as `guarantee`. `estimate`: the review rate alone was chosen after looking at scores."""

    @property
    def parts(self) -> int:
        return len(self.scores) + self.gated

    @property
    def spread(self) -> float:
        """Standard deviation of the finite good scores: the unit of all tolerances."""
        return float(np.std(self.scores))

    @property
    def rate_however_chosen(self) -> float:
        """With 95% confidence at most this share of good parts lies above the threshold, and above every other one at
        once its own: min(1, (n - k) / n + sqrt(ln 20 / 2n)), so it holds for a threshold chosen after looking, too.

        Source: Massart 1990, doi:10.1214/aop/1176990746 (the constant of Dvoretzky, Kiefer and Wolfowitz).
        """
        above = 1 - self.threshold.rank / self.parts
        return min(1.0, above + math.sqrt(math.log(1 / (1 - CONFIDENCE)) / (2 * self.parts)))

    def p_value(self, score: float) -> float:
        """(1 + #{s_i >= score}) / (n + 1). Small: few good parts look this unusual."""
        at_least = len(self.scores) - int(np.searchsorted(self.scores, score, side="left"))
        return (1 + at_least + self.gated) / (self.parts + 1)

    def sentences(self) -> list[str]:
        """The guarantee in plain words, with its limits."""
        unit = "parts" if self.parts_known else "pictures"
        if self.guarantee == "estimate":
            return [
                "These thresholds were chosen after looking at scores: they are an estimate, and no rate is promised. "
                f"Among {self.parts} good {unit} of the calibration they reject "
                f"{self.parts - self.threshold.rank} and call {self.review.rank} ok.",
                f"However they were chosen, with {CONFIDENCE:.0%} confidence in this calibration at most "
                f"{self.rate_however_chosen:.2%} of good {unit} are called defective or invalid.",
                LIMITS.replace("It covers", "The estimate is for"),
            ]
        said = [
            f"Calibrated on {self.parts} good {unit}.",
            f"On average at most {self.threshold.expected_rate:.2%} of good {unit} are called defective or invalid.",
            f"With {CONFIDENCE:.0%} confidence in this calibration it is at most {self.threshold.confident_rate:.2%}.",
            f"On average at most {self.review.expected_rate:.2%} of good {unit} are called anything but ok."
            if self.review_guarantee is None
            else "The review rate was chosen after looking at scores: it is an estimate. "
            f"Of {self.parts} good {unit} of the calibration, {self.review.rank} are called ok.",
            LIMITS,
        ]
        if self.parts_known:
            said.insert(
                -1,
                "A part's worst picture decides. The promise is exact for parts pictured as often as "
                "the calibration parts, and conservative for each single picture.",
            )
        else:
            said.insert(
                -1,
                "Every picture was counted as a separate part; the guarantee fails if several "
                "pictures show the same part.",
            )
        return said


def calibrate(
    good_scores: Sequence[float],
    *,
    rate: float,
    guarantee: Guarantee,
    review_rate: float,
    parts_known: bool = True,
    pictures: int | None = None,
) -> Calibration:
    """Good scores, one per part, -> thresholds.

    `good_scores` holds the largest score of each calibration part (+infinity if the gate refused it).
    Raises CalibrationError if n parts cannot support the rate, with the number needed.
    """
    for name, value in (("false-reject rate", rate), ("review rate", review_rate)):
        if not 0 < value < 1:
            raise CalibrationError(f"a {name} of {value:g} cannot be promised; give one above 0 and below 1, like 0.05")
    if review_rate < rate:
        raise CalibrationError(f"a review rate of {review_rate:g} is below the false-reject rate of {rate:g}; raise it")
    scores = _sorted(good_scores)
    finite = scores[np.isfinite(scores)]
    threshold = _threshold(scores, rate, guarantee)
    return Calibration(
        scores=tuple(finite.tolist()),
        gated=len(scores) - len(finite),
        rate=rate,
        guarantee=guarantee,
        review_rate=review_rate,
        threshold=threshold,
        review=_threshold(scores, review_rate, guarantee),
        pixel_threshold=threshold.value,
        peak_share=PEAK_SHARE,
        parts_known=parts_known,
        pictures=len(scores) if pictures is None else pictures,
    )


def calibrate_by_hand(
    good_scores: Sequence[float],
    *,
    threshold: float,
    review_threshold: float,
    parts_known: bool = True,
    pictures: int | None = None,
) -> Calibration:
    """Thresholds that a person has chosen: an estimate, which promises nothing and says so.

    Raises CalibrationError for thresholds that let no calibration part pass, or a review band upside down.
    """
    scores = _sorted(good_scores)
    finite = scores[np.isfinite(scores)]
    if review_threshold > threshold:
        raise CalibrationError(
            f"a review threshold of {review_threshold:.4f} is above the threshold of {threshold:.4f}; lower it"
        )
    if not len(finite) or not finite[0] <= review_threshold:
        raise CalibrationError(
            f"a threshold of {review_threshold:.4f} lets none of {len(scores)} good calibration parts pass; raise it"
        )
    if not math.isfinite(threshold):
        raise CalibrationError(f"a threshold of {threshold} is not a finite number; give one")

    def cut(value: float) -> Threshold:
        n, rank = len(scores), int(np.searchsorted(scores, value, side="right"))
        return Threshold(value, rank, expected_rate=(n + 1 - rank) / (n + 1), confident_rate=_confident_rate(n, rank))

    defect, review = cut(threshold), cut(review_threshold)
    return Calibration(
        scores=tuple(finite.tolist()),
        gated=len(scores) - len(finite),
        rate=1 - defect.rank / len(scores),
        guarantee="estimate",
        review_rate=1 - review.rank / len(scores),
        threshold=defect,
        review=review,
        pixel_threshold=defect.value,
        peak_share=PEAK_SHARE,
        parts_known=parts_known,
        pictures=len(scores) if pictures is None else pictures,
    )


def parts_needed(rate: float, guarantee: Guarantee) -> int:
    """The smallest number of good parts that supports a rate: 19 (expected) or 59 (confident) for 5%."""
    if guarantee == "expected":
        return math.ceil(1 / _exact(rate)) - 1
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-rate))


def lowest_rate(parts: int, guarantee: Guarantee, *, gated: int = 0) -> float:
    """The lowest rate that so many good parts support, if the gate refuses `gated` of them; 1 if there is none."""
    if gated >= parts:
        return 1.0
    return (gated + 1) / (parts + 1) if guarantee == "expected" else _confident_rate(parts, parts - gated)


def advised_rate(parts: int, guarantee: Guarantee, *, gated: int = 0) -> float:
    """`lowest_rate` with four digits, rounded up: rounded down it would be refused again."""
    return math.ceil(_exact(lowest_rate(parts, guarantee, gated=gated)) * 10_000) / 10_000


def rank_for(parts: int, rate: float, guarantee: Guarantee) -> int:
    """k, the number of calibration scores that must lie at or below the threshold; k > parts: unsupported."""
    if guarantee == "expected":
        return parts + 1 - math.floor(_exact(rate) * (parts + 1))
    # The more scores lie below, the surer: so the first k that is sure enough can be found by bisection.
    return 1 + bisect_left(range(1, parts + 1), True, key=lambda k: beta_cdf(rate, parts, k) >= CONFIDENCE)


def _threshold(scores: np.ndarray, rate: float, guarantee: Guarantee) -> Threshold:
    """Ascending scores, possibly ending in +infinity -> the midpoint of the k-th and (k+1)-th smallest."""
    n = len(scores)
    k = rank_for(n, rate, guarantee)
    if k > n:
        needed = parts_needed(rate, guarantee)
        raise CalibrationError(
            f"{n} good parts cannot support a false-reject rate of {told_rate(rate)} {meant(guarantee)}; "
            f"add {needed - n} more{_or_accept(n, guarantee)}."
        )
    if not math.isfinite(scores[k - 1]):
        gated = int(np.isinf(scores).sum())
        raise CalibrationError(
            f"{gated} of {n} calibration parts do not look like the training parts (invalid), more than a "
            f"false-reject rate of {told_rate(rate)} {meant(guarantee)} allows; remove pictures that do not show the "
            f"part, fit again with parts like these{_or_accept(n, guarantee, gated)}."
        )
    return Threshold(
        value=_between(scores, k),
        rank=k,
        expected_rate=(n + 1 - k) / (n + 1),
        confident_rate=_confident_rate(n, k),
    )


def _between(ascending: np.ndarray, k: int) -> float:
    """The midpoint of the k-th and (k+1)-th smallest; just above the k-th where no finite one follows."""
    if k < len(ascending) and math.isfinite(ascending[k]):
        return float((ascending[k - 1] + ascending[k]) / 2)
    # By the numerical tolerance, so that the part itself passes on any machine.
    return float(ascending[k - 1] + max(TOLERANCE * float(np.std(ascending[np.isfinite(ascending)])), 1e-6))


def _sorted(good_scores: Sequence[float]) -> np.ndarray:
    """Ascending. Raises CalibrationError if any is not a number."""
    scores = np.sort(np.asarray(good_scores, float))
    if strange := int(np.isnan(scores).sum()):
        raise CalibrationError(f"{strange} scores of calibration parts are not numbers; fit again.")
    return scores


def told_rate(rate: float) -> str:
    """In per cent, as people say it, and as a setting or an option takes it."""
    return f"{100 * rate:.4g}% ({rate:g})"


def meant(guarantee: Guarantee) -> str:
    """In which sense a rate holds, in words."""
    return "on average" if guarantee == "expected" else f"with {CONFIDENCE:.0%} confidence"


def _or_accept(n: int, guarantee: Guarantee, gated: int = 0) -> str:
    advised = advised_rate(n, guarantee, gated=gated)
    return f", or accept {told_rate(advised)}" if advised < 1 else ""


def _confident_rate(n: int, k: int) -> float:
    """With 95% confidence the share of good parts above the k-th of n scores is at most this."""
    return beta_quantile(CONFIDENCE, n, k)


def _exact(rate: float) -> Fraction:
    """0.05 as 1/20: in binary floating point, 0.29 * 100 is just below 29 and would lose a part."""
    return Fraction(Decimal(repr(rate)))
