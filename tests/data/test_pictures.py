"""Finding pictures in folders, trees and manifests; the rule that no part is on two sides; duplicates."""

from __future__ import annotations

import builtins
import csv
import os
import shutil
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defectflow.data import pictures as dataset
from defectflow.data import splits as splits_module
from defectflow.data.duplicates import distinct, near_duplicates
from defectflow.data.find import find_pictures
from defectflow.data.layouts import Label, Split
from defectflow.data.pictures import Picture
from defectflow.data.splits import Checked, Splits, check_readable, split_parts
from defectflow.errors import DataError, SettingsError


def write(path: Path, seed: int = 0, maximum: int = 255, dtype: type = np.uint8) -> Path:
    """A small picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, maximum, (8, 9, 3), endpoint=True).astype(dtype)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def manifest_of(path: Path, columns: str, *rows: str) -> Path:
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return path


def names(pictures: Sequence[Picture], base: Path) -> list[str]:
    return [picture.path.relative_to(base).as_posix() for picture in pictures]


def good_parts(n_parts: int, per_part: int = 1, split: Split | None = None) -> list[Picture]:
    return [
        Picture(Path(f"{part:03}_{shot}.png"), f"{part:03}", "good", "good", None, split)
        for part in range(n_parts)
        for shot in range(per_part)
    ]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "bottle"
    for number in range(10):
        write(root / "train" / "good" / f"{number:03}.png", number)
    write(root / "test" / "good" / "000.png", 20)
    write(root / "test" / "large crack" / "000.png", 21)
    write(root / "test" / "large crack" / "001.png", 22)
    write(root / "ground_truth" / "large crack" / "000_mask.png", 23)
    write(root / "ground_truth" / "large crack" / "001.png", 24)
    return root


# --- folders ---


def test_folder_is_searched_in_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a.jpg", "b/10.tiff", "Ä ö/é.bmp", "c.webp"):
        write(tmp_path / name.replace("PNG", "png")).rename(tmp_path / name)
    for name in ("Thumbs.db", "notes.txt", ".hidden.png", ".cache/x.png", "b/.x/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    pictures = find_pictures(tmp_path, label="good")
    assert names(pictures, tmp_path) == ["a.jpg", "b/10.tiff", "b/2.PNG", "c.webp", "Ä ö/é.bmp"]
    assert [picture.part for picture in pictures] == ["a", "b/10", "b/2", "c", "Ä ö/é"]
    assert {(p.label, p.kind, p.mask, p.split) for p in pictures} == {("good", "good", None, None)}
    assert {(p.label, p.kind) for p in find_pictures(tmp_path)} == {(None, "")}


def test_one_picture_is_a_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    assert find_pictures(path) == [Picture(path, "a", None, "")]


def test_nothing_found_names_folder_and_formats(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"no picture")
    with pytest.raises(DataError) as error:
        find_pictures(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: no pictures found; 1 file skipped: a.txt; accepted are PNG, JPEG, TIFF, WebP and BMP"
    )
    with pytest.raises(DataError, match="no such file or folder"):
        find_pictures(tmp_path / "missing")


def test_part_regex_groups_pictures_of_one_part(tmp_path: Path) -> None:
    for name in ("line1/tile7_exp1.png", "line1/tile7_exp2.png", "line2/tile8_exp1.png"):
        write(tmp_path / name)
    by_group = find_pictures(tmp_path, part_regex=r"(tile\d+)_exp\d")
    assert [picture.part for picture in by_group] == ["tile7", "tile7", "tile8"]
    by_match = find_pictures(tmp_path, part_regex=r"^line\d")
    assert [picture.part for picture in by_match] == ["line1", "line1", "line2"]


def test_part_regex_that_does_not_match_names_file_and_expression(tmp_path: Path) -> None:
    write(tmp_path / "tile7.png")
    write(tmp_path / "b" / "odd.png")
    with pytest.raises(DataError, match=r"^b/odd\.png: the part regex 'tile\(\\\\d\*\)' finds no part"):
        find_pictures(tmp_path, part_regex=r"tile(\d*)")
    write(tmp_path / "b" / "odd.png").rename(tmp_path / "tile.png")
    with pytest.raises(DataError, match=r"^tile\.png: .* finds no part"):  # an empty name would join strangers
        find_pictures(tmp_path, part_regex=r"tile(\d*)")


def test_faulty_part_regex_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'\(tile' is not a regular expression"):
        find_pictures(write(tmp_path / "a.png"), part_regex="(tile")


# --- trees ---


def test_tree_gives_labels_kinds_masks_and_splits(tree: Path) -> None:
    pictures = find_pictures(tree)
    assert Counter((p.split, p.label, p.kind) for p in pictures) == {
        ("train", "good", "good"): 10,
        ("test", "good", "good"): 1,
        ("test", "defective", "large crack"): 2,
    }
    crack = tree / "ground_truth" / "large crack"
    assert [p.mask for p in pictures if p.label == "defective"] == [crack / "000_mask.png", crack / "001.png"]
    assert all(p.mask is None for p in pictures if p.label == "good")
    assert len({p.part for p in pictures}) == 13  # 000 of train, of good and of crack are three parts


def test_test_folder_of_a_tree_is_the_trees_test_pictures(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = dataset.test_pictures(find_pictures(tree))
    assert find_pictures(tree / "test") == expected
    monkeypatch.chdir(tree / "test")
    assert find_pictures(Path()) == expected


@pytest.mark.parametrize("place", ["test/x.png", "train/x.png", "train/odd/x.png"])
def test_tree_with_a_picture_in_the_wrong_place_is_refused(tree: Path, place: str) -> None:
    write(tree / place)
    with pytest.raises(DataError, match=rf"{place}: is not in .*; move it there"):
        find_pictures(tree)


# --- manifests ---


def rows_of(pictures: Sequence[Picture], base: Path) -> list[dict[str, str | None]]:
    return [
        {
            "path": str(p.path.relative_to(base)),
            "label": p.label,
            "kind": p.kind,
            "mask": str(p.mask.relative_to(base)) if p.mask else None,
            "part": p.part,
            "split": p.split,
        }
        for p in pictures
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_manifest_of_a_tree_finds_what_the_tree_finds(tree: Path, kind: str) -> None:
    pictures = find_pictures(tree)
    rows = rows_of(pictures, tree)
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        source = tree / "all.parquet"
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        source = tree / ("manifest.csv" if kind == "folder" else "all.csv")
        with source.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows[::-1])
    found = find_pictures(tree if kind == "folder" else source)
    assert sorted(found, key=lambda p: p.path) == sorted(pictures, key=lambda p: p.path)


def test_manifest_may_have_paths_only(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png")
    source = manifest_of(tmp_path / "list.csv", "path", "a\\1.png")  # as written on Windows
    picture = Picture(tmp_path / "a" / "1.png", "a/1", "good", "good")
    assert find_pictures(source, label="good") == [picture]
    assert find_pictures(source)[0].label is None


def test_a_manifest_s_name_is_what_names_the_part(tmp_path: Path) -> None:
    """Where files have numbers, as uploads do, what people call them tells the part."""
    write(tmp_path / "0.png")
    write(tmp_path / "1.png")
    source = manifest_of(tmp_path / "list.csv", "path,name", "0.png,part12_a.png", "1.png,part12_b.png")
    assert [(p.part, p.part_known, p.name) for p in find_pictures(source)] == [
        ("part12_a", False, "part12_a.png"),
        ("part12_b", False, "part12_b.png"),
    ]
    assert {(p.part, p.part_known) for p in find_pictures(source, part_regex=r"part\d+")} == {("part12", True)}


def test_a_part_regex_that_would_search_for_ever_is_refused(tmp_path: Path) -> None:
    write(tmp_path / f"{'a' * 60}!.png")
    with pytest.raises(SettingsError, match=r"part regex '\(a\|aa\)\+\$' searches longer than .* simplify it"):
        find_pictures(tmp_path, part_regex="(a|aa)+$")
    with pytest.raises(DataError, match="finds no part in this name"):
        find_pictures(tmp_path, part_regex="(a+)+$")  # fatal for many a library


def test_empty_label_in_a_manifest_means_unknown_even_for_fit(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    source = manifest_of(tmp_path / "list.csv", "path,label", "1.png,")
    assert find_pictures(source, label="good")[0].label is None


MANIFEST_FAULTS = {
    "unknown label": (
        ["path,label", "1.png,good", "2.png,maybe"],
        "{m}: 1 row(s) cannot be used\n  line 3: label 'maybe' is unknown; allowed: good, defective, or empty",
    ),
    "unknown split": (
        ["path,split", "1.png,validation"],
        "{m}: 1 row(s) cannot be used\n"
        "  line 2: split 'validation' is unknown; allowed: train, tune, calibration, test, or empty",
    ),
    "twice the same": (
        ["path", "1.png", "2.png", "./1.png"],
        "{m}: 1 row(s) cannot be used\n  line 4: path './1.png' is already in line 2; list each picture once",
    ),
    "missing files": (
        ["path,mask", "9.png,", "1.png,m.png"],
        "{m}: 2 row(s) cannot be used\n"
        "  line 2: path '9.png': no such file below {f}, or it cannot be opened\n"
        "  line 3: mask 'm.png': no such file below {f}, or it cannot be opened",
    ),
    "empty path": (["path,label", ",good"], "{m}: 1 row(s) cannot be used\n  line 2: path is empty"),
    "empty part": (
        ["path,part", "1.png,a", "2.png,"],
        "{m}: 1 row(s) cannot be used\n  line 3: part is empty; fill it in for every picture, or leave the column out",
    ),
    "one name twice": (
        ["path,name", "1.png,left.png", "2.png,left.png"],
        "{m}: 1 row(s) cannot be used\n  line 3: name 'left.png' is already in line 2; name each picture differently, "
        "or give a column 'part'",
    ),
    "one name with two suffixes": (
        ["path,name", "1.png,left.png", "2.png,left.jpg"],
        "{m}: 1 row(s) cannot be used\n"
        "  line 3: name 'left.jpg' and name 'left.png' in line 2 differ only in the suffix, so they would name one "
        "part; name each picture differently, or give a column 'part'",
    ),
    "not a picture": (
        ["path", "list.csv"],
        "{m}: 1 row(s) cannot be used\n"
        "  line 2: path 'list.csv' is no picture; accepted: PNG, JPEG, TIFF, WebP and BMP",
    ),
    "unknown column": (
        ["path,lable", "1.png,good"],
        "{m}, header: unknown column 'lable'; is 'label' meant? Otherwise rename it",
    ),
    "no path column": (
        ["label", "good"],
        "{m}, header: the column 'path' is missing; there are label. Columns that mean something are {c}",
    ),
    "column twice": (["path,path", "1.png,2.png"], "{m}, header: column 'path' appears 2 times"),
    "too many values": (
        ["path,label", "1.png,good,x"],
        "{m}, line 2: 3 values for 2 columns; put values that hold the separator in double quotes",
    ),
    "no rows": (["path,label"], "{m}: lists no pictures; add one row per picture"),
}


@pytest.mark.parametrize("fault", MANIFEST_FAULTS)
def test_faulty_manifests_name_line_value_and_what_is_allowed(tmp_path: Path, fault: str) -> None:
    lines, message = MANIFEST_FAULTS[fault]
    write(tmp_path / "1.png")
    write(tmp_path / "2.png")
    source = manifest_of(tmp_path / "list.csv", *lines)
    with pytest.raises(DataError) as error:
        find_pictures(source)
    assert str(error.value) == message.format(
        m=source, f=tmp_path, c="path, name, label, kind, mask, part, split, product"
    )


@pytest.mark.parametrize(
    ("separator", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16"), (";", "utf-16")]
)
def test_manifests_are_read_as_people_save_them(tmp_path: Path, separator: str, encoding: str) -> None:
    for number in range(4):
        write(tmp_path / f"{number}.png", number)
    rows = [["Path", "Label", "Lot", "SPLIT"], ["0.png", "Good", "A, 7", "Train"], ["1.png", "OK", "", "train"]]
    rows += [["2.png", "NG", "B", "TEST"], ["3.png", "0", "B", "test"]]
    with (tmp_path / "list.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    found = find_pictures(tmp_path / "list.csv")
    assert [(one.label, one.split) for one in found] == [
        ("good", "train"), ("good", "train"), ("defective", "test"), ("good", "test"),
    ]  # fmt: skip
    assert [dict(one.more) for one in found] == [{"Lot": "A, 7"}, {"Lot": ""}, {"Lot": "B"}, {"Lot": "B"}]


def test_a_name_of_two_signs_is_found_under_one(tmp_path: Path) -> None:
    """As macOS writes umlauts, and everybody else does not."""
    write(tmp_path / unicodedata.normalize("NFC", "Prüfstück.png"))
    source = manifest_of(tmp_path / "list.csv", "path", unicodedata.normalize("NFD", "Prüfstück.png"))
    assert [one.path.name for one in find_pictures(source)] == [unicodedata.normalize("NFC", "Prüfstück.png")]


def test_somebody_else_s_manifest_does_not_stop_a_score(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    manifest_of(tmp_path / "manifest.csv", "file;size", "1.png;9")
    assert [one.name for one in find_pictures(tmp_path)] == ["1.png"]
    with pytest.raises(DataError, match="the column 'path' is missing"):  # it may say what is not good
        find_pictures(tmp_path, label="good")


def test_many_faults_are_counted_but_not_all_shown(tmp_path: Path) -> None:
    source = manifest_of(tmp_path / "list.csv", "path", *(f"{i}.png" for i in range(50)))
    with pytest.raises(DataError, match=r"50 row\(s\) cannot be used(.*\n){11}  and 40 more$"):
        find_pictures(source)


def test_manifest_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("path\nPrüfstück.png\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as CSV in UTF-8"):
        find_pictures(tmp_path / "list.csv")


def test_part_column_and_part_regex_together_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    source = manifest_of(tmp_path / "list.csv", "path,part", "1.png,a")
    with pytest.raises(SettingsError, match="leave one of them out"):
        find_pictures(source, part_regex="(.)")


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_pyarrow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    (tmp_path / "all.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(DataError, match=r"pip install 'defectflow\[parquet\]'"):
        find_pictures(tmp_path / "all.parquet")


def test_damaged_parquet_is_a_data_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "all.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        find_pictures(tmp_path / "all.parquet")


def test_test_pictures_are_those_of_split_test_or_all_labelled_ones() -> None:
    def picture(name: str, label: Label | None, split: Split | None) -> Picture:
        return Picture(Path(name), name, label, "", None, split)

    unsplit = [picture("a", "good", None), picture("b", "defective", None), picture("c", None, None)]
    assert dataset.test_pictures(unsplit) == unsplit[:2]
    split = [picture("a", "good", "train"), picture("b", "good", "test"), picture("c", "defective", "test")]
    assert dataset.test_pictures(split) == split[1:]


# --- checking ---


def test_unreadable_pictures_are_listed_and_the_others_go_on(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_text("no picture")
    checked = check_readable(find_pictures(tmp_path))
    assert names(checked.readable, tmp_path) == ["a.png"]
    assert [(r.path.name, r.reason) for r in checked.rejected] == [
        ("b.png", "is empty (0 bytes)"),
        ("c.png", "is not a PNG, JPEG, TIFF, WebP or BMP picture"),
    ]


def test_digest_is_equal_for_equal_pixels_only(tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.bmp", 1), ("c.png", 2)):
        write(tmp_path / name, seed)
    flat = np.zeros((2, 6, 3), np.uint8)  # the same bytes in another shape
    (tmp_path / "d.png").write_bytes(cv2.imencode(".png", flat)[1].tobytes())
    (tmp_path / "e.png").write_bytes(cv2.imencode(".png", flat.reshape(6, 2, 3))[1].tobytes())
    digests = {path.name: digest for path, digest in check_readable(find_pictures(tmp_path)).pixel_digests.items()}
    assert digests["a.png"] == digests["b.bmp"]
    assert len(set(digests.values())) == 4


def test_full_scale_comes_from_training_parts_only(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / f"{number:02}.png", number, maximum=4000, dtype=np.uint16)
    pictures = find_pictures(tmp_path, label="good")
    splits = split_parts(pictures, calibration_parts=4, tune_share=0.2, seed=0)
    for picture in (*splits.tune, *splits.calibration):
        write(picture.path, maximum=60_000, dtype=np.uint16)
    assert splits_module.fix_full_scale(splits, check_readable(pictures)) == 4095


def test_full_scale_of_8_bit_parts_is_none_and_stray_16_bit_pictures_are_refused(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / f"{number:02}.png", number)
    pictures = find_pictures(tmp_path, label="good")
    splits = split_parts(pictures, calibration_parts=4, tune_share=0.2, seed=0)
    assert splits_module.fix_full_scale(splits, check_readable(pictures)) is None
    stray = write(splits.calibration[0].path, maximum=60_000, dtype=np.uint16)
    with pytest.raises(DataError) as error:
        splits_module.fix_full_scale(splits, check_readable(pictures))
    assert str(error.value).startswith(f"{stray}: is a 16-bit picture, but no training picture is; set image")


# --- splitting ---

layouts = st.lists(st.tuples(st.text("ab1_/ü", min_size=1, max_size=6), st.integers(1, 6)), min_size=8, max_size=70)


@given(
    layout=layouts,
    calibration_parts=st.integers(0, 40),
    tune_share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**32),
    shuffle=st.randoms(use_true_random=False),
    split=st.sampled_from([None, "train"]),
)
@settings(max_examples=150)
def test_no_part_is_ever_on_two_sides(
    layout: list[tuple[str, int]],
    calibration_parts: int,
    tune_share: float,
    seed: int,
    shuffle: Any,
    split: Any,
) -> None:
    shots = dict(layout)
    pictures = [
        Picture(Path(f"{part}-{shot}.png"), part, "good", "good", None, split)
        for part, n_shots in shots.items()
        for shot in range(n_shots)
    ]
    if len(shots) < splits_module.MIN_PARTS:
        with pytest.raises(DataError, match=f"^{len(shots)} good parts"):
            split_parts(pictures, calibration_parts=calibration_parts, tune_share=tune_share, seed=seed)
        return
    splits = split_parts(pictures, calibration_parts=calibration_parts, tune_share=tune_share, seed=seed)
    train, tune, calibration = (
        {picture.part for picture in side} for side in (splits.train, splits.tune, splits.calibration)
    )
    assert not (train & tune or train & calibration or tune & calibration)
    assert sorted(map(repr, splits.pictures)) == sorted(map(repr, pictures))
    n = len(shots)
    assert len(calibration) == min(calibration_parts, n // 3)
    rest = n - len(calibration)
    assert abs(len(tune) - rest * tune_share) <= 0.5 or len(tune) == (3 if n >= 12 else 1)
    assert len(train) >= 1

    shuffle.shuffle(pictures)
    again = split_parts(pictures, calibration_parts=calibration_parts, tune_share=tune_share, seed=seed)
    assert again == splits


def test_another_seed_draws_other_parts() -> None:
    first, second = (split_parts(good_parts(60), calibration_parts=19, tune_share=0.15, seed=seed) for seed in (0, 1))
    assert first.calibration != second.calibration


def test_too_few_parts_says_how_many_there_are_and_are_needed() -> None:
    with pytest.raises(DataError) as error:
        split_parts(good_parts(5, per_part=3), calibration_parts=19, tune_share=0.15, seed=0)
    assert str(error.value) == ("5 good parts (15 pictures) are too few to fit on; at least 8 are needed: add 3 more")


def test_test_defective_and_unlabelled_pictures_are_never_fitted_on() -> None:
    odd = [
        Picture(Path("t.png"), "t", "good", "good", None, "test"),
        Picture(Path("d.png"), "d", "defective", "crack", None, "train"),
        Picture(Path("u.png"), "u", None, "", None, None),
    ]
    splits = split_parts([*good_parts(20), *odd], calibration_parts=6, tune_share=0.15, seed=0)
    assert len(splits.pictures) == 20
    assert not set(odd) & set(splits.pictures)
    assert splits.warnings == (
        "1 defective picture is left out, because a fit learns from good parts only",
        "1 unlabelled picture is left out, because a fit learns from good parts only",
    )


def test_given_splits_are_taken_as_they_are() -> None:
    given_splits = [
        *good_parts(20, 2, "train")[:24],
        *good_parts(20, 2, "tune")[24:30],
        *good_parts(20, 2, "calibration")[30:],
    ]
    splits = split_parts(given_splits, calibration_parts=1, tune_share=0.5, seed=3)
    for side in ("train", "tune", "calibration"):
        assert list(getattr(splits, side)) == [picture for picture in given_splits if picture.split == side]


def test_given_splits_with_a_part_on_two_sides_are_refused() -> None:
    pictures = [*good_parts(9, 1, "train"), *good_parts(12, 1, "tune")[9:]]
    astray = Picture(Path("000_b.png"), "000", "good", "good", None, "tune")
    with pytest.raises(DataError, match=r"part '000' is in both train and tune \(000_b\.png\)"):
        split_parts([*pictures, astray], calibration_parts=3, tune_share=0.2, seed=0)


def test_given_splits_that_leave_pictures_or_sides_out_are_refused() -> None:
    tune = good_parts(12, 1, "tune")[9:]
    with pytest.raises(DataError, match=r"000_0\.png: has no split"):
        split_parts([*good_parts(9), *tune], calibration_parts=3, tune_share=0.2, seed=0)
    with pytest.raises(DataError, match="no good picture has the split 'tune'"):
        split_parts(
            [*good_parts(9, 1, "train"), *good_parts(12, 1, "calibration")[9:]],
            calibration_parts=3, tune_share=0.2, seed=0,
        )  # fmt: skip


def test_parts_shared_with_the_test_split_are_warned_about() -> None:
    siblings = [
        Picture(Path("x.png"), "003", "defective", "crack", None, "test"),
        Picture(Path("y.png"), "005", "good", "good", None, "test"),
    ]
    splits = split_parts([*good_parts(20), *siblings], calibration_parts=6, tune_share=0.15, seed=0)
    assert splits.warnings == (
        "2 parts have pictures both for fitting and in the test split (2 test pictures, 1 of them good; "
        "e.g. part '003'); on these, test figures look too good",
    )


def test_splits_say_whether_parts_are_known(tmp_path: Path) -> None:
    """By how parts got their names, not by chance: two files of one stem make nothing known."""
    for number in range(12):
        write(tmp_path / f"{number:02}.png", number)
    write(tmp_path / "00.bmp", 99)
    for regex, expected in ((None, False), (r"(\d+)\.", True)):
        pictures = find_pictures(tmp_path, label="good", part_regex=regex)
        assert split_parts(pictures, calibration_parts=4, tune_share=0.15, seed=0).parts_known is expected


# --- duplicates ---


def test_equal_pictures_count_once_and_make_one_part(tmp_path: Path) -> None:
    """Six pictures, ten times each, are six parts: as sixty they would promise what six cannot keep."""
    for number in range(60):
        write(tmp_path / f"{number:02}.png", number % 6)
    pictures = find_pictures(tmp_path, label="good")
    digests = check_readable(pictures).pixel_digests
    found = distinct(pictures, digests)
    assert names(found.pictures, tmp_path) == [f"{number:02}.png" for number in range(6)]
    assert len(found.repeats) == 54
    assert found.notes() == [
        "54 of 60 pictures repeat the pixels of another and are left out, so that each part counts once: the first is "
        f"{tmp_path}/06.png, as {tmp_path}/00.png"
    ]
    assert distinct(found.pictures, digests).notes() == []


def test_parts_that_share_a_picture_are_one_part(tmp_path: Path) -> None:
    for number, name in enumerate(("a_1", "a_2", "b_1", "b_2", "c_1", "c_2")):
        write(tmp_path / f"{name}.png", number)
    shutil.copy(tmp_path / "a_2.png", tmp_path / "b_1.png")
    shutil.copy(tmp_path / "b_2.png", tmp_path / "c_1.png")
    pictures = find_pictures(tmp_path, label="good", part_regex=r"^(\w)_")
    found = distinct(pictures, check_readable(pictures).pixel_digests)
    assert [(one.name, one.part) for one in found.pictures] == [
        ("a_1.png", "a"), ("a_2.png", "a"), ("b_2.png", "a"), ("c_2.png", "a"),
    ]  # fmt: skip


def test_a_hot_pixel_is_not_what_is_white(tmp_path: Path) -> None:
    def camera(path: Path, brightest: int, hot: bool = False) -> None:
        pixels = np.random.default_rng(0).integers(0, brightest, (200, 200), endpoint=True).astype(np.uint16)
        if hot:
            pixels[50, 50] = 65535
        cv2.imwrite(str(path), pixels)

    for number in range(60):
        camera(tmp_path / f"{number:02}.png", 4000, hot=number % 2 == 0)
    pictures = find_pictures(tmp_path, label="good")
    splits = split_parts(pictures, calibration_parts=4, tune_share=0.2, seed=0)
    checked = check_readable(pictures)
    full_scale = splits_module.fix_full_scale(splits, checked)
    assert full_scale == 4095
    assert len(splits_module.full_scale_notes(splits, checked, full_scale)) == 1
    camera(splits.train[0].path, 60_000)  # a whole picture is another matter, and said
    checked = check_readable(pictures)
    full_scale = splits_module.fix_full_scale(splits, checked)
    assert full_scale == 65535
    said = splits_module.full_scale_notes(splits, checked, full_scale)
    assert said[0].startswith("16-bit pictures: 65535 is taken as white")
    assert said[1].startswith(f"only 1 of {len(splits.train)} training pictures are brighter than 16383, the first is")


def near_duplicates_by_brute_force(splits: Splits, pooled: np.ndarray, share: float) -> list[tuple[Picture, Picture]]:
    """One pair of pictures at a time, as the definition reads."""
    n = len(splits.pictures)
    side = [0] * len(splits.train) + [1] * len(splits.tune) + [2] * len(splits.calibration)
    distance = [[float(np.linalg.norm(pooled[i] - pooled[j])) for j in range(n)] for i in range(n)]
    limit = share * np.median([min(distance[i][j] for j in range(n) if j != i) for i in range(n)])
    pairs = []
    for i in range(n):
        earlier = [(distance[i][j], j) for j in range(n) if side[j] < side[i]]
        if earlier and min(earlier)[0] < limit:
            pairs.append((splits.pictures[min(earlier)[1]], splits.pictures[i]))
    return pairs


def test_near_duplicates_follow_their_definition() -> None:
    rng = np.random.default_rng(0)
    splits = split_parts(good_parts(300), calibration_parts=99, tune_share=0.15, seed=0)  # more than one chunk
    pooled = rng.normal(size=(300, 16)) + 50
    for copy, original in ((290, 3), (200, 5), (280, 190), (7, 8), (295, 296)):
        pooled[copy] = pooled[original] + rng.normal(size=16) * 0.01
    pairs = near_duplicates(splits.pictures, splits.sides, pooled)
    assert pairs == near_duplicates_by_brute_force(splits, pooled, 0.1)
    index = {picture: i for i, picture in enumerate(splits.pictures)}
    assert sorted((index[a], index[b]) for a, b in pairs) == [(3, 290), (5, 200), (190, 280)]
    with pytest.raises(ValueError, match="299 embeddings for 300 pictures"):
        near_duplicates(splits.pictures, splits.sides, pooled[1:])


# --- real data ---

REAL = os.environ.get("DEFECTFLOW_DATA")


@pytest.mark.skipif(REAL is None, reason="set DEFECTFLOW_DATA to the folder of development pictures")
@pytest.mark.parametrize("name", ["cookies", "deeppcb", "dobot", "mtd_by_tile", "mtd_official"])
def test_real_manifests(name: str) -> None:
    """The counts in the data's README: (good for fitting, good in test, defective, masks)."""
    counts = {
        "cookies": (30, 15, 40, 32),
        "deeppcb": (300, 120, 120, 120),
        "dobot": (78, 38, 72, 0),
        "mtd_by_tile": (753, 199, 392, 392),
        "mtd_official": (761, 191, 392, 392),
    }
    pictures = find_pictures(Path(str(REAL)) / f"{name}.csv")
    splits = split_parts(pictures, calibration_parts=19, tune_share=0.15, seed=0)
    tested = Counter(picture.label for picture in dataset.test_pictures(pictures))
    n_masks = sum(picture.mask is not None for picture in pictures)
    assert (len(splits.pictures), tested["good"], tested["defective"], n_masks) == counts[name]
    assert not splits.warnings or name.startswith("mtd")
    if name == "mtd_by_tile":
        assert splits.warnings[0].startswith(
            "16 parts have pictures both for fitting and in the test split (22 test pictures, 0 of them good"
        )
    checked: Checked = check_readable(pictures[:50])
    assert not checked.rejected


def test_a_manifests_part_column_wins_over_a_bundles_usual_part_regex(tmp_path: Path) -> None:
    for stem in ("a-1", "a-2"):
        write(tmp_path / f"{stem}.png")
    manifest = manifest_of(tmp_path / "parts.csv", "path,part", "a-1.png,left", "a-2.png,right")
    assert [picture.part for picture in find_pictures(manifest, usual_part_regex="(a)")] == ["left", "right"]
    assert {picture.part for picture in find_pictures(tmp_path, usual_part_regex="(a)")} == {"a"}
    explicit = find_pictures(tmp_path, part_regex=r"\d", usual_part_regex="(a)")
    assert {picture.part for picture in explicit} == {"1", "2"}
