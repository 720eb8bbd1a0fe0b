"""A ZIP's directory, read and checked before anything is unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from defectflow.image import HEADER_BYTES, SUFFIXES, is_picture
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
OTHERS = 10
"""Most files of a ZIP, for each picture that a drop may hold: each is looked into."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What of a ZIP is looked at, and what is not."""

    pictures: tuple[zipfile.ZipInfo, ...]
    """By suffix or by content; also what could not be opened, so that it is not missed."""
    skipped: tuple[tuple[str, str], ...]
    """(name, reason) of every other file."""


def shown_name(name: str) -> str:
    """A file name as it may be shown: no control characters, forward slashes, not endless."""
    printable = "".join(char for char in name.replace("\\", "/") if char.isprintable())
    return printable.strip("/")[-200:] or words.nameless


def is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) in ZIP_START


def look_into(archive: zipfile.ZipFile, files: Sequence[zipfile.ZipInfo]) -> Contents:
    """Which files of a ZIP are pictures: by suffix, or else by the bytes that they begin with, as in folders."""
    reasons = [(entry, _reason_to_skip(archive, entry)) for entry in files]
    return Contents(
        tuple(entry for entry, reason in reasons if reason is None),
        tuple((shown_name(entry.filename), reason) for entry, reason in reasons if reason is not None),
    )


def _reason_to_skip(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(shown_name(entry.filename))
    if any(part.startswith((".", "__MACOSX")) for part in path.parts):  # what macOS puts beside each picture, too
        return words.hidden
    if path.suffix.lower() in SUFFIXES:
        return None
    if entry.compress_type not in BOUNDED:
        return words.packed_oddly
    try:
        with archive.open(entry) as packed:
            header = packed.read(HEADER_BYTES)
    except Exception:  # zipfile raises whatever type the damage leads to; nobody knows what it is
        return None
    if header.startswith(ZIP_START):
        return words.inner_zip
    return None if is_picture(header) else words.no_picture


def too_long(name: str, file: Path, limits: Limits) -> str | None:
    """Why a ZIP's directory is not read, or None. A long one would cost memory before its entries could be counted."""
    if directory_bytes(file) > DIRECTORY_BYTES * limits.files:
        return words.zip_too_many(name, limits.files)
    return None


def directory_bytes(file: Path) -> int:
    """How long a ZIP's directory says it is, at most; 0 if there is none."""
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


def refusal(name: str, entries: Sequence[zipfile.ZipInfo], contents: Contents, limits: Limits, held: int) -> str | None:
    """Why a ZIP of these files is not unpacked, or None. `held`: bytes of the drop's other files."""
    if len(contents.pictures) > limits.files:
        return words.zip_too_many(name, limits.files)
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
            return words.zip_leaves(name, entry.filename)
        if entry.file_size > limits.file_bytes:
            return words.file_too_large(f"{name}/{entry.filename}", limits.file_bytes // MIB)
        if entry.file_size > MIB and entry.file_size > limits.zip_ratio * max(entry.compress_size, 1):
            return words.zip_bomb(name, entry.filename)
    for entry in contents.pictures:
        if entry.compress_type not in BOUNDED:
            return words.zip_method(name, entry.filename)
    if held + sum(entry.file_size for entry in entries) > limits.drop_bytes:
        return words.drop_too_large(name, limits.drop_bytes // MIB)
    return None if contents.pictures else words.zip_without_pictures(name, contents.skipped)
