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
PADDING_GREY = 114
"""What a letterboxed picture is padded with, of 0..255."""
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

    def part(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The region of interest of a picture (H, W, 3) or a mask (H, W); a view of it."""
        cut = self.cut(*pixels.shape[:2])
        return pixels[cut.top : cut.bottom, cut.left : cut.right]

    def check(self, height: int, width: int, name: str) -> None:
        """Raises ImageError if the model would have next to nothing to look at."""
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
        canvas = np.zeros((height, width), np.float32)
        inside = canvas[cut.top : cut.bottom, cut.left : cut.right]  # a view: writing it fills the canvas
        square = self.square(*inside.shape)
        size = square.right - square.left, square.bottom - square.top
        resized = cv2.resize(square_map, size, interpolation=cv2.INTER_LINEAR)
        top, left = max(square.top, 0), max(square.left, 0)
        visible = inside[top : square.bottom, left : square.right]
        visible[:] = resized[top - square.top :, left - square.left :][: visible.shape[0], : visible.shape[1]]
        return canvas

    def to_square(self, part: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """A picture of the region of interest -> the model's square at (height, width), by areas, 0 where padded."""
        square = self.square(*part.shape)
        padded = np.zeros((square.bottom - square.top, square.right - square.left), np.float32)
        top, left = max(square.top, 0), max(square.left, 0)
        visible = part[top : square.bottom, left : square.right]
        padded[top - square.top :, left - square.left :][: visible.shape[0], : visible.shape[1]] = visible
        return np.asarray(cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA), np.float32)

    def square(self, height: int, width: int) -> Box:
        """What the square covers, in pixels of the region of interest; beyond it where it is padded."""
        match self.aspect:
            case "stretch":
                return Box(0, 0, width, height)
            case "letterbox":
                side = max(height, width)
                left, top = -((side - width) // 2), -((side - height) // 2)
            case "crop":
                side = min(height, width)
                left, top = (width - side) // 2, (height - side) // 2
        return Box(left, top, left + side, top + side)
