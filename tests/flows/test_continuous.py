"""Continuous flows: the divergence, its estimates, the solvers, and the two ways to learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from defectflow.flows.base import Normal
from defectflow.flows.build import build_flow
from defectflow.flows.continuous import Continuous, Velocity, likelihood_loss, matching_loss, runge_kutta

NO_PENALTY = {"kinetic": 0.0, "jacobian": 0.0, "tolerance": 1e-7}


@pytest.fixture
def layer(perturb) -> Continuous:
    return perturb(Continuous(4, 3, hidden=12, steps=40)).double()


def data(count: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 4, dtype=torch.float64), torch.randn(count, 3, dtype=torch.float64)


def jacobians(velocity: Velocity, z: Tensor, t: float, context: Tensor) -> Tensor:
    rows = [
        torch.autograd.functional.jacobian(lambda v, c=c: velocity(v[None], t, c[None])[0], row)
        for row, c in zip(z, context, strict=True)
    ]
    return torch.stack(rows)


def test_trace_and_product_are_autograds(layer: Continuous) -> None:
    z, context = data()
    whole = jacobians(layer.velocity, z, 0.3, context)
    f, slopes = layer.velocity.with_slopes(z, 0.3, context)
    trace = layer.velocity.trace(slopes)
    torch.testing.assert_close(f, layer.velocity(z, 0.3, context))
    torch.testing.assert_close(trace, whole.diagonal(dim1=1, dim2=2).sum(1), atol=1e-12, rtol=0)
    probe = torch.randn(16, 4, dtype=torch.float64)
    product = layer.velocity.product(slopes, probe)
    torch.testing.assert_close(product, (whole @ probe[..., None])[..., 0], atol=1e-12, rtol=0)


def test_runge_kutta_solves_an_equation_with_a_known_answer() -> None:
    """dy/dt = y cos t: y = exp(sin t)."""
    (end,) = runge_kutta(
        lambda t, state: (state[0] * torch.cos(torch.tensor(t)).double(),), (torch.ones(1).double(),), 0.0, 2.0, 50
    )
    torch.testing.assert_close(end, torch.exp(torch.sin(torch.tensor([2.0]).double())), atol=1e-6, rtol=0)


def test_the_adaptive_solver_agrees_with_fine_fixed_steps(layer: Continuous) -> None:
    x, context = data()
    z, log_det = layer(x, context)
    fixed = -(Normal().log_prob(z) + log_det).mean()
    adaptive = likelihood_loss(layer, x, context, Normal().log_prob, trace="exact", **NO_PENALTY)
    torch.testing.assert_close(adaptive, fixed, atol=1e-5, rtol=0)


@pytest.mark.parametrize("trace", ["gaussian", "rademacher"])
def test_hutchinsons_estimate_is_unbiased(layer: Continuous, trace: str) -> None:
    x, context = data(4)
    exact = likelihood_loss(layer, x, context, Normal().log_prob, trace="exact", **NO_PENALTY).item()
    rows, generator = 1500, torch.Generator().manual_seed(0)
    with torch.no_grad():
        many = likelihood_loss(
            layer,
            x.repeat(rows, 1),
            context.repeat(rows, 1),
            Normal().log_prob,
            trace=trace,
            generator=generator,
            **NO_PENALTY | {"tolerance": 1e-4},
        ).item()
        one = likelihood_loss(
            layer, x, context, Normal().log_prob, trace=trace, generator=generator, **NO_PENALTY
        ).item()
    assert many == pytest.approx(exact, abs=0.03)
    assert abs(one - exact) > 1e-4  # an estimate it is


def test_penalties_are_the_mean_square_velocity_and_derivative(layer: Continuous) -> None:
    """A velocity that is the same everywhere: |f|^2 and df/dz are known."""
    with torch.no_grad():
        layer.velocity.last.weight.zero_()
        layer.velocity.last.bias.copy_(torch.tensor([1.0, 2.0, 0.0, -1.0]))
    x, context = data()
    plain, kinetic, both = (
        likelihood_loss(layer, x, context, Normal().log_prob, trace="rademacher", kinetic=k, jacobian=j, tolerance=1e-6)
        for k, j in ((0.0, 0.0), (0.5, 0.0), (0.5, 7.0))
    )
    assert (kinetic - plain).item() == pytest.approx(0.5 * 6, abs=1e-4)
    assert (both - kinetic).item() == pytest.approx(0, abs=1e-4)


def test_the_jacobian_penalty_is_autograds_along_the_path(layer: Continuous) -> None:
    """The integral of |df/dz e|^2 from 0 to 1, with e as the loss draws it and df/dz from autograd."""
    x, context = data(4)

    def loss(jacobian: float) -> float:
        generator = torch.Generator().manual_seed(2)
        weights = {"kinetic": 0.0, "jacobian": jacobian, "tolerance": 1e-7}
        return likelihood_loss(
            layer, x, context, Normal().log_prob, trace="gaussian", generator=generator, **weights
        ).item()

    e = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)

    def rates(t: float, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        pushed = (jacobians(layer.velocity, state[0], t, context) @ e[..., None])[..., 0]
        return layer.velocity(state[0], t, context), pushed.square().sum(-1)

    _, spread = runge_kutta(rates, (x, torch.zeros(4, dtype=x.dtype)), 0.0, 1.0, 20)
    assert spread.mean().item() > 0.1
    assert loss(1.0) - loss(0.0) == pytest.approx(spread.mean().item(), rel=1e-4)


def test_penalties_straighten_the_paths() -> None:
    lengths = {}
    points = torch.cat([torch.randn(300, 2) * 0.2 + 2, torch.randn(300, 2) * 0.2 - 2])
    nothing = torch.zeros(600, 0)
    for kinetic in (0.0, 1.0):
        torch.manual_seed(0)
        flow = build_flow("cnf", 2, 0, hidden=32, trace="exact", kinetic=kinetic)
        optimiser = torch.optim.Adam(flow.parameters(), 1e-2)
        for _ in range(60):
            optimiser.zero_grad()
            flow.loss(points, nothing).backward()
            optimiser.step()
        with torch.no_grad():
            lengths[kinetic] = flow.bijections[-1].velocity(points, 0.0, nothing).square().sum(1).mean().item()
    assert lengths[1.0] < 0.8 * lengths[0.0]


def test_matching_regresses_on_the_straight_line(layer: Continuous) -> None:
    """For a velocity that is 0 everywhere the loss is the mean of |e - x|^2: D + the data's own square."""
    with torch.no_grad():
        layer.velocity.last.weight.zero_()
        layer.velocity.last.bias.zero_()
    x, context = torch.full((40_000, 4), 3.0).double(), torch.zeros(40_000, 3).double()
    loss = matching_loss(layer, x, context, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(4 * (1 + 9), rel=0.01)


def test_matching_learns_a_density_without_a_solver() -> None:
    torch.manual_seed(0)
    points = torch.randn(2000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.4]]) + torch.tensor([1.0, -1.0])
    nothing = torch.zeros(2000, 0)
    flow = build_flow("cnf", 2, 0, hidden=32, steps=16, objective="matching")
    before = flow.log_prob(points, nothing).mean().item()
    optimiser = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(500):
        optimiser.zero_grad()
        flow.loss(points, nothing).backward()
        optimiser.step()
    with torch.no_grad():
        after = flow.log_prob(points, nothing).mean().item()
    covariance = torch.cov(points.T)
    entropy = -0.5 * (torch.logdet(2 * torch.pi * covariance) + 2).item()
    assert after > before + 0.5
    assert after == pytest.approx(entropy, abs=0.15)


