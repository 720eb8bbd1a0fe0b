"""A bundle's reference/ -> the training part that a picture resembles most, to be looked at beside it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectflow.bundle import EMBEDDINGS, REFERENCE, Bundle, check_file, read_checked, read_index
from defectflow.errors import BundleError


@dataclass(frozen=True, slots=True)
class Similar:
    """One training picture."""

    thumbnail: Path
    part: str


class References:
    """The thumbnails of a bundle's training parts, found by pooled embedding.

    Raises BundleError if a file is missing or not the one that the card describes.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._thumbnails = read_index(bundle).thumbnails
        content = read_checked(bundle.path, EMBEDDINGS, bundle.card)
        try:
            pooled = np.load(BytesIO(content), allow_pickle=False)  # (n, D)
        except (ValueError, EOFError) as error:
            raise BundleError(f"{bundle.path / EMBEDDINGS}: cannot be read ({error}); copy the bundle again") from error
        if pooled.ndim != 2 or not 0 < len(pooled) == len(self._thumbnails):
            raise BundleError(
                f"{bundle.path / EMBEDDINGS}: has the shape {pooled.shape} for {len(self._thumbnails)} thumbnails; "
                "copy the bundle again"
            )
        # Each dimension counts by how much good parts differ in it, or the one with the largest numbers would decide.
        self._spread = np.maximum(pooled.std(0), 1e-6)
        self._pooled = pooled / self._spread

    def most_similar(self, embedding: NDArray[np.float32]) -> Similar:
        """The training picture nearest to a pooled embedding (D,); Euclidean, each dimension in its own spread."""
        nearest = int(np.argmin(np.linalg.norm(self._pooled - embedding / self._spread, axis=1)))
        row = self._thumbnails[nearest]
        name = f"{REFERENCE}/{row.file}"
        check_file(self._bundle.path, name, self._bundle.card)
        return Similar(self._bundle.path / name, row.part)
