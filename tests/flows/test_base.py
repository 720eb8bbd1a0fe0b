"""Base densities against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from defectflow.flows.base import SPEED, Normal, StudentT
from defectflow.flows.build import build_flow


def student(degrees: list[float]) -> StudentT:
    base = StudentT(len(degrees)).double()
    with torch.no_grad():
        base.raw.copy_(torch.tensor(degrees).double().sub(2).log() / SPEED)
    return base


def test_log_prob_is_scipys() -> None:
    z = 3 * torch.randn(50, 3, dtype=torch.float64)
    np.testing.assert_allclose(Normal().log_prob(z), scipy.stats.norm.logpdf(z).sum(1), rtol=1e-10)
    base = student([2.5, 5.0, 40.0])
    np.testing.assert_allclose(base.degrees().detach(), [2.5, 5.0, 40.0], rtol=1e-9)
    expected = scipy.stats.t.logpdf(z.numpy(), df=[2.5, 5.0, 40.0]).sum(1)
    np.testing.assert_allclose(base.log_prob(z).detach(), expected, rtol=1e-9)


def test_samples_follow_the_distribution() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    drawn = student([2.5, 30.0]).sample((20_000, 2), torch.Generator().manual_seed(0), like)
    for column, degrees in zip(drawn.T, (2.5, 30.0), strict=True):
        assert scipy.stats.kstest(column.numpy(), scipy.stats.t(df=degrees).cdf).pvalue > 0.01
    assert scipy.stats.kstest(drawn[:, 0].numpy(), scipy.stats.norm.cdf).pvalue < 1e-6  # the test can tell


def test_a_seed_samples_the_same_again() -> None:
    first, again = (student([4.0]).sample((10, 1), torch.Generator().manual_seed(3), torch.zeros(1)) for _ in range(2))
    assert torch.equal(first, again)


def test_heavy_tails_are_learned() -> None:
    """Vectors from t with 3 degrees: the learned tails come near, and beat a normal on other vectors."""
    data = torch.from_numpy(scipy.stats.t(df=3).rvs((8000, 2), random_state=0)).float()
    train, test, nothing = data[:6000], data[6000:], torch.zeros(6000, 0)
    held_out = {}
    for base in ("normal", "student_t"):
        flow = build_flow("nice", 2, 0, base=base, layers=2, hidden=8)
        optimiser = torch.optim.Adam(flow.parameters(), 0.02)
        for _ in range(150):
            optimiser.zero_grad()
            flow.loss(train, nothing).backward()
            optimiser.step()
        held_out[base] = flow.log_prob(test, nothing[:2000]).mean().item()
        if base == "student_t":
            assert flow.base.degrees().max() < 6
    assert held_out["student_t"] > held_out["normal"] + 0.1
    ideal = scipy.stats.t(df=3).logpdf(test.numpy()).sum(1).mean()
    assert held_out["student_t"] == pytest.approx(ideal, abs=0.05)