class TestAugmented:
    def test_the_bound_is_below_the_likelihood_that_many_draws_give(self, perturb) -> None:
        """log p(x) is the log of the mean of p(x, e) / q(e) over e; the bound is the mean of the log."""
        flow = perturb(build_flow("cnf", 2, 3, hidden=16, steps=16, augmented=2), size=0.4).double()
        assert flow.is_bound and not build_flow("cnf", 2, 3).is_bound
        x, context = torch.randn(5, 2).double(), torch.randn(5, 3).double()
        ratios = []
        with torch.no_grad():
            for _ in range(400):
                flow.extra.normal_()
                ratios.append(flow.log_prob(x, context))
        ratios = torch.stack(ratios)
        assert (ratios.mean(0) < ratios.logsumexp(0) - torch.log(torch.tensor(400.0))).all()
        assert ratios.std(0).max() > 0.01

    def test_the_mean_ratio_is_a_density(self, perturb) -> None:
        flow = perturb(build_flow("cnf", 1, 0, hidden=16, steps=16, augmented=1), size=0.4).double()
        x = torch.linspace(-12, 12, 600, dtype=torch.float64)[:, None]
        total = 0.0
        with torch.no_grad():
            for e in torch.linspace(-6, 6, 200, dtype=torch.float64):
                flow.extra.fill_(e)
                joint = flow.log_prob(x, torch.zeros(600, 0).double()) + Normal().log_prob(flow.extra)
                total += joint.exp().sum().item() * (24 / 599) * (12 / 199)
        assert total == pytest.approx(1, abs=0.01)

    def test_scores_do_not_change_from_one_time_to_the_next(self) -> None:
        flow = build_flow("cnf", 3, 0, augmented=2)
        x = torch.randn(4, 3)
        assert torch.equal(flow.log_prob(x, torch.zeros(4, 0)), flow.log_prob(x, torch.zeros(4, 0)))
        assert "extra" in flow.state_dict()

    def test_samples_have_the_vectors_own_width(self) -> None:
        assert build_flow("cnf", 3, 2, augmented=4).sample(torch.zeros(7, 2)).shape == (7, 3)

    @pytest.mark.parametrize("objective", ["likelihood", "matching"])
    def test_it_learns(self, objective: str) -> None:
        torch.manual_seed(0)
        points = 0.3 * torch.randn(1000, 2) + torch.tensor([2.0, 0.0])
        nothing = torch.zeros(1000, 0)
        flow = build_flow("cnf", 2, 0, hidden=32, steps=12, augmented=1, objective=objective)
        before = flow.log_prob(points, nothing).mean().item()
        optimiser = torch.optim.Adam(flow.parameters(), 1e-2)
        for _ in range(60 if objective == "likelihood" else 400):
            optimiser.zero_grad()
            flow.loss(points, nothing).backward()
            optimiser.step()
        assert flow.log_prob(points, nothing).mean().item() > before + 1
