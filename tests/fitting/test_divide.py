"""What a fit learns from and calibrates on: parts that somebody saw whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Cli, save, swatch, swatch_recipe, swatches

from defectflow.bundle import open_bundle
from defectflow.errors import DataError
from defectflow.fitting.divide import look_at


def test_a_part_with_an_unreadable_picture_is_left_out_and_said(tmp_path: Path) -> None:
    for part in range(12):
        for shot in "ab":
            save(tmp_path / f"p{part:02}{shot}.png", swatch(2 * part + (shot == "b")))
    (tmp_path / "p03b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    material = look_at(swatch_recipe(), tmp_path, r"(p\d+)")
    splits = material.divide(swatch_recipe())
    assert "p03" not in {picture.part for picture in splits.pictures}
    assert sum(splits.part_counts.values()) == 11
    (said,) = material.checked.left_out_notes()
    assert said.startswith("1 part, 1 readable pictures, left out")
    assert "'p03'" in said
    single = look_at(swatch_recipe(), tmp_path, None)
    assert len(single.divide(swatch_recipe()).pictures) == 23, "where each picture is a part, only that one is missing"
    assert not single.checked.left_out_notes()
    for part in range(6):
        (tmp_path / f"p{part:02}b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"6 parts, 6 readable pictures, left out"):
        look_at(swatch_recipe(), tmp_path, r"(p\d+)").divide(swatch_recipe())


def test_calibrate_leaves_such_a_part_out_too(uncalibrated_copy: Path, tmp_path: Path, cli: Cli) -> None:
    more = swatches(tmp_path / "more", 12, first_seed=500)
    (more / "003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    before = len(open_bundle(uncalibrated_copy).card.calibration_parts)
    said = cli("calibrate", uncalibrated_copy, "--good", more, "--false-reject-rate", "0.2", "--review-rate", "0.4")
    assert said.code == 0, said.err
    assert "003.png" in said.err
    assert len(open_bundle(uncalibrated_copy).card.calibration_parts) == before + 11
