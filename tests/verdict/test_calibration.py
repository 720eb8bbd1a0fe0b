"""The promise itself: thresholds and p-values against closed forms, SciPy, brute force and simulation."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from defectflow.errors import CalibrationError
from defectflow.verdict.calibration import (
    LIMITS,
    Calibration,
    Guarantee,
    advised_rate,
    calibrate,
    calibrate_by_hand,
    lowest_rate,
    parts_needed,
    rank_for,
)

GUARANTEES: tuple[Guarantee, ...] = ("expected", "confident")
RATES = (0.01, 0.05, 0.1, 0.2, 0.29, 0.5)


def calibrated(
    scores: np.ndarray | list[float], rate: float = 0.05, guarantee: Guarantee = "expected", review: float | None = None
) -> Calibration:
    return calibrate(scores, rate=rate, guarantee=guarantee, review_rate=review or rate)


def brute_rank(parts: int, rate: float, guarantee: Guarantee) -> int:
    """The smallest k that keeps the promise, by trying them all; parts + 1 if none does."""
    for k in range(1, parts + 1):
        if guarantee == "expected":
            kept = Fraction(parts + 1 - k, parts + 1) <= Fraction(str(rate))
        else:
            kept = beta.cdf(rate, parts + 1 - k, k) >= 0.95
        if kept:
            return k
    return parts + 1


# --- the rank ---


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("rate", RATES)
def test_rank_is_the_smallest_that_keeps_the_promise(rate: float, guarantee: Guarantee) -> None:
    for parts in [*range(1, 61), 98, 99, 100, 298, 299, 500]:
        assert rank_for(parts, rate, guarantee) == brute_rank(parts, rate, guarantee), parts


@pytest.mark.parametrize(
    ("parts", "rate", "guarantee"),
    [(19, 0.05, "expected"), (99, 0.01, "expected"), (59, 0.05, "confident"), (299, 0.01, "confident")],
)
def test_the_smallest_numbers_of_parts(parts: int, rate: float, guarantee: Guarantee) -> None:
    scores = np.arange(parts, dtype=float)
    assert parts_needed(rate, guarantee) == parts
    assert calibrated(scores, rate, guarantee).threshold.rank == parts
    with pytest.raises(CalibrationError, match=f"^{parts - 1} good parts .*; add 1 more, or accept"):
        calibrated(scores[1:], rate, guarantee)


def test_a_rate_that_binary_numbers_cannot_hold() -> None:
    assert 0.29 * 100 < 29, "the trap: taken as it is, one part would be lost"
    assert calibrated(np.arange(99.0), 0.29).threshold.rank == 71  # 29 of 100 may lie above


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_lowest_rate_is_supported_and_anything_below_is_not(guarantee: Guarantee) -> None:
    for parts in (1, 2, 6, 7, 10, 11, 13, 18, 19, 58, 123, 500):
        for gated in {0, 1, parts // 3} - {parts}:
            lowest = lowest_rate(parts, guarantee, gated=gated)
            assert rank_for(parts, lowest * 1.0001, guarantee) <= parts - gated
            assert rank_for(parts, lowest * 0.9999, guarantee) > parts - gated
            advised = advised_rate(parts, guarantee, gated=gated)
            assert rank_for(parts, advised, guarantee) <= parts - gated, (parts, gated)
            assert lowest <= advised < lowest + 1.01e-4
    assert lowest_rate(0, guarantee) == lowest_rate(3, guarantee, gated=3) == 1


def test_confident_rate_is_the_quantile_of_the_beta_law() -> None:
    for parts in (19, 40, 59, 150, 500):
        threshold = calibrated(np.arange(float(parts)), 0.06).threshold
        k = threshold.rank
        assert threshold.confident_rate == pytest.approx(beta.ppf(0.95, parts + 1 - k, k), abs=1e-9)
        assert threshold.expected_rate == pytest.approx(beta.mean(parts + 1 - k, k), abs=1e-12)


# --- the threshold ---


@settings(max_examples=200)
@given(
    scores=st.lists(st.integers(-5, 5) | st.floats(-1e6, 1e6), min_size=19, max_size=80),
    rate=st.sampled_from((0.05, 0.1, 0.29, 0.5)),
)
def test_ties_never_cost_more_parts_than_promised(scores: list[float], rate: float) -> None:
    threshold = calibrated(scores, rate).threshold
    above = sum(score > threshold.value for score in scores)
    assert above <= len(scores) - threshold.rank
    if len(set(scores)) == len(scores):
        assert above == len(scores) - threshold.rank
    assert math.isfinite(threshold.value)


def test_threshold_is_the_midpoint() -> None:
    scores = np.random.default_rng(0).normal(3, 1, 39)
    threshold = calibrated(scores).threshold
    below, above = sorted(scores)[37:39]  # floor(0.05 * 40) = 2, so k = 38
    assert threshold.rank == 38
    assert threshold.value == pytest.approx((below + above) / 2, abs=1e-12)


def test_threshold_just_above_the_largest() -> None:
    scores = np.random.default_rng(0).normal(3, 1, 19)
    value = calibrated(scores).threshold.value
    assert scores.max() < value < scores.max() + 0.01 * scores.std()
    assert np.float32(value) > np.float32(scores.max()), "also in the graph's numbers"
    same = calibrated([2.0] * 19).threshold.value
    assert 2.0 < same < 2.001


def test_the_review_threshold_follows_the_same_rule() -> None:
    scores = np.random.default_rng(0).normal(0, 1, 99)
    both = calibrate(scores, rate=0.05, guarantee="expected", review_rate=0.1)
    assert both.review == calibrated(scores, 0.1).threshold
    assert (scores > both.review.value).sum() == 9
    assert both.pixel_threshold == both.threshold.value, "a defective picture has a place that is marked"


# --- the promise, simulated. With uniform scores the realised false-reject rate is 1 - threshold. ---


@pytest.mark.parametrize(
    ("parts", "rate", "draws"),
    [
        (5, 0.2, 1500),
        (5, 0.5, 1500),
        (9, 0.29, 1500),
        (19, 0.05, 1500),
        (20, 0.05, 1500),
        (38, 0.05, 1000),
        (59, 0.05, 1000),
        (99, 0.01, 1000),
        (99, 0.29, 300),
        (150, 0.05, 500),
        (300, 0.01, 500),
        (500, 0.01, 300),
        (500, 0.1, 100),
    ],
)
def test_false_reject_rate_on_average(parts: int, rate: float, draws: int) -> None:
    random = np.random.default_rng(parts)
    realised = [1 - calibrated(random.random(parts), rate).threshold.value for _ in range(draws)]
    promised = math.floor(Fraction(str(rate)) * (parts + 1)) / (parts + 1)
    error = 4 * np.std(realised) / math.sqrt(draws)  # exceeded by chance once in 30,000 runs
    assert np.mean(realised) <= promised + error
    assert np.mean(realised) >= promised - 1 / (parts + 1) - error


@pytest.mark.parametrize(("parts", "rate"), [(5, 0.5), (59, 0.05), (93, 0.05), (120, 0.1), (299, 0.01)])
def test_false_reject_rate_with_confidence(parts: int, rate: float) -> None:
    draws = 600
    random = np.random.default_rng(parts)
    kept = [1 - calibrated(random.random(parts), rate, "confident").threshold.value <= rate for _ in range(draws)]
    assert np.mean(kept) >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / draws)


def test_parts_pictured_unequally_often_keep_the_promise() -> None:
    """A part's score is the largest of 1 to 5 pictures: with uniform picture scores, P(part <= t) = mean of t^m."""
    random, parts, draws = np.random.default_rng(0), 39, 800
    per_part, per_picture = [], []
    for _ in range(draws):
        shots = random.integers(1, 6, parts)
        names = [f"part {part}" for part in np.repeat(np.arange(parts), shots)]
        order = random.permutation(len(names))
        worst: dict[str, float] = {}
        for i, score in zip(order, random.random(len(names)), strict=True):
            worst[names[i]] = max(worst.get(names[i], 0.0), score)
        value = calibrated(list(worst.values())).threshold.value
        per_part.append(1 - np.mean([value**m for m in range(1, 6)]))
        per_picture.append(1 - value)
    error = 4 * np.std(per_part) / math.sqrt(draws)
    assert 0.05 - 1 / 40 - error <= np.mean(per_part) <= 0.05 + error
    assert np.mean(per_picture) < np.mean(per_part), "for a single picture the promise is conservative"


