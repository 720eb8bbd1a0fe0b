"""The control chart of a master part's scores: limits by hand, and how seldom nothing is taken for something."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from defectflow.gauge import chart_of
from defectflow.gauge.control import RUN


def test_limits_as_they_are_computed_by_hand() -> None:
    """Mean 10, moving ranges 2, 1, 3: their mean 2, so sigma = 2 / 1.128."""
    chart = chart_of("m1", [9.5, 11.5, 10.5, 7.5 + 1.0, 20.0], baseline=4)
    assert chart.centre == pytest.approx(10.0)
    mean_range = (2 + 1 + 2) / 3
    assert chart.high == pytest.approx(10 + 3 * mean_range / 1.128)
    assert chart.low == pytest.approx(10 - 3 * mean_range / 1.128)
    assert [bool(one) for one in chart.signals] == [False] * 4 + [True]
    assert "20.000 is outside the limits" in chart.signals[4]


def test_before_there_are_enough_checks_nothing_is_said() -> None:
    chart = chart_of("m1", [1.0, None, 500.0], baseline=3)
    assert (chart.low, chart.centre, chart.high) == (None, None, None)
    assert set(chart.signals) == {""}


def test_limits_are_learned_from_checks_that_passed() -> None:
    """The dim light of a failed check would widen them; what it gives away is told once they are there."""
    scores = [9.5, 11.5, 30.0, 10.5, 8.5, 30.0]
    chart = chart_of("m1", scores, baseline=4, passed=[True, True, False, True, True, False])
    plain = chart_of("m1", [9.5, 11.5, 10.5, 8.5], baseline=4)
    assert (chart.low, chart.centre, chart.high) == (plain.low, plain.centre, plain.high)
    assert [bool(signal) for signal in chart.signals] == [False] * 5 + [True]


def test_nine_in_a_row_on_one_side() -> None:
    scores = [1.0 + 0.1 * sign for sign in (1, -1) * 5] + [1.02] * RUN + [0.98]
    chart = chart_of("m1", scores, baseline=10)
    assert [bool(one) for one in chart.signals[10:]] == [False] * (RUN - 1) + [True, False]
    assert "all above the centre" in chart.signals[10 + RUN - 1]


def test_a_check_without_score_breaks_no_row() -> None:
    chart = chart_of("m1", [1.1] * 5 + [None] + [1.1] * 4, limits=(0.0, 2.0))
    assert [bool(one) for one in chart.signals] == [False] * 9 + [True]


def test_equal_scores_have_limits_of_the_rounding_error() -> None:
    chart = chart_of("m1", [1.0] * 20 + [1.0005, 1.1], resolution=1e-3)
    assert [bool(one) for one in chart.signals[-2:]] == [False, True]


def expected_run_length(in_a_row: int) -> float:
    """Checks until the first signal while nothing changes, by the Markov chain of the row's length."""
    stay = NormalDist().cdf(3) - 0.5  # inside the limits, on a given side of the centre
    chain = np.eye(in_a_row - 1)
    chain[:, 0] -= stay
    chain[np.arange(in_a_row - 2), np.arange(1, in_a_row - 1)] -= stay
    return float(1 + 2 * stay * np.linalg.solve(chain, np.ones(in_a_row - 1))[0])


def test_signals_while_nothing_has_changed() -> None:
    """With limits that are known, one false signal in about 217 checks; a shift of two sigma shows within a week."""
    random = np.random.default_rng(1)

    def first(shift: float, runs: int) -> list[int]:
        charts = (chart_of("m", random.normal(shift, 1, 2500).tolist(), limits=(-3.0, 3.0)) for _ in range(runs))
        return [next(place + 1 for place, said in enumerate(chart.signals) if said) for chart in charts]

    quiet = first(0, 500)
    error = float(np.std(quiet)) / 500**0.5
    assert expected_run_length(8) == pytest.approx(152.7, abs=0.1), "Champ and Woodall 1987, table 1"
    assert float(np.mean(quiet)) == pytest.approx(expected_run_length(RUN), abs=3 * error)
    assert float(np.mean(first(2, 200))) < 7
