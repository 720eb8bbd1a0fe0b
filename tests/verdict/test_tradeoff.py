"""What a dragged threshold would do, against SciPy and brute force."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats

from defectflow.errors import CalibrationError
from defectflow.verdict.intervals import Share
from defectflow.verdict.tradeoff import Costs, Tradeoff


@pytest.mark.parametrize(
    ("count", "of"),
    [(0, 1), (0, 19), (1, 19), (7, 40), (19, 19), (3, 1000), (997, 1000), (2, 10**5), (10**5 // 2, 10**5)],
)
def test_intervals_are_clopper_and_pearson_s(count: int, of: int) -> None:
    expected = stats.binomtest(count, of).proportion_ci(0.95, method="exact")
    began = time.process_time()
    assert Share(count, of).interval == pytest.approx((expected.low, expected.high), abs=1e-11)
    assert time.process_time() - began < 1, "s; a page asks for many of them at each drag of a slider"


def test_nothing_seen_means_nothing_known() -> None:
    assert Share(0, 0).rate is None
    assert Share(0, 0).interval == (0, 1)


def test_a_threshold_is_counted_as_a_verdict_is_given() -> None:
    """Above it is defect, at it is not; a gated part is rejected whatever the threshold."""
    point = Tradeoff([1.0, 2.0, 2.0, math.inf], [2.0, 3.0]).at(2.0)
    assert (point.overkill.count, point.overkill.of) == (1, 4)
    assert (point.escape.count, point.escape.of) == (1, 2)
    assert Tradeoff([1.0, math.inf]).at(1e9).overkill.count == 1
    band = Tradeoff([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).at(2.5, review=1.5)
    assert (band.overkill.count, band.escape.count) == (1, 1), "a part in the grey band is neither rejected nor ok"


@pytest.mark.parametrize("seed", range(20))
def test_the_cheapest_threshold_is_that_of_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    good = random.normal(0, 1, random.integers(3, 30)).round(1)  # rounded: ties matter
    defective = random.normal(1.5, 1.5, random.integers(1, 20)).round(1)
    costs = Costs(random.uniform(0, 5), random.uniform(0, 100), random.uniform(0, 0.3))
    found = Tradeoff(good.tolist(), defective.tolist()).cheapest(costs)

    def cost(threshold: float) -> float:
        share = costs.defective_share
        missed = costs.escape * share * np.mean(defective <= threshold)
        return float(costs.overkill * (1 - share) * np.mean(good > threshold) + missed)

    tried = [cost(threshold) for threshold in np.arange(-8, 12, 0.05)]
    assert found.cost_per_part == pytest.approx(min(tried))
    assert cost(found.point.threshold) == pytest.approx(min(tried))
    low, high = found.between
    assert low <= found.point.threshold < high
    below = low - 0.01 if low > min(good.min(), defective.min()) else -8  # below all scores, all thresholds are equal
    lower = [cost(threshold) for threshold in np.arange(-8, below, 0.05)]
    assert all(one > min(tried) + 1e-12 for one in lower), "a lower threshold is as cheap and misses fewer"


def test_extremes_of_cost() -> None:
    tradeoff = Tradeoff([1.0, 2.0], [3.0, 4.0])
    assert tradeoff.cheapest(Costs(1, 1, 0.5)).between == (2, 3)
    overlapping = Tradeoff([1.0, 5.0], [0.0, 4.0])
    assert overlapping.cheapest(Costs(0, 1, 0.5)).point.escape.count == 0
    assert overlapping.cheapest(Costs(1, 0, 0.5)).point.overkill.count == 0
    assert overlapping.cheapest(Costs(1, 100, 0.0)).point.overkill.count == 0


def test_bad_input_is_refused_in_words() -> None:
    with pytest.raises(CalibrationError, match="a share of defective parts of 3 is impossible"):
        Costs(1, 1, 3)
    with pytest.raises(CalibrationError, match="the cost of a missed defect is -1"):
        Costs(1, -1, 0.1)
    with pytest.raises(CalibrationError, match="2 good and 0 defective parts"):
        Tradeoff([1.0, 2.0]).cheapest(Costs(1, 1, 0.1))
    with pytest.raises(CalibrationError, match="there are no scores"):
        _ = Tradeoff([math.inf]).span
    with pytest.raises(CalibrationError, match="not numbers"):
        Tradeoff([math.nan])


def expected_cost(good: np.ndarray, defective: np.ndarray, costs: Costs, cut: float, band: float) -> float:
    """Of one inspected part, part by part."""

    def paid(score: float, bad: bool) -> float:
        if score > cut:
            return 0.0 if bad else costs.overkill
        if score > band:
            return costs.review or 0.0
        return costs.escape if bad else 0.0

    share = costs.defective_share
    good_cost = np.mean([paid(score, False) for score in good])
    return float((1 - share) * good_cost + share * np.mean([paid(score, True) for score in defective]))


@pytest.mark.parametrize("seed", range(12))
def test_the_cheapest_grey_band_is_that_of_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    good = random.normal(0, 1, random.integers(3, 15)).round(1)
    defective = random.normal(1.5, 1.5, random.integers(1, 15)).round(1)
    costs = Costs(random.uniform(0, 5), random.uniform(0, 100), random.uniform(0, 0.3), review=random.uniform(0, 2))
    found = Tradeoff(good.tolist(), defective.tolist()).cheapest(costs)
    cuts = np.arange(-4.05, 7, 0.1)
    tried = [expected_cost(good, defective, costs, cut, band) for cut in cuts for band in cuts if band <= cut]
    assert found.cost_per_part == pytest.approx(min(tried))
    point = found.point
    assert expected_cost(good, defective, costs, point.threshold, point.review) == pytest.approx(min(tried))
    assert point.review <= point.threshold
    low, high = costs.interval(point)
    assert low <= found.cost_per_part <= high


def test_a_dear_review_leaves_no_grey_band() -> None:
    random = np.random.default_rng(0)
    tradeoff = Tradeoff(random.normal(0, 1, 50).tolist(), random.normal(2, 1, 50).tolist())
    dear, none = tradeoff.cheapest(Costs(1, 5, 0.2, review=100)), tradeoff.cheapest(Costs(1, 5, 0.2))
    assert dear.point == none.point and dear.cost_per_part == pytest.approx(none.cost_per_part)
    assert tradeoff.uncertainty(Costs(1, 5, 0.2, review=100)).review is None


def test_the_truly_cheapest_threshold_is_among_those_left_undecided() -> None:
    """Good parts N(0, 1), defective ones N(2, 1): the cost's minimum is where the weighted densities meet."""
    random, costs = np.random.default_rng(2), Costs(1, 20, 0.1)
    truth = 1 + math.log(0.9 * 1 / (0.1 * 20)) / 2
    inside, width = 0, []
    for parts in [(60, 30)] * 60 + [(600, 300)] * 10:
        tradeoff = Tradeoff(random.normal(0, 1, parts[0]).tolist(), random.normal(2, 1, parts[1]).tolist())
        found = tradeoff.uncertainty(costs, draws=200)
        low, high = found.threshold
        inside += low <= truth <= high
        assert low <= tradeoff.cheapest(costs).point.threshold <= high
        width.append(high - low)
    assert inside >= 66 - 2, "95% of 70, less what chance may take"
    assert np.mean(width[60:]) < np.mean(width[:60]), "more parts tell more"


def test_the_interval_of_the_cost() -> None:
    """With one mistake that costs anything it is the exact interval of that share."""
    point = Tradeoff([0.0] * 19 + [5.0], [3.0]).at(1.0)
    exact = stats.binomtest(1, 20).proportion_ci(0.95, method="exact")
    assert Costs(2, 0, 0.5).interval(point) == pytest.approx((exact.low, exact.high))
    wider = stats.binomtest(1, 20).proportion_ci(0.975, method="exact")
    missed = stats.binomtest(0, 1).proportion_ci(0.975, method="exact")
    assert Costs(2, 8, 0.5).interval(point)[1] == pytest.approx(wider.high + 4 * missed.high)
