"""Every layer: one contract, then each layer's own formula against another way to compute it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from defectflow.flows.autoregressive import MaskedAffine
from defectflow.flows.bijection import Bijection, Inverse
from defectflow.flows.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    ContextAffine,
    ContextShift,
    DiagonalScale,
    Permutation,
)
from defectflow.flows.glow import ActNorm, Mixing
from defectflow.flows.networks import soft_clamp
from defectflow.flows.planar import Planar
from defectflow.flows.spline import SplineCoupling

WIDTH = 5
LAYERS: dict[str, Callable[[int], Bijection]] = {
    "coupling": lambda k: AffineCoupling(WIDTH, k, hidden=12, clamp=2.0),
    "additive coupling": lambda k: AdditiveCoupling(WIDTH, k, hidden=12),
    "diagonal scale": lambda k: DiagonalScale(WIDTH),
    "context shift": lambda k: ContextShift(WIDTH, k, hidden=12),
    "masked affine": lambda k: MaskedAffine(WIDTH, k, hidden=12, clamp=2.0),
    "planar": lambda k: Planar(WIDTH, k, seed=3),
    "spline": lambda k: SplineCoupling(WIDTH, k, hidden=12, bins=5, bound=3.0),
    "permutation": lambda k: Permutation(WIDTH, seed=3),
    "actnorm": lambda k: ActNorm(WIDTH),
    "mixing": lambda k: Mixing(WIDTH, seed=3),
    "context affine": lambda k: ContextAffine(WIDTH, k, hidden=12, clamp=2.0),
    "anchored coupling": lambda k: AffineCoupling(WIDTH, k, hidden=12, clamp=2.0, anchored=True),
    "anchored additive coupling": lambda k: AdditiveCoupling(WIDTH, k, hidden=12, anchored=True),
    "anchored spline": lambda k: SplineCoupling(WIDTH, k, hidden=12, bins=5, bound=3.0, anchored=True),
    "inverse": lambda k: Inverse(AffineCoupling(WIDTH, k, hidden=12, clamp=2.0)),
}
CASES = [(name, k) for name in LAYERS for k in (0, 7) if k or not name.startswith("context")]


def jacobian_log_det(layer: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, context: Tensor) -> Tensor:
    """log|det dz/dx| of each row from autograd's full Jacobian."""
    rows = [
        torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda v, c=c: layer(v[None], c[None])[0][0], row))[1]
        for row, c in zip(x, context, strict=True)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_layer_keeps_the_contract(name: str, k: int, perturb) -> None:
    layer = perturb(LAYERS[name](k)).double()
    x, context = torch.randn(4, WIDTH, dtype=torch.float64), torch.randn(4, k, dtype=torch.float64)
    z, log_det = layer(x, context)
    assert z.shape == x.shape and log_det.shape == (4,)
    torch.testing.assert_close(log_det, jacobian_log_det(layer, x, context), atol=1e-8, rtol=0)

    back, inverse_log_det = layer.inverse(z, context)
    torch.testing.assert_close(back, x, atol=1e-10, rtol=0)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=1e-10, rtol=0)
    torch.testing.assert_close(inverse_log_det, jacobian_log_det(layer.inverse, z, context), atol=1e-8, rtol=0)


@pytest.mark.parametrize(("name", "k"), CASES)
def test_places_of_maps_are_treated_as_vectors(name: str, k: int, perturb) -> None:
    layer = perturb(LAYERS[name](k))
    x, context = torch.randn(2, 3, 4, WIDTH), torch.randn(3, 4, k)
    flat = x.reshape(-1, WIDTH), context.expand(2, 3, 4, k).reshape(24, k)
    for direction in (layer, layer.inverse):
        on_maps, on_vectors = direction(x, context), direction(*flat)
        torch.testing.assert_close(on_maps[0].reshape(24, WIDTH), on_vectors[0], atol=1e-5, rtol=1e-5)
        assert on_maps[1].shape == (2, 3, 4)
        torch.testing.assert_close(on_maps[1].reshape(24), on_vectors[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("anchored")])
def test_an_anchored_layer_is_the_identity_far_from_good_vectors(name: str, perturb) -> None:
    layer = perturb(LAYERS[name](0)).double()
    near = torch.randn(50, WIDTH, dtype=torch.float64) * 0.5
    far = 6 + torch.rand(50, WIDTH, dtype=torch.float64)
    nothing = torch.zeros(50, 0, dtype=torch.float64)
    assert (layer(near, nothing)[0] - near).abs().max() > 0.05, "it has learned something"
    z, log_det = layer(far, nothing)
    torch.testing.assert_close(z, far, rtol=0, atol=1e-6)
    assert log_det.abs().max() < 1e-6


def test_inverse_swaps_the_directions(perturb) -> None:
    layer = perturb(AffineCoupling(WIDTH, 2, hidden=8, clamp=2.0))
    x, context = torch.randn(3, WIDTH), torch.randn(3, 2)
    swapped = Inverse(layer)
    for ours, expected in (
        (swapped(x, context), layer.inverse(x, context)),
        (swapped.inverse(x, context), layer(x, context)),
    ):
        assert torch.equal(ours[0], expected[0]) and torch.equal(ours[1], expected[1])
    assert not torch.allclose(swapped(x, context)[0], layer(x, context)[0])


