"""What every kind of camera can do. One thread at a time uses a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from defectflow.errors import CameraError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture file's bytes, as the camera gave them or as PNG."""

    content: bytes
    suffix: str
    """With its dot, e.g. ".png"."""
    name: str | None = None
    """The file's own name; None: it has none, and the camera and the time name it."""


class Source(Protocol):
    """A camera. Whatever it raises as CameraError means that it is closed and opened again."""

    live: bool
    """Whether `watch` must be called all the time, because pictures come by themselves."""

    def open(self) -> str:
        """Reach it and set it up; in words, what it is. Raises CameraError."""

    def take(self, timeout_s: float) -> Frame:
        """One picture that begins after this call. Raises CameraError."""

    def watch(self) -> Frame | None:
        """Is it still there? And a picture that its own input has triggered. Raises CameraError."""

    def close(self) -> None:
        """Also of one that was never opened, or failed."""


def png(pixels: Pixels) -> bytes:
    """(H, W) grey or (H, W, 3) BGR, 8 or 16 bit -> a PNG file's bytes, losslessly."""
    done, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise CameraError(f"a picture of shape {pixels.shape} and type {pixels.dtype} cannot be written as PNG")
    return encoded.tobytes()


def size_words(pixels: NDArray[Any]) -> str:
    """For people: 640 x 480."""
    return f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
