"""Pixels -> what a browser shows: JPEG bytes, at a size that is enough."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defectflow.image import brightest, full_scale_for, read_raw, to_uint8

Pixels = NDArray[np.uint8]
THUMBNAIL_PX = 220
LARGEST_SIDE_PX = 3000
"""A chosen part is shown at its full size up to here: enough to zoom into."""


def jpeg(pixels: Pixels) -> bytes:
    """(H, W, 3) RGB -> a JPEG file."""
    encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return encoded.tobytes()


def shrink(pixels: Pixels, side_px: int) -> Pixels:
    """At most so many pixels on the longer side."""
    scale = side_px / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def thumbnail(pixels: Pixels) -> Pixels:
    return shrink(pixels, THUMBNAIL_PX)


def file_thumbnail(file: Path) -> bytes:
    """A picture file as a small JPEG. Of 16 bits, whatever the model: its brightest value says how many are in use.

    Raises ImageError.
    """
    raw = read_raw(file)
    peak = brightest(raw)
    full_scale = None if peak is None else full_scale_for([peak])
    return jpeg(thumbnail(to_uint8(raw, full_scale=full_scale, name=file.name)))


def large(pixels: Pixels) -> Pixels:
    return shrink(pixels, LARGEST_SIDE_PX)
