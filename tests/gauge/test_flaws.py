"""Drawn flaws have the size and contrast that they are said to have, and stay where they may be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import save

from defectflow.errors import DataError, SettingsError
from defectflow.gauge.flaws import FLAW_KINDS, Flaw, FlawKind, contrast_of, draw_flaw, longest_extent
from defectflow.gauge.regions import Regions
from defectflow.image import Geometry

GREY = np.full((120, 160, 3), 128, np.uint8)


@pytest.mark.parametrize("kind", FLAW_KINDS)
@pytest.mark.parametrize("size", [6.0, 20.0, 45.0])
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_size_and_contrast(kind: FlawKind, size: float, angle: float) -> None:
    drawn = draw_flaw(GREY, Flaw(kind, size, 40.0, 80.0, 60.0, angle))
    assert drawn is not None
    change = drawn.astype(int)[:, :, 0] - 128
    assert (change >= 0).all() if kind == "bright spot" else (change <= 0).all()
    if kind != "scratch" or size > 20:
        assert abs(change).max() == pytest.approx(40, abs=4)
    assert longest_extent(abs(change) > 20) == pytest.approx(size, abs=2.5)
    ys, xs = np.nonzero(change)
    assert xs.mean() == pytest.approx(80, abs=0.6) and ys.mean() == pytest.approx(60, abs=0.6)
    assert (GREY == 128).all(), "the good picture is left as it is"


def test_where_black_leaves_nothing_of_it_it_is_not_drawn() -> None:
    black = np.full_like(GREY, 3)
    flaw = Flaw("dark spot", 10, 40, 80, 60, 0)
    assert draw_flaw(black, flaw) is None
    assert draw_flaw(black, Flaw("bright spot", 10, 40, 80, 60, 0)) is not None


def test_a_mask_is_measured_as_a_flaw_is() -> None:
    mask = np.zeros((100, 100), bool)
    mask[10:13, 20:70] = True  # 50 x 3
    mask[90, 90] = True
    assert longest_extent(mask) == pytest.approx(50, abs=1.1)
    assert longest_extent(np.zeros((9, 9), bool)) == 0
    pixels = np.full((100, 100, 3), 100, np.uint8)
    pixels[10:13, 20:70] = 130
    assert contrast_of(pixels, mask[:, :] & (np.arange(100) < 80)) == pytest.approx(30)


def test_regions(tmp_path: Path) -> None:
    names = Regions.parse("2x3").names(Geometry("stretch", (1000, 2000, 8000, 6000)), 100, 200)
    assert set(np.unique(names)) == {"", *(f"row {r}, column {c}" for r in (1, 2) for c in (1, 2, 3))}
    assert names[:20].tolist() == [[""] * 200] * 20, "the model does not look there"
    assert names[40, 30] == "row 1, column 1" and names[60, 170] == "row 2, column 3"
    whole = Regions.parse("1x1").names(Geometry(), 50, 50)
    assert set(np.unique(whole[2:-2, 2:-2])) == {"everywhere"}
    painted = np.zeros((50, 50), np.uint8)
    painted[:25], painted[40:] = 80, 160
    file = save(tmp_path / "regions.png", painted)
    told = Regions.parse(str(file)).names(Geometry(), 100, 100)
    assert set(np.unique(told)) == {"", "grey 80", "grey 160"} and told[10, 50] == "grey 80"
    with pytest.raises(SettingsError, match="neither a grid such as 2x3 nor a picture"):
        Regions.parse("2by3")
    with pytest.raises(DataError, match="is black all over"):
        Regions.parse(str(save(tmp_path / "black.png", np.zeros((9, 9), np.uint8))))
    with pytest.raises(DataError, match="at most 16 regions"):
        Regions.parse(str(save(tmp_path / "many.png", np.arange(250, dtype=np.uint8)[None].repeat(3, 0))))
