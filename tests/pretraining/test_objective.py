"""The loss, against sums written out place by place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from defectflow.pretraining.drawing import Dice
from defectflow.pretraining.objective import Descriptors, descriptor_loss
from defectflow.pretraining.settings import DescriptorSettings

CPU = torch.device("cpu")
STAY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
SETTINGS = DescriptorSettings(temperature=0.2, places=10_000)


def unit(*shape: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def inner(maps: torch.Tensor) -> np.ndarray:
    """(N, W, h, w) -> (N (h-2) (w-2), W): the outermost places count as out of sight."""
    return maps[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).double().numpy()


def cross_entropy(query: np.ndarray, right: np.ndarray, wrong: list[np.ndarray]) -> float:
    """-log of the share that the right answer has among all, with a temperature of 0.2."""
    answers = [math.exp(query @ other / 0.2) for other in [right, *wrong]]
    return -math.log(answers[0] / sum(answers))


def test_it_is_the_mean_of_both_directions() -> None:
    first, second = unit(2, 8, 6, 6, seed=0), unit(2, 8, 6, 6, seed=1)
    loss, _ = descriptor_loss(torch.cat([first, second]), STAY.expand(2, -1, -1), SETTINGS, Dice(0, CPU))
    a, b = inner(first), inner(second)
    forth = [cross_entropy(b[i], a[i], [a[k] for k in range(len(a)) if k != i]) for i in range(len(a))]
    back = [cross_entropy(a[i], b[i], [b[k] for k in range(len(b)) if k != i]) for i in range(len(a))]
    assert loss.item() == pytest.approx((np.mean(forth) + np.mean(back)) / 2, rel=1e-4)


def test_only_so_many_places_are_compared_as_asked() -> None:
    """The loss of few places is lower: each has fewer wrong answers to be distinguished from."""
    stacked, matrices = unit(8, 64, 12, 12, seed=0), STAY.expand(4, -1, -1)
    few, all_ = (
        descriptor_loss(stacked, matrices, DescriptorSettings(temperature=1, places=places), Dice(0, CPU))[0].item()
        for places in (16, 400)
    )
    assert few == pytest.approx(math.log(16), abs=0.2)  # nothing to tell unrelated views by
    assert all_ == pytest.approx(math.log(400), abs=0.2)


def test_identical_views_are_recognised_and_unrelated_ones_are_not() -> None:
    first, other = unit(2, 32, 8, 8, seed=0), unit(2, 32, 8, 8, seed=1)
    matrices = STAY.expand(2, -1, -1)
    _, same = descriptor_loss(torch.cat([first, first]), matrices, SETTINGS, Dice(0, CPU))
    _, unrelated = descriptor_loss(torch.cat([first, other]), matrices, SETTINGS, Dice(0, CPU))
    assert same == 1
    assert unrelated < 0.1


def test_descriptors_are_unit_vectors_of_the_width_asked_for() -> None:
    maps = Descriptors([16, 32], 24)([torch.randn(2, 16, 8, 8), torch.randn(2, 32, 4, 4)])
    assert [tuple(level.shape) for level in maps] == [(2, 24, 8, 8), (2, 24, 4, 4)]
    for level in maps:
        assert torch.allclose(level.norm(dim=1), torch.ones(()), atol=1e-5)
