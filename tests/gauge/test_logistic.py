"""The curve of detection against statsmodels, and its bounds against statsmodels and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from defectflow.errors import DataError
from defectflow.gauge.logistic import ONE_SIDED_95, fit_logistic


def drawn(seed: int, n: int = 80, a50: float = 8.0, slope: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.uniform(math.log(2), math.log(40), n)
    return x, random.random(n) < 1 / (1 + np.exp(-slope * (x - math.log(a50))))


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_is_that_of_statsmodels(seed: int) -> None:
    x, found = drawn(seed, n=60 + 40 * seed)
    ours = fit_logistic(x, found)
    theirs = sm.GLM(found.astype(float), sm.add_constant(x), family=sm.families.Binomial()).fit(tol=1e-12)
    assert (ours.intercept, ours.slope) == pytest.approx(tuple(theirs.params), rel=1e-6)
    assert ours.covariance == pytest.approx(theirs.cov_params(), rel=1e-5)
    assert ours.log_likelihood == pytest.approx(theirs.llf, rel=1e-9)
    a90 = ours.x_at(0.9)
    assert a90 is not None
    assert float(theirs.predict(np.array([[1.0, a90]]))[0]) == pytest.approx(0.9)


def profile(x: np.ndarray, found: np.ndarray, at: float, level: float) -> float:
    """The largest log-likelihood of curves through `level` at `at`, by statsmodels: one slope, and an offset."""
    model = sm.GLM(found.astype(float), (x - at)[:, None], family=sm.families.Binomial(), offset=np.full(len(x), level))
    return float(model.fit(tol=1e-12).llf)


def test_bounds_are_likelihood_ratio_bounds() -> None:
    x, found = drawn(3)
    ours = fit_logistic(x, found)
    upper = ours.upper_x_at(0.9)
    assert upper is not None and upper > (ours.x_at(0.9) or 0)
    assert pytest.approx(stats.chi2.ppf(0.9, 1)) == ONE_SIDED_95
    expected = optimize.brentq(
        lambda at: 2 * (ours.log_likelihood - profile(x, found, at, math.log(9))) - ONE_SIDED_95, ours.x_at(0.9), 6
    )
    assert upper == pytest.approx(expected, abs=1e-5)
    grid = np.array([math.log(5), math.log(10), upper])
    low, high = ours.band(grid)
    for at, edges in zip(grid, np.stack([low, high], axis=1), strict=True):
        for edge in edges:
            deficit = 2 * (ours.log_likelihood - profile(x, found, float(at), math.log(edge / (1 - edge))))
            assert deficit == pytest.approx(ONE_SIDED_95, abs=1e-4)
    assert low[2] == pytest.approx(0.9, abs=1e-5), "a90/95 is where the lower bound reaches 0.9"


def test_a90_95_is_above_a90_in_nineteen_of_twenty_studies() -> None:
    truth = math.log(8) + math.log(9) / 3
    above, studies = 0, 400
    for seed in range(studies):
        fitted = fit_logistic(*drawn(10_000 + seed, n=100))
        inside = fitted._deficit(np.array([truth]), np.array([math.log(9)]))[0] <= ONE_SIDED_95
        above += bool(inside) or truth <= (fitted.x_at(0.9) or math.inf)
    assert abs(above / studies - 0.95) < 3 * math.sqrt(0.95 * 0.05 / studies)


def test_where_there_is_no_curve_it_is_said() -> None:
    for found, said in (
        ([True] * 4, "all 4 were found"),
        ([False] * 4, "none of 4 was found"),
        ([False, False, True, True], "do not overlap"),
        ([], "nothing was tried"),
    ):
        with pytest.raises(DataError, match=said):
            fit_logistic(list(range(len(found))), found)


def test_a_curve_that_hardly_rises_has_no_bound() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0, 3, 40)
    flat = fit_logistic(x, random.random(40) < 0.5)
    assert flat.upper_x_at(0.9) is None
    falling = fit_logistic(x, random.random(40) < 1 / (1 + np.exp(3 * (x - 1.5))))
    assert falling.x_at(0.9) is None and falling.upper_x_at(0.9) is None
