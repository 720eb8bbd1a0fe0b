"""From pixels to vectors, and from level maps to the score: each step against another way to compute it."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from defectflow.density.condition import CONDITION_WIDTH, position_condition
from defectflow.embedding.backbone import Backbone
from defectflow.embedding.embedding import PADDING_GREY, Embedding, build_embedding, geometry_of
from defectflow.errors import SettingsError
from defectflow.image.geometry import Aspect, Geometry
from defectflow.recipe.settings import EmbeddingSettings, ImageSettings, load_recipe
from defectflow.score.detector import build_detector
from defectflow.score.gate import SHRINKAGE, Gate
from defectflow.score.score import Score

torch.set_num_threads(1)  # on a busy machine, threads wait for each other in spinning loops
SIDE_PX = 48


class Pixels(nn.Module):
    """A backbone whose only features are the pixels."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


def embedding(
    aspect: Aspect = "stretch", rectangle=None, neighbourhood: int = 1, spacing_px: int = 1, weighting: str = "box"
) -> Embedding:
    backbone = Backbone(Pixels(), (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    return Embedding(
        backbone,
        Geometry(aspect, rectangle),
        SIDE_PX,
        EmbeddingSettings(neighbourhood=neighbourhood, spacing_px=spacing_px, weighting=weighting),
    )


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise over a ramp, so that a shift, a flip or a swap of channels shows."""
    noise = np.random.default_rng(seed).integers(0, 100, (height, width, 3))
    ramp = np.linspace(0, 100, height)[:, None, None] + np.linspace(0, 50, width)[None, :, None] * [1, 0.5, 0]
    return (noise + ramp).astype(np.uint8)


def squared(pixels: np.ndarray, aspect: Aspect = "stretch", rectangle=None) -> np.ndarray:
    return embedding(aspect, rectangle).square(torch.from_numpy(pixels[None]))[0].permute(1, 2, 0).numpy()


def pillow(pixels: np.ndarray) -> np.ndarray:
    """Pillow's resize, which always smooths before it shrinks; (S, S, 3), 0..255."""
    channels = [
        np.asarray(
            Image.fromarray(pixels[..., c].astype(np.float32)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        )
        for c in range(3)
    ]
    return np.stack(channels, axis=-1)


SIZES = [(48, 48), (200, 200), (97, 61), (30, 20), (61, 300), (500, 49)]
sizes = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


@sizes
def test_stretch_is_an_antialiased_resize(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    ours = squared(pixels)
    chw = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    theirs = F.interpolate(chw, size=(SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_allclose(ours, pillow(pixels), atol=1e-2)


@sizes
def test_letterbox_pads_to_a_square_with_grey(size: tuple[int, int]) -> None:
    pixels, (height, width) = picture(*size), size
    side = max(size)
    padded = np.full((side, side, 3), PADDING_GREY, np.float32)
    top, left = math.floor((side - height) / 2), math.floor((side - width) / 2)
    padded[top : top + height, left : left + width] = pixels
    np.testing.assert_allclose(squared(pixels, "letterbox"), pillow(padded), atol=1e-2)


@sizes
def test_crop_keeps_the_centre(size: tuple[int, int]) -> None:
    pixels, side = picture(*size), min(size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    centre = pixels[top : top + side, left : left + side]
    np.testing.assert_allclose(squared(pixels, "crop"), pillow(centre), atol=1e-2)


@pytest.mark.parametrize("aspect", ["stretch", "letterbox", "crop"])
def test_only_the_rectangle_is_looked_at(aspect: Aspect) -> None:
    pixels = picture(100, 200)
    image = ImageSettings.model_validate({"aspect": aspect, "roi": {"rectangle": [0.1, 0.25, 0.55, 0.5]}})
    built, _ = build_embedding(image, EmbeddingSettings())
    assert built.geometry == Geometry(aspect, (1000, 2500, 5500, 5000))
    cut = pixels[25:75, 20:130]
    np.testing.assert_array_equal(squared(pixels, aspect, built.geometry.rectangle), squared(cut, aspect))
    spoiled = pixels.copy()
    spoiled[:25], spoiled[75:], spoiled[:, :20], spoiled[:, 130:] = 255, 0, 255, 0
    np.testing.assert_array_equal(squared(spoiled, aspect, built.geometry.rectangle), squared(cut, aspect))


@pytest.mark.parametrize("aspect", ["stretch", "letterbox", "crop"])
def test_the_map_goes_back_to_where_its_pixels_came_from(aspect: Aspect) -> None:
    """A bright spot in the picture is a bright spot in the square, and again at its place in the full-size map."""
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[50:62, 95:107] = 255
    geometry = Geometry(aspect, (2000, 1000, 6000, 8000))
    square = squared(pixels, aspect, geometry.rectangle)[..., 0]
    full = geometry.place(np.where(square > 120, square, 0).astype(np.float32), 120, 200)
    rows, columns = np.nonzero(full > 60)
    assert rows.mean() == pytest.approx(55.5, abs=1.5) and columns.mean() == pytest.approx(100.5, abs=1.5)


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    pixels = torch.from_numpy(np.stack([picture(50, 70, seed) for seed in range(3)]))
    together = embedding(neighbourhood=3)(pixels)[0]
    for number in range(3):
        torch.testing.assert_close(embedding(neighbourhood=3)(pixels[number : number + 1])[0][0], together[number])


@pytest.mark.parametrize("side", [1, 3, 5])
def test_each_place_is_averaged_with_the_neighbours_it_has(side: int) -> None:
    pixels, reach = torch.rand(2, 3, SIDE_PX, SIDE_PX), side // 2
    level = embedding(neighbourhood=side).levels(pixels)[0].numpy()
    plain = pixels.permute(0, 2, 3, 1).numpy()
    expected = np.empty_like(plain)
    for y in range(SIDE_PX):
        for x in range(SIDE_PX):
            near = plain[:, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            expected[:, y, x] = near.mean(axis=(1, 2))
    np.testing.assert_allclose(level, expected, atol=1e-5)


@pytest.mark.parametrize("side", [3, 5])
def test_binomial_averages_weigh_near_neighbours_more(side: int) -> None:
    pixels = torch.rand(2, 3, SIDE_PX, SIDE_PX)
    level = embedding(neighbourhood=side, weighting="binomial").levels(pixels)[0].numpy()
    row = {3: np.array([1, 2, 1]) / 4, 5: np.array([1, 4, 6, 4, 1]) / 16}[side]
    expected = pixels.permute(0, 2, 3, 1).numpy()
    for axis in (1, 2):
        expected = ndimage.correlate1d(expected, row, axis, mode="nearest")
    np.testing.assert_allclose(level, expected, atol=1e-5)


def test_coarse_levels_may_be_left_as_they_are() -> None:
    image, levels = ImageSettings(size=64), (1, 2)
    made = {
        (side, to_px): build_embedding(
            image, EmbeddingSettings(levels=levels, neighbourhood=side, averaged_to_px=to_px, spacing_px=1)
        )[0]
        for side, to_px in ((1, 64), (3, 64), (3, 4))
    }
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    fine, coarse = made[3, 4](pixels)  # places 4 and 8 px apart
    torch.testing.assert_close(fine, made[3, 64](pixels)[0])
    torch.testing.assert_close(coarse, made[1, 64](pixels)[1])


@pytest.mark.parametrize(("spacing_px", "side"), [(2, 3), (4, 5)])
def test_fewer_places_see_as_much(spacing_px: int, side: int) -> None:
    """Those that are kept are what they were, and each pixel still is in the average of one of them."""
    pixels = torch.rand(1, 3, SIDE_PX, SIDE_PX)
    every = embedding(neighbourhood=side).levels(pixels)[0]
    kept = embedding(neighbourhood=3, spacing_px=spacing_px).levels(pixels)[0]
    torch.testing.assert_close(kept, every[:, ::spacing_px, ::spacing_px])
    assert spacing_px <= side


def test_only_levels_that_are_finer_lose_places() -> None:
    built, _ = build_embedding(ImageSettings(size=96), EmbeddingSettings(levels=(1, 2, 3), spacing_px=8))
    assert built.shapes == [(12, 12, 24), (12, 12, 40), (6, 6, 112)]


@pytest.mark.parametrize(
    ("spacing_px", "places"),
    [(1, (24, 12, 6)), (4, (24, 12, 6)), (5, (12, 12, 6)), (8, (12, 12, 6)), (12, (8, 6, 6)), (17, (5, 4, 3))],
)
def test_places_lie_at_least_so_far_apart(spacing_px: int, places: tuple[int, ...]) -> None:
    """At every level; so none of them keeps more than a finer one."""
    built, _ = build_embedding(ImageSettings(size=96), EmbeddingSettings(levels=(1, 2, 3), spacing_px=spacing_px))
    assert tuple(height for height, _, _ in built.shapes) == places
    assert list(places) == sorted(places, reverse=True)


def test_shapes_are_those_of_the_levels() -> None:
    built, _ = build_embedding(ImageSettings(size=96), EmbeddingSettings(levels=(1, 3), spacing_px=1))
    levels = built(torch.from_numpy(picture(70, 90)[None]))
    assert [tuple(level.shape[1:]) for level in levels] == built.shapes == [(24, 24, 24), (6, 6, 112)]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 64), (5, 90), (96, 96)])
def test_no_two_places_have_the_same_condition(height: int, width: int) -> None:
    condition = position_condition(height, width)
    assert condition.shape == (height, width, CONDITION_WIDTH)
    assert condition.abs().max() <= 1
    rows = condition.flatten(0, 1)
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    assert distances.min() > 0.05
    row, column = condition[height // 2, width // 2].chunk(2)
    y, x = (height // 2 + 0.5) / height, (width // 2 + 0.5) / width
    assert row[0].item() == pytest.approx(math.sin(math.pi * y), abs=1e-5)
    assert column[CONDITION_WIDTH // 4].item() == pytest.approx(math.cos(math.pi * x), abs=1e-5)


# ---- gate ----


def pooled(count: int, width: int = 12, seed: int = 0) -> Tensor:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(size=(width, width)) * np.geomspace(0.1, 10, width)
    return torch.from_numpy((random.normal(size=(count, width)) @ mixing + 5).astype(np.float32))


def test_gate_distance_is_mahalanobis_with_ledoit_wolf() -> None:
    train, seen = pooled(60), torch.cat([pooled(20, seed=2), 30 * torch.ones(1, 12)])
    gate = Gate(12)
    gate.fit(train)
    rows = train.double().numpy()
    variance = rows.var(0, ddof=1)
    scale = np.sqrt(variance + SHRINKAGE * variance.mean())
    covariance = LedoitWolf().fit((rows - rows.mean(0)) / scale).covariance_
    centred = (seen.double().numpy() - rows.mean(0)) / scale
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred) / 12)
    np.testing.assert_allclose(gate(seen).numpy(), expected, rtol=1e-3)


def test_gate_tells_foreign_pictures_from_good_parts_and_parts_lie_at_about_1() -> None:
    gate = Gate(12)
    gate.fit(pooled(300))
    good = gate(pooled(200, seed=2))
    assert 0.8 < good.mean() < 1.2
    assert gate(torch.zeros(1, 12) + 60).item() > 2 * good.max()


def test_gate_stands_fewer_pictures_than_values_and_dead_values() -> None:
    train = pooled(5, width=40)
    train[:, 7] = 0
    gate = Gate(40)
    gate.fit(train)
    assert gate(pooled(5, width=40, seed=3)).isfinite().all()
    nudged = train.clone()
    nudged[:, 7] += 1e-3
    torch.testing.assert_close(gate(nudged), gate(train), atol=0.05, rtol=0.05)


def test_pooling_is_the_mean_over_places_inside_the_region(tmp_path: Path) -> None:
    inside = np.zeros((64, 64), bool)
    inside[:32, 16:48] = True
    recipe = load_recipe("fast", ["image.size=64", mask_file(tmp_path, inside)])
    detector, _ = build_detector(recipe)
    levels = [torch.rand(2, *shape) for shape in detector.embedding.shapes]
    expected = []
    for level in levels:
        height, width = level.shape[1:3]
        expected.append(level[:, : height // 2, width // 4 : 3 * width // 4].numpy().mean((1, 2)))
    np.testing.assert_allclose(detector.pooled(levels).numpy(), np.concatenate(expected, axis=1), atol=1e-6)


# ---- score ----


def score(inside: np.ndarray | None = None, sigma: float = 0.0, top: float = 0.1, levels: int = 1) -> Score:
    mask = np.ones((16, 12), bool) if inside is None else inside
    return Score([(16, 12), (8, 6)][:levels], sigma, top, torch.from_numpy(mask))


def level_map(seed: int, height: int = 16, width: int = 12, pictures: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(2, 3, (pictures, height, width)).astype(np.float32))


def region() -> np.ndarray:
    inside = np.zeros((16, 12), bool)
    inside[4:12, 2:10] = True
    inside[6:8, 4:6] = False  # a hole
    return inside


@pytest.mark.parametrize("sigma", [1.0, 0.5, 2.0, 7.0])
def test_smoothing_is_scipys_gaussian(sigma: float) -> None:
    values = level_map(0)
    ours = score(sigma=sigma).anomaly_map([values]).numpy()
    reach = math.ceil(3 * sigma)  # scipy rounds where we reach out
    theirs = [scipy.ndimage.gaussian_filter(v, sigma, mode="nearest", radius=reach) for v in values.numpy()]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    if sigma == 1.0:
        truncated = [scipy.ndimage.gaussian_filter(v, sigma, mode="nearest", truncate=3) for v in values.numpy()]
        np.testing.assert_allclose(ours, truncated, atol=1e-4)


def test_without_smoothing_the_map_is_the_level() -> None:
    torch.testing.assert_close(score().anomaly_map([level_map(0)]), level_map(0))


@pytest.mark.parametrize(("top", "places"), [(0.1, 19), (1.0, 192), (0.001, 1)])
def test_image_score_is_the_mean_of_the_worst_places(top: float, places: int) -> None:
    values = level_map(0)
    ours, floor = score(top=top).image_score(values)
    ordered = np.sort(values.numpy().reshape(3, -1), axis=1)[:, -places:]
    np.testing.assert_allclose(ours.numpy(), ordered.mean(1), rtol=1e-5)
    np.testing.assert_allclose(floor.numpy(), np.maximum(ordered[:, 0], 1e-6), rtol=1e-5)


def test_levels_are_standardised_by_tune_parts_and_summed() -> None:
    tune = [level_map(1, pictures=50), 10 * level_map(2, 8, 6, pictures=50) - 40]
    fine, coarse = level_map(3), 10 * level_map(4, 8, 6) - 40
    ours = score(levels=2)
    ours.fit_maps(tune)
    standard = [
        (v - t.mean()) / t.std() for v, t in zip((fine.numpy(), coarse.numpy()), (t.numpy() for t in tune), strict=True)
    ]
    grown = [cv2.resize(v, (12, 16), interpolation=cv2.INTER_LINEAR) for v in standard[1]]
    np.testing.assert_allclose(ours.anomaly_map([fine, coarse]).numpy(), standard[0] + grown, atol=1e-3)


def test_typicality_counts_what_is_too_likely_as_unusual() -> None:
    tune = level_map(1, pictures=200)
    ours = Score([(16, 12)], 0.0, 0.1, torch.ones(16, 12, dtype=torch.bool), kind="typicality")
    ours.fit_maps([tune])
    typical = tune.numpy().mean()
    away = np.abs(tune.numpy() - typical)
    lower, higher = (ours.anomaly_map([torch.full((1, 16, 12), float(typical) + shift)]) for shift in (-6.0, 6.0))
    np.testing.assert_allclose(lower.numpy(), (6 - away.mean()) / away.std(ddof=1), rtol=1e-3)
    torch.testing.assert_close(lower, higher, atol=1e-3, rtol=0)


def test_outside_the_region_nothing_is_scored_and_nothing_leaks_in() -> None:
    inside = region()
    ours = score(inside, sigma=1.0, levels=2)
    values = [level_map(0), level_map(1, 8, 6)]
    spoiled = [v.clone() for v in values]
    for v in spoiled:
        v[:, ~ours.inside_at(v.shape[1], v.shape[2])] = 1e6
    clean, dirty = ours.anomaly_map(values), ours.anomaly_map(spoiled)
    torch.testing.assert_close(dirty, clean)
    assert (dirty[:, ~inside] == 0).all() and (dirty[:, inside] != 0).all()
    torch.testing.assert_close(ours.image_score(dirty), ours.image_score(clean))

    ours.fit_maps(spoiled)
    constants = ours.standardised[0]
    np.testing.assert_allclose(constants.mean[inside].numpy(), values[0].numpy()[:, inside].mean(), rtol=1e-4)
    np.testing.assert_allclose(constants.std[inside].numpy(), values[0].numpy()[:, inside].std(ddof=1), rtol=1e-4)


def test_inside_the_region_an_even_map_stays_even() -> None:
    """No darkening at the region's edge, though the blur and the coarse level reach beyond it."""
    inside = region()
    even = score(inside, sigma=2.0, levels=2).anomaly_map([torch.full((1, 16, 12), 3.0), torch.full((1, 8, 6), 4.0)])
    np.testing.assert_allclose(even.numpy()[0][inside], 7, rtol=1e-4)


def test_the_top_fraction_is_of_the_region() -> None:
    inside = region()  # 60 places
    ours = score(inside, top=0.1)
    values = ours.anomaly_map([level_map(0)])
    expected = np.sort(level_map(0).numpy()[:, inside], axis=1)[:, -6:].mean(1)
    np.testing.assert_allclose(ours.image_score(values)[0].numpy(), expected, rtol=1e-5)


def mask_file(folder: Path, mask: np.ndarray) -> str:
    Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "mask.png")
    return f"image.roi.mask={folder / 'mask.png'}"


EVERY_PLACE = ("image.size=64", "embedding.spacing_px=1")


def test_a_mask_file_of_any_size_becomes_the_region(tmp_path: Path) -> None:
    mask = np.zeros((200, 100), bool)
    mask[50:150, 25:100] = True
    recipe = load_recipe("free", [*EVERY_PLACE, "embedding.levels=[1, 2]", mask_file(tmp_path, mask)])
    detector, _ = build_detector(recipe)
    expected = np.zeros((16, 16), bool)
    expected[4:12, 4:16] = True
    np.testing.assert_array_equal(detector.score.inside.numpy(), expected)
    np.testing.assert_array_equal(detector.score.inside_at(8, 8).numpy(), expected[::2, ::2])


@pytest.mark.parametrize(("mask", "grid"), [(np.zeros((64, 64), bool), "16x16"), (np.eye(64, dtype=bool), "16x16")])
def test_a_mask_that_leaves_nothing_is_refused(mask: np.ndarray, grid: str, tmp_path: Path) -> None:
    recipe = load_recipe("free", [*EVERY_PLACE, "embedding.levels=[1, 2]", mask_file(tmp_path, mask)])
    with pytest.raises(SettingsError, match=rf"image\.roi: .*mask\.png leaves nothing to score at {grid} places"):
        build_detector(recipe)


def test_drawn_areas_become_the_region(tmp_path: Path) -> None:
    """An outline is scored, less what is ignored in it; on a picture twice as wide as high, cut and letterboxed."""
    roi = [
        "image.roi.picture=[200, 100]",
        "image.roi.outlines=[{points: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]},{points: [[0.75, 0.5], [1, 0.5], [1, 1]]}]",
        "image.roi.ignored=[{points: [[0, 0.25], [0.25, 0.25]], width: 0.125}]",
    ]
    levels = "embedding.levels=[1]"
    inside = build_detector(load_recipe("free", [*EVERY_PLACE, levels, *roi]))[0].score.inside.numpy()
    assert inside.shape == (16, 16)
    assert inside[:, 7].all() and not inside[:, 9].any() and not inside[:8, 8:].any()
    assert inside[9, 15] and not inside[15, 13], "the second outline is a triangle"
    assert not inside[4, :3].any() and inside[0, :3].all() and inside[9, :3].all(), "the line is 25 of 100 px high"
    boxed = [*EVERY_PLACE, levels, *roi, "image.aspect=letterbox", "image.roi.rectangle=[0, 0, 0.5, 0.5]"]
    inside = build_detector(load_recipe("free", boxed))[0].score.inside.numpy()
    assert not inside[:4].any() and not inside[12:].any(), "padded"
    assert inside[4:6].all() and inside[10:12].all(), "of a quarter of the picture, all of it in the outline"
    assert not inside[6:10, :8].any(), "the line, twice as large there"


def test_what_was_drawn_and_leaves_nothing_is_refused() -> None:
    drawn = ["image.roi.picture=[64, 64]", "image.roi.ignored=[{points: [[0, 0], [1, 0], [1, 1], [0, 1]]}]"]
    with pytest.raises(SettingsError, match="what was drawn leaves nothing to score"):
        build_detector(load_recipe("free", [*EVERY_PLACE, *drawn]))


def test_a_mask_too_thin_for_a_coarse_level_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, 8:12] = True  # one column of the 16x16 grid, half of one of the 8x8 grid, a quarter of the 4x4 grid
    overrides = [*EVERY_PLACE, mask_file(tmp_path, mask)]
    with pytest.raises(SettingsError, match=r"leaves nothing to score at 4x4 places.*finer embedding\.levels"):
        build_detector(load_recipe("free", [*overrides, "embedding.levels=[1, 2, 3]"]))
    build_detector(load_recipe("free", [*overrides, "embedding.levels=[1, 2]"]))


@pytest.mark.parametrize("aspect", ["letterbox", "crop"])
def test_a_mask_is_padded_or_cut_as_its_picture_is(aspect: Aspect, tmp_path: Path) -> None:
    """The left half of a picture twice as wide as high: in the square it is not simply the left half."""
    mask = np.zeros((64, 128), bool)
    mask[:, :64] = True
    recipe = load_recipe("fast", ["image.size=64", f"image.aspect={aspect}", mask_file(tmp_path, mask)])
    detector, _ = build_detector(recipe)
    height, width = detector.score.grid
    expected = np.zeros((height, width), bool)
    if aspect == "letterbox":
        expected[height // 4 : 3 * height // 4, : width // 2] = True
    else:
        expected[:, : width // 2] = True
    np.testing.assert_array_equal(detector.score.inside.numpy(), expected)


def test_a_rectangle_rounded_to_ten_thousandths_stays_on_the_picture() -> None:
    image = ImageSettings.model_validate({"roi": {"rectangle": [0.00005, 0.3, 0.99995, 0.7]}})
    cut = geometry_of(image).cut(20_000, 20_000)
    assert cut.right <= 20_000 and cut.bottom <= 20_000
