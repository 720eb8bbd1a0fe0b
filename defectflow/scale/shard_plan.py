"""An archive's pictures -> shards. They wait in a file beside the results, so that memory does not grow with them.

A shard is a range of the hash of the part's name: all pictures of one part lie in one shard, which can say by itself
what becomes of its parts, and a picture that arrives later finds the shard that its part is in.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from defectflow.data import Listed, Picture
from defectflow.errors import DataError
from defectflow.line.journal import Stamp

PLAN = "plan.db"
HASHES = 2**32
SHARD_PICTURES = 256
"""Pictures of a shard, on average: what a lost worker costs, and what a resumed run does again, at most."""
DRAWN_PICTURES = 32
"""The same where overlays or masks travel with the rows."""
ROUNDS = 4
"""Shards per worker, at least, so that all of them end at about the same time."""
LEAST_PICTURES = 8
"""Fewer are not worth a shard."""
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Planned:
    """One picture of a shard."""

    name: str
    """In the results."""
    picture: Picture
    """Of an object store: `path` is the object's name below the URL."""
    stamp: Stamp | None
    """An object's, as it was listed; None for a file, at which the worker looks itself."""


@dataclass(frozen=True, slots=True)
class Shard:
    number: int
    pictures: tuple[Planned, ...]


class ShardPlan:
    """The pictures of a run on disk. Removed on leaving: the next run lists anew, and so sees what has arrived."""

    def __init__(self, out: Path) -> None:
        self._file = out / PLAN
        self._file.unlink(missing_ok=True)
        self._database = sqlite3.connect(self._file, isolation_level=None)
        # Nothing of it is needed after a kill.
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE files (name BLOB, size INTEGER, modified INTEGER);"
            "CREATE TABLE pictures (name TEXT PRIMARY KEY, hash INTEGER, part TEXT, path BLOB, known INTEGER,"
            " label TEXT, kind TEXT, product TEXT, more TEXT, size INTEGER, modified INTEGER) WITHOUT ROWID;"
            "BEGIN"
        )

    def __enter__(self) -> ShardPlan:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()
        self._file.unlink(missing_ok=True)

    def list_files(self, files: Iterable[Listed]) -> int:
        """Keep what an archive's listing gives; how many there are."""
        rows = ((os.fsencode(str(one.name)), one.size_bytes, one.modified_ns) for one in files)
        self._database.executemany("INSERT INTO files VALUES (?, ?, ?)", rows)
        return int(self._database.execute("SELECT count(*) FROM files").fetchone()[0])

    def names(self) -> Iterator[PurePosixPath]:
        """The listed files, as often as it is called."""
        for (name,) in self._database.execute("SELECT name FROM files ORDER BY rowid"):
            yield PurePosixPath(os.fsdecode(name))

    def add(self, pictures: Iterable[tuple[str, Picture]], *, listed: bool) -> None:
        """Pictures with their names in the results. `listed`: in the order of `names`, with the stamps of then."""
        stamps = self._database.execute("SELECT name, size, modified FROM files ORDER BY rowid") if listed else None
        rows = (_row(name, picture, stamps) for name, picture in pictures)
        try:
            self._database.executemany("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.IntegrityError as error:
            raise DataError(
                "two pictures have the same name in the results, as only bytes that are no Unicode tell them apart; "
                "rename one"
            ) from error
        self._database.execute("CREATE INDEX by_hash ON pictures (hash)")

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM pictures").fetchone()[0])

    def unnamed(self) -> tuple[int, str] | None:
        """How many pictures have no known part, and the first of them; None where all have one."""
        count, first = self._database.execute("SELECT count(*), min(name) FROM pictures WHERE NOT known").fetchone()
        return (count, first) if count else None

    def products(self) -> list[tuple[str, str | None]]:
        """(the first picture's name, product) of each product that pictures are said to show."""
        return self._database.execute("SELECT min(name), product FROM pictures GROUP BY product").fetchall()

    def columns(self) -> tuple[str, ...]:
        """A manifest's other columns; all its pictures have the same."""
        (more,) = self._database.execute("SELECT more FROM pictures LIMIT 1").fetchone()
        return tuple(column for column, _ in json.loads(more))

    def first(self) -> Planned:
        """Any picture, for looking whether the workers see it."""
        return _planned(self._database.execute("SELECT * FROM pictures LIMIT 1").fetchone())

    def part_of(self, names: Sequence[str]) -> dict[str, str]:
        """The parts that these pictures show, as far as they are still there."""
        found: dict[str, str] = {}
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            found |= dict(self._database.execute(f"SELECT name, part FROM pictures WHERE name IN ({marks})", some))
        return found

    def shards(self, count: int) -> Iterator[Shard]:
        """The pictures, divided into `count` shards; those that would be empty are left out."""
        rows = self._database.execute("SELECT * FROM pictures ORDER BY hash, name")
        for number, of_shard in itertools.groupby(rows, key=lambda row: row[1] * count // HASHES):
            yield Shard(number, tuple(_planned(row) for row in of_shard))


def shard_count(pictures: int, workers: int, *, drawn: bool) -> int:
    """Into how many shards so many pictures are divided, so that each worker has several and none is large."""
    by_size = math.ceil(pictures / (DRAWN_PICTURES if drawn else SHARD_PICTURES))
    return max(1, by_size, min(ROUNDS * workers, pictures // LEAST_PICTURES))


def hash_of(part: str) -> int:
    """In [0, HASHES), the same on every machine."""
    return int.from_bytes(hashlib.sha256(part.encode()).digest()[:4], "big")


def _row(name: str, picture: Picture, stamps: Iterator[tuple[bytes, int, int]] | None) -> tuple[object, ...]:
    size = modified = None
    if stamps is not None:
        wanted = os.fsencode(picture.name)
        size, modified = next((size, modified) for known, size, modified in stamps if known == wanted)
    return (
        name,
        hash_of(picture.part),
        picture.part,
        os.fsencode(picture.path),
        int(picture.part_known),
        picture.label,
        picture.kind,
        picture.product,
        json.dumps(picture.more),
        size,
        modified,
    )


def _planned(row: tuple[Any, ...]) -> Planned:
    name, _, part, path, known, label, kind, product, more, size, modified = row
    picture = Picture(
        Path(os.fsdecode(path)),
        part,
        "good" if label == "good" else "defective" if label == "defective" else None,
        kind,
        part_known=bool(known),
        name=name,
        product=product,
        more=tuple((column, value) for column, value in json.loads(more)),
    )
    return Planned(name, picture, None if size is None or modified is None else Stamp(size, modified))
