"""Every family: one contract; then that each is really a density, by integration and by another library."""

from __future__ import annotations

import copy
import io
import math
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import zuko
from _pytest.mark import ParameterSet
from sklearn.datasets import make_moons
from torch import Tensor, nn

from defectflow.flows.autoregressive import MaskedAffine
from defectflow.flows.bijection import Inverse
from defectflow.flows.build import Base, Family, build_flow
from defectflow.flows.continuous import Continuous
from defectflow.flows.coupling import (
    AdditiveCoupling,
    AffineCoupling,
    ContextAffine,
    ContextShift,
    DiagonalScale,
    Permutation,
)
from defectflow.flows.flow import Flow
from defectflow.flows.glow import ActNorm, Mixing
from defectflow.flows.spline import SplineCoupling

FAMILIES: tuple[Family, ...] = get_args(Family)
EXPRESSIVE = [family for family in FAMILIES if family not in ("gaussian", "planar")]
SLOW = ("cnf", "spline", "iaf")
"""Families that take long to learn."""
WITH_A_PEER = ["nice", "realnvp", "glow", "maf", "iaf", "spline", "cnf"]
"""Families whose every layer zuko or torch has, too: see `zukos`."""
GENTLE = {"spline": 0.1, "cnf": 0.1}
"""How far weights are moved where 0.3 would make curves steeper, or paths faster, than the test can resolve."""
# A Gaussian without a context is the identity, with nothing to learn.
families = pytest.mark.parametrize(
    ("family", "context_width"), [(f, k) for f in FAMILIES for k in (0, 32) if (f, k) != ("gaussian", 0)]
)


def rarely(*case: object) -> ParameterSet:
    """A case that takes half a minute and says little beside the others: with `pytest -m slow`."""
    return pytest.param(*case, marks=pytest.mark.slow)


# What follows a flow does not see which flow it was, so two families stand for all with this base.
EXPORTED = [
    *((f, k, "normal") for f in FAMILIES for k in (0, 32) if (f, k) not in (("gaussian", 0), ("cnf", 0))),
    rarely("cnf", 0, "normal"),
    ("realnvp", 32, "student_t"),
    ("glow", 0, "student_t"),
]


# What a recipe may add to a family, and what training otherwise does, is under the same contract.
contract = pytest.mark.parametrize(
    ("family", "context_width", "others"),
    [
        *((f, k, {}) for f in FAMILIES for k in (0, 32) if (f, k) != ("gaussian", 0)),
        ("glow", 0, {"base": "student_t"}),
        ("maf", 32, {"base": "student_t"}),
        ("cnf", 32, {"objective": "matching"}),
        ("cnf", 32, {"augmented": 3}),
        ("cnf", 0, {"augmented": 2, "base": "student_t"}),
    ],
)


LAYERED = {"layers", "hidden", "clamp"}
KNOWN: dict[Family, set[str]] = {
    "nice": {"layers", "hidden"},
    **dict.fromkeys(("realnvp", "glow", "maf", "iaf", "planar"), LAYERED),
    "spline": {*LAYERED, "bins", "bound"},
    "cnf": {"hidden", "clamp", "steps"},
    "gaussian": {"hidden", "clamp"},
}
"""Which of the numbers that all tests give each family's builder takes."""


def make(family: Family, context_width: int, width: int = 6, seed: int = 0, layers: int = 4, **others: Any) -> Flow:
    numbers = {"layers": layers, "hidden": 16, "clamp": 2.0, "bins": 5, "bound": 3.0, "steps": 16}
    known = {name: value for name, value in numbers.items() if name in KNOWN[family]}
    return build_flow(family, width, context_width, seed=seed, **known | others)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_setting_that_a_family_does_not_know_is_refused(family: Family) -> None:
    with pytest.raises(TypeError, match="bend"):
        build_flow(family, 4, 2, bend=3)


