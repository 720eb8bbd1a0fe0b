"""Masks are checked before anything is inspected, so that an evaluation does not fail half way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from defectflow.data import Picture
from defectflow.errors import DataError, ImageError
from defectflow.image import read_mask, size_px

COVERED = 0.5
"""A mask that marks more of a picture than this is probably inverted."""
LISTED = 10


def check_masks(pictures: Iterable[Picture]) -> list[str]:
    """Sentences about masks that look wrong. Raises DataError naming all that cannot be used."""
    faults, large = list[str](), list[str]()
    for picture in pictures:
        if picture.mask is None or picture.label != "defective":
            continue
        try:
            mask = read_mask(picture.mask)
        except ImageError as error:
            faults.append(f"  {error}")
            continue
        with contextlib.suppress(ImageError):  # of the picture: that is the evaluation's to report
            width, height = size_px(picture.path)
            if mask.shape != (height, width):
                faults.append(
                    f"  {picture.mask}: the mask has {mask.shape[1]} x {mask.shape[0]} px, its picture "
                    f"{picture.path.name} has {width} x {height} px; they must be equal"
                )
        if mask.mean() > COVERED:
            large.append(f"{picture.mask} ({mask.mean():.0%})")
    if faults:
        more = [f"  and {len(faults) - LISTED} more"] if len(faults) > LISTED else []
        raise DataError("\n".join([f"{len(faults)} mask(s) cannot be used:", *faults[:LISTED], *more]))
    if not large:
        return []
    return [
        f"{len(large)} masks mark more than {COVERED:.0%} of their picture, the first is {large[0]}: white must mark "
        "the defect, and black what is good; if they are inverted, the pixel figures are wrong."
    ]
