"""Where on a part flaws are drawn, and what its regions are called: a grid, or a picture with a grey level for each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defectflow.errors import DataError, SettingsError
from defectflow.image import Geometry, read_raw

GRID = re.compile(r"([1-9]\d?)x([1-9]\d?)")
MOST_REGIONS = 16
INSET_PX = 2
"""Flaws keep this far from the edge of what the model looks at."""


@dataclass(frozen=True, slots=True)
class Regions:
    """`grid`: rows and columns of what the model looks at; `levels` (H, W): grey levels of a picture, 0: no region."""

    grid: tuple[int, int] = (1, 1)
    levels: NDArray[np.uint8] | None = None

    @classmethod
    def parse(cls, text: str) -> Regions:
        """ "2x3" or a picture file. Raises SettingsError, DataError, ImageError."""
        if found := GRID.fullmatch(text):
            return cls((int(found[1]), int(found[2])))
        file = Path(text)
        if not file.is_file():
            raise SettingsError(f"--regions {text}: is neither a grid such as 2x3 nor a picture file")
        levels = np.asarray(read_raw(file).max(axis=2))
        present = [level for level in np.unique(levels).tolist() if level]
        if not present:
            raise DataError(f"{file}: is black all over, so it marks no region; paint each region with its own grey")
        if levels.dtype != np.uint8 or len(present) > MOST_REGIONS:
            raise DataError(
                f"{file}: has {len(present)} grey levels above 0, and at most {MOST_REGIONS} regions are told apart; "
                "save it as an 8-bit PNG, painted without soft edges"
            )
        return cls((1, 1), levels)

    def names(self, geometry: Geometry, height: int, width: int) -> NDArray[np.str_]:
        """(height, width): the region of each pixel; empty where no flaw is to be drawn."""
        cut = geometry.cut(height, width)
        names = np.full((height, width), "", dtype="<U24")
        if self.levels is not None:
            fitted = cv2.resize(self.levels, (width, height), interpolation=cv2.INTER_NEAREST)
            for level in np.unique(fitted).tolist():
                if level:
                    names[fitted == level] = f"grey {level}"
        else:
            rows, columns = self.grid
            ys = np.clip((np.arange(height) - cut.top) * rows // max(1, cut.bottom - cut.top), 0, rows - 1)
            xs = np.clip((np.arange(width) - cut.left) * columns // max(1, cut.right - cut.left), 0, columns - 1)
            for row in range(rows):
                for column in range(columns):
                    called = "everywhere" if rows * columns == 1 else f"row {row + 1}, column {column + 1}"
                    names[np.ix_(ys == row, xs == column)] = called
        square = geometry.square(cut.bottom - cut.top, cut.right - cut.left)  # "crop" leaves out what it does not show
        top, left = cut.top + max(square.top, 0) + INSET_PX, cut.left + max(square.left, 0) + INSET_PX
        bottom = min(cut.bottom, cut.top + square.bottom) - INSET_PX
        right = min(cut.right, cut.left + square.right) - INSET_PX
        inside = np.zeros((height, width), bool)
        inside[top:bottom, left:right] = True
        names[~inside] = ""
        return names
