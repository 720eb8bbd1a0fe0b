"""What the order of good parts' names tells, and that chance alone tells nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import save, swatch, swatch_recipe, swatches

from defectflow.data.splits import fold_by_part
from defectflow.embedding.cache import EmbeddingCache
from defectflow.fitting.check import check_data
from defectflow.fitting.findings import DataCheck
from defectflow.fitting.order import Order, _as_counted, follow_order
from defectflow.fitting.suspects import cross_fit
from defectflow.score.detector import Detector, build_detector

PARTS, SHOTS = 60, 2


@pytest.fixture(scope="module")
def detector() -> Detector:
    return build_detector(swatch_recipe())[0]


def order_of(
    detector: Detector, seed: int, *, count: int = PARTS, rate: float = 0.05, changed: range = range(0)
) -> Order:
    """Of drawn embeddings; those of the parts numbered `changed` lie apart from the others."""
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(count), SHOTS)
    levels = []
    for shape in detector.embedding.shapes:
        drawn = random.normal(0, 1, (len(numbers), *shape)) + random.normal(0, 0.3, (count, 1, 1, 1))[numbers]
        drawn[np.isin(numbers, changed)] += 1
        levels.append(drawn.astype(np.float16))
    names = [f"part {number + 1}" for number in numbers]  # without leading zeros
    shuffled = random.permutation(len(numbers))
    levels, names = [level[shuffled] for level in levels], [names[row] for row in shuffled]
    surprise = cross_fit(detector, levels, levels[0].mean((1, 2)).astype(np.float32), fold_by_part(names))
    order = follow_order(detector, levels, names, surprise, rate)
    assert order is not None
    return order


def test_a_stretch_that_looks_different_is_found_and_named(detector: Detector) -> None:
    order = order_of(detector, 0, changed=range(36, 48))
    assert order.matters
    assert (order.worst_first, order.worst_last, order.parts) == ("part 37", "part 48", PARTS)
    assert order.worst > 0.5
    assert order.rejected == pytest.approx(order.worst / 5, abs=0.06)


@pytest.mark.parametrize(("count", "rate", "usual"), [(PARTS, 0.05, 0.05), (25, 0.01, 0.04), (40, 0.001, 0.025)])
def test_chance_is_rarely_taken_for_a_change(detector: Detector, count: int, rate: float, usual: float) -> None:
    """Nor where a rate is so small that a single part exceeds it."""
    orders = [order_of(detector, seed, count=count, rate=rate) for seed in range(20)]
    assert all(order.usual == pytest.approx(usual) for order in orders)
    assert np.mean([order.rejected for order in orders]) == pytest.approx(usual, abs=0.03)
    assert sum(order.matters for order in orders) <= 1


def test_names_are_ordered_as_people_count() -> None:
    names = ["b2", "a10", "a9", "a09", "a", "10", "9", "a9b10", "a9b9", "1" * 5000, "x", "ä3"]
    expected = ["9", "10", "1" * 5000, "a", "a09", "a9", "a9b9", "a9b10", "a10", "b2", "x", "ä3"]
    assert sorted(names, key=_as_counted) == expected


def check(folder: Path) -> DataCheck:
    return check_data(swatch_recipe(), folder, cache=EmbeddingCache(folder.parent / "cache"))


def said(found: DataCheck) -> list[tuple[str, str]]:
    return [(one.gravity, one.said) for one in found.findings() if one.topic == "order"]


def test_lamps_that_grew_dim_are_told_of_if_the_names_follow_time(tmp_path: Path) -> None:
    """The same pictures under names that tell nothing are like the others, and that is said, too."""
    dim = [swatch(number) - (40 if number >= 40 else 0) for number in range(50)]
    names = np.random.default_rng(3).permutation(50)
    for number, pixels in enumerate(dim):
        save(tmp_path / "in-time" / "good" / f"{number + 1}.png", pixels)
        save(tmp_path / "anyhow" / "good" / f"{names[number]:03}.png", pixels)
    ((gravity, told),) = said(check(tmp_path / "in-time" / "good"))
    assert gravity == "look"
    assert told.startswith("The look of the parts changes along their names.")
    assert "where 5% is promised. From 41 to 50 it would be 100%." in told
    assert said(check(tmp_path / "anyhow" / "good")) == [
        ("fine", "The order of the parts' names tells nothing about their look.")
    ]


def test_siblings_are_not_taken_for_parts_in_a_row(tmp_path: Path) -> None:
    """Where pictures seem to show one part each twice, that is said first, and the order not at all."""
    for number in range(24):
        for shot in "ab":
            pixels = swatch(number, 96).astype(np.int16) + np.random.default_rng(number).integers(0, 60, 3)
            save(tmp_path / "good" / f"p{number:02}{shot}.png", (pixels + (shot == "b")).clip(0, 255).astype(np.uint8))
    found = check(tmp_path / "good")
    assert found.siblings is not None and found.order is None


def test_shares_are_told_to_two_digits(tmp_path: Path) -> None:
    found = check(swatches(tmp_path / "good", 24))
    order = Order(0.05, 78, 0.051, 0.4744, 0.0878, "a", "b", matters=True)
    ((_, told),) = said(replace(found, order=order))
    assert "would reject 47% of that fifth on average, where 5% is promised. From a to b it would be 8.8%." in told


def test_few_parts_tell_nothing(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "good" / f"{number:03}.png", swatch(number))
    assert said(check(tmp_path / "good")) == []
