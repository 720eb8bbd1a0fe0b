"""Long work in the background, with progress and cancel. The page can be left and come back to."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Any, Literal

from defectflow.common import Progress
from defectflow.errors import DefectFlowError

State = Literal["running", "done", "failed", "cancelled"]
KEPT = 50


class Cancelled(Exception):  # noqa: N818  (somebody's wish, not an error)
    """Raised inside a job's work once somebody has asked it to stop."""


@dataclass(eq=False)
class Job:
    """One piece of work. `work` gets it, reports to it and asks it whether to continue."""

    title: str
    who: str
    outlives: bool = False
    """Its work continues in another process when the station stops."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: State = "running"
    progress: Progress | None = None
    result: Any = None
    """What `work` returned."""
    error: str | None = None
    _stop: Event = field(default_factory=Event)

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def share(self) -> float | None:
        """How much of the present stage is done, 0 to 1; None before anything is known."""
        if self.progress is None or self.progress.total == 0:
            return None
        return self.progress.done / self.progress.total

    def cancel(self) -> None:
        """Ask the work to stop; it ends at its next report."""
        self._stop.set()

    def watch(self, progress: Progress) -> None:
        """A `Watch` for functions that report progress. Raises Cancelled once somebody has asked for it."""
        self.progress = progress
        if self.stopping:
            raise Cancelled


class Jobs:
    """All background jobs of the station, newest first. Thread-safe."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque(maxlen=KEPT)
        self._lock = Lock()

    def start(self, title: str, work: Callable[[Job], Any], *, who: str, outlives: bool = False) -> Job:
        """Run `work(job)` in its own thread. A DefectFlowError becomes the job's error, in words."""
        job = Job(title, who, outlives)
        with self._lock:
            self._jobs.appendleft(job)
        Thread(target=copy_context().run, args=(_run, job, work), name=f"job {title}", daemon=True).start()
        return job

    def running(self) -> list[Job]:
        with self._lock:
            return [job for job in self._jobs if job.state == "running"]

    def find(self, token: str) -> Job | None:
        with self._lock:
            return next((job for job in self._jobs if job.token == token), None)

    def stop_all(self) -> None:
        for job in self.running():
            if not job.outlives:
                job.cancel()


def _run(job: Job, work: Callable[[Job], Any]) -> None:
    try:
        job.result = work(job)
        job.state = "cancelled" if job.stopping and job.result is None else "done"
    except Cancelled:
        job.state = "cancelled"
    except DefectFlowError as error:
        job.error, job.state = str(error), "failed"
    except Exception as error:
        job.error, job.state = f"{type(error).__name__}: {error}", "failed"
        raise
