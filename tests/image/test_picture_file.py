"""A picture is read again as it was judged, 16 bits included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defectflow.errors import ImageError
from defectflow.image import PictureFile, read_image_file


def test_sixteen_bits_are_read_with_the_same_white(tmp_path: Path) -> None:
    file = tmp_path / "deep.png"
    Image.fromarray(np.linspace(0, 4095, 400, dtype=np.uint16).reshape(20, 20)).save(file)
    pixels, sha256, _ = read_image_file(file, full_scale=4095)
    assert np.array_equal(PictureFile(file, 4095, sha256).read(), pixels)
    assert pixels.max() == 255


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file)
    _, sha256, _ = read_image_file(file)
    Image.fromarray(np.ones((4, 4, 3), np.uint8)).save(file)
    with pytest.raises(ImageError, match=r"a\.png: has changed"):
        PictureFile(file, None, sha256).read()
