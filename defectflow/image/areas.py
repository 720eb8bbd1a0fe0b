"""Areas drawn on a picture -> which of its pixels are scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

DRAWN_PX = 1024
"""Longer side at which areas are drawn, before they are brought to the map's grid."""


class Drawn(Protocol):
    """An area as the recipe has it: fractions of the whole picture, closed, or a line where it has a width."""

    @property
    def points(self) -> Sequence[tuple[float, float]]: ...

    @property
    def width(self) -> float | None: ...


def drawn_areas(outlines: Sequence[Drawn], ignored: Sequence[Drawn], picture: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W), 1 where scored, of a picture of this width and height, shrunk to at most DRAWN_PX on its longer side."""
    scale = min(1.0, DRAWN_PX / max(picture))
    width, height = (max(1, round(side * scale)) for side in picture)
    scored = np.zeros((height, width), np.uint8) if outlines else np.ones((height, width), np.uint8)
    for area in outlines:
        _draw(area, scored, 1)
    for area in ignored:
        _draw(area, scored, 0)
    return scored


def _draw(area: Drawn, canvas: NDArray[np.uint8], value: int) -> None:
    height, width = canvas.shape
    points = np.rint(np.array(area.points) * (width - 1, height - 1)).astype(np.int32)
    if area.width is None:
        cv2.fillPoly(canvas, [points], value)
        return
    thick = max(1, round(area.width * width))
    cv2.polylines(canvas, [points], isClosed=False, color=value, thickness=thick)
    for x, y in points:  # round ends, and a dot where there is one point alone
        cv2.circle(canvas, (int(x), int(y)), thick // 2, value, -1)
