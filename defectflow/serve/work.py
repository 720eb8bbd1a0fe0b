"""Accepted requests -> verdicts -> rows -> answers. One thread runs the model, one writes to the store.

Requests that wait are judged together and written in one transaction, which saves time; neither their scores nor their
rows depend on it. A request is answered only after its rows are on disk: what is not in the store was not inspected.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Condition, Thread

from defectflow.data import part_of
from defectflow.errors import DefectFlowError, ImageError, KeyReused, StoreError
from defectflow.line import Inspector
from defectflow.serve.settings import ServeSettings
from defectflow.store import SERVICE, Entry, InForce, Inspection, RequestKey, Seen, Store
from defectflow.verdict import Verdict

log = logging.getLogger(__name__)
TAKEN = 4
"""Batches that are taken from the queue at once: while one is inferred, the next is decoded."""


class Busy(Exception):  # noqa: N818  (the state is the message)
    """There is no room for the request, or it has waited too long; nothing of it was recorded."""

    def __init__(self, said: str, *, retry_after_s: int, full: bool) -> None:
        super().__init__(said)
        self.retry_after_s = retry_after_s
        self.full = full


@dataclass(frozen=True, slots=True)
class Received:
    """A picture as it arrived."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Done:
    """A request's rows, and what the model said, in the order of its pictures."""

    inspections: tuple[Inspection, ...]
    items: tuple[Verdict | ImageError, ...]


@dataclass(eq=False, kw_only=True)
class Job:
    """An accepted request."""

    pictures: tuple[Received, ...]
    client: str
    model: str | None = None
    product: str | None = None
    """Of a model of several products; None: the one that each picture resembles most."""
    part: str | None = None
    lot: str | None = None
    camera: str | None = None
    key: RequestKey | None = None
    future: Future[Done] = field(default_factory=Future)
    until: float = 0.0
    """By `time.monotonic`: not begun by then, it is refused."""
    inspector: Inspector | None = None
    """What has judged it."""
    held: InForce | None = None
    """What held then."""
    items: list[Verdict | ImageError] = field(default_factory=list)

    def entry(self, inspector: Inspector) -> Entry:
        """As it is recorded."""
        cards = [
            inspector.recorded_as(self.product if isinstance(item, ImageError) else item.product) for item in self.items
        ]
        seen = (
            Seen(
                picture.name,
                self._said(item, picture),
                part=self.part or part_of(picture.name, card.part_regex),
                card=card,
                picture=picture.path,
                temporary=True,
                lot=self.lot,
                camera=self.camera,
            )
            for picture, item, card in zip(self.pictures, self.items, cards, strict=True)
        )
        return Entry(card=cards[0], seen=tuple(seen), by=self.client, source=SERVICE, key=self.key)

    @staticmethod
    def _said(item: Verdict | ImageError, picture: Received) -> Verdict | ImageError:
        """Errors name the picture as its sender does, not the file that we made of it."""
        if isinstance(item, Verdict):
            return item
        return ImageError(f"{picture.name}: {str(item).removeprefix(f'{picture.path}: ')}")


