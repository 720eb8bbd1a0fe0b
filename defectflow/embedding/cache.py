"""Embeddings on disk, extracted once: memory-mapped fp16, keyed by content, bounded, safe to delete at any time.

An entry is a folder named by digests of the settings with the weights, and of the pictures' pixels. It is written under
another name and renamed when whole, so two runs at once cannot see or spoil each other's half-written files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from defectflow.errors import DataError

DEFAULT_LIMIT_GB = 20.0
ABANDONED_S = 86_400
"""A half-written entry that no one has touched for so long belongs to a run that was killed."""
Levels = list[NDArray[np.float16]]
Fill = Callable[[Levels, Sequence[int]], None]
"""Writes the given rows of every level."""
PICTURES = "pictures.json"
"""The digests of an entry's pictures, in their order."""


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """All that embeddings depend on."""

    settings: str
    """A digest of settings and weights."""
    pictures: tuple[str, ...]
    """Digests of the pictures' pixels, in their order."""

    @property
    def name(self) -> str:
        """Of the entry. Entries that begin alike hold embeddings of the same settings."""
        pictures = hashlib.sha256("\n".join(self.pictures).encode()).hexdigest()
        return f"{self.settings[:20]}-{pictures[:20]}"


class EmbeddingCache:
    """A folder of entries, one per set of pictures; the least recently used ones go when it grows too large."""

    def __init__(self, folder: Path | None = None, limit_gb: float = DEFAULT_LIMIT_GB) -> None:
        """`folder`: by default where the operating system keeps what may be deleted at any time."""
        self.folder = folder or platformdirs.user_cache_path("defectflow", appauthor=False)
        self.limit_bytes = int(limit_gb * 1e9)

    def levels(self, key: EmbeddingKey, shapes: list[tuple[int, ...]], fill: Fill) -> Levels:
        """One array (pictures, h_l, w_l, D_l) per level, from disk if it is there, else made by `fill`.

        Pictures that another entry of the same settings holds are copied; `fill` gets the rows of the others alone.
        Raises DataError if the entry would not fit into the limit or on the disk.
        """
        entry = self.folder / key.name
        names = [f"level{i}.npy" for i in range(len(shapes))]
        if entry.is_dir() and not all((entry / name).is_file() for name in names):
            shutil.rmtree(entry)  # what a deletion that did not finish has left
        if not entry.is_dir():
            self._write(entry, key, shapes, fill)
        os.utime(entry)
        self._forget_oldest(keep=entry)
        return [np.load(entry / name, mmap_mode="r") for name in names]

    def _write(self, entry: Path, key: EmbeddingKey, shapes: list[tuple[int, ...]], fill: Fill) -> None:
        pictures = len(key.pictures)
        size = sum(2 * pictures * int(np.prod(shape)) for shape in shapes)
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if size > min(self.limit_bytes, free):
            raise DataError(
                f"{self.folder}: the embeddings of {pictures} pictures need {size / 1e9:.1f} GB; the cache may hold "
                f"{self.limit_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. Raise --cache-limit, free the "
                "disk, or use a smaller image.size or fewer embedding.levels"
            )
        partial = Path(tempfile.mkdtemp(prefix=f"{entry.name[:16]}.", suffix=".partial", dir=self.folder))
        try:
            arrays: Levels = [
                np.lib.format.open_memmap(
                    partial / f"level{i}.npy", mode="w+", dtype=np.float16, shape=(pictures, *shape)
                )
                for i, shape in enumerate(shapes)
            ]
            missing = self._copy_known(key, arrays)
            if missing:
                fill(arrays, missing)
            (partial / PICTURES).write_text(json.dumps(key.pictures), encoding="utf-8")
            del arrays  # closed before the rename, which Windows otherwise refuses
            try:
                partial.rename(entry)
            except OSError:
                if not entry.is_dir():
                    raise
                # Another run was faster: its entry is the same.
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _copy_known(self, key: EmbeddingKey, arrays: Levels) -> list[int]:
        """Copy what other entries hold of these pictures; the rows that are still to be made."""
        missing = list(range(len(key.pictures)))
        for entry in self.folder.glob(f"{key.settings[:20]}-*"):
            if not missing:
                break
            with contextlib.suppress(OSError, ValueError):  # removed meanwhile, or half removed
                there = {digest: row for row, digest in enumerate(json.loads((entry / PICTURES).read_text("utf-8")))}
                levels = [np.load(entry / f"level{i}.npy", mmap_mode="r") for i in range(len(arrays))]
                known = {row: there[key.pictures[row]] for row in missing if key.pictures[row] in there}
                for array, level in zip(arrays, levels, strict=True):
                    for row, other in known.items():
                        array[row] = level[other]
                missing = [row for row in missing if row not in known]
        return missing

    def _forget_oldest(self, keep: Path) -> None:
        ages, sizes = dict[Path, float](), dict[Path, int]()
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another run has just removed or renamed it
                age, files = path.stat().st_mtime, [file.stat() for file in path.glob("*.npy")]
                if path.suffix != ".partial":
                    ages[path], sizes[path] = age, sum(file.st_size for file in files)
                elif time.time() - max([age, *(file.st_mtime for file in files)]) > ABANDONED_S:
                    shutil.rmtree(path, ignore_errors=True)  # its run was killed
        for path in sorted(ages, key=ages.__getitem__):
            if sum(sizes.values()) <= self.limit_bytes:
                return
            if path != keep:
                shutil.rmtree(path, ignore_errors=True)  # in use elsewhere: it goes next time
                del sizes[path]
