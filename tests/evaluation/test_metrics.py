"""Every figure against a result computed another way: scikit-learn, brute force, closed form, simulation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from defectflow.errors import DataError
from defectflow.evaluation.metrics import (
    PixelCurve,
    average_precision,
    f1_max,
    image_figures,
    rejected_interval,
    split_pixels,
    weighted_figures,
)

Maps = list[NDArray[np.float32]]
Masks = list[NDArray[np.bool_]]


def scored(seed: int, n: int = 60, levels: int = 12) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels and scores with many ties."""
    generator = np.random.default_rng(seed)
    defective = generator.random(n) < 0.4
    return defective, np.round(generator.normal(defective * 1.0, 1.0) * levels / 6)


def pictures(seed: int, ties: bool, count: int = 6) -> tuple[Maps, Masks]:
    """Smooth maps and masks with regions of many sizes; some pictures good."""
    generator = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(count):
        mask = ndimage.gaussian_filter(generator.normal(size=(24, 20)), 2) > (0.15 if index % 3 else 9.0)
        values = generator.normal(size=mask.shape) + 1.5 * mask
        maps.append((np.round(values * 2) if ties else values).astype(np.float32))
        masks.append(mask)
    return maps, masks


def curve(maps: Maps, masks: Masks) -> PixelCurve:
    split = [split_pixels(values, mask) for values, mask in zip(maps, masks, strict=True)]
    return PixelCurve.count([np.sort(good) for good, _ in split], [region for _, found in split for region in found])


def slow_aupro(maps: Maps, masks: Masks, limit: float) -> float:
    """One threshold after the other over all distinct values, each counted from scratch."""
    labelled = [ndimage.label(mask, structure=np.ones((3, 3)))[0] for mask in masks]
    good = np.concatenate([values[~mask] for values, mask in zip(maps, masks, strict=True)])
    regions = [
        values[labels == index]
        for values, labels in zip(maps, labelled, strict=True)
        for index in range(1, labels.max() + 1)
    ]
    x, y = [0.0], [0.0]
    for threshold in sorted(set(np.concatenate([values.ravel() for values in maps]).tolist()), reverse=True):
        x.append(float(np.mean(good >= threshold)))
        y.append(float(np.mean([np.mean(region >= threshold) for region in regions])))
    area = 0.0
    for i in range(1, len(x)):
        if x[i] <= limit:
            area += (x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2
        elif x[i - 1] < limit:
            y_limit = y[i - 1] + (y[i] - y[i - 1]) * (limit - x[i - 1]) / (x[i] - x[i - 1])
            area += (limit - x[i - 1]) * (y_limit + y[i - 1]) / 2
    return area / limit


def test_f1_max_is_the_best_over_all_thresholds() -> None:
    defective, scores = scored(1)
    best = 0.0
    for threshold in scores:
        called = scores >= threshold
        hits = np.sum(called & defective)
        best = max(best, 2 * hits / (called.sum() + defective.sum()))
    assert f1_max(defective, scores) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_figures_equal_scikit_learns_on_repeated_pictures(seed: int) -> None:
    defective, scores = scored(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(scores))).astype(float)
    for row, figures in zip(weights, weighted_figures(defective, scores, weights), strict=True):
        times = row.astype(int)
        labels, repeated = np.repeat(defective, times), np.repeat(scores, times)
        precision, recall, _ = precision_recall_curve(labels, repeated)
        f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
        expected = roc_auc_score(labels, repeated), average_precision_score(labels, repeated), f1
        assert figures == pytest.approx(expected)


@pytest.mark.parametrize("figure", [average_precision, f1_max])
def test_one_class_only_is_refused(figure: object) -> None:
    with pytest.raises(DataError, match="0 of 3"):
        figure(np.zeros(3, bool), np.arange(3.0))  # type: ignore[operator]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("limit", [0.05, 0.30, 1.0])
def test_aupro_equals_the_slow_loop(ties: bool, limit: float) -> None:
    for seed in range(4):
        maps, masks = pictures(seed, ties)
        assert curve(maps, masks).aupro(limit) == pytest.approx(slow_aupro(maps, masks, limit), abs=1e-12)


def test_aupro_of_perfect_reversed_and_constant_maps() -> None:
    _, masks = pictures(0, ties=False)
    perfect = [mask.astype(np.float32) for mask in masks]
    assert curve(perfect, masks).aupro(0.3) == pytest.approx(1.0)
    assert curve([-values for values in perfect], masks).aupro(0.3) == pytest.approx(0.0)
    # All values equal: one diagonal from (0, 0) to (1, 1), so 0.3 / 2 after division by the limit.
    assert curve([values * 0 for values in perfect], masks).aupro(0.3) == pytest.approx(0.15)


def test_aupro_counts_a_small_region_as_much_as_a_large_one() -> None:
    mask = np.zeros((40, 40), bool)
    mask[:20, :20] = True
    mask[30, 30] = True
    values = np.zeros((40, 40), np.float32)
    values[:20, :20] = 1.0
    values[30, 30] = -1.0
    assert curve([values], [mask]).aupro(0.05) == pytest.approx(0.5 + 0.05 / 4, abs=0.02)


