"""Embeddings on disk, extracted once: memory-mapped fp16, keyed by content, bounded, safe to delete at any time.

An entry is a folder named by a digest of the pictures' pixels, the settings and the weights. It is written under
another name and renamed when whole, so two runs at once cannot see or spoil each other's half-written files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import DataError

DEFAULT_LIMIT_GB = 20.0
ABANDONED_S = 86_400
"""A half-written entry that nobody has touched for so long belongs to a run that was killed."""
Levels = list[NDArray[np.float16]]


class EmbeddingCache:
    """A folder of entries, one per set of pictures; the least recently used ones go when it grows too large."""

    def __init__(self, folder: Path, limit_gb: float = DEFAULT_LIMIT_GB) -> None:
        self.folder = folder
        self.limit_bytes = int(limit_gb * 1e9)

    def levels(self, key: str, pictures: int, shapes: list[tuple[int, ...]], fill: Callable[[Levels], None]) -> Levels:
        """One array (pictures, h_l, w_l, D_l) per level, from disk if it is there, else made by `fill`.

        Raises DataError if the entry would not fit into the limit or on the disk.
        """
        entry = self.folder / key
        names = [f"level{i}.npy" for i in range(len(shapes))]
        if entry.is_dir() and not all((entry / name).is_file() for name in names):
            shutil.rmtree(entry)  # what a deletion that did not finish has left
        if not entry.is_dir():
            self._write(entry, pictures, shapes, fill)
        os.utime(entry)
        self._forget_oldest(keep=entry)
        return [np.load(entry / name, mmap_mode="r") for name in names]

    def _write(self, entry: Path, pictures: int, shapes: list[tuple[int, ...]], fill: Callable[[Levels], None]) -> None:
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
            fill(arrays)
            del arrays  # closed before the rename, which Windows otherwise refuses
            try:
                partial.rename(entry)
            except OSError:
                if not entry.is_dir():
                    raise
                # Another run was faster: its entry is the same.
        finally:
            shutil.rmtree(partial, ignore_errors=True)

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
