"""JPEG files that were cut short and given an end marker: decoders fill them with grey, so they are refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from defectflow.errors import ImageError
from defectflow.image import read_raw

END = b"\xff\xd9"
SIZES = [(96, 128), (97, 129), (101, 77), (64, 64)]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "colours in full": {"subsampling": 0},
    "restarts": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
}
BLOCK = 17
"""Pixels of the last block and of what is smoothed into it."""


def encoded(height: int, width: int, mode: str = "RGB", **options: Any) -> bytes:
    random = np.random.default_rng(height)
    coarse = np.clip(random.normal(120, 20, (height // 4 + 1, width // 4 + 1, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(
        file, "JPEG", **options
    )
    return file.getvalue()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_cut_is_refused_and_a_whole_picture_is_read(mode: str, variant: str) -> None:
    for height, width in SIZES:
        whole = encoded(height, width, mode, **VARIANTS[variant])
        pixels = read_raw(whole)
        for more in (b"\0" * 50, whole):  # what some cameras write behind: nothing, or another picture
            np.testing.assert_array_equal(read_raw(whole + more), pixels)
        first = whole.index(b"\xff\xda") + 14
        for share in np.linspace(0.02, 0.99, 15):
            cut = first + int(share * (len(whole) - first - 2))
            try:
                read = read_raw(whole[:cut] + END, name="cut.jpg")
            except ImageError as error:
                assert "cut.jpg: is cut short" in str(error) or "damaged" in str(error)
                continue
            rows, columns = np.nonzero((read != pixels).any(axis=-1))
            assert variant != "progressive"
            assert len(rows) == 0 or (rows.min() >= height - BLOCK and columns.min() >= width - BLOCK)


def test_a_picture_that_really_ends_in_grey_is_whole() -> None:
    file = io.BytesIO()
    Image.new("RGB", (640, 480), (128, 128, 128)).save(file, "JPEG")
    assert read_raw(file.getvalue()).shape == (480, 640, 3)


def test_a_progressive_file_without_its_last_scans() -> None:
    """Cut between two scans, it is blurred all over, and no data are missing where it ends."""
    whole = encoded(96, 128, progressive=True)
    starts = [at for at in range(len(whole)) if whole[at : at + 2] in (b"\xff\xda", b"\xff\xc4")]
    with pytest.raises(ImageError, match="without its last scans"):
        read_raw(whole[: starts[-2]] + END)