def test_gated_parts_keep_the_promise_and_a_finite_threshold() -> None:
    """3 of 100 good parts are refused by the gate: what is promised then covers defect or invalid."""
    random, parts, draws, gate = np.random.default_rng(0), 99, 400, 0.03
    realised = []
    for _ in range(draws):
        scores = np.where(random.random(parts) < gate, np.inf, random.random(parts))
        try:
            value = calibrated(scores, 0.1).threshold.value
        except CalibrationError:
            assert np.isinf(scores).sum() > 9
            continue
        assert math.isfinite(value)
        realised.append(gate + (1 - gate) * (1 - value))
    error = 4 * np.std(realised) / math.sqrt(draws)
    assert 0.1 - 1 / 100 - error <= np.mean(realised) <= 0.1 + error


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_more_gated_parts_than_the_rate_allows(guarantee: Guarantee) -> None:
    scores = np.arange(99.0)
    allowed = 99 - rank_for(99, 0.05, guarantee)
    scores[: allowed + 1] = np.inf
    with pytest.raises(CalibrationError, match=f"^{allowed + 1} of 99 calibration parts .*invalid.*accept") as refused:
        calibrated(scores, 0.05, guarantee)
    accepted = float(re.findall(r"accept [\d.]+% \(([\d.]+)\)\.$", str(refused.value))[0])
    assert calibrated(scores, accepted, guarantee).threshold.value < math.inf
    scores[0] = 0
    most = calibrated(scores, 0.05, guarantee)
    assert most.gated == allowed
    assert 98 < most.threshold.value < 98.1


# --- p-values ---


