"""A level's cached vectors: drawn from for training, read picture by picture for statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Vectors:
    """A level's cached vectors and the places that count.

    maps (n, h, w, D) fp16, on disk; places: flat indices into h * w inside the region of interest. Where only a sample
    of a part's places is kept, maps are (n, 1, P, D) and `sampled` (n, P) says which place each vector is from.
    """

    maps: NDArray[np.float16]
    places: NDArray[np.int64]
    sampled: NDArray[np.int32] | None = None

    def draw(self, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`count` vectors (count, D) and the places (count,) that they come from."""
        vectors, places, _ = self.draw_with_pictures(count, random)
        return vectors, places

    def draw_with_pictures(self, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and the pictures (count,) that they come from."""
        pictures, height, width, depth = self.maps.shape
        picture = random.integers(pictures, size=count)
        place = random.choice(self.places, size=count)
        vectors = self.maps.reshape(-1, depth)[picture * (height * width) + place]
        places = torch.from_numpy(self._on_part(picture, place))
        return torch.from_numpy(vectors.astype(np.float32)), places, torch.from_numpy(picture)

    def rows(self, start: int, stop: int | None = None) -> Vectors:
        """Those of some of the pictures."""
        sampled = None if self.sampled is None else self.sampled[start:stop]
        return Vectors(self.maps[start:stop], self.places, sampled)

    def of_picture(self, picture: int) -> tuple[Tensor, Tensor]:
        """All vectors of one picture (P, D) and the places (P,) that they come from."""
        vectors = self.maps[picture].reshape(-1, self.maps.shape[-1])[self.places]
        return torch.from_numpy(vectors.astype(np.float32)), torch.from_numpy(self._on_part(picture, self.places))

    def _on_part(self, picture: NDArray[np.int64] | int, place: NDArray[np.int64]) -> NDArray[np.int64]:
        return place if self.sampled is None else self.sampled[picture, place].astype(np.int64)
