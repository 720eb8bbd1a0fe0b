"""A picture file that was looked at: enough to show it again, without keeping its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import ImageError
from defectflow.image.decode import read_image_file


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file, how it was read, and what its bytes were."""

    path: Path
    full_scale: int | None
    """White of 16-bit pictures, as `read_image` takes it."""
    sha256: str
    """Of the file's bytes, in hex."""

    def read(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, as before. Raises ImageError if the file is gone or has changed since."""
        pixels, sha256, _ = read_image_file(self.path, full_scale=self.full_scale)
        if sha256 != self.sha256:
            raise ImageError(f"{self.path}: has changed since it was inspected; inspect it again")
        return pixels
