"""Verdict + its picture -> a picture for people: heat on a fixed scale, marked regions outlined.

The scale is the bundle's, never the picture's own range: an unremarkable picture stays unremarkable, and the
same colour means the same anomaly value on every picture that a bundle judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a verdict shows itself by this file
    from defectflow.verdict.verdict import Verdict

FULL_HEAT = 2.0
"""Map value of the strongest colour, in multiples of the pixel threshold."""
STRONGEST = 0.75
"""Opacity of the strongest colour; the picture stays visible beneath it."""
DARK_END = 0.35
"""Share of the colour map that is left out."""
DASH_PX = 6
BAND_ROWS = 256


def overlay(picture: NDArray[np.uint8], verdict: Verdict) -> NDArray[np.uint8]:
    """The picture with its anomaly map and regions drawn in; the input is left unchanged.

    Heat runs from the picture's own colours at map value 0 to full colour at FULL_HEAT times the pixel
    threshold. Solid outlines passed the pixel threshold; dashed ones are only the map's highest places.
    Shapes: (H, W, 3) uint8 RGB -> the same; any size with the proportions of the judged picture, so that a
    shrunk picture can be drawn on.
    """
    height, width = picture.shape[:2]
    drawn = heat(picture, verdict)
    thickness = max(1, round(max(height, width) / 300))
    dashed = verdict.mask_is_top_fraction
    lines = [line for outline in outlines(verdict, height, width) for line in _lines(outline, dashed, thickness)]
    # Black under white: visible on a bright part, on a dark one and on the heat.
    cv2.polylines(drawn, lines, isClosed=False, color=(0, 0, 0), thickness=3 * thickness)
    cv2.polylines(drawn, lines, isClosed=False, color=(255, 255, 255), thickness=thickness)
    return drawn


def heat(picture: NDArray[np.uint8], verdict: Verdict) -> NDArray[np.uint8]:
    """The picture under the colours of its anomaly map alone. Shapes: (H, W, 3) uint8 RGB -> the same."""
    height, width = picture.shape[:2]
    full_heat = max(FULL_HEAT * verdict.pixel_threshold, 1e-6)
    return _heated(picture, verdict.geometry.place(verdict.anomaly_map, height, width) / np.float32(full_heat))


def outlines(verdict: Verdict, height: int, width: int) -> list[NDArray[np.int32]]:
    """The marked places' closed contours on a picture of this size in pixels, each (N, 1, 2): x, y."""
    marked = verdict.geometry.place(verdict.mask.astype(np.float32), height, width) > 0.5
    contours, _ = cv2.findContours(marked.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.asarray(contour, np.int32) for contour in contours]


def _heated(picture: NDArray[np.uint8], values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture (H, W, 3) under colours; values (H, W): 0 none, 1 and above the strongest."""
    drawn = np.empty_like(picture)
    for top in range(0, len(picture), BAND_ROWS):  # the numbers in between take many times the picture's memory
        rows = slice(top, top + BAND_ROWS)
        heat = np.clip(values[rows], 0, 1)  # (rows, W)
        # Without the map's dark end, which would blacken ordinary places instead of leaving them alone.
        index = (255 * (DARK_END + (1 - DARK_END) * heat)).astype(np.uint8)
        colours = cv2.applyColorMap(index, cv2.COLORMAP_INFERNO)[:, :, ::-1]  # BGR -> RGB
        opacity = (STRONGEST * heat)[:, :, None]
        drawn[rows] = picture[rows] * (1 - opacity) + colours * opacity
    return drawn


def _lines(contour: NDArray[np.int32], dashed: bool, thickness_px: int) -> list[NDArray[np.int32]]:
    """A closed contour (N, 1, 2) as one line, or as dashes."""
    closed = np.concatenate([contour, contour[:1]])
    if not dashed:
        return [closed]
    dash = DASH_PX * thickness_px
    return [closed[start : start + dash] for start in range(0, len(closed), 2 * dash)]