@pytest.mark.parametrize("family", FAMILIES)
def test_where_places_were_measured_no_layer_learns_their_mean_and_spread(family: Family) -> None:
    flow = build_flow(family, 4, 2, measured=True)
    assert not [layer for layer in flow.layers() if isinstance(layer, ContextAffine | ContextShift)]


def to_data(flow: Flow, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.zeros_like(z[..., 0])
    for layer in reversed(flow.bijections):
        z, log_det = layer.inverse(z, context)
        total = total + log_det
    return z, total


@contract
def test_family_keeps_the_contract(family: Family, context_width: int, others: dict[str, Any], perturb) -> None:
    flow = perturb(make(family, context_width, **others), size=GENTLE.get(family, 0.3)).double()
    x, context = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, context_width, dtype=torch.float64)
    # A solver's steps are no exact inverse of one another; how fast their error falls is tested apart.
    exact, way_back = (1e-5, 1e-5) if family == "cnf" else (1e-8, 1e-10)

    z, log_det = flow.latent(x, context)
    augmented = flow.augment(x)
    assert (z - augmented).abs().max() > 0.1
    expected_log_det = log_det_by_autograd(flow, x, context)
    torch.testing.assert_close(log_det, expected_log_det, atol=exact, rtol=0)

    normal = torch.distributions.Normal(0.0, 1.0)
    is_normal = others.get("base", "normal") == "normal"
    base = normal if is_normal else torch.distributions.StudentT(flow.base.degrees())
    expected = base.log_prob(z).sum(1) + expected_log_det - normal.log_prob(augmented[:, 6:]).sum(1)
    torch.testing.assert_close(flow.log_prob(x, context), expected, atol=exact, rtol=0)

    back, inverse_log_det = to_data(flow, z, context)
    torch.testing.assert_close(back, augmented, atol=way_back, rtol=0)
    torch.testing.assert_close(inverse_log_det, -log_det, atol=way_back, rtol=0)


def to_latent(flow: Flow, x: Tensor, context: Tensor) -> Tensor:
    for layer in flow.bijections:
        x, _ = layer(x, context)
    return x


def log_det_by_autograd(flow: Flow, x: Tensor, context: Tensor) -> Tensor:
    """log|det dz/dx| of each row from autograd's full Jacobian; x with what its family adds."""
    jacobians = [
        torch.autograd.functional.jacobian(lambda v, c=c: to_latent(flow, v[None], c[None])[0], row)
        for row, c in zip(flow.augment(x), context, strict=True)
    ]
    return torch.stack([torch.linalg.slogdet(jacobian)[1] for jacobian in jacobians])


def test_a_solvers_error_falls_with_the_fourth_power_of_its_steps(perturb) -> None:
    flow = perturb(make("cnf", 3)).double()
    x, context = torch.randn(8, 6, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64)
    layer = flow.bijections[-1]
    wrong_log_det, wrong_way_back = [], []
    for layer.steps in (16, 32):
        z, log_det = flow.latent(x, context)
        wrong_log_det.append((log_det - log_det_by_autograd(flow, x, context)).abs().max().item())
        wrong_way_back.append((to_data(flow, z, context)[0] - x).abs().max().item())
    for coarse, fine in (wrong_log_det, wrong_way_back):
        assert 8 < coarse / fine < 64  # 16 in the limit
        assert fine > 1e-12


@families
def test_single_precision_finds_the_way_back(family: Family, context_width: int, perturb) -> None:
    flow = perturb(make(family, context_width), size=0.1)  # 0.3 makes Glow's matrices badly conditioned
    x, context = torch.randn(200, 6), torch.randn(200, context_width)
    z, _ = flow.latent(x, context)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(to_data(flow, z, context)[0], x, atol=1e-4, rtol=0)


@contract
def test_gradients_reach_every_parameter(family: Family, context_width: int, others: dict[str, Any], perturb) -> None:
    flow = perturb(make(family, context_width, **others))
    flow.log_prob(torch.randn(64, 6), torch.randn(64, context_width)).mean().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name


