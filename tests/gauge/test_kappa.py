"""Kappas against statsmodels, and their intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.inter_rater import aggregate_raters, cohens_kappa, fleiss_kappa

from defectflow.gauge.kappa import cohen, fleiss


def answers(
    random: np.random.Generator, parts: int, people: int, wrong: float = 0.15, defective: float = 0.4
) -> np.ndarray:
    """People who each err about a part with the same chance. (parts, people)."""
    truth = random.random(parts) < defective
    return truth[:, None] ^ (random.random((parts, people)) < wrong)


@pytest.mark.parametrize("seed", range(6))
def test_cohen_is_that_of_statsmodels(seed: int) -> None:
    said = answers(np.random.default_rng(seed), 30 + 20 * seed, 2)
    table = np.array([[np.sum((said[:, 0] == a) & (said[:, 1] == b)) for b in (False, True)] for a in (False, True)])
    theirs = cohens_kappa(table)
    ours = cohen(said[:, 0], said[:, 1])
    assert ours.value == pytest.approx(theirs.kappa) and ours.interval is not None
    assert ours.interval[0] == pytest.approx(theirs.kappa_low)
    assert ours.interval[1] == pytest.approx(min(1.0, theirs.kappa_upp))


@pytest.mark.parametrize("people", [2, 3, 5])
def test_fleiss_is_that_of_statsmodels(people: int) -> None:
    said = answers(np.random.default_rng(people), 40, people)
    counts, _ = aggregate_raters(said.astype(int))
    assert fleiss(said).value == pytest.approx(fleiss_kappa(counts))


def test_the_intervals_hold_the_truth() -> None:
    """With parts without end, people who err with chance e have a kappa that can be written down."""
    random, wrong, defective = np.random.default_rng(1), 0.15, 0.4
    both = wrong**2 + (1 - wrong) ** 2
    share = defective * (1 - wrong) + (1 - defective) * wrong
    chance = share**2 + (1 - share) ** 2
    truth = (both - chance) / (1 - chance)
    held = {"cohen": 0, "fleiss": 0}
    for _ in range(300):
        said = answers(random, 60, 3, wrong, defective)
        for name, found in (("cohen", cohen(said[:, 0], said[:, 1])), ("fleiss", fleiss(said))):
            assert found.interval is not None
            held[name] += found.interval[0] <= truth <= found.interval[1]
    assert all(0.90 < count / 300 < 0.99 for count in held.values()), held


def test_where_nothing_can_be_said() -> None:
    assert cohen([True, True], [True, True]).value is None
    assert fleiss(np.zeros((5, 3), bool)).value is None
    assert cohen([], []).parts == 0
    perfect = cohen([True, False, True], [True, False, True])
    assert perfect.value == 1 and perfect.interval == (1, 1)
    assert cohen([True, False], [False, True]).value == -1
