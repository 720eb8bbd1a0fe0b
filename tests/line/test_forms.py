"""The card knows the size, colour and depth of calibration pictures, and `score` says which pictures differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import Cli, save, swatch, swatches

from defectflow.bundle import open_bundle
from defectflow.bundle.card import Card, FormCard
from defectflow.image import PictureForm, read_raw


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (swatch(1), PictureForm(64, 64, False, 8)),
        (swatch(1)[:32, :, 0], PictureForm(64, 32, True, 8)),
        (np.repeat(swatch(1)[:, :48, :1], 3, axis=2), PictureForm(48, 64, True, 8)),
        (swatch(1)[:, :, 0].astype(np.uint16) * 16, PictureForm(64, 64, True, 16)),
    ],
)
def test_a_picture_s_form(pixels: np.ndarray, expected: PictureForm, tmp_path: Path) -> None:
    assert PictureForm.of(read_raw(save(tmp_path / "a.png", pixels))) == expected


def test_the_forms_of_calibration_pictures_are_kept_and_pictures_that_differ_are_told(
    uncalibrated_copy: Path, tmp_path: Path, cli: Cli
) -> None:
    card = open_bundle(uncalibrated_copy).card
    pictures = sum(part.pictures for part in card.calibration_parts)
    assert card.calibration_forms == (FormCard(width_px=64, height_px=64, grey=False, bits=8, pictures=pictures),)
    more = swatches(tmp_path / "more", 11, first_seed=500)
    save(more / "large.png", swatch(600, 80))
    rates = ("--false-reject-rate", "0.2", "--review-rate", "0.4")
    assert cli("calibrate", uncalibrated_copy, "--good", more, *rates).code == 0
    forms = {(one.width_px, one.pictures) for one in open_bundle(uncalibrated_copy).card.calibration_forms}
    assert forms == {(64, pictures + 11), (80, 1)}

    line = swatches(tmp_path / "line", 3, first_seed=700)
    save(line / "large.png", swatch(701, 80))
    save(line / "other.png", swatch(702, 96))
    Image.fromarray(swatch(703)).convert("L").save(line / "grey.png")
    said = cli("score", uncalibrated_copy, line, "--out", tmp_path / "out")
    assert "2 of 6 pictures differ in size, colour or depth from the calibration pictures" in said.err
    assert "64 x 64 px, colour, 8 bits" in said.err
    assert "the first is grey.png (64 x 64 px, grey, 8 bits)" in said.err
    assert json.loads((tmp_path / "out" / "run.json").read_text())["unlike"] == 2


def test_a_card_that_did_not_keep_forms_says_nothing_about_them(bundle_path: Path) -> None:
    tree = json.loads((bundle_path / "card.json").read_text(encoding="utf-8"))
    del tree["calibration_forms"]
    old = Card.model_validate(tree)
    assert old.calibration_forms == ()
    assert not old.is_unlike(PictureForm(1, 1, True, 16))