@contract
def test_weights_from_a_file_give_the_same_density(
    family: Family, context_width: int, others: dict[str, Any], perturb, tmp_path
) -> None:
    flow, other = (make(family, context_width, seed=seed, **others) for seed in (1, 2))
    perturb(flow)
    x, context = torch.randn(8, 6), torch.randn(8, context_width)
    safetensors.torch.save_file(flow.state_dict(), tmp_path / "flow.safetensors")
    assert not torch.allclose(other.log_prob(x, context), flow.log_prob(x, context))
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "flow.safetensors"))
    assert torch.equal(other.log_prob(x, context), flow.log_prob(x, context))


class Exported(nn.Module):
    """log p as a graph has it: with its base density fixed."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = copy.deepcopy(flow)
        self.flow.base = self.flow.base.fixed()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.flow.log_prob(x, context)


@pytest.mark.parametrize(("family", "context_width", "base"), EXPORTED)
def test_onnx_runtime_gives_the_same_density(family: Family, context_width: int, base: Base, perturb) -> None:
    flow = perturb(make(family, context_width, base=base), size=0.1).eval()
    x, context = torch.randn(5, 3, 4, 6), torch.randn(3, 4, context_width)
    rows = torch.export.Dim("N", min=1, max=1000)
    program = torch.onnx.export(
        Exported(flow).eval(),
        (x[:2], context),
        dynamo=True,
        input_names=["x", "context"],
        dynamic_shapes={"x": {0: rows}, "context": None},
        verbose=False,
    )
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    wanted = {item.name for item in session.get_inputs()}  # a context of width 0 drops out
    feed = {name: v.numpy() for name, v in (("x", x), ("context", context)) if name in wanted}
    with torch.no_grad():
        expected = flow.log_prob(x, context).numpy()
    np.testing.assert_allclose(session.run(None, feed)[0], expected, atol=1e-4, rtol=1e-5)


@contract
def test_a_place_does_not_depend_on_its_map_or_batch(
    family: Family, context_width: int, others: dict[str, Any], perturb
) -> None:
    flow = perturb(make(family, context_width, **others)).double()
    maps, context = torch.randn(2, 3, 4, 6).double(), torch.randn(3, 4, context_width).double()
    on_maps = flow.log_prob(maps, context)
    assert on_maps.shape == (2, 3, 4)
    on_vectors = flow.log_prob(maps.reshape(24, 6), context.expand(2, 3, 4, -1).reshape(24, context_width))
    torch.testing.assert_close(on_maps.reshape(24), on_vectors, atol=1e-10, rtol=1e-10)
    alone = flow.log_prob(maps[1, 2, 3], context[2, 3])
    torch.testing.assert_close(alone, on_maps[1, 2, 3], atol=1e-10, rtol=1e-10)


@contract
def test_a_foreign_vector_is_unlikely_but_not_nan(
    family: Family, context_width: int, others: dict[str, Any], perturb
) -> None:
    flow = perturb(make(family, context_width, layers=8, **others))
    x = torch.cat([torch.full((1, 6), 1e4), torch.full((1, 6), -1e4), 1e4 * torch.randn(50, 6)])
    context = torch.zeros(len(x), context_width)
    far = flow.log_prob(x, context)
    assert far.isfinite().all()
    assert (
        far.max() < flow.log_prob(flow.sample(torch.zeros(200, context_width)), torch.zeros(200, context_width)).min()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast_leaves_the_likelihood_alone(family: Family, perturb) -> None:
    flow = perturb(make(family, 4))
    x, context = torch.randn(32, 6), torch.randn(32, 4)
    exact = flow.log_prob(x, context)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = flow.log_prob(x, context)
    assert torch.equal(exact, under_autocast)


def plane(flow: Flow, context: Tensor, cells: int = 500) -> tuple[Tensor, float]:
    """log p on a grid that holds all of the density, and the area of a cell."""
    drawn = flow.sample(context.expand(4000, -1))
    low, high = drawn.min(0).values, drawn.max(0).values
    low, high = low - 0.5 * (high - low), high + 0.5 * (high - low)
    x, y = (torch.linspace(low[i], high[i], cells, dtype=torch.float64) for i in (0, 1))
    grid = torch.cartesian_prod(x, y)
    return flow.log_prob(grid, context.expand(len(grid), -1)), float((x[1] - x[0]) * (y[1] - y[0]))


@pytest.mark.parametrize(
    ("family", "context_width"),
    [
        *((f, k) for f in FAMILIES for k in (0, 32) if (f, k) != ("gaussian", 0) and f != "cnf"),
        rarely("cnf", 0),
        rarely("cnf", 32),
    ],
)
@torch.no_grad()
def test_a_plane_density_integrates_to_1_and_its_samples_follow_it(family, context_width, perturb) -> None:
    flow = perturb(make(family, context_width, width=2), size=GENTLE.get(family, 0.3)).double()
    context = torch.randn(1, context_width, dtype=torch.float64)
    log_p, area = plane(flow, context)
    assert (log_p.exp().sum() * area).item() == pytest.approx(1, abs=0.01)
    entropy = -(log_p.exp() * log_p).sum().item() * area
    rows = context.expand(40_000, -1)
    of_samples = -flow.log_prob(flow.sample(rows, torch.Generator().manual_seed(1)), rows)
    assert of_samples.mean().item() == pytest.approx(entropy, abs=5 * of_samples.std().item() / 200 + 0.01)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_samples_repeat_with_their_generator_and_follow_their_context(family: Family, perturb) -> None:
    flow = perturb(make(family, 3))
    context = torch.randn(10, 3)
    first, again, other = (flow.sample(context, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert first.shape == (10, 6)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.allclose(first, flow.sample(context + 1, torch.Generator().manual_seed(5)))


@torch.no_grad()
def test_nices_jacobian_is_the_same_everywhere(perturb) -> None:
    flow = perturb(make("nice", 32)).double()
    x, context = 10 * torch.randn(200, 6).double(), torch.randn(200, 32).double()
    of_volume = flow.log_prob(x, context) - flow.latent_log_prob(x, context)
    assert of_volume.abs().min() > 0.1 and (of_volume - of_volume[0]).abs().max() < 1e-9
    torch.testing.assert_close(of_volume[0], log_det_by_autograd(flow, x[:1], context[:1])[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("family", WITH_A_PEER)
@pytest.mark.parametrize("context_width", [0, 32])
@torch.no_grad()
def test_log_prob_equals_zukos_on_the_same_weights(family: Family, context_width: int, perturb) -> None:
    flow = perturb(make(family, context_width), size=GENTLE.get(family, 0.3)).double()
    x, context = torch.randn(7, 6).double(), torch.randn(7, context_width).double()
    if family == "cnf":
        flow.bijections[-1].steps = 64  # zuko's solver is adaptive
    normal = torch.distributions.MultivariateNormal(torch.zeros(6).double(), torch.eye(6).double())
    transforms = [zukos(layer, context) for layer in flow.bijections]
    theirs = zuko.distributions.NormalizingFlow(zuko.transforms.ComposedTransform(*transforms), normal)
    tolerance = 1e-5 if family == "cnf" else 1e-8
    torch.testing.assert_close(flow.log_prob(x, context), theirs.log_prob(x), atol=tolerance, rtol=1e-10)


def zukos(layer: nn.Module, context: Tensor) -> torch.distributions.Transform:
    """The same map from zuko's or torch's parts, with the layer's weights."""
    weights = dict(layer.named_parameters()) | dict(layer.named_buffers())
    match layer:
        case Inverse():
            return zukos(layer.bijection, context).inv
        case Permutation():
            return zuko.transforms.PermutationTransform(weights["order"])
        case ContextAffine() | ContextShift():
            hidden = F.relu(context @ weights["net.0.weight"].T + weights["net.0.bias"])
            out = hidden @ weights["net.2.weight"].T + weights["net.2.bias"]
            return affine(*out.split(6, -1)) if isinstance(layer, ContextAffine) else affine(torch.zeros_like(out), out)
        case ActNorm():
            scale = torch.exp(weights["log_scale"])
            whole = torch.distributions.AffineTransform(-weights["shift"] * scale, scale)
            return zuko.transforms.DependentTransform(whole, 1)
        case DiagonalScale():
            whole = torch.distributions.AffineTransform(torch.zeros(6).double(), torch.exp(weights["log_scale"]))
            return zuko.transforms.DependentTransform(whole, 1)
        case Mixing():
            lower = weights["lower"].tril(-1) + torch.eye(6)
            upper = weights["upper"].triu(1) + torch.diag(weights["signs"] * weights["log_scale"].exp())
            return Matrix(torch.eye(6).double()[weights["order"]] @ lower @ upper)
        case AffineCoupling():
            return coupled(lambda kept: affine(*network(weights, kept, context).split(3, -1)))
        case AdditiveCoupling():
            return coupled(lambda kept: affine(torch.zeros_like(kept), network(weights, kept, context)))
        case SplineCoupling():
            return coupled(lambda kept: curves(network(weights, kept, context)))
        case MaskedAffine():
            return zuko.transforms.AutoregressiveTransform(lambda x: affine(*masked(weights, x, context)), passes=6)
        case Continuous():

            def velocity(t: Tensor, z: Tensor) -> Tensor:
                hidden = z @ weights["velocity.first.weight"].T + weights["velocity.first.bias"]
                hidden = hidden + t * weights["velocity.from_time"]
                if "velocity.from_context.weight" in weights:
                    hidden = hidden + context @ weights["velocity.from_context.weight"].T
                hidden = torch.tanh(
                    torch.tanh(hidden) @ weights["velocity.second.weight"].T + weights["velocity.second.bias"]
                )
                return hidden @ weights["velocity.last.weight"].T + weights["velocity.last.bias"]

            return zuko.transforms.FreeFormJacobianTransform(velocity, 0.0, 1.0, atol=1e-10, rtol=1e-10)
    raise NotImplementedError(type(layer).__name__)


