"""Region of interest -> which places of the map are scored."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectflow.embedding import geometry_of
from defectflow.image import read_image
from defectflow.recipe import Area, ImageSettings

DRAWN_PX = 1024
"""Longer side at which areas are drawn, before they are brought to the map's grid."""


def places_inside(image: ImageSettings, height: int, width: int) -> Tensor:
    """(height, width), True where scored: places at least half of which the mask and the drawn areas leave."""
    geometry, inside = geometry_of(image), np.ones((height, width), np.bool_)
    if image.roi.mask is not None:
        mask = (read_image(image.roi.mask)[..., 0] > 127).astype(np.float32)
        inside &= geometry.to_square(mask, height, width) >= 0.5
    if image.roi.is_drawn and image.roi.picture is not None:
        drawn = drawn_areas(image.roi.outlines, image.roi.ignored, image.roi.picture)
        inside &= geometry.to_square(geometry.part(drawn).astype(np.float32), height, width) >= 0.5
    return torch.from_numpy(inside)


def drawn_areas(outlines: tuple[Area, ...], ignored: tuple[Area, ...], picture: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W), 1 where scored, of a picture of this width and height, shrunk to at most DRAWN_PX on its longer side."""
    scale = min(1.0, DRAWN_PX / max(picture))
    width, height = (max(1, round(side * scale)) for side in picture)
    scored = np.zeros((height, width), np.uint8) if outlines else np.ones((height, width), np.uint8)
    for area in outlines:
        _draw(area, scored, 1)
    for area in ignored:
        _draw(area, scored, 0)
    return scored


def _draw(area: Area, canvas: NDArray[np.uint8], value: int) -> None:
    height, width = canvas.shape
    points = np.rint(np.array(area.points) * (width - 1, height - 1)).astype(np.int32)
    if area.width is None:
        cv2.fillPoly(canvas, [points], value)
        return
    thick = max(1, round(area.width * width))
    cv2.polylines(canvas, [points], isClosed=False, color=value, thickness=thick)
    for x, y in points:  # round ends, and a dot where there is one point alone
        cv2.circle(canvas, (int(x), int(y)), thick // 2, value, -1)
