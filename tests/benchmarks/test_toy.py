"""The two-dimensional benchmark: its true densities are what they say, and expressive families come near them."""

from __future__ import annotations

import numpy as np
import pytest
import toy

EXPRESSIVE = ["nice", "realnvp", "glow", "maf", "iaf", "planar", "spline", "cnf"]


@pytest.mark.parametrize("shape", ["moons", "ring"])
def test_the_truth_is_a_density_and_its_points_follow_it(shape: str) -> None:
    x, y = np.linspace(-4, 4, 100), np.linspace(-4, 4, 100)
    log_p = toy.true_log_density(shape, np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    area = (x[1] - x[0]) * (y[1] - y[0])
    assert np.exp(log_p).sum() * area == pytest.approx(1, abs=0.01)
    entropy = -(np.exp(log_p) * log_p).sum() * area
    of_points = -toy.true_log_density(shape, toy.points(shape, 4_000, np.random.default_rng(0)))
    assert of_points.mean() == pytest.approx(entropy, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("family", EXPRESSIVE)
def test_an_expressive_family_comes_within_a_tenth_of_a_nat_of_two_moons(family: str) -> None:
    _, excess = toy.learn(family, "moons", steps=3000)
    print(f"{family}: {excess:.3f} nats above the truth")
    assert excess < 0.1