class Work:
    """The queue and its two threads.

    `inspector`: a model's name, or None for the active one; what holds now -> ready to judge.
    `recorded`: told each request's rows.
    """

    def __init__(
        self,
        settings: ServeSettings,
        store: Store,
        inspector: Callable[[str | None, InForce], Inspector],
        recorded: Callable[[Sequence[Inspection]], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._inspector = inspector
        self._recorded = recorded
        self._change = Condition()
        self._queue: deque[Job] = deque()
        self._judged: deque[Job] = deque()
        self._unanswered = 0
        self._arriving = 0
        self._seconds = 0.0
        """What a picture took lately, smoothed."""
        self._closing = self._all_judged = False
        self._threads = [
            Thread(target=self._inspect_on, name="inspect", daemon=True),
            Thread(target=self._record_on, name="record", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def unanswered(self) -> int:
        """Pictures that are accepted and not answered yet."""
        return self._unanswered

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    @contextmanager
    def arriving(self) -> Iterator[Callable[[], None]]:
        """While a request arrives: the batch waits a moment for it. What is given says that it has arrived.

        Raises Busy where there is no room, before anything is received.
        """
        with self._change:
            self._refuse_beyond(1)
            self._arriving += 1
        there = False

        def arrived() -> None:
            nonlocal there
            with self._change:
                self._arriving -= not there
                there = True
                self._change.notify_all()

        try:
            yield arrived
        finally:
            arrived()

    def submit(self, job: Job) -> None:
        """Accept a request: from here on it is answered, and recorded if it is judged. Raises Busy."""
        job.until = time.monotonic() + self._settings.limits.wait_s
        with self._change:
            self._refuse_beyond(len(job.pictures))
            self._unanswered += len(job.pictures)
            self._queue.append(job)
            self._change.notify_all()
        job.future.add_done_callback(lambda _: self._answered(len(job.pictures)))

    def close(self) -> None:
        """Answer what was accepted, and end."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _refuse_beyond(self, pictures: int) -> None:
        if self._closing:
            raise Busy("the service is being stopped", retry_after_s=self._settings.drain_s, full=False)
        most = self._settings.limits.waiting
        # A request that is larger than the whole queue is let in when nothing else waits.
        if self._unanswered and self._unanswered + pictures > most:
            raise Busy(
                f"{self._unanswered} pictures are waiting, of at most {most} (limits.waiting); come again later",
                retry_after_s=max(1, round(self._unanswered * self._seconds)),
                full=True,
            )

    def _answered(self, pictures: int) -> None:
        with self._change:
            self._unanswered -= pictures

    def _inspect_on(self) -> None:
        while jobs := self._take():
            begun = time.monotonic()
            for _, group in groupby(jobs, key=lambda job: job.product):
                of_one = list(group)
                try:
                    self._inspect(of_one)
                except Exception as error:  # whatever it is, the next requests are not to blame
                    _fail([job for job in of_one if job.inspector is None], error)  # the others are being recorded
            pictures = sum(len(job.pictures) for job in jobs)
            self._seconds += 0.2 * ((time.monotonic() - begun) / pictures - self._seconds)
        with self._change:
            self._all_judged = True
            self._change.notify_all()

    def _take(self) -> list[Job]:
        """The next requests for one model, in the order of arrival; none once the end has come."""
        batch = self._settings.batch
        with self._change:
            self._change.wait_for(lambda: self._queue or self._closing)
            until = time.monotonic() + batch.wait_ms / 1000
            self._change.wait_for(
                lambda: self._closing or not self._arriving or _pictures(self._queue) >= batch.pictures,
                timeout=max(0.0, until - time.monotonic()),
            )
            taken: list[Job] = []
            while self._queue and self._queue[0].model == (taken or self._queue)[0].model:
                if taken and _pictures(taken) >= TAKEN * batch.pictures:
                    break
                taken.append(self._queue.popleft())
            return taken

    def _inspect(self, jobs: list[Job]) -> None:
        now = time.monotonic()
        waited = [job for job in jobs if job.until < now]
        _fail(
            waited,
            Busy(
                f"it has waited for more than {self._settings.limits.wait_s:g} s (limits.wait_s); nothing was recorded",
                retry_after_s=max(1, round(self._unanswered * self._seconds)),
                full=False,
            ),
        )
        jobs = [job for job in jobs if job not in waited]
        if not jobs:
            return
        held = self._store.in_force()
        inspector = self._inspector(jobs[0].model, held).of(jobs[0].product)
        for bundle in inspector.bundles:
            self._store.masters.require_release(bundle.card, held.settings.golden)
        items = inspector.inspect(picture.path for job in jobs for picture in job.pictures)
        for job in jobs:
            job.items = [next(items) for _ in job.pictures]
            job.inspector, job.held = inspector, held
            with self._change:
                self._judged.append(job)
                self._change.notify_all()

    def _record_on(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._judged or self._all_judged)
                jobs = list(self._judged)
                self._judged.clear()
            if not jobs:
                return
            self._record(jobs)

    def _record(self, jobs: Sequence[Job]) -> None:
        """In one transaction; where one of them is at fault, each by itself, so that none fails for another's sake."""
        try:
            entries = [job.entry(job.inspector) for job in jobs if job.inspector is not None]
            held = jobs[-1].held
            recorded = self._store.record_all(entries, settings=None if held is None else held.settings)
        except Exception as error:
            if len(jobs) == 1 or (isinstance(error, StoreError) and not isinstance(error, KeyReused)):
                _fail(jobs, error)  # alone, or the store itself cannot be written
            else:
                for job in jobs:
                    self._record([job])
            return
        for job, inspections in zip(jobs, recorded, strict=True):
            self._recorded(inspections)
            job.future.set_result(Done(inspections, tuple(job.items)))


def _pictures(jobs: Sequence[Job] | deque[Job]) -> int:
    return sum(len(job.pictures) for job in jobs)


def _fail(jobs: Sequence[Job], error: Exception) -> None:
    if jobs and not isinstance(error, DefectFlowError | Busy):
        log.error("a request could not be judged", exc_info=error)
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(error)