def test_p_value_counts_good_parts_at_least_as_unusual() -> None:
    random = np.random.default_rng(0)
    scores = [*random.integers(0, 9, 60).astype(float), math.inf, math.inf]  # ties, and two gated parts
    calibration = calibrated(scores, 0.1)
    for score in [*np.unique(scores), -1, 0.5, 3.5, 100]:
        assert calibration.p_value(score) == pytest.approx((1 + sum(s >= score for s in scores)) / 63, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_p_values_are_never_too_small_too_often(ties: bool) -> None:
    random, draws = np.random.default_rng(0), 2000
    values = []
    for _ in range(draws):
        scores = random.normal(0, 1, 40)
        scores = np.round(scores) if ties else scores
        values.append(calibrated(scores[1:], 0.2).p_value(scores[0]))
    for rate in np.arange(0.025, 1, 0.025):
        share, error = np.mean(np.array(values) <= rate + 1e-9), 4 * math.sqrt(rate * (1 - rate) / draws)
        assert share <= rate + error
        if not ties:
            assert share >= rate - error, "nor too large: without ties each of the 40 values is equally likely"


# --- refusals and words ---


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_too_few_parts_are_reported_how_many_are_missing(guarantee: Guarantee) -> None:
    for parts in (1, 3, 6, 10, 12, 18):
        with pytest.raises(CalibrationError) as refused:
            calibrated(np.arange(float(parts)), 0.05, guarantee)
        missing, accepted = re.findall(r"add (\d+) more, or accept [\d.]+% \(([\d.]+)\)\.$", str(refused.value))[0]
        assert calibrated(np.arange(float(parts + int(missing))), 0.05, guarantee)
        assert calibrated(np.arange(float(parts)), float(accepted), guarantee), "what is offered must be accepted"


def test_no_parts_at_all() -> None:
    with pytest.raises(CalibrationError, match=r"^0 good parts cannot .* add 19 more\.$"):
        calibrated([])


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(CalibrationError, match=r"false-reject rate of .* cannot be promised"):
        calibrated(np.arange(50.0), rate)
    with pytest.raises(CalibrationError, match="review rate"):
        calibrate(np.arange(50.0), rate=0.05, guarantee="expected", review_rate=rate)


def test_review_rate_below_the_rate_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"review rate of 0\.05 is below the false-reject rate of 0\.1"):
        calibrated(np.arange(50.0), 0.1, review=0.05)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"^1 scores of .*not numbers"):
        calibrated([math.nan, *np.arange(30.0)])


def test_sentences_state_the_numbers_and_the_limits() -> None:
    calibration = calibrate(np.arange(59.0), rate=0.05, guarantee="confident", review_rate=0.1)
    said = " ".join(calibration.sentences())
    assert "Calibrated on 59 good parts." in said
    assert f"at most {1 / 60:.2%}" in said  # on average
    assert f"at most {beta.ppf(0.95, 1, 59):.2%}" in said  # with confidence
    assert calibration.sentences()[-1] == LIMITS
    unknown = calibrate([*range(59)], rate=0.05, guarantee="expected", review_rate=0.1, parts_known=False)
    assert "the guarantee fails if several pictures show the same part" in " ".join(unknown.sentences())


# --- thresholds that a person has chosen ---


def test_a_chosen_threshold_promises_nothing() -> None:
    scores = [1.0, 2.0, 3.0, 4.0, math.inf]
    made = calibrate_by_hand(scores, threshold=3.5, review_threshold=2.0)
    assert made.guarantee == "estimate"
    assert (made.threshold.rank, made.review.rank, made.gated) == (3, 2, 1)
    assert made.rate == pytest.approx(2 / 5)
    assert made.pixel_threshold == 3.5
    said = " ".join(made.sentences())
    assert "no rate is promised" in said
    assert "they reject 2 and call 2 ok" in said
    assert "On average" not in said
    assert "guarantee" not in said


@pytest.mark.parametrize(
    ("threshold", "review", "problem"),
    [
        (2.0, 3.0, "a review threshold of 3.0000 is above the threshold of 2.0000"),
        (0.5, 0.5, "lets none of 2 good calibration parts pass"),
        (math.inf, 1.0, "is not a finite number"),
        (math.nan, 1.0, "is not a finite number"),
    ],
)
def test_impossible_choices_are_refused(threshold: float, review: float, problem: str) -> None:
    with pytest.raises(CalibrationError, match=problem):
        calibrate_by_hand([1.0, 2.0], threshold=threshold, review_threshold=review)


def test_the_bound_that_holds_however_a_threshold_was_chosen_holds() -> None:
    """For uniform scores the true share above a threshold is known. The most flattering of all thresholds is taken."""
    runs, n = 20_000, 40
    scores = np.sort(np.random.default_rng(5).random((runs, n)), axis=1)
    ranks = np.arange(1.0, n + 1)
    bounds = [calibrate_by_hand(ranks, threshold=cut, review_threshold=cut).rate_however_chosen for cut in ranks]
    broken = (1 - scores > np.array(bounds)).any(axis=1).mean()  # by any threshold, so by the most flattering one
    assert 0.02 < broken <= 0.05
