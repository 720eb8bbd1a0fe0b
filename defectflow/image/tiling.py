"""A large picture as overlapping tiles, and their outputs as the picture's. Where a model looks at tiles, it does here.

The tiling is a grid on the part, in places of its anomaly map, and not in pixels: tiles start at whole places, so
their maps fit into the part's map without being resampled; and a picture of another resolution is cut into as many
tiles as any other, each of the same piece of the part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import ImageError
from defectflow.image.geometry import SMALLEST_SIDE_PX

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tiling:
    """A part's map, and the tiles that cover it row by row; all in places of the map."""

    rows: int
    columns: int
    side: int
    """Of a tile, in places."""
    overlap: int
    """What neighbours share, at least; the last of a row or column is moved inwards, so it may share more."""

    def __len__(self) -> int:
        return len(self._tops) * len(self._lefts)

    @property
    def rectangles(self) -> Floats:
        """(tiles, 4): left, top, width, height of each as fractions of the part. The graph's input `rectangle`."""
        size = self.side / self.columns, self.side / self.rows
        return np.array([(left / self.columns, top / self.rows, *size) for top, left in self._corners], np.float32)

    @property
    def shares(self) -> Floats:
        """(tiles,): how much of the part each stands for, by its weights in the blend; they add up to 1."""
        down, across = (self._weights(*axis).sum(1) for axis in self._axes)
        return (np.outer(down, across).ravel() / (self.rows * self.columns)).astype(np.float32)

    def size_px(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of every tile of a picture of the part."""
        return -(-self.side * height // self.rows), -(-self.side * width // self.columns)  # rounded up

    def check(self, height: int, width: int, name: str) -> None:
        """Raises ImageError if a tile of a part of this size, in pixels, would show next to nothing."""
        tall, wide = self.size_px(height, width)
        if min(tall, wide) < SMALLEST_SIDE_PX:
            raise ImageError(
                f"{name}: {len(self)} tiles of its {width} x {height} pixels would have {wide} x {tall} each, fewer "
                f"than {SMALLEST_SIDE_PX} on a side; take a picture as large as those that the model was fitted on"
            )

    def cut(self, part: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """A picture of the part (H, W, 3) -> its tiles, equally large; views of it, not copies."""
        height, width = part.shape[:2]
        tall, wide = self.size_px(height, width)
        corners = [
            (min(top * height // self.rows, height - tall), min(left * width // self.columns, width - wide))
            for top, left in self._corners
        ]
        return [part[top : top + tall, left : left + wide] for top, left in corners]

    def join(self, tiles: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The graph's outputs for all tiles, (tiles, ...) each -> those of the picture.

        score: the largest; anomaly_map: blended; embedding: the mean over the part; distance: the gate's, of that
        mean. So the gate looks at the whole picture: a tile that shows one large defect is not a foreign picture.
        """
        standard = self.shares @ tiles["gate_embedding"]
        return {
            "score": tiles["score"].max(),
            "anomaly_map": self.blend(tiles["anomaly_map"]),
            "embedding": self.shares @ tiles["embedding"],
            "distance": np.sqrt(np.square(standard).mean()),
        }

    def blend(self, maps: Floats) -> Floats:
        """(tiles, side, side) -> (rows, columns): where tiles overlap, each counts less towards its edge, linearly."""
        down, across = (self._weights(*axis) for axis in self._axes)
        whole = np.zeros((self.rows, self.columns), np.float32)
        for index, (top, left) in enumerate(self._corners):
            weights = np.outer(down[index // len(across)], across[index % len(across)])
            whole[top : top + self.side, left : left + self.side] += weights * maps[index]
        return whole

    @property
    def _corners(self) -> list[tuple[int, int]]:
        return [(top, left) for top in self._tops for left in self._lefts]

    @property
    def _tops(self) -> list[int]:
        return self._starts(self.rows)

    @property
    def _lefts(self) -> list[int]:
        return self._starts(self.columns)

    @property
    def _axes(self) -> tuple[tuple[list[int], int], tuple[list[int], int]]:
        return (self._tops, self.rows), (self._lefts, self.columns)

    def _starts(self, length: int) -> list[int]:
        step = self.side - self.overlap
        count = 1 + math.ceil((length - self.side) / step)
        return [min(index * step, length - self.side) for index in range(count)]

    def _weights(self, starts: list[int], length: int) -> Floats:
        """(tiles along one axis, side): each place's weights add up to 1 over the tiles that cover it."""
        middles = np.arange(self.side) + 0.5
        weights = np.ones((len(starts), self.side))
        for index, start in enumerate(starts):
            if index > 0:
                shared = starts[index - 1] + self.side - start
                weights[index] = np.minimum(weights[index], middles / max(shared, 1))
            if index + 1 < len(starts):
                shared = start + self.side - starts[index + 1]
                weights[index] = np.minimum(weights[index], middles[::-1] / max(shared, 1))
        total = np.zeros(length)
        for start, row in zip(starts, weights, strict=True):
            total[start : start + self.side] += row
        for start, row in zip(starts, weights, strict=True):
            row /= total[start : start + self.side]  # three tiles overlap where the last one was moved far inwards
        return weights.astype(np.float32)
