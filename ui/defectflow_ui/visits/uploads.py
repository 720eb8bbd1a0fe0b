"""Pictures and ZIPs from the browser -> files under numbers of our own, in a folder that nothing serves.

A drop is opened, gets one request per file, and is closed. The browser's file names are only ever shown; no path is
made of them, neither from a request nor from inside a ZIP. Whatever cannot be taken becomes an entry that says why,
and the rest goes on.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Condition
from time import monotonic

from starlette.concurrency import run_in_threadpool

from defectflow.errors import ImageError
from defectflow.image import SUFFIXES, size_px
from defectflow_ui.settings import MIB, Limits
from defectflow_ui.temporary_folders import prefix
from defectflow_ui.visits import zips
from defectflow_ui.visits.zips import is_zip, shown_name
from defectflow_ui.words import uploads as words

ACCEPTED = ",".join((*sorted(SUFFIXES), ".dib", ".jfif", ".jpe", ".zip"))
"""What a browser's file dialog offers at first; whatever is dropped is judged by its content."""
CHUNK = 1 * MIB
IDLE_S = 120.0
"""A browser from which nothing has come for so long sends nothing more; what it has sent is used."""
UNREAD_S = 600.0
"""How long an unread drop is waited for. It is asked for at once, by the page it was sent from."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One picture of a drop: its file here, or why there is none."""

    name: str
    """What the browser or the ZIP calls it; for showing only."""
    file: Path | None
    error: ImageError | None = None