def affine(raw: Tensor, shift: Tensor) -> torch.distributions.Transform:
    scale = torch.exp(2 * torch.tanh(raw / 2))
    return zuko.transforms.DependentTransform(torch.distributions.AffineTransform(shift, scale), 1)


def coupled(meta) -> torch.distributions.Transform:
    return zuko.transforms.CouplingTransform(meta, torch.arange(6) < 3)


def network(weights: dict[str, Tensor], kept: Tensor, context: Tensor) -> Tensor:
    """The network of a coupling, written out."""
    hidden = kept @ weights["net.first.weight"].T + weights["net.first.bias"]
    if "net.from_context.weight" in weights:
        hidden = hidden + context @ weights["net.from_context.weight"].T
    hidden = hidden.clamp_min(0) @ weights["net.second.weight"].T + weights["net.second.bias"]
    return hidden.clamp_min(0) @ weights["net.last.weight"].T + weights["net.last.bias"]


def masked(weights: dict[str, Tensor], x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """A masked network value by value: output i from an unmasked network whose later inputs' paths are cut by hand."""
    degree = [1 + unit * 5 // 16 for unit in range(16)]
    outs = torch.zeros(len(x), 12, dtype=x.dtype)
    for i in range(6):
        seen = [unit for unit in range(16) if degree[unit] <= i]
        first = torch.zeros(len(x), 16, dtype=x.dtype)
        for unit in seen:
            known = x[:, : degree[unit]] @ weights["net.first.weight"][unit, : degree[unit]]
            first[:, unit] = known + weights["net.first.bias"][unit]
            if "net.from_context.weight" in weights:
                first[:, unit] += context @ weights["net.from_context.weight"][unit]
        second = torch.zeros_like(first)
        for unit in seen:
            below = [other for other in seen if degree[other] <= degree[unit]]
            into = first[:, below].clamp_min(0) @ weights["net.second.weight"][unit, below]
            second[:, unit] = (into + weights["net.second.bias"][unit]).clamp_min(0)
        for row in (i, 6 + i):
            outs[:, row] = second[:, seen] @ weights["net.last.weight"][row, seen] + weights["net.last.bias"][row]
    if "net.straight.weight" in weights:
        outs = outs + context @ weights["net.straight.weight"].T
    return outs[:, :6], outs[:, 6:]


def curves(raw: Tensor) -> torch.distributions.Transform:
    """zuko's spline through our knots: 5 bins on -3..3."""
    raw = raw.reshape(*raw.shape[:-1], 3, 14)
    spline = zuko.transforms.MonotonicRQSTransform(raw[..., :5], raw[..., 5:10], raw[..., 10:], bound=3.0)
    for name, part in (("horizontal", raw[..., :5]), ("vertical", raw[..., 5:10])):
        shares = 1e-3 + (1 - 5e-3) * part.softmax(-1)
        setattr(spline, name, F.pad(-3 + 6 * shares.cumsum(-1), (1, 0), value=-3.0))
    spline.derivatives = F.pad(1e-3 + (1 - 1e-3) * F.softplus(raw[..., 10:] + math.log(math.e - 1)), (1, 1), value=1.0)
    return zuko.transforms.DependentTransform(spline, 1)


class Matrix(torch.distributions.Transform):
    """z = A x, with the log-determinant from torch."""

    domain = codomain = torch.distributions.constraints.real_vector
    bijective = True

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def _call(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.linalg.slogdet(self.matrix)[1].expand(x.shape[:-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_first_batch_prepares_the_layers(family: Family) -> None:
    flow = make(family, 0, layers=2)
    x = 50 + 20 * torch.randn(2000, 6)
    flow.initialise(x, torch.zeros(2000, 0))
    z, log_det = flow.latent(x, torch.zeros(2000, 0))
    if family == "glow":
        assert z.mean(0).abs().max() < 0.05 and (z.std(0) - 1).abs().max() < 0.2
    else:
        torch.testing.assert_close(z.norm(dim=1), x.norm(dim=1))  # the identity, another order or a rotation
        assert log_det.abs().max() < 1e-5


@pytest.mark.parametrize("family", [*(f for f in EXPRESSIVE if f not in SLOW), *map(rarely, SLOW)])
def test_two_moons_are_learned_better_than_by_a_gaussian(family: Family) -> None:
    points, _ = make_moons(3000, noise=0.06, random_state=0)
    train, test = (part.astype(np.float32) for part in np.split((points - points.mean(0)) / points.std(0), [2000]))
    covariance = np.cov(train.T)
    centred = test - train.mean(0)
    mahalanobis = (centred @ np.linalg.inv(covariance) * centred).sum(1)
    gaussian = -0.5 * (mahalanobis + np.linalg.slogdet(covariance)[1] + 2 * math.log(2 * math.pi)).mean()

    numbers = {"layers": 8, "hidden": 48} if "layers" in KNOWN[family] else {"hidden": 48}
    flow = build_flow(family, 2, 0, **numbers)
    context, data = torch.zeros(512, 0), torch.from_numpy(train)
    flow.initialise(data, torch.zeros(len(data), 0))
    optimiser = torch.optim.Adam(flow.parameters(), 3e-3)
    for _ in range(350):
        loss = flow.loss(data[torch.randint(len(data), (512,))], context)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        learned = flow.log_prob(torch.from_numpy(test), torch.zeros(len(test), 0)).mean().item()
    print(f"{family}: {learned:.3f} nats against {gaussian:.3f} of a Gaussian")
    assert learned > gaussian + 0.6
