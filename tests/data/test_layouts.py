"""Layouts that people have are read as what they are; defects and masks are never taken for good parts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectflow.data import Found, check_readable, find_pictures, look_through
from defectflow.data import test_pictures as kept_for_testing
from defectflow.errors import DataError


def draw(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 9, 3), value, np.uint8)).save(path)
    return path


def several(folder: Path, count: int, ending: str = ".png", value: int = 90, first: int = 0) -> None:
    for number in range(first, first + count):
        draw(folder / f"{number:03}{ending}", value)


def uses(found: Found) -> Counter[tuple[str | None, str | None, str | None]]:
    """(label, split, mask's name), counted."""
    return Counter((one.label, one.split, one.mask and one.mask.stem[-3:]) for one in found.pictures)


TREES = {
    "MVTec AD": ("train/good", "test/good", "test/crack", "ground_truth/crack", "_mask.png"),
    "BTAD": ("train/ok", "test/ok", "test/ko", "ground_truth/ko", ".bmp"),
    "OK and NG": ("train/OK", "test/OK", "test/NG", "ground_truth/NG", "_mask.PNG"),
    "capitals": ("Train/Good", "Test/Good", "Test/Bad", "Ground_Truth/Bad", "_GT.png"),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_of_train_and_test_are_read_whatever_their_words(tmp_path: Path, name: str) -> None:
    train, good, bad, masks, ending = TREES[name]
    for folder, count in ((train, 5), (good, 3), (bad, 2)):
        several(tmp_path / folder, count)
    several(tmp_path / masks, 2, ending, value=255)
    found = look_through(tmp_path, label="good")
    assert Counter((one.label, one.split, one.mask is not None) for one in found.pictures) == {
        ("good", "train", False): 5,
        ("good", "test", False): 3,
        ("defective", "test", True): 2,
    }
    assert found.unmatched_masks == ()
    inside = look_through(tmp_path / good.split("/")[0])
    assert inside.pictures == tuple(kept_for_testing(found.pictures))


def test_mvtec_loco_has_a_folder_of_masks_for_each_picture(tmp_path: Path) -> None:
    several(tmp_path / "train/good", 4)
    several(tmp_path / "validation/good", 2)
    several(tmp_path / "test/logical_anomalies", 2)
    for number in range(2):
        several(tmp_path / f"ground_truth/logical_anomalies/00{number}", 2, value=255)
    found = look_through(tmp_path, label="good")
    assert uses(found) == {("good", "train", None): 6, ("defective", "test", "000"): 1, ("defective", "test", "001"): 1}
    masks = [one.mask for one in found.pictures if one.mask is not None]
    assert masks == [tmp_path / f"ground_truth/logical_anomalies/00{number}" for number in range(2)]


def test_visa(tmp_path: Path) -> None:
    several(tmp_path / "Data/Images/Normal", 5)
    several(tmp_path / "Data/Images/Anomaly", 3, ".JPG")
    several(tmp_path / "Data/Masks/Anomaly", 3, value=1)
    found = look_through(tmp_path, label="good")
    assert uses(found) == {
        ("good", None, None): 5,
        **{("defective", None, f"00{number}"): 1 for number in range(3)},
    }
    assert found.summary()[0] == "8 pictures, read as folders of good and of defective parts:"
    assert "  Data/Images/Normal: 5 good" in found.summary()


def test_anomalib_s_folders(tmp_path: Path) -> None:
    for folder, count in (("normal", 5), ("normal_test", 2), ("abnormal", 3)):
        several(tmp_path / folder, count)
    several(tmp_path / "mask", 3, value=255)
    found = look_through(tmp_path, label="good")
    assert Counter((one.label, one.split) for one in found.pictures) == {
        ("good", "train"): 5,
        ("good", "test"): 2,
        ("defective", "test"): 3,
    }
    assert all(one.mask is not None for one in found.pictures if one.label == "defective")


def test_a_kind_of_defect_is_known_by_its_masks(tmp_path: Path) -> None:
    for folder in ("good", "crack", "colour", "mask/crack"):
        several(tmp_path / folder, 2)
    found = look_through(tmp_path, label="good")
    assert Counter((one.label, one.kind) for one in found.pictures) == {
        ("good", "good"): 2,
        ("defective", "crack"): 2,
        (None, ""): 2,  # a folder of any other name may hold anything
    }


@pytest.mark.parametrize(("folder", "ending"), [("train", "_GT.png"), ("kos01", "_label.bmp")])
def test_kolektor_pictures_lie_beside_their_masks(tmp_path: Path, folder: str, ending: str) -> None:
    several(tmp_path / folder, 4, ".jpg")
    several(tmp_path / folder, 3, ending, value=0)
    draw(tmp_path / folder / f"003{ending}", 255)
    found = look_through(tmp_path, label="good")
    assert [one.label for one in found.pictures] == ["good", "good", "good", "defective"]
    assert found.pictures[-1].mask == tmp_path / folder / f"003{ending}"
    assert found.pictures[0].split == ("train" if folder == "train" else None)


def test_a_picture_that_is_merely_called_mask_is_a_picture(tmp_path: Path) -> None:
    several(tmp_path, 3, "_mask.png")
    assert [one.label for one in find_pictures(tmp_path, label="good")] == ["good"] * 3


def test_a_folder_with_defects_is_refused_and_the_good_one_named(tmp_path: Path) -> None:
    for folder in ("lot1/OK", "lot1/NG", "lot2/OK"):
        several(tmp_path / folder, 2)
    with pytest.raises(DataError) as error:
        find_pictures(tmp_path, label="good")
    assert str(error.value) == (
        f"{tmp_path}: 2 of 6 pictures lie in folders that are called defective or masks (lot1/NG), so these are not "
        f"all good parts; give a folder of good parts only:\n  {tmp_path}/lot1/OK (2 pictures)\n"
        f"  {tmp_path}/lot2/OK (2 pictures)"
    )
    assert len(find_pictures(tmp_path)) == 6  # to be judged, anything may be
    with pytest.raises(DataError, match=r"NG: is called NG, and OK lies beside it.*give .*/lot1/OK"):
        find_pictures(tmp_path / "lot1" / "NG", label="good")
    (tmp_path / "lot1" / "OK").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"NG: is called NG, as folders of defective parts are"):
        find_pictures(tmp_path / "lot1" / "NG", label="good")


def test_folders_of_other_languages_are_asked_about(tmp_path: Path) -> None:
    """They are taken for good, since nothing says otherwise; whoever fits is told so."""
    for name in ("1_gut/a.png", "1_gut/b.png", "2_schlecht/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    told = look_through(tmp_path, label="good").summary()
    assert told[-1] == "Nothing says that all 2 folders hold good parts only; if not, give those that do."
    assert told[1:3] == ["  1_gut: 2 good", "  2_schlecht: 1 good"]
    assert not any("Nothing says" in line for line in look_through(tmp_path / "1_gut", label="good").summary())


def test_what_is_in_a_tree_and_not_of_it_is_named(tmp_path: Path) -> None:
    several(tmp_path / "train/good", 3)
    several(tmp_path / "test/bad", 1)
    several(tmp_path / "ground_truth/bad", 2, "_mask.png", value=255)
    draw(tmp_path / "preview" / "all.png")
    (tmp_path / "readme.txt").write_text("x")
    assert look_through(tmp_path).summary()[1:] == [
        "  test/bad: 1 defective with mask, test",
        "  train/good: 3 good, train",
        "2 files skipped: readme.txt, preview/all.png",
        "1 mask without a picture: ground_truth/bad/001_mask.png",
    ]


# --- which files are looked at ---


def test_the_content_decides_what_a_picture_is(tmp_path: Path) -> None:
    png = draw(tmp_path / "a.png")
    Image.open(png).save(tmp_path / "b.jfif", "JPEG")
    Image.open(png).save(tmp_path / "c", "BMP")
    Image.open(png).save(tmp_path / "d.gif", "GIF")
    Image.open(png).save(tmp_path / "e.pgm", "PPM")
    (tmp_path / "f.raw").write_bytes(bytes(100))
    (tmp_path / "g.txt").write_text("BMW, PNG and JPEG")
    (tmp_path / ".h.png").write_bytes(png.read_bytes())
    found = look_through(tmp_path)
    assert [one.name for one in found.pictures] == ["a.png", "b.jfif", "c", "d.gif", "e.pgm"]
    assert found.skipped == (".h.png", "f.raw", "g.txt")
    rejected = {one.path.name: one.reason for one in check_readable(found.pictures).rejected}
    assert rejected == {  # a picture that nobody can read is not a picture that nobody needs
        "d.gif": "is a GIF picture, which is not read; save it as one of PNG, JPEG, TIFF, WebP and BMP",
        "e.pgm": "is a PNM picture, which is not read; save it as one of PNG, JPEG, TIFF, WebP and BMP",
    }


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    draw(folder / "a.png")
    draw(elsewhere / "b.png")
    (folder / "lot2").symlink_to(elsewhere, target_is_directory=True)
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (elsewhere / "back").symlink_to(folder, target_is_directory=True)
    (folder / "gone.png").symlink_to("/nowhere.png")
    found = look_through(folder)
    assert [one.name for one in found.pictures] == ["a.png", "gone.png", "lot2/b.png"]
    assert [one.path.name for one in check_readable(found.pictures).rejected] == ["gone.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_cannot_be_opened_is_a_picture_that_cannot_be_read() -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which only its owner may enter
        base = Path(name)
        base.chmod(0o755)
        draw(base / "a.png")
        draw(base / "lot2" / "b.png")
        (base / "lot2").chmod(0)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # nobody: a superuser may open everything
            found = look_through(base)
            checked = check_readable(found.pictures)
        finally:
            os.seteuid(user)
            (base / "lot2").chmod(0o755)
    assert [one.name for one in found.pictures] == ["a.png", "lot2"]
    assert [(one.path.name, one.reason) for one in checked.rejected] == [("lot2", "cannot be read (Permission denied)")]


def test_a_folder_removed_meanwhile_is_no_picture(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "a.png")
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(DataError, match="no pictures found"):
        look_through(tmp_path)
