"""Anomaly maps and masks -> pixel figures, collected picture by picture in bounded memory."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectflow.data import Picture
from defectflow.errors import DataError
from defectflow.evaluation.metrics import PixelCurve, split_pixels
from defectflow.image import read_mask
from defectflow.verdict import Measurement

AUPRO_LIMITS = (0.30, 0.05)


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """How well maps find defective pixels; on maps and masks of at most `map_side_px`. All in [0, 1]."""

    auroc: float
    ap: float
    aupro_30: float
    aupro_05: float

    def to_json(self) -> dict[str, float]:
        return {"pixel_auroc": self.auroc, "pixel_ap": self.ap, "aupro_30": self.aupro_30, "aupro_05": self.aupro_05}


class PixelStore:
    """Collects good and defective pixel values per kind of defect; the good pictures are kind None."""

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        self.good: defaultdict[str | None, list[NDArray[np.float32]]] = defaultdict(list)
        self.regions: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
        self.without_mask = 0

    def add(self, picture: Picture, result: Measurement) -> None:
        height, width = result.height_px, result.width_px
        shrink = min(1.0, self.side_px / max(height, width))
        size = max(1, round(height * shrink)), max(1, round(width * shrink))
        if picture.label == "good":
            self.good[None].append(result.geometry.place(result.anomaly_map, *size).ravel())
            return
        mask = _read_mask(picture, height, width) if picture.mask else None
        if mask is None or not mask.any():
            self.without_mask += 1
            return
        placed = result.geometry.place(result.anomaly_map, *size)
        good, regions = split_pixels(placed, shrink_mask(mask, *size))
        self.good[picture.kind].append(good)
        self.regions[picture.kind].extend(regions)

    def figures(self) -> tuple[PixelFigures | None, dict[str, PixelFigures]]:
        """Over everything, and per kind with all good pictures. Good pixels are sorted once per block."""
        blocks: dict[str | None, NDArray[np.float32]] = {}
        for kind in list(self.good):
            block = np.concatenate(self.good.pop(kind))  # popped: never two copies of everything
            block.sort()
            blocks[kind] = block
        everything = [region for regions in self.regions.values() for region in regions]
        good = [blocks[None]] if None in blocks else []
        per_kind = {kind: _pixel_figures([*good, blocks[kind]], regions) for kind, regions in self.regions.items()}
        whole = _pixel_figures(list(blocks.values()), everything)
        return whole, {kind: figures for kind, figures in per_kind.items() if figures is not None}


def shrink_mask(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) -> (height, width) with height <= H and width <= W; a pixel is set if it touches any set one."""
    full_height, full_width = mask.shape
    y, x = np.nonzero(mask)
    # A source pixel covers [y, y + 1) * height / H: one target row or two, never more, as it only shrinks.
    rows = y * height // full_height, ((y + 1) * height - 1) // full_height
    columns = x * width // full_width, ((x + 1) * width - 1) // full_width
    small = np.zeros((height, width), bool)
    for row in rows:
        for column in columns:
            small[row, column] = True
    return small


def _read_mask(picture: Picture, height: int, width: int) -> NDArray[np.bool_]:
    if picture.mask is None:
        raise DataError(f"{picture.path}: has no mask")
    mask = read_mask(picture.mask)
    if mask.shape != (height, width):
        raise DataError(
            f"{picture.mask}: the mask has {mask.shape[1]} x {mask.shape[0]} px, its picture "
            f"{picture.path.name} has {width} x {height} px; they must be equal"
        )
    return mask


def _pixel_figures(good: list[NDArray[np.float32]], regions: list[NDArray[np.float32]]) -> PixelFigures | None:
    if not regions or not any(map(len, good)):
        return None
    curve = PixelCurve.count(good, regions)
    return PixelFigures(curve.auroc(), curve.ap(), *(curve.aupro(limit) for limit in AUPRO_LIMITS))
