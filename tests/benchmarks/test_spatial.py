"""Flows over maps: one log-determinant for each, and nothing lost on the way."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from spatial import MapFlow, Mask, Squeeze, build_map_flow, masks_of
from torch import Tensor

MASKS: tuple[Mask, ...] = get_args(Mask)
SHAPE = (4, 4, 2)


def make(family: str, mask: Mask, perturb, shape: tuple[int, int, int] = SHAPE) -> MapFlow:
    flow = build_map_flow(shape, family=family, mask=mask, scales=2, layers=4, hidden=8)
    return perturb(flow, size=0.1).double()


def flat_latent(flow: MapFlow, x: Tensor) -> Tensor:
    return torch.cat([z.flatten() for z in flow.latent(x.reshape(1, *SHAPE))[0]])


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("family", ["realnvp", "glow"])
class TestFlow:
    def test_log_det_is_autograds(self, family: str, mask: Mask, perturb) -> None:
        flow = make(family, mask, perturb)
        x = torch.randn(2, *SHAPE, dtype=torch.float64)
        _, log_det = flow.latent(x)
        for row, found in zip(x, log_det, strict=True):
            jacobian = torch.autograd.functional.jacobian(lambda v: flat_latent(flow, v), row.flatten())
            assert found.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-9)
        assert log_det.abs().max() > 1e-3

    def test_the_way_back(self, family: str, mask: Mask, perturb) -> None:
        flow = make(family, mask, perturb)
        x = torch.randn(3, *SHAPE, dtype=torch.float64)
        torch.testing.assert_close(flow.inverse(flow.latent(x)[0]), x, atol=1e-10, rtol=0)

    def test_samples_are_pictures_with_a_likelihood(self, family: str, mask: Mask, perturb) -> None:
        flow = make(family, mask, perturb).float()
        drawn = flow.sample(5, torch.Generator().manual_seed(0))
        assert drawn.shape == (5, *SHAPE)
        assert torch.equal(drawn, flow.sample(5, torch.Generator().manual_seed(0)))
        assert flow.log_prob(drawn).isfinite().all()

    def test_gradients_reach_every_parameter(self, family: str, mask: Mask, perturb) -> None:
        flow = make(family, mask, perturb)
        flow.log_prob(torch.randn(4, *SHAPE, dtype=torch.float64)).mean().backward()
        for name, parameter in flow.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_at_its_start_the_density_is_a_standard_normal() -> None:
    flow = build_map_flow((8, 8, 3), family="realnvp", mask="checkerboard")
    x = torch.randn(4, 8, 8, 3)
    expected = -0.5 * x.square().sum((1, 2, 3)) - 0.5 * 192 * math.log(2 * math.pi)
    torch.testing.assert_close(flow.log_prob(x), expected)


def test_actnorm_is_set_by_a_first_batch() -> None:
    flow = build_map_flow((8, 8, 1), family="glow", mask="channel", scales=1, layers=1)
    x = 30 + 7 * torch.randn(64, 8, 8, 1)
    flow.initialise(x)
    z = flow.latent(x)[0][0]
    assert z.mean().abs() < 0.05 and abs(z.std().item() - 1) < 0.05


def test_squeeze_gathers_blocks_of_four() -> None:
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    z, log_det = Squeeze()(x, torch.zeros(0))
    assert z[0, 0, 0].tolist() == [0, 1, 4, 5] and log_det.tolist() == [0]


def test_masks() -> None:
    for mask in ("channel", "checkerboard", "horizontal"):
        for turn in (0, 1):
            seen, moved = masks_of((4, 4, 2), mask, turn)
            assert torch.equal(seen + moved, torch.ones(4, 4, 2))
            assert torch.equal(seen, masks_of((4, 4, 2), mask, turn + 1)[1])
    upper, _ = masks_of((4, 4, 2), "horizontal", 0)
    assert upper[:2].all() and not upper[2:].any()
    board = masks_of((4, 4, 1), "checkerboard", 0)[0][..., 0]
    assert board[0].tolist() == [1, 0, 1, 0] and board[1].tolist() == [0, 1, 0, 1]
    assert masks_of((2, 2, 4), "channel", 0)[0][0, 0].tolist() == [1, 1, 0, 0]
    clockwise = [(0, 0), (0, 3), (3, 3), (3, 0)]
    for turn in range(4):
        seen, moved = (part[..., 0] for part in masks_of((4, 4, 1), "cycle", turn))
        assert seen[clockwise[turn]] == 1 and seen.sum() == 4
        assert moved[clockwise[(turn + 1) % 4]] == 1 and moved.sum() == 4


def test_pictures_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match="12 x 12 cannot be halved 3 times; use multiples of 8"):
        build_map_flow((12, 12, 1), family="glow", mask="channel", scales=3)
