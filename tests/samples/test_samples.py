"""The sample products: the same seed gives the same files, and the masks tell the truth."""

import csv
import re
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from defectflow.errors import DataError, SettingsError
from defectflow.samples import KINDS, PRODUCTS, SamplePart, draw_part, draw_product

SMALL = {"good_parts": 5, "test_good_parts": 5, "defective_parts": 6}


def read_manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def defective(product: str, index: int) -> SamplePart:
    return SamplePart(product, "defective", index, number=index + 1, shots=1)


def contrast_inside_and_outside(part: SamplePart) -> tuple[float, float]:
    """Mean grey-level change that the defect makes, on its mask and well off it."""
    [(with_defect, mask)] = draw_part(part, seed=3)
    [(without, no_mask)] = draw_part(part, seed=3, with_defect=False)
    assert not no_mask.any()
    change = np.abs(with_defect.astype(float) - without.astype(float)).mean(axis=2)
    near = cv2.dilate(mask, np.ones((9, 9), np.uint8)) > 0
    return float(change[mask > 0].mean()), float(change[~near].mean())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("samples")
    return {product: draw_product(product, root / product, seed=3, **SMALL) for product in PRODUCTS}


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_pictures(
    product: str, drawn: dict[str, Path], tmp_path: Path
) -> None:
    again = draw_product(product, tmp_path / "again", seed=3, **SMALL)
    assert files_of(again) == files_of(drawn[product])
    other = files_of(draw_product(product, tmp_path / "other", seed=4, good_parts=1, test_good_parts=0,
                                  defective_parts=0))  # fmt: skip
    picture = "train/good/part0001_shot1.png"
    assert other[picture] != files_of(again)[picture]


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_part_looks_the_same_whatever_is_drawn_with_it(product: str, drawn: dict[str, Path]) -> None:
    for index in (4, 1):
        [(picture, mask)] = draw_part(defective(product, index), seed=3)
        stem = f"part{10 + index + 1:04d}_shot1"
        file = drawn[product] / "test" / KINDS[index] / f"{stem}.png"
        mask_file = drawn[product] / "ground_truth" / KINDS[index] / f"{stem}_mask.png"
        stored = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(picture, stored)
        np.testing.assert_array_equal(mask, cv2.imread(str(mask_file), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_manifest_lists_every_picture_and_agrees_with_the_tree(product: str, drawn: dict[str, Path]) -> None:
    folder = drawn[product]
    rows = read_manifest(folder)
    assert list(rows[0]) == ["path", "label", "kind", "mask", "part", "split"]
    listed = {row["path"] for row in rows} | {row["mask"] for row in rows if row["mask"]}
    assert listed == set(files_of(folder)) - {"manifest.csv"}
    for row in rows:
        split, kind, name = row["path"].split("/")
        assert (split, kind) == (row["split"], row["kind"])
        assert re.search(r"(part\d+)", name)[1] == row["part"]  # type: ignore[index]
        assert (row["label"] == "good") == (kind == "good") == (row["mask"] == "")
        picture = cv2.imread(str(folder / row["path"]), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (256, 256, 3)
        assert picture.dtype == np.uint8
        if row["mask"]:
            mask = cv2.imread(str(folder / row["mask"]), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (256, 256)
            assert set(np.unique(mask)) == {0, 255}
    assert {row["kind"] for row in rows} == {"good", *KINDS}
    # No part is on two sides: ids are unique over the whole product.
    sides = {(row["part"], row["split"], row["kind"]) for row in rows}
    assert len(sides) == len({row["part"] for row in rows}) == sum(SMALL.values())


@pytest.mark.parametrize("product", PRODUCTS)
def test_shots_of_a_part_show_the_same_part_in_another_light(product: str) -> None:
    part = SamplePart(product, "train", 9, number=10, shots=3)
    shots = [picture.astype(float) for picture, _ in draw_part(part, seed=3)]
    for one, other in pairwise(shots):
        assert np.abs(one - other).mean() > 1.0
    # Fewer shots leave the first ones as they are.
    [(alone, _)] = draw_part(SamplePart(product, "train", 9, number=10, shots=1), seed=3)
    np.testing.assert_array_equal(alone, shots[0])


def test_a_fifth_of_the_training_parts_is_shot_more_than_once(tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    folder = draw_product(
        "ring", tmp_path, good_parts=10, test_good_parts=0, defective_parts=0,
        progress=lambda done, total: reports.append((done, total)),
    )  # fmt: skip
    parts = [row["part"] for row in read_manifest(folder)]
    assert sorted(parts.count(part) for part in set(parts)) == [1] * 8 + [2, 3]
    assert reports == [(done, 13) for done in range(1, 14)]


@pytest.mark.parametrize("product", PRODUCTS)
def test_good_parts_vary(product: str) -> None:
    parts = [SamplePart(product, "train", index, number=index + 1, shots=1) for index in range(6)]
    pictures = [picture.astype(float) for part in parts for picture, _ in draw_part(part, seed=3)]
    for one, other in pairwise(pictures):
        assert np.abs(one - other).mean() > 1.5
    brightness = [picture.mean() for picture in pictures]
    assert max(brightness) > 1.05 * min(brightness)


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_defect_changes_its_mask_and_nothing_else(product: str) -> None:
    """The same part drawn without its defect differs on the mask, from faintly to plainly."""
    contrasts: list[float] = []
    for index in range(24):
        inside, outside = contrast_inside_and_outside(defective(product, index))
        assert inside > 0.4, f"{KINDS[index % len(KINDS)]} of part {index} shows nothing"
        assert inside > 8 * outside, f"{KINDS[index % len(KINDS)]} of part {index} misses its mask"
        contrasts.append(inside)
    assert max(contrasts) > 4 * min(contrasts)


def test_an_unknown_product_is_named_with_the_allowed_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'cup'.*ring, fabric, board"):
        draw_product("cup", tmp_path / "cup")
    assert not (tmp_path / "cup").exists()


def test_negative_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="-1"):
        draw_product("ring", tmp_path, good_parts=-1)


def test_pictures_of_another_draw_are_not_mixed_in(tmp_path: Path) -> None:
    counts = {"test_good_parts": 0, "defective_parts": 0}
    draw_product("ring", tmp_path, good_parts=3, **counts)
    with pytest.raises(DataError, match=r"part0003_shot1\.png"):
        draw_product("ring", tmp_path, good_parts=2, **counts)


def test_an_interrupted_draw_has_no_manifest_and_can_be_repeated(tmp_path: Path) -> None:
    counts = {"good_parts": 3, "test_good_parts": 0, "defective_parts": 0}
    draw_product("ring", tmp_path, **counts)
    finished = files_of(tmp_path)

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_product("ring", tmp_path, **counts, progress=interrupt)
    assert not (tmp_path / "manifest.csv").exists()
    draw_product("ring", tmp_path, **counts)
    assert files_of(tmp_path) == finished