class Drop:
    """The pictures that one person has dropped at once, as they arrive. Thread-safe."""

    def __init__(self, limits: Limits, *, idle_s: float = IDLE_S) -> None:
        self.token = secrets.token_urlsafe(18)
        self.folder = Path(tempfile.mkdtemp(prefix=prefix("drop")))
        self.abandoned = False
        """Whether it ended because nothing came any more, and not because everything had come."""
        self.closed = False
        """Whether its files were removed, because somebody stopped it or wants them no more."""
        self.skipped: list[str] = []
        """For each ZIP, how many of its files are not looked at, and why."""
        self._limits = limits
        self._idle_s = idle_s
        self._arrived: list[Arrived] = []
        self._answered = set[int]()
        self._changed = Condition()
        self._ended = False
        self._read = False
        self._heard = monotonic()
        self._held: dict[Path, int] = {}
        """File -> its bytes on the disk."""
        self._bytes = 0
        """Of all of them."""
        self._files = 0

    async def receive(self, name: str, content: AsyncIterator[bytes], number: int | None = None) -> None:
        """Take one file as it comes in; never more of it than is allowed.

        `number`: the browser's own. A file that it sends again, because it got no answer, counts once.
        """
        name = shown_name(name)
        file = self._next_file(name)
        size, refusal = 0, self._refusal(name)
        try:
            with file.open("wb") as out:
                async for chunk in content:
                    size += len(chunk)
                    held = self._hold(file, len(chunk))  # at once: a browser sends several files at the same time
                    self._heard = monotonic()
                    if refusal is None and size > self._limits.file_bytes:
                        refusal = words.file_too_large(name, self._limits.file_bytes // MIB)
                    if refusal is None and held > self._limits.drop_bytes:
                        refusal = words.drop_too_large(name, self._limits.drop_bytes // MIB)
                    if refusal is not None:
                        break  # what is left of the request is not read
                    out.write(chunk)
        except OSError as error:
            refusal = words.not_taken(name, error)
        except BaseException:  # the connection broke: the browser will send it again, or say that it cannot
            self._remove(file)
            raise
        if number is not None and not self._first(number):
            self._remove(file)
        elif refusal is not None:
            self._refuse(name, file, refusal)
        else:
            await run_in_threadpool(self._unpack if is_zip(file) else self._take, name, file)

    def lose(self, name: str, number: int) -> None:
        """The browser could not send this file: it becomes an entry that says so, unless it has arrived after all."""
        if self._first(number):
            self._add(Arrived(shown_name(name), None, ImageError(words.lost(shown_name(name)))))

    @property
    def ended(self) -> bool:
        with self._changed:
            self._end_if_idle()
            return self._ended

    @property
    def unread(self) -> bool:
        """Whether nobody has asked for it in all the time that a page could want for that."""
        return not self._read and monotonic() - self._heard > UNREAD_S

    @property
    def size(self) -> int:
        """Bytes that it holds on the disk."""
        return 0 if self.closed else self._bytes

    def end(self) -> None:
        """The browser has sent everything, or has given up."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, start: int, timeout_s: float) -> tuple[list[Arrived], bool]:
        """What has arrived since the first `start` entries, waiting for it if need be; and whether that is all."""
        with self._changed:
            self._read = True
            self._changed.wait_for(lambda: self._ended or len(self._arrived) > start, timeout_s)
            self._end_if_idle()
            return self._arrived[start:], self._ended

    def close(self) -> None:
        """Remove every file."""
        self.closed = True
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_if_idle(self) -> None:
        if not self._ended and monotonic() - self._heard > self._idle_s:
            self._ended = self.abandoned = True

    def _first(self, number: int) -> bool:
        """Whether the browser's file of this number has not been answered for yet; it is from now on."""
        with self._changed:
            before = len(self._answered)
            self._answered.add(number)
            return len(self._answered) > before

    def _hold(self, file: Path, size: int) -> int:
        """Count what is written to a file. -> Bytes of all files."""
        with self._changed:
            self._held[file] = self._held.get(file, 0) + size
            self._bytes += size
            return self._bytes

    def _remove(self, file: Path) -> None:
        file.unlink(missing_ok=True)
        with self._changed:
            self._bytes -= self._held.pop(file, 0)

    def _next_file(self, name: str) -> Path:
        """A file of ours. Of the given name it has nothing but a suffix that is known."""
        with self._changed:  # or two files could get one number, and one picture the other's name
            self._files += 1
            number = self._files
        suffix = PurePosixPath(name).suffix.lower()
        return self.folder / f"{number:06}{suffix if suffix in SUFFIXES else ''}"

    def _refusal(self, name: str) -> str | None:
        if len(self._arrived) >= self._limits.files:
            return words.too_many(name, self._limits.files)
        return None

    def _take(self, name: str, file: Path) -> None:
        try:
            width, height = size_px(file, name=name)
        except ImageError as error:
            self._refuse(name, file, str(error))
            return
        if width * height > self._limits.pixels:
            self._refuse(name, file, words.too_many_pixels(name, width, height, self._limits.pixels))
            return
        with self._changed:
            if reason := self._refusal(name):  # others have arrived since this one began
                self._refuse(name, file, reason)
            else:
                self._add(Arrived(name, file))

    def _unpack(self, name: str, file: Path) -> None:
        """The pictures of a ZIP, each into a file of ours. Its names are only shown, its sizes not believed."""
        if reason := zips.too_long(name, file, self._limits):
            self._refuse(name, file, reason)
            return
        try:
            with zipfile.ZipFile(file) as archive:
                entries = [entry for entry in archive.infolist() if not entry.is_dir()]
                if len(entries) > zips.OTHERS * self._limits.files:
                    self._refuse(name, file, words.zip_too_many(name, self._limits.files))
                    return
                contents = zips.look_into(archive, entries)
                others = self._bytes - self._held[file]  # the ZIP itself goes once it is unpacked
                if reason := zips.refusal(name, entries, contents, self._limits, others):
                    self._refuse(name, file, reason)
                    return
                if contents.skipped:
                    self.skipped.append(words.skipped(name, contents.skipped))
                for entry in contents.pictures:
                    self._extract(archive, entry, f"{name}/{shown_name(entry.filename)}")
        except Exception as error:  # zipfile raises whatever type the damage leads to
            self._refuse(name, file, words.bad_zip(name, str(error)))
        finally:
            self._remove(file)

    def _extract(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> None:
        target = self._next_file(name)
        try:
            if reason := self._refusal(name):
                self._add(Arrived(name, None, ImageError(reason)))
                return
            with archive.open(entry) as packed, target.open("wb") as out:
                left = entry.file_size  # checked against the limits; an entry that holds more is cut, and so refused
                while left > 0 and (chunk := packed.read(min(CHUNK, left))):
                    self._hold(target, len(chunk))
                    out.write(chunk)
                    left -= len(chunk)
        except Exception as error:  # the unpackers, too, raise whatever type the damage leads to
            self._refuse(name, target, words.bad_zip_entry(name, str(error)))
            return
        self._take(name, target)

    def _refuse(self, name: str, file: Path, reason: str) -> None:
        self._remove(file)
        self._add(Arrived(name, None, ImageError(reason)))

    def _add(self, arrived: Arrived) -> None:
        with self._changed:
            self._arrived.append(arrived)
            self._heard = monotonic()
            self._changed.notify_all()
