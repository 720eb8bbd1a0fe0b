"""Folder -> the files in it that are used, and the names of those that are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from defectflow.image import SUFFIXES, is_picture_file


@dataclass(frozen=True, slots=True)
class Files:
    """What a search has found; both sorted by path."""

    pictures: tuple[Path, ...]
    """Pictures by their suffix or by their content. Among them are links that lead nowhere and folders that cannot be
    opened: whoever reads them learns why, and no picture is missed silently."""
    skipped: tuple[Path, ...]
    """Other files, and what is hidden."""


def walk(folder: Path) -> Files:
    """Every file below a folder, through links, too; a folder that several links lead to is searched once."""
    pictures, skipped, locked = list[Path](), list[Path](), list[Path]()
    for here, hidden, files in walk_once(folder, locked):
        skipped += [here / one for one in hidden]
        for one in files:
            (pictures if is_to_be_looked_at(here / one) else skipped).append(here / one)
    return Files(_sorted([*pictures, *locked], folder), _sorted(skipped, folder))


def walk_once(folder: Path, locked: list[Path]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Every folder below one, with the names of its hidden folders, which are left out, and of its files.

    Through links, too; a folder that several links lead to comes once. `locked`: gets those that cannot be opened.
    """
    seen: set[tuple[int, int]] = set()

    def could_not_open(error: OSError) -> None:
        locked.append(Path(error.filename))

    for name, folders, files in os.walk(folder, followlinks=True, onerror=could_not_open):
        here = Path(name)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        hidden = [one for one in folders if one.startswith(".")]
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        yield here, hidden, files


def is_to_be_looked_at(file: Path) -> bool:
    """Whether a file is a picture by its suffix or its content, or may be one."""
    if file.name.startswith("."):
        return False
    if file.suffix.lower() in SUFFIXES:
        return True
    try:
        return is_picture_file(file)
    except OSError:  # nobody knows what it is, so it must not be missed
        return True


def _sorted(paths: list[Path], base: Path) -> tuple[Path, ...]:
    return tuple(sorted(paths, key=lambda path: path.relative_to(base).as_posix()))
