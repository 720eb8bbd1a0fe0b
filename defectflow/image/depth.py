"""Pictures of 16 bits: decoded as stored, and scaled to 8 bits by one number that never depends on the picture."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageFile, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from defectflow.errors import ImageError

FULL_SCALES = (255, 1023, 4095, 16383, 65535)
"""White of 8-, 10-, 12-, 14- and 16-bit cameras."""
HOT_PIXELS = 10_000
"""One value in so many may be brighter than what counts as a picture's white."""

RawPixels = NDArray[np.uint8] | NDArray[np.uint16]


def to_uint8(pixels: RawPixels, *, full_scale: int | None, name: str) -> NDArray[np.uint8]:
    """16-bit values -> round(value / full_scale * 255), clipped; 8-bit pixels are returned as they are.

    Raises ImageError if the picture has 16 bits and `full_scale` is None.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if full_scale is None:
        raise ImageError(
            f"{name}: is a 16-bit picture but the model was fitted on 8-bit pictures, so no value is known to be "
            "white; let the camera save 8 bits, or fit a model on 16-bit pictures"
        )
    return _scale_table(full_scale)[pixels]


def brightest(pixels: RawPixels) -> int | None:
    """The value that a ten-thousandth of the values of 16-bit pixels exceeds, at most; None for 8-bit ones.

    Not the largest: a camera's hot pixel has nothing to do with the scene.
    """
    if pixels.dtype != np.uint16:
        return None
    place = pixels.size - 1 - pixels.size // HOT_PIXELS
    return int(np.partition(pixels, place, axis=None)[place])


def full_scale_for(values: Iterable[int]) -> int:
    """The smallest of FULL_SCALES that holds the largest of these raw 16-bit values.

    Raises ValueError if there are no values.
    """
    largest = max(values)
    return next(full_scale for full_scale in FULL_SCALES if full_scale >= largest)


def decode_16_bit(picture: ImageFile.ImageFile, content: bytes, name: str, *, alpha: bool) -> NDArray[np.uint16]:
    """A picture of 16 bits -> (H, W, 3) uint16 RGB. `alpha`: whether a fourth channel says how opaque a pixel is; if
    not, it is near infrared, say, or colours are multiplied with it already, and it is left aside.
    """
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    picture.load()  # for colour too: it refuses damage before OpenCV reports it on the operator's console
    if picture.mode.startswith("I"):
        ImageOps.exif_transpose(picture, in_place=True)
        grey = np.array(picture).astype(np.uint16)  # (H, W); Pillow before 11 gives int32
        return np.repeat(grey[:, :, None], 3, axis=2)
    # Pillow keeps only the upper 8 bits of each colour, so OpenCV decodes these.
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] not in (3, 4):
        raise ImageError(f"{name}: is a 16-bit picture of an unknown variant; save it as 16-bit grey or RGB")
    rgb = stored[:, :, 2::-1].astype(np.uint16)  # BGR or BGRA -> RGB
    if stored.shape[2] == 4 and alpha:  # put on black, as for 8 bits
        rgb = ((rgb.astype(np.uint64) * stored[:, :, 3:] + 32767) // 65535).astype(np.uint16)
    if not isinstance(picture, TiffImageFile):  # OpenCV has turned a TIFF already
        rgb = _turn(rgb, orientation)
    return np.ascontiguousarray(rgb)


def _turn(pixels: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Stored pixels (H, W, 3) -> as the camera was held. Orientation as in EXIF, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


@lru_cache(maxsize=8)
def _scale_table(full_scale: int) -> NDArray[np.uint8]:
    """Raw value -> 8-bit value, (65536,). In integers, so that every machine and language rounds alike."""
    values = np.arange(65536, dtype=np.int64)
    return np.minimum((values * 255 + full_scale // 2) // full_scale, 255).astype(np.uint8)
