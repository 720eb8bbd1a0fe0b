"""Cutting and joining, against brute force over single pixels and places."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from defectflow.density.condition import position_condition
from defectflow.embedding.embedding import tiling_of
from defectflow.errors import SettingsError
from defectflow.image.tiling import Tiling
from defectflow.recipe.settings import ImageSettings, load_recipe

TILINGS = [
    Tiling(rows=16, columns=16, side=16, overlap=4),  # one tile: the whole part
    Tiling(rows=17, columns=40, side=16, overlap=0),
    Tiling(rows=29, columns=41, side=16, overlap=3),
    Tiling(rows=30, columns=20, side=8, overlap=4),  # the last column is moved so far inwards that three overlap
]


def corners(tiling: Tiling) -> list[tuple[int, int]]:
    """Top and left of each tile, in places, from the rectangles that the graph is given."""
    tops = tiling.rectangles[:, 1] * tiling.rows
    lefts = tiling.rectangles[:, 0] * tiling.columns
    return [(round(float(top)), round(float(left))) for top, left in zip(tops, lefts, strict=True)]


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize(("height", "width"), [(290, 410), (301, 203), (64, 64), (1000, 77)])
def test_tiles_cover_every_pixel_and_lie_where_their_rectangles_say(tiling: Tiling, height: int, width: int) -> None:
    numbers = np.arange(height * width * 3, dtype=np.int64)
    picture = (numbers % 251).astype(np.uint8).reshape(height, width, 3)
    seen = np.zeros((height, width), int)
    tiles = tiling.cut(picture)
    assert len(tiles) == len(tiling) == len(tiling.rectangles)
    for tile, (left, top, wide, tall) in zip(tiles, tiling.rectangles, strict=True):
        assert np.shares_memory(tile, picture)
        assert tile.shape[:2] == tiling.size_px(height, width)
        offset = tile.__array_interface__["data"][0] - picture.__array_interface__["data"][0]
        row, column = divmod(offset // 3, width)
        np.testing.assert_allclose((row, column), (top * height, left * width), atol=1)
        np.testing.assert_allclose(tile.shape[:2], (tall * height, wide * width), atol=1)
        seen[row : row + tile.shape[0], column : column + tile.shape[1]] += 1
    assert seen.min() >= 1


@pytest.mark.parametrize("tiling", TILINGS)
def test_neighbours_share_at_least_the_overlap(tiling: Tiling) -> None:
    tops, lefts = (sorted(set(axis)) for axis in zip(*corners(tiling), strict=True))
    for starts, length in ((tops, tiling.rows), (lefts, tiling.columns)):
        assert starts[0] == 0
        assert starts[-1] + tiling.side == length
        for one, next_one in itertools.pairwise(starts):
            assert one + tiling.side - next_one >= tiling.overlap


def brute_force_weight(place: int, start: int, starts: list[int], side: int) -> float:
    """How much a tile counts at a place, along one axis: 1, or falling over what it shares with a neighbour."""
    if not start <= place < start + side:
        return 0.0
    number, weight = starts.index(start), 1.0
    if number > 0 and (shared := starts[number - 1] + side - start):
        weight = min(weight, (place - start + 0.5) / shared)
    if number + 1 < len(starts) and (shared := start + side - starts[number + 1]):
        weight = min(weight, (start + side - place - 0.5) / shared)
    return weight


@pytest.mark.parametrize("tiling", TILINGS)
def test_seams_are_blended_linearly(tiling: Tiling) -> None:
    maps = np.random.default_rng(0).normal(0, 1, (len(tiling), tiling.side, tiling.side)).astype(np.float32)
    tops, lefts = (sorted(set(axis)) for axis in zip(*corners(tiling), strict=True))
    expected, share = np.zeros((tiling.rows, tiling.columns)), np.zeros(len(tiling))
    for row in range(tiling.rows):
        for column in range(tiling.columns):
            weights = [
                brute_force_weight(row, top, tops, tiling.side) * brute_force_weight(column, left, lefts, tiling.side)
                for top, left in corners(tiling)
            ]
            for index, ((top, left), weight) in enumerate(zip(corners(tiling), weights, strict=True)):
                if weight:
                    expected[row, column] += weight / sum(weights) * maps[index, row - top, column - left]
                    share[index] += weight / sum(weights) / (tiling.rows * tiling.columns)
    np.testing.assert_allclose(tiling.blend(maps), expected, atol=1e-5)
    np.testing.assert_allclose(tiling.shares, share, atol=1e-6)
    assert tiling.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("tiling", TILINGS)
def test_tiles_of_one_map_give_that_map(tiling: Tiling) -> None:
    whole = np.random.default_rng(1).normal(0, 1, (tiling.rows, tiling.columns)).astype(np.float32)
    maps = np.stack([whole[top : top + tiling.side, left : left + tiling.side] for top, left in corners(tiling)])
    np.testing.assert_allclose(tiling.blend(maps), whole, atol=1e-5)


@pytest.mark.parametrize("tiling", TILINGS)
def test_the_condition_is_the_position_on_the_part(tiling: Tiling) -> None:
    whole = position_condition(tiling.rows, tiling.columns)
    tiles = position_condition(tiling.side, tiling.side, torch.from_numpy(tiling.rectangles))
    assert tiles.shape == (len(tiling), tiling.side, tiling.side, whole.shape[-1])
    for tile, (top, left) in zip(tiles, corners(tiling), strict=True):
        there = whole[top : top + tiling.side, left : left + tiling.side]
        torch.testing.assert_close(tile, there, atol=1e-4, rtol=0)  # the fastest sine turns 400 times as fast as x


def test_the_pictures_values_from_the_tiles() -> None:
    tiling = TILINGS[2]
    random = np.random.default_rng(0)
    count, side = len(tiling), tiling.side
    tiles = {
        "score": random.normal(0, 1, count).astype(np.float32),
        "anomaly_map": random.normal(0, 1, (count, side, side)).astype(np.float32),
        "embedding": random.normal(0, 1, (count, 7)).astype(np.float32),
        "gate_embedding": random.normal(0, 1, (count, 7)).astype(np.float32),
    }
    whole = tiling.join(tiles)
    assert whole["score"] == max(tiles["score"])
    np.testing.assert_allclose(
        whole["embedding"], np.average(tiles["embedding"], axis=0, weights=tiling.shares), atol=1e-6
    )
    mean = np.average(tiles["gate_embedding"], axis=0, weights=tiling.shares)
    assert whole["distance"] == pytest.approx(np.sqrt(np.mean(mean**2)), rel=1e-5)
    tiles["score"][3] = np.nan
    assert np.isnan(tiling.join(tiles)["score"]), "what is not a number must reject the picture"


def settings(*overrides: str) -> ImageSettings:
    return load_recipe("free", [f"image.{override}" for override in overrides]).image


def test_pixels_become_places() -> None:
    tiling = tiling_of(settings("tiling.tile=512", "tiling.picture=[4096,3000]"), side=64)
    assert tiling == Tiling(rows=375, columns=512, side=64, overlap=8)
    assert len(tiling) == 7 * 9
    assert tiling.size_px(3000, 4096) == (512, 512)
    assert tiling.size_px(1500, 2048) == (256, 256), "half the resolution, the same tiles"
    cut = settings("tiling.tile=512", "tiling.picture=[4096,3000]", "roi.rectangle=[0.5, 0, 0.25, 1]")
    assert tiling_of(cut, side=64) == Tiling(rows=375, columns=128, side=64, overlap=8)
    assert tiling_of(settings(), side=64) is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["tile=512", "picture=[4096, 300]"], r"512 px is larger than the part, .* 4096 x 300 px; use at most 300"),
        (["tile=64", "overlap=16", "picture=[4096, 3000]"], r"tiling\.tile: 64 px makes \d+ tiles .*larger tile"),
        (["tile=512"], r"image\.tiling\.picture: null .* give \[width, height\]"),
    ],
)
def test_tilings_that_make_no_sense(overrides: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        tiling_of(settings(*(f"tiling.{override}" for override in overrides)), side=64)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["tiling.tile=100", "tiling.overlap=60"], r"overlap of 60 is more than half a tile; use at most 50"),
        (["tiling.tile=100", "tiling.overlap=10", "aspect=letterbox"], r"letterbox .* with tiling\.tile use stretch"),
        (["tiling.tile=200", "roi.mask=m.png"], r"roi\.mask: m\.png cannot be combined .*; use roi\.rectangle"),
        (["tiling.tyle=100"], r"image\.tiling\.tyle: no such setting; did you mean 'tile'\?"),
    ],
)
def test_recipes_that_cannot_be_tiled(overrides: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings(*overrides)
