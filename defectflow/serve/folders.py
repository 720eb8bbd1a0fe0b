"""A folder that pictures are written into -> verdicts beside them, in the order in which they settle.

A kill at any moment loses and doubles nothing. Each file is a request under a key of its name, size and time, so it is
recorded once; its verdict is written next, and it is moved last. What is still there at a start goes the same way.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

from watchfiles import watch

from defectflow.bundle import file_digest
from defectflow.common import cell, write_whole
from defectflow.errors import DataError, DefectFlowError, ImageError
from defectflow.image import SUFFIXES, read_image
from defectflow.serve.answers import InspectionAnswer
from defectflow.serve.receive import shown
from defectflow.serve.settings import FolderSettings
from defectflow.serve.work import Busy, Done, Job, Received, Work
from defectflow.store import Inspection, RequestKey, Store

log = logging.getLogger(__name__)
DONE, TABLE = "done", "verdicts.csv"
AT_ONCE = 8
"""Pictures that are given to the service at once, so that it may judge them together."""
COLUMNS = ("id", "at", "file", "part", "decision", "score", "p_value", "threshold", "model", "calibration_id", "error")
LOOK_S = 0.5
"""How often the folder is looked at where the file system tells nothing, as on network drives."""
UNREADABLE = 10
"""A picture that cannot be read is waited for so many times as long: it may still be arriving."""
PAUSE_S = 2.0
"""Before another try where the service or the store was busy."""


@dataclass(frozen=True, slots=True)
class State:
    """A file's size and time: while it is being written, they change."""

    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A picture file that has not changed for a while."""

    path: Path
    state: State
    for_s: float
    """How long it has not changed."""

    @property
    def key(self) -> str:
        """The same for the same file, and another once it is replaced."""
        said = f"{self.path.name}\0{self.state.size}\0{self.state.changed_ns}"
        return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()


class WatchedFolder:
    """Inspects what is written into one folder, in a thread of its own."""

    def __init__(self, folder: Path, settings: FolderSettings, work: Work, store: Store) -> None:
        """Raises DataError if there is no such folder, or it cannot be written."""
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder to watch (folders); make it, or name another")
        if not os.access(folder, os.W_OK):
            raise DataError(f"{folder}: verdicts cannot be written there (folders); let the service write there")
        self._folder, self._settings, self._work, self._store = folder, settings, work, store
        self._client = f"folder {folder.name}"
        self._seen: dict[str, tuple[State, float]] = {}
        """Each picture's state, and since when (by `time.monotonic`, which no change of the clock moves)."""
        self._done: dict[str, State] = {}
        """Of pictures that stay: by name, the state in which they were inspected."""
        self._table = Table(folder / DONE / TABLE)
        self._over = Event()
        self._thread = Thread(target=self._watch_on, name=f"watch {folder}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Finish the picture that is being inspected, and end."""
        self._over.set()
        self._thread.join()

    def _watch_on(self) -> None:
        changes = watch(
            self._folder,
            stop_event=self._over,
            recursive=False,
            yield_on_timeout=True,
            rust_timeout=round(1000 * LOOK_S),
            debounce=50,
            raise_interrupt=False,
        )
        self._look()
        for _ in changes:
            self._look()

    def _look(self) -> None:
        """Inspect what has settled, oldest first. Whatever goes wrong, the next look goes on from there."""
        try:
            files = sorted(self._settled(), key=lambda file: (file.state.changed_ns, file.path.name))
            for some in batched(filter(self._wanted, files), AT_ONCE):
                if self._over.is_set():
                    return
                self._inspect(some)
        except (DefectFlowError, Busy, OSError) as error:
            log.error("%s: %s; it is tried again", self._folder, error)
            self._over.wait(PAUSE_S)

    def _settled(self) -> Iterator[Settled]:
        now, seen = time.monotonic(), dict[str, tuple[State, float]]()
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in SUFFIXES:
                    continue
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue  # taken away since
                state = State(found.st_size, found.st_mtime_ns)
                before, since = self._seen.get(entry.name, (None, now))
                seen[entry.name] = state, since if before == state else now
                file = Settled(Path(entry.path), state, now - seen[entry.name][1])
                if stat.S_ISREG(found.st_mode) and file.for_s >= self._settings.settled_s:
                    yield file
        self._seen = seen

    def _wanted(self, file: Settled) -> bool:
        """Whether it is new, and whole as far as can be told."""
        if self._done.get(file.path.name) == file.state:
            return False
        if self._settings.pictures == "stay" and self._settings.verdicts == "json" and self._said(file):
            self._done[file.path.name] = file.state
            return False
        if file.for_s < UNREADABLE * self._settings.settled_s:
            try:
                read_image(file.path)
            except ImageError:
                return False  # half-written, perhaps
        return True

    def _inspect(self, files: Sequence[Settled]) -> None:
        """Raises Busy where the service has no room for any of them, and DefectFlowError."""
        asked: list[tuple[Settled, Future[Done]]] = []
        for file in files:
            key = RequestKey(self._client, file.key, file.key)
            known = self._store.requests.find(key)
            if known is not None:  # recorded by a process that was killed
                self._write(file, known[0])
                continue
            picture = Received(shown(file.path.name), file.path, file_digest(file.path))
            job = Job(
                pictures=(picture,),
                client=self._client,
                model=self._settings.model,
                product=self._settings.product,
                camera=self._settings.camera,
                key=key,
            )
            try:
                self._work.submit(job)
            except Busy:
                if not asked:
                    raise
                break  # the others at the next look
            asked.append((file, job.future))
        for file, future in asked:
            self._write(file, future.result().inspections[0])

    def _write(self, file: Settled, row: Inspection) -> None:
        """The verdict, then the move: a picture that has gone from the folder is never without its verdict."""
        stays = self._settings.pictures == "stay"
        folder = self._folder if stays else self._folder / DONE / row.decision
        folder.mkdir(parents=True, exist_ok=True)
        target = file.path if stays else _free(folder / file.path.name, row.id)
        answer = InspectionAnswer.of(row).model_dump(mode="json", exclude={"images"})
        if self._settings.verdicts == "csv":
            self._table.add(answer)
        else:
            said = json.dumps(answer | {"key": file.key}, indent=1, ensure_ascii=False)
            write_whole(target.with_name(f"{target.name}.json"), f"{said}\n")
        if stays:
            self._done[file.path.name] = file.state
        else:
            file.path.replace(target)

    def _said(self, file: Settled) -> bool:
        """Whether the verdict that lies beside a picture is of this file, and not of one that it has replaced."""
        try:
            said = json.loads(file.path.with_name(f"{file.path.name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(said, dict) and said.get("key") == file.key


class Table:
    """A CSV file with one line for each inspection, however often it is added."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ids: set[str] | None = None
        """Of the lines; read when the first is added."""

    def add(self, answer: dict[str, Any]) -> None:
        """Append an inspection, unless it is there."""
        if self._ids is None:
            self._ids = self._read()
        if str(answer["id"]) in self._ids:
            return
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(COLUMNS)
            writer.writerow([cell(answer[name]) for name in COLUMNS])
        self._ids.add(str(answer["id"]))

    def _read(self) -> set[str]:
        """The ids; a last line that a kill has torn is cut off."""
        if not self._file.exists():
            return set()
        content = self._file.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._file, whole)
        lines = content[:whole].decode("utf-8").splitlines()
        return {line["id"] for line in csv.DictReader(lines)}


def batched(files: Iterable[Settled], count: int) -> Iterator[list[Settled]]:
    """So many at a time."""
    files = iter(files)
    while some := list(islice(files, count)):
        yield some


def _free(target: Path, number: int) -> Path:
    """The same name, or with the inspection's number where another picture of this name lies there."""
    return target.with_name(f"{target.stem}-{number}{target.suffix}") if target.exists() else target
