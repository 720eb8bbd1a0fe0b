"""An archive read name by name has the pictures, parts, labels and kinds of a folder looked through as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import save, swatch

from defectflow.data import Archive, look_through
from defectflow.errors import DataError

TREES = {
    "plain": ["a/p1 x.png", "a/p1 y.png", "a-b.png", "b/c/p2.jpg", "b/.hidden/p3.png", "b/note.txt"],
    "MVTec": ["train/good/1.png", "test/good/2.png", "test/cut/3.png", "ground_truth/cut/3_mask.png", "stray.png"],
    "VisA": ["Data/Images/Normal/1.png", "Data/Images/Anomaly/1.png", "Data/Masks/Anomaly/1.png"],
    "anomalib": ["good/1.png", "good_test/2.png", "broken/3.png", "mask/3.png"],
    "beside": ["1.png", "1_GT.png", "2.png", "2_GT.png", "more/3.png", "more/3_label.png"],
    "by suffix only": ["1.png", "x_mask.png", "more/x.png"],
    "OK and NG": ["OK/1.png", "NG/2.png", "else/3.png"],
}


@pytest.mark.parametrize("tree", TREES)
def test_it_is_what_a_whole_look_finds(tree: str, tmp_path: Path) -> None:
    for number, name in enumerate(TREES[tree]):
        file = tmp_path / name
        if file.suffix == ".txt":
            file.write_text("no picture")
        elif "GT" in name and number == 1:
            save(file, np.zeros((8, 8), np.uint8))  # marks nothing: its picture is a good one
        else:
            save(file, swatch(number, side_px=8))
    archive = Archive(str(tmp_path))
    names = [listed.name for listed in archive.files()]
    streamed = list(archive.pictures(lambda: iter(names), r"(p\d)"))
    found = look_through(tmp_path, usual_part_regex=r"(p\d)")

    def known(pictures: object) -> list[tuple[object, ...]]:
        kept = [(one.name, one.path, one.part, one.part_known, one.label, one.kind, one.split) for one in pictures]  # type: ignore[attr-defined]
        return sorted(kept, key=str)

    assert known(streamed) == known(found.pictures)
    assert len({one.name for one in streamed}) == len(streamed)


def test_an_archive_without_pictures_says_what_lies_there(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"no pictures found; 1 file skipped: note\.txt; accepted are PNG"):
        list(Archive(str(tmp_path)).files())
