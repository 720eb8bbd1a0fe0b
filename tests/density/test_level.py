"""Whitening measured at each place, and the density of a level around it, against their own formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from defectflow.density.level import LevelDensity
from defectflow.density.measure import fit_whitening, whiten
from defectflow.density.place_whitening import RIDGE, STRIP, Moments, PlaceWhitening, packed, unpacked
from defectflow.embedding.vectors import Vectors
from defectflow.recipe.flow_settings import GaussianSettings, GlowSettings

HEIGHT, WIDTH, DEPTH = 4, 6, 3
PLACES = np.arange(HEIGHT * WIDTH)
WHOLE_TILES = torch.tensor([[0.0, 0.0, 0.6, 1.0], [0.4, 0.0, 0.6, 1.0]])


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Every place has its own mean, spread and correlation: (n, h, w, D)."""
    random, shapes = np.random.default_rng(seed), np.random.default_rng(99)
    mean = 3 * shapes.normal(size=(HEIGHT, WIDTH, DEPTH))
    root = shapes.normal(size=(HEIGHT, WIDTH, DEPTH, DEPTH)) * shapes.uniform(0.2, 2, (HEIGHT, WIDTH, 1, 1))
    noise = random.normal(size=(count, HEIGHT, WIDTH, DEPTH))
    return mean + np.einsum("nhwd,hwde->nhwe", noise, root)


def measured(x: np.ndarray, kind: str = "full", shrinkage: float = 0.1, block: int = 1) -> PlaceWhitening:
    whitening = PlaceWhitening(DEPTH, (HEIGHT, WIDTH), block).double()
    moments = Moments.of_none(whitening)
    for picture in torch.from_numpy(x):
        moments.add(picture.reshape(-1, DEPTH), torch.from_numpy(PLACES))
    whitening.fit(moments, kind, shrinkage)
    return whitening


def shrunk(x: np.ndarray, shrinkage: float) -> np.ndarray:
    """The covariance of each place by NumPy, shrunk to the mean of all: (h, w, D, D)."""
    own = np.stack([[np.cov(x[:, i, j].T) for j in range(WIDTH)] for i in range(HEIGHT)])
    pooled = own.mean((0, 1))
    pooled = pooled + RIDGE * np.trace(pooled) / DEPTH * np.eye(DEPTH)
    return (1 - shrinkage) * own + shrinkage * pooled


def test_the_whitened_density_is_the_gaussian_of_each_place() -> None:
    """log N(x; mean, C) = log N(z; 0, I) + log|det|, by SciPy's own normal law."""
    x, seen = pictures(200), pictures(3, seed=7)
    whitening, covariance = measured(x), shrunk(x, 0.1)
    z = whitening(torch.from_numpy(seen))
    places = torch.from_numpy(PLACES).reshape(HEIGHT, WIDTH)
    log_prob = scipy.stats.norm.logpdf(z.numpy()).sum(-1) + whitening.log_det(places).numpy()
    for i in range(HEIGHT):
        for j in range(WIDTH):
            law = scipy.stats.multivariate_normal(x[:, i, j].mean(0), covariance[i, j])
            # The factors are rounded to fp16: 11 bits.
            np.testing.assert_allclose(log_prob[:, i, j], law.logpdf(seen[:, i, j]), rtol=5e-3, atol=5e-3)


