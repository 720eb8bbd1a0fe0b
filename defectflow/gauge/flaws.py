"""A picture of a good part -> the same with one drawn flaw of a given size and contrast, in camera pixels.

These are simple drawings: a soft-edged disc, darker or brighter, and a dark line. They have no relief, no shadow and no
gloss, and cover the texture below them evenly. What they measure is how small and how faint a change of brightness is
noticed, and where on the part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
FlawKind = Literal["dark spot", "bright spot", "scratch"]
FLAW_KINDS: tuple[FlawKind, ...] = ("dark spot", "bright spot", "scratch")
SOFT_PX = 0.6
"""Blur of an edge by lens and sensor, as a standard deviation."""
SLENDER = 0.08
"""Width of a scratch, in shares of its length; it is at least THINNEST_PX wide."""
THINNEST_PX = 1.2
LEAST_KEPT = 0.8
"""So much of the contrast must be left where black or white ends it."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is drawn, and where."""

    kind: FlawKind
    size_px: float
    """The longest extent: a spot's diameter, a scratch's length."""
    contrast: float
    """Change of brightness in its middle, in grey levels of 255."""
    x_px: float
    y_px: float
    angle_rad: float


def draw_flaw(pixels: Pixels, flaw: Flaw) -> Pixels | None:
    """(H, W, 3) with the flaw; the input is left unchanged. None where black or white leaves too little of it."""
    cut, coverage = _coverage(flaw, *pixels.shape[:2])
    if not coverage.size or coverage.max() < 0.05:
        return None
    change = flaw.contrast * coverage[:, :, None] * (1.0 if flaw.kind == "bright spot" else -1.0)
    before = pixels[cut].astype(np.float32)
    after = np.clip(before + change, 0, 255)
    wanted = float(np.abs(change).sum()) * before.shape[2]
    if float(np.abs(after - before).sum()) < LEAST_KEPT * wanted:
        return None
    drawn = pixels.copy()
    drawn[cut] = np.round(after).astype(np.uint8)
    return drawn


def _coverage(flaw: Flaw, height: int, width: int) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    """How much of each pixel around the flaw it covers, 0 to 1, blurred as a camera does; and where that is."""
    reach = flaw.size_px / 2 + 4 * SOFT_PX + 1
    top, bottom = max(0, int(flaw.y_px - reach)), min(height, int(flaw.y_px + reach) + 2)
    left, right = max(0, int(flaw.x_px - reach)), min(width, int(flaw.x_px + reach) + 2)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    y, x = y - np.float32(flaw.y_px), x - np.float32(flaw.x_px)
    if flaw.kind == "scratch":
        along = x * np.cos(flaw.angle_rad) + y * np.sin(flaw.angle_rad)
        aside = y * np.cos(flaw.angle_rad) - x * np.sin(flaw.angle_rad)
        half = max(THINNEST_PX, SLENDER * flaw.size_px) / 2
        over = np.abs(along) - max(0.0, flaw.size_px / 2 - half)
        away = np.hypot(np.maximum(over, 0), aside) - half
    else:
        away = np.hypot(x, y) - flaw.size_px / 2
    sharp = np.clip(0.5 - away, 0, 1).astype(np.float32)
    soft = cv2.GaussianBlur(sharp, (0, 0), SOFT_PX) if sharp.size else sharp
    return np.s_[top:bottom, left:right], np.asarray(soft, np.float32)


def longest_extent(mask: NDArray[np.bool_]) -> float:
    """(H, W) -> the longest extent in pixels of the largest connected region, as a flaw's size; 0 for an empty mask."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return 0.0
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    ys, xs = np.nonzero(labels == largest)
    (_, sides, _) = cv2.minAreaRect(np.stack([xs, ys], axis=1).astype(np.float32))
    return float(max(sides)) + 1.0


def contrast_of(pixels: Pixels, mask: NDArray[np.bool_]) -> float:
    """Mean difference in grey levels between what a mask marks and a ring around it; 0 where there is no ring."""
    grey = pixels.astype(np.float32).mean(axis=2)
    wide = max(3, round(0.25 * longest_extent(mask))) | 1
    around = cv2.dilate(mask.astype(np.uint8), np.ones((wide, wide), np.uint8)).astype(bool) & ~mask
    return float(abs(grey[mask].mean() - grey[around].mean())) if around.any() and mask.any() else 0.0
