"""A file's first bytes -> which kind of picture it is. The content decides what a file is, never its suffix."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

HEADER_BYTES = 32
"""So many of a file's first bytes tell its kind."""
Kind = Literal["PNG", "JPEG", "TIFF", "WebP", "BMP"]
READ = "PNG, JPEG, TIFF, WebP and BMP"
PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
    | {".gif", ".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".jxl", ".psd", ".exr", ".fits", ""}
)
"""Suffixes, in lower case, that files of pictures have, readable or not; some have none."""
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Lengths of the header that follows: a text that begins with "BM" has another there."""
_OTHERS = {
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "Photoshop",
    b"v/1\x01": "OpenEXR",
    b"SIMPLE  =": "FITS",
}
_ISO_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}


def kind_of(header: bytes) -> Kind | None:
    """Which kind of picture that can be read begins so; None for any other file."""
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if header.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if header.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        return "WebP"
    if header.startswith(b"BM") and int.from_bytes(header[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return None


def foreign_kind(header: bytes) -> str | None:
    """The name of a kind of picture that begins so and cannot be read; None for what is not a picture."""
    if header[4:8] == b"ftyp":
        return _ISO_BRANDS.get(header[8:12])
    if header[:1] == b"P" and header[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and header[2:3] in b" \t\r\n":
        return "PNM" if header[3:4].isdigit() or header[3:4] == b"#" else None
    if header[:4] == b"\x28\0\0\0" and header[12:14] == b"\1\0" and header[14:16] in (b"\x08\0", b"\x18\0", b"\x20\0"):
        return "DIB"  # a BMP without its file header
    return next((name for start, name in _OTHERS.items() if header.startswith(start)), None)


def is_picture(header: bytes) -> bool:
    """Whether a file that begins so is a picture, of a kind that can be read or of another."""
    return kind_of(header) is not None or foreign_kind(header) is not None


def is_picture_file(path: Path) -> bool:
    """Whether a file is a picture by its content. Raises OSError if it cannot be opened."""
    with path.open("rb") as file:
        return is_picture(file.read(HEADER_BYTES))
