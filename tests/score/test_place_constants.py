"""What each place is compared with: itself, its surroundings and all places, by how many pictures there are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from defectflow.score.score import PRIOR_PICTURES, SURROUNDINGS, Score

GRID = (16, 12)
EVERYWHERE = np.ones(GRID, dtype=bool)
WINDOW = np.pad(np.ones((10, 8), dtype=bool), ((3, 3), (2, 2)))


def nats(pictures: int, seed: int, spread: Tensor | float = 1.0, mean: Tensor | float = 0.0) -> Tensor:
    """(pictures, 16, 12)."""
    return mean + spread * torch.randn(pictures, *GRID, generator=torch.Generator().manual_seed(seed))


def fitted(train: Tensor, tune: Tensor, share: float = 1.0, inside: NDArray[np.bool_] = EVERYWHERE) -> Score:
    region = torch.from_numpy(inside)
    score = Score([GRID], 0.0, 0.1, region, by_place=share)
    score.fit([tune[:, region]], [train[:, region]])
    return score


def around(values: NDArray[np.float64], sigma: float, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Averaged with what lies around, of the region alone; by scipy."""
    reach = math.ceil(3 * sigma)
    blurred, weight = (
        ndimage.gaussian_filter(each, sigma, mode="nearest", radius=reach)
        for each in (np.where(inside, values, 0.0), inside.astype(float))
    )
    return np.divide(blurred, weight, out=np.zeros(GRID), where=inside)


@pytest.mark.parametrize("inside", [EVERYWHERE, WINDOW], ids=["everywhere", "window"])
@pytest.mark.parametrize("pictures", [5, 30, 400])
def test_constants_are_shrunk_by_the_number_of_pictures(pictures: int, inside: NDArray[np.bool_]) -> None:
    rising = torch.linspace(0.5, 4, 16 * 12).reshape(GRID)
    train, tune = (nats(count, seed, rising, 2 * rising) for count, seed in ((pictures, 5), (50, 6)))
    ours = fitted(train, tune, 0.8, inside)
    seen = train.double().numpy()
    sigma = SURROUNDINGS / math.sqrt(pictures) * GRID[0]
    share = 0.8 * pictures / (pictures + PRIOR_PICTURES)
    everywhere = seen[:, inside]
    own_mean = np.maximum(around(seen.mean(0), sigma, inside), everywhere.mean())
    own_std = np.sqrt(around(seen.var(0, ddof=1), sigma, inside))
    mean = (1 - share) * everywhere.mean() + share * own_mean
    std = (1 - share) * everywhere.std(ddof=1) + share * own_std
    v = (tune.numpy() - mean) / std
    expected = np.where(inside, (v[:3] - v[:, inside].mean()) / v[:, inside].std(ddof=1), 0)
    np.testing.assert_allclose(ours.anomaly_map([tune[:3]]).numpy(), expected, atol=2e-3)


def test_a_place_where_good_parts_vary_more_weighs_less() -> None:
    spread = torch.ones(GRID)
    spread[:, 6:] = 4
    standardised = fitted(nats(400, 1, spread), nats(100, 2, spread)).standardised[0]
    assert float(standardised.std[:, 9:].mean() / standardised.std[:, :3].mean()) == pytest.approx(3.6, abs=0.3)


def test_few_pictures_lend_no_place_a_spread_that_chance_made() -> None:
    """All places vary alike here: what differs between the constants is chance."""
    few, many = (fitted(nats(pictures, 1), nats(100, 2)).standardised[0].std for pictures in (5, 400))
    by_chance = nats(5, 1).std(0)
    assert float(few.std() / few.mean()) < 0.15 * float(by_chance.std() / by_chance.mean())
    assert float(many.std() / many.mean()) < 0.05


def test_what_looks_better_than_elsewhere_is_not_judged_by_that() -> None:
    """Beside places that look worse than others, whose own mean counts."""
    mean = torch.zeros(GRID)
    mean[:, :4], mean[:, 8:] = -2, 2
    standardised = fitted(nats(400, 1, 1.0, mean), nats(100, 2, 1.0, mean)).standardised[0]
    means = standardised.mean.mean(0)
    assert float(means[1] - means[5]) == pytest.approx(0, abs=0.1)
    assert float(means[10] - means[5]) == pytest.approx(2, abs=0.2)


def test_what_lies_outside_the_region_plays_no_part() -> None:
    train, tune = nats(20, 1), nats(20, 2)
    expected = fitted(train, tune, inside=WINDOW).anomaly_map([tune])
    for values in (train, tune):
        values[:, ~torch.from_numpy(WINDOW)] = 1000
    torch.testing.assert_close(fitted(train, tune, inside=WINDOW).anomaly_map([tune]), expected)


def test_without_a_share_every_place_has_the_same_constants() -> None:
    standardised = fitted(nats(30, 1), nats(30, 2), share=0).standardised[0]
    assert standardised.mean.unique().numel() == standardised.std.unique().numel() == 1
