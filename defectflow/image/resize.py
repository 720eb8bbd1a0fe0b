"""Pixels -> the model's square, with the filter of the graph's own resize: for engines that cannot antialias.

The filter is a triangle as wide as two pixels of the coarser grid, cut off at the picture's edge and normalised. It
is separable, so each side has its own matrix, applied in blocks because all but a narrow band of it is zero.
Source: the Resize operator of ONNX, opset 18, with mode=linear, antialias=1, exclude_outside=1 and half_pixel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from defectflow.image.geometry import PADDING_GREY, Geometry

BLOCK = 16
"""Rows of the square that are made at a time."""
Band = tuple[slice, slice, NDArray[np.float32]]
"""Which places of the square, from which pixels, with which weights (places, pixels)."""


def to_square(pixels: NDArray[np.uint8], geometry: Geometry, size_px: int) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB -> (3, S, S), 0..255: what the graph makes of the same picture."""
    part = geometry.part(pixels)
    height, width, _ = part.shape
    box = geometry.square(height, width)
    rows = np.empty((size_px, width * 3), np.float32)
    for places, source, weights in _bands(height, box.top, box.bottom, size_px):
        # Beyond the picture lies grey; relative to grey, that is nothing.
        lines = part[source].astype(np.float32).reshape(-1, width * 3) - np.float32(PADDING_GREY)
        np.matmul(weights, lines, out=rows[places])
    planes = np.ascontiguousarray(rows.reshape(size_px, width, 3).transpose(2, 0, 1))  # (3, S, W)
    square = np.empty((3, size_px, size_px), np.float32)
    for places, source, weights in _bands(width, box.left, box.right, size_px):
        square[:, :, places] = planes[:, :, source] @ weights.T
    return square + np.float32(PADDING_GREY)


@lru_cache(maxsize=64)
def _bands(side: int, start: int, stop: int, size_px: int) -> tuple[Band, ...]:
    """The weights with which pixels start..stop, of which 0..side exist, make `size_px` places, block by block."""
    scale = (stop - start) / size_px
    reach = max(scale, 1.0)
    pixels = np.arange(start, stop) + 0.5
    bands = list[Band]()
    for first in range(0, size_px, BLOCK):
        places = slice(first, min(first + BLOCK, size_px))
        centres = start + (np.arange(places.start, places.stop) + 0.5) * scale
        low = max(int(np.floor(centres[0] - reach)), start)
        high = min(int(np.ceil(centres[-1] + reach)), stop)
        weights = 1 - np.abs(pixels[low - start : high - start] - centres[:, None]) / reach
        weights = np.maximum(weights, 0)
        weights /= weights.sum(1, keepdims=True)
        inside = slice(min(max(low, 0), side), max(min(high, side), 0))
        weights = weights[:, inside.start - low : inside.stop - low] if inside.stop > inside.start else weights[:, :0]
        if weights.shape[1] == 0:
            inside = slice(0, 0)
        bands.append((places, inside, np.ascontiguousarray(weights, np.float32)))
    return tuple(bands)
