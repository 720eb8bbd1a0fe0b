"""Thumbnails: proportions, limits and the order of colours."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from defectflow.image import jpeg, shrink


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(400, 200, (100, 50, 3)), (200, 400, (50, 100, 3)), (100, 100, (100, 100, 3)), (1, 4000, (1, 100, 3))],
)
def test_the_longer_side_is_kept_to(height: int, width: int, expected: tuple[int, int, int]) -> None:
    assert shrink(np.zeros((height, width, 3), np.uint8), 100).shape == expected


def test_a_small_picture_stays_as_it_is() -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    assert shrink(pixels, 100) is pixels


def test_shrinking_averages_what_it_joins() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.unique(shrink(stripes, 32)).tolist() == [100]


def test_a_jpeg_file_has_the_colours_in_order() -> None:
    pixels = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    decoded = np.asarray(Image.open(BytesIO(jpeg(pixels))).convert("RGB")).astype(int)
    assert np.abs(decoded - pixels).max() <= 6
