"""Pixels -> what a browser shows: JPEG bytes, at a size that is enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectflow import image
from defectflow.image import brightest, full_scale_for, read_raw, shrink, to_uint8

Pixels = NDArray[np.uint8]
THUMBNAIL_PX = 220
LARGEST_SIDE_PX = 3000
"""A chosen part is shown at its full size up to here: enough to zoom into."""


def jpeg(pixels: Pixels) -> bytes:
    """(H, W, 3) RGB -> a JPEG file, good enough to look at closely."""
    return image.jpeg(pixels, quality=92)


def thumbnail(pixels: Pixels) -> Pixels:
    return shrink(pixels, THUMBNAIL_PX)


def file_thumbnail(file: Path) -> bytes:
    """A picture file as a small JPEG. Raises ImageError."""
    return file_picture(file, thumbnail)


def file_picture(file: Path, change: Callable[[Pixels], Pixels]) -> bytes:
    """A picture file, changed, as a JPEG. Of 16 bits, whatever the model: its brightest value says how many are in use.

    Raises ImageError.
    """
    raw = read_raw(file)
    peak = brightest(raw)
    full_scale = None if peak is None else full_scale_for([peak])
    return jpeg(change(to_uint8(raw, full_scale=full_scale, name=file.name)))


def large(pixels: Pixels) -> Pixels:
    return shrink(pixels, LARGEST_SIDE_PX)
