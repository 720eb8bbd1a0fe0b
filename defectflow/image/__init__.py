"""Bytes -> uint8 RGB; the square on the picture; the graph's resize; large pictures in tiles."""

from defectflow.image.areas import drawn_areas
from defectflow.image.decode import (
    SUFFIXES,
    pixel_digest,
    read_image,
    read_image_file,
    read_raw,
    size_px,
)
from defectflow.image.depth import FULL_SCALES, brightest, full_scale_for, to_uint8
from defectflow.image.form import PictureForm
from defectflow.image.geometry import PADDING_GREY, PARTS_PER_WHOLE, SMALLEST_SIDE_PX, Aspect, Geometry
from defectflow.image.kinds import HEADER_BYTES, PICTURE_SUFFIXES, READ, is_picture, is_picture_file, kind_of
from defectflow.image.masks import read_mask
from defectflow.image.picture_file import PictureFile
from defectflow.image.resize import to_square
from defectflow.image.shrink import jpeg, shrink
from defectflow.image.tiling import Tiling

__all__ = [
    "FULL_SCALES",
    "HEADER_BYTES",
    "PADDING_GREY",
    "PARTS_PER_WHOLE",
    "PICTURE_SUFFIXES",
    "READ",
    "SMALLEST_SIDE_PX",
    "SUFFIXES",
    "Aspect",
    "Geometry",
    "PictureFile",
    "PictureForm",
    "Tiling",
    "brightest",
    "drawn_areas",
    "full_scale_for",
    "is_picture",
    "is_picture_file",
    "jpeg",
    "kind_of",
    "pixel_digest",
    "read_image",
    "read_image_file",
    "read_mask",
    "read_raw",
    "shrink",
    "size_px",
    "to_square",
    "to_uint8",
]