def test_spread_keeps_the_variances_alone() -> None:
    x = pictures(200)
    whitening = measured(x, kind="spread")
    variance = np.diagonal(shrunk(x, 0.1), axis1=-2, axis2=-1)
    expected = (x - x.mean(0)) / np.sqrt(variance)
    np.testing.assert_allclose(whitening(torch.from_numpy(x)).numpy(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("block", [1, 2])
def test_there_and_back_the_map_and_its_places_agree(block: int) -> None:
    x = torch.from_numpy(pictures(50))
    whitening = measured(x.numpy(), block=block)
    places = torch.from_numpy(PLACES)
    z = whitening(x).flatten(1, 2)  # (n, h, w, D) -> (n, h*w, D)
    torch.testing.assert_close(whitening.at(x.flatten(1, 2), places), z)
    torch.testing.assert_close(whitening.back(z, places), x.flatten(1, 2))
    jacobian = torch.autograd.functional.jacobian(lambda v: whitening.at(v, places[5]), x[0].flatten(0, 1)[5])
    assert whitening.log_det(places[5]).item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-9)


@pytest.mark.parametrize("width", [STRIP, STRIP + 1, 2 * STRIP + 7])
def test_wide_factors_are_multiplied_strip_by_strip(width: int) -> None:
    """Whatever lies below the diagonal is left out, and nothing else."""
    whitening = PlaceWhitening(width, (HEIGHT, WIDTH), 1).double()
    random = torch.Generator().manual_seed(0)
    whitening.factor.copy_(torch.randn(whitening.factor.shape, generator=random).triu())
    x = torch.randn(3, HEIGHT, WIDTH, width, generator=random, dtype=torch.float64)
    whole = torch.einsum("nhwd,hwde->nhwe", x, whitening.factor.reshape(HEIGHT, WIDTH, width, width))
    torch.testing.assert_close(whitening(x), whole)


def test_squares_share_a_covariance_around_their_places_own_means() -> None:
    x = pictures(100)
    whitening = measured(x, shrinkage=0.0, block=2)
    z = whitening(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-2)  # every place has its own mean
    of_square = z[:, :2, :2].reshape(-1, DEPTH)
    np.testing.assert_allclose(of_square.T @ of_square / (4 * 99), np.eye(DEPTH), atol=5e-3)


def test_packing_loses_nothing() -> None:
    factor = measured(pictures(50)).factor.float()
    assert torch.equal(unpacked(packed(factor)), factor)
    assert packed(factor).nbytes == HEIGHT * WIDTH * 6 * 2  # 6 of 9 values, of 2 bytes


def test_a_block_that_does_not_fill_the_grid_is_made_smaller() -> None:
    assert PlaceWhitening(DEPTH, (HEIGHT, WIDTH), 4).block == (4, 3)
    assert PlaceWhitening(DEPTH, (7, 7), 2).block == (1, 1)


def test_a_place_that_was_never_seen_has_the_mean_of_all() -> None:
    whitening = PlaceWhitening(DEPTH, (HEIGHT, WIDTH), 1).double()
    moments = Moments.of_none(whitening)
    x = torch.from_numpy(pictures(30)).flatten(1, 2)[:, 1:]
    for picture in x:
        moments.add(picture, torch.from_numpy(PLACES[1:]))
    whitening.fit(moments, "full", 0.1)
    torch.testing.assert_close(whitening.mean[0, 0], x.flatten(0, 1).mean(0))
    assert whitening.factor.isfinite().all()


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_pictures_give_no_infinite_factor(count: int) -> None:
    factor = measured(pictures(count)).factor
    assert factor.isfinite().all() and factor.half().isfinite().all()


def density(rectangles: Tensor | None = None, **settings: object) -> LevelDensity:
    torch.manual_seed(0)
    family = GaussianSettings if settings.pop("gaussian", False) else GlowSettings
    where = {} if rectangles is None else {"rectangles": rectangles}
    return LevelDensity((HEIGHT, WIDTH, DEPTH), family(place="full", hidden=8, block=1, **settings), **where)


def of(maps: np.ndarray) -> Vectors:
    return Vectors(maps.astype(np.float16), PLACES)


def test_a_map_is_made_of_its_places(tmp_path: Path) -> None:
    level = density()
    fit_whitening(level, of(pictures(40)), "whiten", np.arange(40) % 5, tmp_path)
    with torch.no_grad():
        for parameter in level.flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        x = torch.from_numpy(pictures(2, seed=5)).float()
        rows = x.flatten(0, 2)
        at = level.at(rows, torch.from_numpy(PLACES).repeat(2)).reshape(2, HEIGHT, WIDTH)
        torch.testing.assert_close(level(x), at, rtol=1e-4, atol=1e-4)


def test_tiles_find_their_places_on_the_part(tmp_path: Path) -> None:
    level = density(WHOLE_TILES)
    maps = np.concatenate([pictures(40), pictures(40, seed=1)], 2).reshape(40, 1, -1, DEPTH)
    sampled = np.tile(np.arange(2 * HEIGHT * WIDTH, dtype=np.int32), (40, 1))
    vectors = Vectors(maps.astype(np.float16), np.arange(2 * HEIGHT * WIDTH), sampled)
    fit_whitening(level, vectors, "whiten", np.arange(40) % 5, tmp_path)
    with torch.no_grad():
        x = torch.from_numpy(pictures(2, seed=5)).float()
        whole = level.on_tiles(x, WHOLE_TILES)
        places = torch.arange(2 * HEIGHT * WIDTH)
        torch.testing.assert_close(level.at(x.flatten(0, 2), places).reshape(whole.shape), whole, rtol=1e-4, atol=1e-4)


def test_pictures_are_whitened_as_if_unseen(tmp_path: Path) -> None:
    """As far out as new pictures are: with 12 pictures of 3 values, their own statistics would hide a fifth."""
    level = density(gaussian=True, shrinkage=0.02)
    seen = fit_whitening(level, of(pictures(12)), "whiten", np.arange(12) % 6, tmp_path)
    unseen = whiten(level, of(pictures(400, seed=3)), tmp_path)
    itself = whiten(level, of(pictures(12)), tmp_path)
    size = {
        name: float(np.median(np.square(v.maps.astype(float)).sum(-1)))
        for name, v in {"seen": seen, "unseen": unseen, "itself": itself}.items()
    }
    assert size["seen"] == pytest.approx(size["unseen"], rel=0.25)
    assert size["itself"] < 0.7 * size["unseen"]
    assert float(np.square(seen.maps.astype(float)).mean()) == pytest.approx(1, abs=0.01)


def test_siblings_never_whiten_each_other(tmp_path: Path) -> None:
    """Of two equal pictures of each part: one in another fold makes its twin look normal, and the unit too small."""
    twice = of(np.repeat(pictures(12), 2, 0))
    units = {}
    for name, folds in (("by part", np.arange(24) // 2 % 6), ("by picture", np.arange(24) % 2)):
        level = density(gaussian=True, shrinkage=0.02)
        fit_whitening(level, twice, "whiten", folds, tmp_path)
        assert level.whitening is not None
        units[name] = 1 / level.whitening.factor.diagonal(dim1=-2, dim2=-1).mean().item()
    assert units["by part"] > 1.15 * units["by picture"]


def test_without_a_place_the_whitening_is_the_levels_alone(tmp_path: Path) -> None:
    settings = GlowSettings(hidden=8, place="none")
    level = LevelDensity((HEIGHT, WIDTH, DEPTH), settings)
    whitened = fit_whitening(level, of(pictures(60)), "whiten", np.arange(60) % 5, tmp_path)
    flat = whitened.maps.reshape(-1, DEPTH).astype(float)
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(DEPTH), atol=0.02)
    assert level.whitening is None


def test_whitened_vectors_leave_no_file_behind(tmp_path: Path) -> None:
    level = density()
    whitened = fit_whitening(level, of(pictures(20)), "whiten", np.arange(20) % 5, tmp_path)
    assert whitened.maps.shape == (20, HEIGHT, WIDTH, DEPTH)
    assert not list(tmp_path.iterdir())