def test_regions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((8, 8), bool)
    mask[1, 1] = mask[2, 2] = mask[6, 6] = True
    values = np.arange(64, dtype=np.float32).reshape(8, 8)
    good, regions = split_pixels(values, mask)
    assert sorted(sorted(region.tolist()) for region in regions) == [[9.0, 18.0], [54.0]]
    assert sorted(good.tolist()) == sorted(values[~mask].tolist())


@pytest.mark.parametrize("ties", [False, True])
def test_pixel_auroc_and_ap_equal_scikit_learns(ties: bool) -> None:
    maps, masks = pictures(3, ties)
    labels = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([each.ravel() for each in maps])
    found = curve(maps, masks)
    assert found.auroc() == pytest.approx(roc_auc_score(labels, values))
    assert found.ap() == pytest.approx(average_precision_score(labels, values))


def test_pixel_figures_need_good_and_defective_pixels() -> None:
    with pytest.raises(DataError, match="0 defective regions"):
        PixelCurve.count([np.zeros(4, np.float32)], [])
    with pytest.raises(DataError, match="above 0"):
        curve(*pictures(0, ties=False)).aupro(0.0)


@pytest.mark.parametrize(("n", "k", "m"), [(99, 95, 60), (40, 39, 200), (20, 20, 10)])
def test_rejected_interval_against_simulated_calibrations(n: int, k: int, m: int) -> None:
    generator = np.random.default_rng(0)
    counts = np.concatenate(
        [
            (generator.random((2000, m)) > np.partition(generator.random((2000, n)), k - 1, axis=1)[:, [k - 1]]).sum(
                axis=1
            )
            for _ in range(30)
        ]
    )
    low, high = rejected_interval(n, k, m)
    assert np.mean((counts >= low) & (counts <= high)) >= 0.95 - 0.004
    # Nothing narrower would do: each end's own count takes its tail beyond 2.5%.
    assert np.mean(counts <= low) >= 0.025 - 0.003
    assert np.mean(counts >= high) >= 0.025 - 0.003
    assert np.mean(counts < low) <= 0.025 + 0.003 and np.mean(counts > high) <= 0.025 + 0.003


def test_rejected_interval_of_nothing_and_of_a_bad_rank() -> None:
    assert rejected_interval(99, 95, 0) == (0, 0)
    with pytest.raises(DataError, match="rank 100"):
        rejected_interval(99, 100, 5)


def test_duplicated_pictures_of_a_part_do_not_shrink_the_interval() -> None:
    defective, scores = scored(2, n=40)
    parts = [f"part {index}" for index in range(40)]
    once = image_figures(defective, scores, parts)
    ten_times = image_figures(np.tile(defective, 10), np.tile(scores, 10), parts * 10)
    as_if_independent = image_figures(
        np.tile(defective, 10), np.tile(scores, 10), [f"{part} {i}" for i in range(10) for part in parts]
    )
    assert ten_times.auroc_interval == pytest.approx(once.auroc_interval)
    assert ten_times.ap_interval == pytest.approx(once.ap_interval)
    assert ten_times.f1_max_interval == pytest.approx(once.f1_max_interval)
    assert once.auroc_interval is not None and as_if_independent.auroc_interval is not None
    width = once.auroc_interval[1] - once.auroc_interval[0]
    assert as_if_independent.auroc_interval[1] - as_if_independent.auroc_interval[0] < width / 2


def test_the_interval_is_that_of_a_plain_bootstrap_and_repeats_with_its_seed() -> None:
    defective, scores = scored(4, n=80)
    figures = image_figures(defective, scores, [str(index) for index in range(80)], seed=3)
    assert figures == image_figures(defective, scores, [str(index) for index in range(80)], seed=3)
    generator = np.random.default_rng(11)
    good, bad = scores[~defective], scores[defective]
    plain = []
    for _ in range(2000):
        pairs = generator.choice(bad, len(bad))[:, None] - generator.choice(good, len(good))[None]
        plain.append(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert figures.auroc_interval == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.02)


def test_one_part_on_a_side_gives_figures_but_no_interval() -> None:
    figures = image_figures(np.array([True, False, False]), np.array([3.0, 1.0, 2.0]), ["a", "b", "c"])
    assert figures.auroc == 1.0
    assert figures.auroc_interval is None and figures.ap_interval is None and figures.f1_max_interval is None


def test_many_pictures_are_drawn_in_blocks_with_the_same_law(monkeypatch: pytest.MonkeyPatch) -> None:
    defective, scores = scored(5, n=50)
    parts = [str(index // 2) for index in range(50)]
    whole = image_figures(defective, scores, parts)
    monkeypatch.setattr("defectflow.evaluation.metrics.CHUNK_WEIGHTS", 350)
    blocks = image_figures(defective, scores, parts)
    assert whole.auroc_interval == pytest.approx(blocks.auroc_interval, abs=0.02)
