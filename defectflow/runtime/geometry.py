"""Where the model's square lies on the picture: one integer formula for the graph and for drawing.

The functions use only integer +, -, *, // so that they work on numbers and on the symbolic sizes of an export.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defectflow.errors import ImageError

Aspect = Literal["stretch", "letterbox", "crop"]
SMALLEST_SIDE_PX = 16
PARTS_PER_WHOLE = 10_000
"""Rectangles are stored in ten-thousandths of the picture, so that every language cuts at the same pixel."""


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels [left, right) x [top, bottom)."""

    left: Any
    top: Any
    right: Any
    bottom: Any


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a picture of any size becomes the model's square, and a square map goes back onto the picture."""

    aspect: Aspect = "stretch"
    rectangle: tuple[int, int, int, int] | None = None
    """Left, top, width, height of the region of interest in ten-thousandths of the picture."""

    def cut(self, height: Any, width: Any) -> Box:
        """The region of interest in pixels; the whole picture where none was set."""
        if self.rectangle is None:
            return Box(0, 0, width, height)
        left, top, w, h = self.rectangle
        return Box(
            left * width // PARTS_PER_WHOLE,
            top * height // PARTS_PER_WHOLE,
            (left + w) * width // PARTS_PER_WHOLE,
            (top + h) * height // PARTS_PER_WHOLE,
        )

    def check(self, height: int, width: int, name: str) -> None:
        """Raises ImageError where the model would have next to nothing to look at."""
        cut = self.cut(height, width)
        if min(cut.bottom - cut.top, cut.right - cut.left) < SMALLEST_SIDE_PX:
            raise ImageError(
                f"{name}: {width} x {height} pixels leave fewer than {SMALLEST_SIDE_PX} on a side to look at; take a "
                "larger picture"
            )

    def place(self, square_map: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """(h, w) map of the square -> (height, width) map of the picture, bilinear.

        Pixels that the model does not read are 0, the value of an average good place.
        """
        cut = self.cut(height, width)
        cut_height, cut_width = cut.bottom - cut.top, cut.right - cut.left
        canvas = np.zeros((height, width), np.float32)
        inside = canvas[cut.top : cut.bottom, cut.left : cut.right]  # a view: writing it fills the canvas
        match self.aspect:
            case "stretch":
                inside[:] = _resize(square_map, cut_height, cut_width)
            case "letterbox":
                side = max(cut_height, cut_width)
                top, left = (side - cut_height) // 2, (side - cut_width) // 2
                inside[:] = _resize(square_map, side, side)[top : top + cut_height, left : left + cut_width]
            case "crop":
                side = min(cut_height, cut_width)
                top, left = (cut_height - side) // 2, (cut_width - side) // 2
                inside[top : top + side, left : left + side] = _resize(square_map, side, side)
        return canvas


def _resize(square_map: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(square_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
