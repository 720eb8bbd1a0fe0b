"""On a worker: a shard of pictures -> its rows as Parquet, by one warm Inspector. Never torch.

A worker writes nothing that lasts but the store's rows, which it writes under keys: a shard that is judged twice, since
its first worker was lost, is recorded once. Everything else goes to the driver, the only one that writes results.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from defectflow.bundle import CARD, MODEL, PRODUCTS, Bundle, Card, Family
from defectflow.data import Picture, is_url, open_store
from defectflow.errors import DataError, ImageError
from defectflow.line import Inspector, Record
from defectflow.line.journal import UNJUDGED, Row, Run, count_by_product, gather_parts
from defectflow.line.judge import judge
from defectflow.line.resume import still_holds
from defectflow.line.shards import parts_to_parquet, rows_of_parquet, rows_to_parquet
from defectflow.scale.shard_plan import Planned, Shard
from defectflow.scale.versions import versions
from defectflow.verdict import Verdict

if TYPE_CHECKING:
    from defectflow.store import Seen, Store

DOWNLOADS = 8
"""Pictures of an object store that are fetched at the same time, ahead of the Inspector."""
RECORDED_AT_ONCE = 16
NAMED = 20
"""Pictures of a shard that failed, which are told by name; all are in its rows."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run is given once. The bundle travels with it: nodes need no disk in common for it."""

    run: Run
    files: dict[str, bytes]
    """The bundle's cards and model, by their path below it."""
    product: str | None
    """Of a bundle of several products: the one that all pictures show."""
    provider: str
    core: bool
    threads: int
    store: str | None
    by: str
    given: str | None
    """The folder as it was typed, of which messages name pictures; None for an object store."""


@dataclass(frozen=True, slots=True)
class Done:
    """One shard, as far as it can be done now."""

    number: int
    results: bytes | None
    """Parquet; None where nothing has changed since the last run."""
    parts: bytes | None
    drawn: dict[str, bytes]
    """PNG files, by their path below the results."""
    pictures: dict[str, int]
    of_parts: dict[str, int]
    reasons: dict[str, int]
    by_product: dict[str, dict[str, int]]
    judged: int
    again: int
    unlike: int
    first_unlike: str | None
    failed: int
    named: tuple[tuple[str, str], ...]
    processor_seconds: float
    """Of the worker's process."""


def bundle_files(home: Bundle | Family) -> dict[str, bytes]:
    """What a worker needs of a bundle."""
    cards = [CARD] if isinstance(home, Bundle) else [CARD, *(f"{PRODUCTS}/{name}/{CARD}" for name in home.names)]
    return {name: (home.path / name).read_bytes() for name in (*cards, MODEL)}


class Worker:
    """One Inspector, opened once, that brings shards up to date. Raises BundleError, StoreError, SettingsError."""

    def __init__(self, job: Job) -> None:
        self._run = job.run
        self._folder = tempfile.TemporaryDirectory(prefix="defectflow-")
        bundle = Path(self._folder.name) / Path(job.run.bundle).name
        for name, content in job.files.items():
            (bundle / name).parent.mkdir(parents=True, exist_ok=True)
            (bundle / name).write_bytes(content)
        self._inspector = Inspector(
            bundle, product=job.product, providers=[job.provider], threads=job.threads, core=job.core
        )
        self._store = _open_store(job.store)
        self._by = job.by
        self._given = job.given
        self._objects = open_store(job.run.source) if is_url(job.run.source) else None

    def bring_up_to_date(self, shard: Shard, known: bytes | None) -> Done:
        """Judge what has no row yet, could not be used, or has changed since. `known`: the shard's rows so far."""
        started = time.process_time()
        rows = {row.file: row for row in rows_of_parquet(known, f"shard {shard.number}")} if known is not None else {}
        left, changed = list[Planned](), known is None
        for planned in shard.pictures:
            row = rows.get(planned.name)
            holds = None if row is None else self._holds(row, planned)
            if holds is None:
                left.append(planned)
            elif holds != row:
                rows[planned.name], changed = holds, True
        again = sum(planned.name in rows for planned in left)
        with tempfile.TemporaryDirectory(prefix="defectflow-") as folder:
            out = Path(folder) / "out"
            for row in self._judged(left, Path(folder), out, rows):
                rows[row.file] = row
            drawn = {
                file.relative_to(out).as_posix(): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()
            }
        ordered = [rows[name] for name in sorted(rows)]
        parts = gather_parts(ordered)
        judged_by = self._inspector.card_of
        unlike = [
            f"{row.file} ({form})" for row in ordered if (form := row.form) and judged_by(row.product).is_unlike(form)
        ]
        failed = [(row.file, reason) for row in ordered if (reason := row.error or row.output_error) is not None]
        new = changed or bool(left)
        return Done(
            number=shard.number,
            results=rows_to_parquet(ordered, self._run.columns) if new else None,
            parts=parts_to_parquet(parts) if new else None,
            drawn=drawn,
            pictures=dict(Counter(row.decision or UNJUDGED for row in ordered)),
            of_parts=dict(Counter(part.decision or UNJUDGED for part in parts)),
            reasons=dict(Counter(row.reason for row in ordered if row.reason is not None)),
            by_product=count_by_product(parts),
            judged=len(left),
            again=again,
            unlike=len(unlike),
            first_unlike=unlike[0] if unlike else None,
            failed=len(failed),
            named=tuple(failed[:NAMED]),
            processor_seconds=time.process_time() - started,
        )

    def _holds(self, row: Row, planned: Planned) -> Row | None:
        if planned.stamp is None:
            return still_holds(row, planned.picture.path)
        usable = row.error is None and row.output_error is None
        return row if usable and row.stamp == planned.stamp else None  # an object is looked at only by judging it

    def _judged(self, left: Sequence[Planned], folder: Path, out: Path, known: dict[str, Row]) -> Iterator[Row]:
        recorder = _Recorder(self._store, self._inspector, self._run, self._by, known, temporary=bool(self._objects))
        record: Record | None = recorder.take if self._store is not None else None
        stamps = {planned.name: planned.stamp for planned in left}
        pictures = self._fetched(left, folder) if self._objects else ((one.name, one.picture) for one in left)
        for row in judge(self._inspector, pictures, out, self._run, known, record, self._address):
            stamp = stamps[row.file]
            listed = {} if stamp is None else {"size_bytes": stamp.size_bytes, "modified_ns": stamp.modified_ns}
            yield row.model_copy(update=listed)
        recorder.write()

    def _address(self, picture: Picture) -> str:
        """Where messages say that a picture lies: not the copy of an object, and a file as its folder was typed."""
        if self._given is None:
            return f"{self._run.source.rstrip('/')}/{picture.name}"
        inside = picture.path.is_relative_to(self._run.source)
        return str(Path(self._given) / picture.path.relative_to(self._run.source)) if inside else str(picture.path)

    def _fetched(self, left: Sequence[Planned], folder: Path) -> Iterator[tuple[str, Picture]]:
        """Copies of objects, a few of them ahead. One that cannot be fetched is missing, and the Inspector says so."""
        waiting: deque[tuple[Planned, Path, Future[None]]] = deque()
        with ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="fetch") as pool:
            for number, planned in enumerate(left):
                copy = folder / f"{number}{planned.picture.path.suffix}"
                waiting.append((planned, copy, pool.submit(self._fetch, planned, copy)))
                if len(waiting) >= DOWNLOADS:
                    yield _copied(*waiting.popleft())
            while waiting:
                yield _copied(*waiting.popleft())

    def _fetch(self, planned: Planned, copy: Path) -> None:
        assert self._objects is not None
        system, root = self._objects
        with suppress(FileNotFoundError):
            system.get_file(f"{root}/{planned.picture.path.as_posix()}", str(copy))


