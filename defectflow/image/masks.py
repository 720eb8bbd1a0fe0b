"""A mask, as annotation tools write them -> which pixels it marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectflow.errors import ImageError
from defectflow.image.decode import open_picture, read_file, read_raw
from defectflow.image.kinds import HEADER_BYTES, kind_of


def read_mask(path: Path) -> NDArray[np.bool_]:
    """(H, W): True where a mask marks a defect: every pixel that is not black, whatever its value or colour.

    Of a picture that is black all over, but transparent in places, what is drawn counts. JPEG blurs a mask's values:
    there a pixel is marked from half of the brightest on. A folder's masks are united.
    Raises ImageError if a file cannot be read, or where a folder has none or several sizes.
    """
    if path.is_dir():
        return _united(path)
    content = read_file(path)
    pixels = read_raw(content, name=str(path)).max(axis=2)  # (H, W)
    if kind_of(content[:HEADER_BYTES]) == "JPEG":
        return np.asarray(pixels > int(pixels.max()) // 2) if pixels.max() >= 2 else np.zeros(pixels.shape, bool)
    if pixels.any():
        return np.asarray(pixels > 0)
    return _drawn(content, path, pixels.shape)


def _united(folder: Path) -> NDArray[np.bool_]:
    masks = [read_mask(path) for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    if len({mask.shape for mask in masks}) != 1:
        raise ImageError(f"{folder}: holds {len(masks)} masks of different sizes; a picture's masks must have its size")
    return np.asarray(np.logical_or.reduce(masks), bool)


def _drawn(content: bytes, path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """What is not transparent, of a picture that is transparent in places."""
    picture = open_picture(content, str(path))
    if not picture.has_transparency_data:
        return np.zeros(shape, bool)
    alpha = np.asarray(Image.Image.convert(picture, "RGBA"))[:, :, 3]
    return np.asarray(alpha > 0) if alpha.min() < alpha.max() else np.zeros(shape, bool)
