"""What kind of picture a camera gives: its size, its colour, its depth. Not what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defectflow.image.depth import RawPixels

EVERY = 8
"""Of each row and column, one pixel in so many is looked at for colour."""


@dataclass(frozen=True, slots=True)
class PictureForm:
    """Of pixels as stored."""

    width_px: int
    height_px: int
    grey: bool
    """Whether red, green and blue are equal; a grey picture that was saved in colour is grey."""
    bits: int
    """8 or 16."""

    @classmethod
    def of(cls, pixels: RawPixels) -> PictureForm:
        """pixels (H, W, 3)."""
        height, width, _ = pixels.shape
        some = pixels[::EVERY, ::EVERY]
        grey = bool((some == some[:, :, :1]).all())
        return cls(width, height, grey, 16 if pixels.dtype == np.uint16 else 8)

    def __str__(self) -> str:
        return f"{self.width_px} x {self.height_px} px, {'grey' if self.grey else 'colour'}, {self.bits} bits"
