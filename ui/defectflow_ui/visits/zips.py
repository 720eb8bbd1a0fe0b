"""What a ZIP says of itself, read before any of it is believed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from defectflow.image import SUFFIXES
from defectflow_ui.settings import MIB, Limits
from defectflow_ui.words import uploads as words

ZIP_END, ZIP64_LOCATOR, ZIP64_END = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
ZIP_START = (b"PK\x03\x04", ZIP_END)
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways to pack that are unpacked piece by piece. zipfile unpacks a whole read of the others at once, and 2 kB of bzip2
can hold gigabytes, whatever the directory says."""
LONGEST_END = 22 + 65535 + 20 + 56
"""The record that closes a ZIP, with the longest comment, and what ZIP64 puts before it."""
DIRECTORY_BYTES = 10_000
"""Longest directory of a ZIP, for each picture that a drop may hold; a usual entry takes about a hundred."""


def shown_name(name: str) -> str:
    """A file name as it may be shown: no control characters, forward slashes, not endless."""
    printable = "".join(char for char in name.replace("\\", "/") if char.isprintable())
    return printable.strip("/")[-200:] or words.nameless


def is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) in ZIP_START


def is_picture(entry: zipfile.ZipInfo) -> bool:
    """By its name; and not what macOS puts beside each picture, nor another hidden file."""
    path = PurePosixPath(shown_name(entry.filename))
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def too_long(name: str, file: Path, limits: Limits) -> str | None:
    """Why a ZIP's directory is not read, or None. A long one would cost memory before its entries could be counted."""
    if directory_bytes(file) > DIRECTORY_BYTES * limits.files:
        return words.zip_too_many(name, limits.files)
    return None


def directory_bytes(file: Path) -> int:
    """How long a ZIP's directory says it is, at most; 0 where there is none."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - LONGEST_END))
        end = stream.read()
    at = end.rfind(ZIP_END)
    if at < 0:
        return 0
    told = int.from_bytes(end[at + 12 : at + 16], "little")
    if ZIP64_LOCATOR not in end:
        return told
    # Then zipfile believes the record of ZIP64, wherever that lies, whatever the usual one says.
    record = end.rfind(ZIP64_END)
    return max(told, size if record < 0 else int.from_bytes(end[record + 40 : record + 48], "little"))


def refusal(name: str, entries: Sequence[zipfile.ZipInfo], limits: Limits, held: int) -> str | None:
    """Why a ZIP of these entries is not unpacked, or None. `held`: bytes of the drop's other files."""
    if sum(map(is_picture, entries)) > limits.files:
        return words.zip_too_many(name, limits.files)
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
            return words.zip_leaves(name, entry.filename)
        if is_picture(entry) and entry.compress_type not in BOUNDED:
            return words.zip_method(name, entry.filename)
        if entry.file_size > limits.file_bytes:
            return words.file_too_large(f"{name}/{entry.filename}", limits.file_bytes // MIB)
        if entry.file_size > MIB and entry.file_size > limits.zip_ratio * max(entry.compress_size, 1):
            return words.zip_bomb(name, entry.filename)
    if held + sum(entry.file_size for entry in entries) > limits.drop_bytes:
        return words.drop_too_large(name, limits.drop_bytes // MIB)
    return None
