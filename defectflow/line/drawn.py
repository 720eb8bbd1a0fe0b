"""What a run draws of each picture: its overlay and its mask, as PNG files below the results."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from defectflow.common import is_full
from defectflow.image import read_image
from defectflow.line.journal import RUN
from defectflow.verdict import Verdict, overlay

OVERLAYS, MASKS = "overlays", "masks"
LONGEST_NAME = 255
"""Bytes in a file's name that file systems take."""


class OutputError(Exception):
    """One picture's overlay or mask cannot be written; its verdict stands, and so do the other pictures' files."""


def draw(
    out: Path, name: str, path: Path, verdict: Verdict, full_scale: int | None, *, overlays: bool, masks: bool
) -> None:
    """PNG files under the picture's own name in the results.

    Raises ImageError where the picture cannot be read any more, OSError where the disk is full, OutputError otherwise.
    """
    if overlays:
        pixels = read_image(path, full_scale=full_scale)
        _save_png(out / OVERLAYS / png_name(name), overlay(pixels, verdict))
    if masks:
        _save_png(out / MASKS / png_name(name), verdict.mask_at_full_size().astype(np.uint8) * 255)


def png_name(name: str) -> Path:
    """A picture's name in the results -> its PNG file's, relative to `overlays/` or `masks/`.

    Names that would become too long are cut, and told apart by 16 hex digits of the SHA-256 of the whole name. A
    manifest's picture elsewhere has an absolute name: nothing is written there.
    """
    *folders, last = Path(name).relative_to(Path(name).anchor).parts
    return Path(*map(_short, folders), _short(f"{last}.png", keep=".png"))


def is_drawn(path: Path) -> bool:
    """Whether a picture is an overlay or a mask that a run has written beside its results."""
    return any(folder.name in (OVERLAYS, MASKS) and (folder.parent / RUN).is_file() for folder in path.parents)


def _short(name: str, keep: str = "") -> str:
    encoded = name.encode()
    if len(encoded) <= LONGEST_NAME:
        return name
    end = f"~{hashlib.sha256(encoded).hexdigest()[:16]}{keep}"
    return encoded[: LONGEST_NAME - len(end)].decode(errors="ignore") + end


def _save_png(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # half a picture
        if is_full(error):
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
