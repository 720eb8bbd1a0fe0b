"""A camera that writes files: each trigger takes one."""

from __future__ import annotations

import time
from pathlib import Path

from defectflow.errors import CameraError, ImageError
from defectflow.image import SUFFIXES, read_raw
from defectflow.serve.camera_settings import FolderCamera
from defectflow.serve.cameras.source import Frame

LOOK_S = 0.02
"""How often the folder is looked at while a file is waited for."""


class FolderSource:
    """Takes the files of one folder, and leaves them there."""

    live = False

    def __init__(self, settings: FolderCamera, most_bytes: int) -> None:
        self._settings, self._most_bytes = settings, most_bytes
        self._taken: set[tuple[str, int]] | None = None
        """Names and times of files that were taken, or lay there at the start; None: not opened yet."""
        self._last = ""
        """Name of the file that was replayed last."""

    def open(self) -> str:
        files = self._files()
        if self._taken is None:
            self._taken = set(files)
        if self._settings.pictures == "replay" and not files:
            raise CameraError(f"{self._settings.path}: holds no pictures to replay; put some there")
        return f"{self._settings.path}, {len(files)} pictures"

    def take(self, timeout_s: float) -> Frame:
        if self._settings.pictures == "replay":
            return self._replay()
        until = time.monotonic() + timeout_s
        while (frame := self._new()) is None:
            if time.monotonic() > until:
                raise CameraError(f"{self._settings.path}: no new picture after {timeout_s:g} s (timeout_s)")
            time.sleep(LOOK_S)
        return frame

    def watch(self) -> Frame | None:
        self._files()
        return None

    def close(self) -> None:
        """There is nothing to close."""

    def _replay(self) -> Frame:
        names = sorted(name for name, _ in self._files())
        if not names:
            raise CameraError(f"{self._settings.path}: holds no pictures to replay; put some there")
        self._last = next((name for name in names if name > self._last), names[0])
        return self._frame(self._settings.path / self._last)

    def _new(self) -> Frame | None:
        """The oldest file that has settled and can be read; a half-written one is waited for."""
        there = self._files()
        known = self._taken or set()
        self._taken = known.intersection(there)  # forgets what was removed
        for file in sorted(set(there) - known, key=lambda file: (file[1], file[0])):
            path = self._settings.path / file[0]
            if time.time() - file[1] / 1e9 < self._settings.settled_s:
                return None
            try:
                frame = self._frame(path)
                read_raw(frame.content, name=str(path))
            except (CameraError, ImageError):
                continue
            self._taken.add(file)
            return frame
        return None

    def _frame(self, path: Path) -> Frame:
        try:
            if path.stat().st_size > self._most_bytes:
                raise CameraError(f"{path}: over the limit of {self._most_bytes:,} bytes (limits.picture_megabytes)")
            return Frame(path.read_bytes(), path.suffix, path.name)
        except OSError as error:
            raise CameraError(f"{path}: cannot be read ({error.strerror or error})") from error

    def _files(self) -> list[tuple[str, int]]:
        """Name and time in ns of each picture. Raises CameraError."""
        found = []
        try:
            for path in self._settings.path.iterdir():
                if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                    try:
                        found.append((path.name, path.stat().st_mtime_ns))
                    except FileNotFoundError:
                        continue  # taken away since
        except OSError as error:
            raise CameraError(
                f"{self._settings.path}: the folder cannot be read ({error.strerror or error})"
            ) from error
        return found