def test_coupling_is_dinhs_equation_8_by_hand() -> None:
    """Hand-set nets: log-scale raw = 0.5 x_1 + 0.3 c, shift = 2 x_1 + 1, for positive hidden units."""
    layer = AffineCoupling(2, 1, hidden=1, clamp=2.0).double()
    with torch.no_grad():
        layer.net.first.weight[:], layer.net.first.bias[:] = 1.0, 10.0  # h1 = relu(x_1 + 0.6 c + 10)
        layer.net.from_context.weight[:] = 0.6
        layer.net.second.weight[:], layer.net.second.bias[:] = 1.0, 0.0
        layer.net.last.weight[:] = torch.tensor([[0.5], [2.0]])
        layer.net.last.bias[:] = torch.tensor([-5.0, -19.0])
    x1, x2, c = 0.4, -1.3, 0.5
    raw, shift = 0.5 * (x1 + 0.6 * c), 2 * (x1 + 0.6 * c) + 1
    scale = 2 * math.tanh(raw / 2)
    z, log_det = layer(torch.tensor([[x1, x2]]).double(), torch.tensor([[c]]).double())
    np.testing.assert_allclose(z.detach().numpy(), [[x1, x2 * math.exp(scale) + shift]], atol=1e-6)
    np.testing.assert_allclose(log_det.item(), scale, atol=1e-6)


def test_coupling_refuses_a_vector_it_cannot_split() -> None:
    with pytest.raises(ValueError, match="at least 2 values, not 1"):
        AffineCoupling(1, 0, hidden=8, clamp=2.0)


def test_coupling_never_scales_beyond_its_clamp(perturb) -> None:
    layer = perturb(AffineCoupling(4, 0, hidden=16, clamp=0.7), size=5.0)
    _, log_det = layer(100 * torch.randn(500, 4), torch.zeros(500, 0))
    assert log_det.abs().max() <= 2 * 0.7 + 1e-6  # two moved values
    assert log_det.abs().max() > 0.7
    assert soft_clamp(torch.tensor(1e-3), 2.0).item() == pytest.approx(1e-3, rel=1e-6)


def test_mixing_starts_as_a_rotation() -> None:
    layer = Mixing(16, seed=1)
    x = torch.randn(50, 16)
    z, log_det = layer(x, torch.zeros(50, 0))
    torch.testing.assert_close(z.norm(dim=1), x.norm(dim=1), atol=1e-4, rtol=0)
    assert log_det.abs().max() < 1e-5
    assert not torch.allclose(z, x, atol=0.1)


def test_mixing_log_det_is_slogdet_of_its_matrix(perturb) -> None:
    layer = perturb(Mixing(16, seed=1)).double()
    matrix = layer(torch.eye(16).double(), torch.zeros(16, 0))[0].T  # what it does to the unit vectors
    _, log_det = layer(torch.randn(3, 16).double(), torch.zeros(3, 0))
    expected = torch.linalg.slogdet(matrix)[1]
    torch.testing.assert_close(log_det, expected.expand(3), atol=1e-9, rtol=0)
    assert expected.abs() > 0.05


@pytest.mark.parametrize(("dtype", "raw"), [(torch.float32, -20.0), (torch.float64, -50.0), (torch.float32, -500.0)])
def test_a_planar_layer_stays_invertible_however_far_its_u_points_back(dtype: torch.dtype, raw: float) -> None:
    layer = Planar(WIDTH, 0, seed=3).to(dtype)
    with torch.no_grad():
        layer.u.copy_(raw * layer.w / (layer.w @ layer.w))  # w.u = raw
        layer.b.zero_()
    x = torch.cat([torch.zeros(1, WIDTH), torch.randn(500, WIDTH)]).to(dtype)  # the first lies where it is flattest
    z, log_det = layer(x, x[:, :0])
    assert log_det.isfinite().all() and log_det[0].item() == pytest.approx(math.log(1e-3), abs=1e-2)
    torch.testing.assert_close(layer.inverse(z, x[:, :0])[0], x, atol=1e-3 if dtype == torch.float32 else 1e-10, rtol=0)
    log_det.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_actnorm_brings_a_first_batch_to_mean_0_and_variance_1() -> None:
    layer = ActNorm(3)
    x = torch.randn(4000, 3) * torch.tensor([0.1, 5.0, 300.0]) + torch.tensor([7.0, -2.0, 0.0])
    layer.initialise(x, torch.zeros(4000, 0))
    z, log_det = layer(x, torch.zeros(4000, 0))
    np.testing.assert_allclose(z.detach().numpy().mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(z.detach().numpy().var(0), 1, atol=0.03)
    np.testing.assert_allclose(log_det[0].item(), -np.log(x.numpy().std(0)).sum(), atol=0.03)


def test_actnorm_does_not_blow_up_a_dead_channel() -> None:
    layer = ActNorm(2)
    x = torch.stack([torch.zeros(100), torch.randn(100)], dim=1)
    layer.initialise(x, torch.zeros(100, 0))
    assert layer(x + 1e-4, torch.zeros(100, 0))[0].abs().max() < 10


def test_permutation_travels_with_the_weights() -> None:
    first, second = Permutation(20, seed=1), Permutation(20, seed=2)
    x = torch.randn(2, 20)
    assert not torch.equal(first(x, x)[0], second(x, x)[0])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x, x)[0], second(x, x)[0])
    assert sorted(first(x, x)[0][0].tolist()) == sorted(x[0].tolist())


def test_an_unfinished_layer_says_what_is_missing() -> None:
    class Half(Bijection):
        pass

    with pytest.raises(TypeError, match="Half must define forward"):
        Half()(torch.zeros(1, 2), torch.zeros(1, 0))
    with pytest.raises(TypeError, match="Half must define inverse"):
        Half().inverse(torch.zeros(1, 2), torch.zeros(1, 0))
    assert isinstance(Half(), nn.Module)
