"""Pixels -> what people look at: a smaller picture, and its JPEG file."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def shrink(pixels: NDArray[np.uint8], longer_side_px: int) -> NDArray[np.uint8]:
    """At most so many pixels on the longer side; a smaller picture is returned as it is. (H, W, 3) -> (h, w, 3)."""
    height, width = pixels.shape[:2]
    scale = longer_side_px / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))  # a line one pixel high stays one
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(pixels: NDArray[np.uint8], quality: int = 85) -> bytes:
    """(H, W, 3) RGB -> a JPEG file."""
    return cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
