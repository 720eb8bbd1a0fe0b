"""JPEG bytes -> whether all of the picture is in them. Decoders fill what is missing with grey, and say nothing.

A file that was cut short and then given its end marker, as cameras and network drives do, looks whole by its ends.
"""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from defectflow.errors import ImageError

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The next one that is neither a stuffed byte of a scan nor a restart within it."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_START_OF_SCAN, _END, _PROGRESSIVE = 0xDA, 0xD9, frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_GREY = 128
"""Where a scan ends too early, libjpeg leaves all coefficients zero: the middle of the scale."""
_FILLING = bytes(range(1, 251)) * 16
_COEFFICIENTS = 64


def check_whole(picture: JpegImageFile, content: bytes, name: str) -> None:
    """picture: loaded, not turned yet. Raises ImageError where scan data are missing.

    What is lost within the last block of 16 x 16 pixels, at most, is not seen.
    """
    scans, progressive, end = _scans(content)
    if progressive and _unfinished(scans):
        raise ImageError(f"{name}: is cut short (a progressive JPEG without its last scans); copy it again")
    if len(scans) == 1 and not _may_be_filled(picture):
        return
    # A decoder stops at the last block: what follows it changes nothing, unless blocks are missing.
    filled = JpegImageFile(BytesIO(_filled(content[:end])))
    filled.load()
    if not np.array_equal(np.asarray(picture), np.asarray(filled)):
        raise ImageError(f"{name}: is cut short (the JPEG's picture data end before the picture does); copy it again")


def _filled(cut: bytes) -> bytes:
    """More data after the last scan's, and after the restart that may be due there."""
    restarts = _RESTART.findall(cut)
    due = (restarts[-1][1] + 1) % 8 if restarts else 0
    return b"".join([cut.rstrip(b"\xff"), _FILLING, bytes([0xFF, 0xD0 + due]), _FILLING, b"\xff\xd9"])


def _may_be_filled(picture: Image.Image) -> bool:
    """Whether the last block's pixels are what a decoder makes of nothing."""
    # Not the block's first row and column, into which colours of the blocks beside it are smoothed.
    (left, width), (top, height) = (((side - 1) // 8 * 8 + 1, side) for side in picture.size)
    if picture.mode not in ("L", "RGB") or left == width or top == height:
        return True
    return bool((np.asarray(picture.crop((left, top, width, height))) == _GREY).all())


def _scans(content: bytes) -> tuple[list[bytes], bool, int]:
    """The header of each scan, whether the file is progressive, and where its end marker stands."""
    scans, progressive, at = list[bytes](), False, 2
    while (found := _MARKER.search(content, at)) is not None:
        marker, at = content[found.start() + 1], found.end()
        if marker == _END:
            return scans, progressive, found.start()
        length = int.from_bytes(content[at : at + 2])
        if marker == _START_OF_SCAN:
            scans.append(content[at + 2 : at + length])
        progressive |= marker in _PROGRESSIVE
        at += length
    return scans, progressive, len(content)


def _unfinished(scans: list[bytes]) -> bool:
    """Whether a coefficient of a component that any scan names is not known to its last bit.

    A header: how many components; of each its id and tables; first and last coefficient; bits missing before and now.
    """
    missing = dict[int, list[bool]]()
    for scan in scans:
        count = scan[0]
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
        for component in scan[1 : 1 + 2 * count : 2]:
            of_component = missing.setdefault(component, [True] * _COEFFICIENTS)
            of_component[first : last + 1] = [bool(bits & 15)] * (last + 1 - first)
    return any(any(of_component) for of_component in missing.values())