def _copied(planned: Planned, copy: Path, fetched: Future[None]) -> tuple[str, Picture]:
    try:
        fetched.result()
    except Exception as error:  # each store has its own types; a store that is down is not a bad picture
        raise DataError(
            f"{planned.name}: cannot be fetched ({error}); see that the workers reach the store and have its "
            "credentials, then go on with --resume"
        ) from error
    return planned.name, replace(planned.picture, path=copy)


def _open_store(url: str | None) -> Store | None:
    if url is None:
        return None
    from defectflow.store import Store

    return Store.open(url, create=False)


class Actor:
    """A worker as Ray starts it: empty, so that what is wrong with its job is an answer and not the actor's death."""

    def open(self, job: Job) -> None:
        self._worker = Worker(job)

    def bring_up_to_date(self, shard: Shard, known: bytes | None) -> Done:
        return self._worker.bring_up_to_date(shard, known)


class _Recorder:
    """Verdicts -> the store, some at once, each under a key of its own: repeated after a loss, they are not doubled."""

    def __init__(
        self, store: Store | None, inspector: Inspector, run: Run, by: str, known: dict[str, Row], *, temporary: bool
    ) -> None:
        self._store, self._inspector, self._run, self._by = store, inspector, run, by
        self._known, self._temporary = dict(known), temporary
        self._waiting: list[tuple[Card, Seen, str]] = []

    def take(self, picture: Picture, name: str, item: Verdict | ImageError, unread_before: bool) -> None:
        from defectflow.store import Seen

        part = picture.part if picture.part_known else None
        seen = Seen(name, item, part, picture.path, temporary=self._temporary, unread_before=unread_before)
        earlier = self._known.get(name)
        before = "" if earlier is None else earlier.sha256 or earlier.error or ""
        now = str(item.sha256) if isinstance(item, Verdict) else str(item)
        digest = hashlib.sha256("\n".join((name, before, now)).encode("utf-8", "backslashreplace")).hexdigest()
        product = item.product if isinstance(item, Verdict) else picture.product
        self._waiting.append((self._inspector.recorded_as(product), seen, digest))
        if len(self._waiting) >= RECORDED_AT_ONCE:
            self.write()

    def write(self) -> None:
        if self._store is None or not self._waiting:
            return
        from defectflow.store import Entry, RequestKey

        entries = [
            Entry(
                card=card,
                seen=(seen,),
                by=self._by,
                source="score",
                key=RequestKey(f"score {self._run.key}", digest, digest),
            )
            for card, seen, digest in self._waiting
        ]
        self._store.record_all(entries)
        self._waiting = []


def look(job: Job, picture: Planned) -> dict[str, str]:
    """On each node before any work: does it see the pictures, and can it open the bundle? Its versions.

    Raises DataError, BundleError or StoreError.
    """
    source = job.run.source
    if is_url(source):
        system, root = open_store(source)
        try:
            system.info(f"{root}/{picture.picture.path.as_posix()}")
        except Exception as error:  # each store has its own types
            raise DataError(
                f"{source}/{picture.name} cannot be reached from there ({error}); give the node the store's address "
                "and credentials"
            ) from error
    elif not os.path.lexists(picture.picture.path):
        raise DataError(
            f"does not see {picture.picture.path}; put the pictures on a disk that all nodes have under this path, or "
            "into an object store"
        )
    Worker(job)
    return versions()
