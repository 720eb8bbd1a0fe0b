"""Tune pictures -> the files of golden/: as the camera gave them, and in every form that a line may meet.

Real decoding is part of what travels: JPEG, PNG and TIFF, 8 and 16 bits, grey and colour, larger, smaller and of
another aspect than the model's square. A picture of noise stands for all that is not this part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectflow.bundle import GOLDEN, Bundle
from defectflow.data import Picture
from defectflow.image import PARTS_PER_WHOLE, SMALLEST_SIDE_PX, read_image
from defectflow.line import NATIVE, record_golden
from defectflow.verdict import Measurement

NATIVE_PICTURES = 4
NATIVE_PIXELS = 8_000_000
"""So many pixels of native pictures are kept, that a bundle of large ones can still be shipped; one always is."""
JPEG_QUALITY = 90
WIDE, TALL = 2.0, 0.6
"""Width over height of the pictures of another aspect."""

Pixels = NDArray[np.uint8]


def write_golden(bundle: Bundle, pictures: Sequence[Picture], measured: Sequence[Measurement]) -> None:
    """golden/ from tune pictures, and what its files give through the graph of `bundle`.

    The native ones go from the least to the most unusual; the other forms are made of the one in the middle.
    """
    folder = bundle.path / GOLDEN
    folder.mkdir()
    by_score = np.argsort([item.score for item in measured])
    middle = _read(bundle, pictures[int(by_score[len(by_score) // 2])].path)
    height, width, _ = middle.shape
    count = min(NATIVE_PICTURES, max(1, NATIVE_PIXELS // (height * width)))
    chosen = by_score[np.unique(np.linspace(0, len(by_score) - 1, count).round().astype(int))]
    for number, index in enumerate(chosen):
        _save(folder / f"{NATIVE}{number}.png", _read(bundle, pictures[int(index)].path))

    size = bundle.card.image.size_px
    smallest = _smallest_side(bundle)
    shape = height / width
    _save(folder / "larger.png", _resized(middle, round(2.3 * size), shape, smallest))
    _save(folder / "smaller.png", _resized(middle, round(0.6 * size), shape, smallest))
    _save(folder / "wide.png", _resized(middle, round(1.4 * size), 1 / WIDE, smallest))
    _save(folder / "tall.png", _resized(middle, round(0.9 * size), 1 / TALL, smallest))

    usual = _resized(middle, round(1.1 * size), shape, smallest)  # one size, so that batches are made of these
    grey = np.asarray(cv2.cvtColor(usual, cv2.COLOR_RGB2GRAY), np.uint8)
    _save(folder / "grey.png", grey)
    _save(folder / "colour.jpg", usual, quality=JPEG_QUALITY, subsampling="4:2:0")
    _save(folder / "grey.jpg", grey, quality=JPEG_QUALITY)
    white = bundle.card.image.full_scale or 65535
    _save(folder / "grey-16-bit.png", _deep(grey, white))
    _, tiff = cv2.imencode(".tif", _deep(usual, white)[:, :, ::-1])  # Pillow writes no 16-bit colour
    (folder / "colour-16-bit.tif").write_bytes(tiff.tobytes())
    _save(folder / "noise.png", np.random.default_rng(0).integers(0, 256, usual.shape, dtype=np.uint8))
    record_golden(bundle)


def _read(bundle: Bundle, path: Path) -> Pixels:
    return read_image(path, full_scale=bundle.card.image.full_scale)


def _save(file: Path, pixels: NDArray[np.generic], **options: Any) -> None:
    Image.fromarray(pixels).save(file, **options)


def _resized(pixels: Pixels, width: int, shape: float, smallest: int) -> Pixels:
    """To `width` columns and `shape` times as many rows, but no side under `smallest`."""
    size = max(smallest, width), max(smallest, round(width * shape))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _smallest_side(bundle: Bundle) -> int:
    """The shortest side that leaves the region of interest, or each tile of it, enough pixels to be looked at."""
    rectangle, tiling = bundle.card.image.rectangle, bundle.card.image.tiling
    shares = (PARTS_PER_WHOLE, PARTS_PER_WHOLE) if rectangle is None else rectangle[2:]
    part = SMALLEST_SIDE_PX
    if tiling is not None:
        part = SMALLEST_SIDE_PX * max(tiling.rows, tiling.columns) // tiling.side + 1
    return part * PARTS_PER_WHOLE // min(shares) + 2


def _deep(pixels: Pixels, white: int) -> NDArray[np.uint16]:
    """8-bit values -> 16-bit ones of a camera whose white is `white`."""
    return (pixels.astype(np.uint32) * white // 255).astype(np.uint16)
