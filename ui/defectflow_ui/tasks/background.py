"""Commands in background processes, with progress, a log and cancel. No torch here.

    task = start(new_folder(root), "Train bracket", [Step("fit", ("fit", "good/", "--out", ...))])
    task.status(), task.progress(), task.log(), task.cancel()
    resume(task)    # one that was cut short, from its checkpoints

Whoever asks need not be who has started it: all that is known of a task lies in its folder, and a supervisor process
(`python -m defectflow_ui.tasks.supervisor FOLDER`) sees it through when the page, or the server, is gone.

    task.json         what to do                    state.json  how far it is; replaced, never written over
    progress.jsonl    what `--progress` writes      log.txt     what the commands print
    cancel            somebody wants it to stop     work/       unfinished results; gone once a task ends, but for
                                                                checkpoints where it was cut short
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from defectflow.common import Progress, atomic_write, remedy, utc_now
from defectflow.errors import DataError
from defectflow_ui.tasks.processes import Identity, alive, identity, stop

State = Literal["running", "done", "failed", "cancelled", "ended"]
"""`ended`: it stopped unexpectedly, because the machine was switched off or the process killed."""
KEPT = 20
"""Tasks whose folders are kept, at least; older ones go when a new one starts."""
PYTHON = (sys.executable, "-P", "-m")
"""-P: nothing that lies in the working folder is imported by mistake."""
TASK, STATE, PROGRESS, LOG, CANCEL, WORK = "task.json", "state.json", "progress.jsonl", "log.txt", "cancel", "work"
LOST = "It ended unexpectedly: the machine was switched off, or the process was killed. Nothing half-made is left."


@dataclass(frozen=True, slots=True)
class Step:
    """One command of `defectflow`; `--progress` is added."""

    name: str
    arguments: tuple[str, ...]
    publish: tuple[str, str] | None = None
    """(name below `work/`, path): a result that is moved, once the step is done, to where it may be seen."""
    may_exit: tuple[int, ...] = (0,)
    """Exit codes that count as done."""
    checkpoints: str | None = None
    """A folder below `work/` from which the command continues with --resume; kept if the step is interrupted."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a task stands."""

    state: State
    step: str = ""
    message: str = ""
    """Why it failed, in words."""
    code: int | None = None
    """Exit code of the last command that ended."""
    changed: str = ""
    """UTC, ISO 8601."""
    processes: tuple[Identity, ...] = ()
    """The supervisor and its command; before there is a supervisor, whoever is starting it."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task by its folder. Every question is answered from the folder, so any process may ask."""

    folder: Path
    title: str
    steps: tuple[Step, ...]
    started: str
    notes: dict[str, Any] = field(default_factory=dict)
    """Whatever whoever started it wants to find again: plain values."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def work(self) -> Path:
        """Where its commands put what is unfinished."""
        return self.folder / WORK

    def status(self) -> Status:
        """How it stands; a task whose supervisor is gone is marked as ended, and what it left is removed."""
        found = read_status(self.folder)
        if found.state != "running" or alive(found.processes[:1]):
            return found
        found = read_status(self.folder)  # it may have written its last word in between
        if found.state == "running":
            stop(found.processes)
            found = finish(self, replace(found, state="ended", message=LOST))
        return found

    @property
    def resumable(self) -> bool:
        """Whether it was cut short, and `resume` could continue with it."""
        return self.status().state not in ("running", "done") and any(map(self.has_checkpoints, self.steps))

    def has_checkpoints(self, step: Step) -> bool:
        """Whether there is something that the step can continue from."""
        return step.checkpoints is not None and (self.work / step.checkpoints).is_dir()

    def forget(self) -> None:
        """Remove the checkpoints of a task that is over: nobody will continue with it."""
        if self.status().state != "running":
            shutil.rmtree(self.work, ignore_errors=True)

    def progress(self) -> list[Progress]:
        """The latest of each stage, in the order in which they began."""
        return [step for step, _ in self.progress_with_times()]

    def progress_with_times(self) -> list[tuple[Progress, float]]:
        """The same, each with when it was: UTC, in seconds since 1970; 0 where an earlier version did not say."""
        latest: dict[str, tuple[Progress, float]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / PROGRESS).read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError):  # the last line may be half-written
                    step = json.loads(line)
                    counts = (step["stage"], step["done"], step["total"])
                    progress = Progress(*counts, step.get("note", ""), step.get("detail", ""))
                    latest[step["stage"]] = progress, float(step.get("at", 0))
        return list(latest.values())

    def log(self, last: int = 20_000, *, since: int = 0) -> str:
        """The last so many bytes of what its commands have printed, from byte `since` on."""
        with contextlib.suppress(FileNotFoundError), (self.folder / LOG).open("rb") as file:
            file.seek(max(since, file.seek(0, 2) - last))
            return file.read().decode("utf-8", "replace")
        return ""

    def cancel(self) -> None:
        """Ask it to stop; `status` says when it has."""
        (self.folder / CANCEL).touch()


def new_folder(root: Path) -> Path:
    """An empty folder for a task; its name sorts by time."""
    folder = root / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    return folder


def start(folder: Path, title: str, steps: Iterable[Step], notes: dict[str, Any] | None = None) -> Task:
    """Begin a task in a folder of `new_folder`. Returns at once; old tasks are forgotten. Raises DataError."""
    task = Task(folder, title, tuple(steps), utc_now(), notes or {})
    body = {key: value for key, value in asdict(task).items() if key != "folder"}
    _claim(folder, "")  # before there is a task: whoever finds one without a state takes it for dead
    _replace(folder / TASK, body)
    _start_supervisor(folder, Status("failed", message="Its process could not be started."))
    for old in tasks(folder.parent)[KEPT:]:
        if old.status().state != "running":
            shutil.rmtree(old.folder, ignore_errors=True)
    return task


def resume(task: Task) -> Task:
    """Go on with a task that was cut short, from its checkpoints. Returns at once. Raises DataError without any."""
    if not task.resumable:
        raise DataError(f"{task.title}: there is nothing to resume; start it again")
    before = task.status()
    _claim(task.folder, before.step)
    (task.folder / CANCEL).unlink(missing_ok=True)
    _start_supervisor(task.folder, before)
    return task


def _claim(folder: Path, step: str) -> None:
    """From now on a task runs, from the step of this name on: this process answers for it until its supervisor does."""
    write_status(folder, Status("running", step, processes=(identity(),)))


def _start_supervisor(folder: Path, otherwise: Status) -> None:
    """Have a claimed task seen through by its own process. Raises DataError, and leaves it as `otherwise` says."""
    try:
        with (folder / LOG).open("ab") as log:
            supervisor = subprocess.Popen(
                [*PYTHON, "defectflow_ui.tasks.supervisor", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the server is not meant for it
            )
    except OSError as error:
        write_status(folder, otherwise)
        raise DataError(
            f"{folder}: its process cannot be started ({error.strerror}); {remedy(error)}, and repeat"
        ) from error
    write_status(folder, replace(read_status(folder), processes=(identity(supervisor.pid),)))  # for this it waits


def tasks(root: Path) -> list[Task]:
    """All tasks below a folder, newest first; without those that a power cut has left without content."""
    found = []
    for path in sorted(root.glob(f"*/{TASK}"), reverse=True):
        with contextlib.suppress(DataError):
            found.append(open_task(path.parent))
    return found


def open_task(folder: Path) -> Task:
    """A task that somebody has started. Raises DataError if there is none."""
    try:
        body = json.loads((folder / TASK).read_text(encoding="utf-8"))
        steps = tuple(
            Step(
                one["name"],
                tuple(one["arguments"]),
                # What was added later has a default; and once there were paths where there are names now.
                publish and (Path(publish[0]).name, publish[1]),
                tuple(one.get("may_exit", (0,))),
                checkpoints and Path(checkpoints).name,
            )
            for one in body["steps"]
            for publish, checkpoints in [(one.get("publish"), one.get("checkpoints"))]
        )
        return Task(folder, body["title"], steps, body["started"], body.get("notes", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: holds no task ({error}); it may have been removed") from error


def finish(task: Task, status: Status) -> Status:
    """Write the final status: nothing unfinished stays, except what an interrupted task can continue from."""
    kept = [] if status.state == "done" else [step.checkpoints for step in task.steps]
    for left in task.work.glob("*"):
        if left.name in kept:
            continue
        with contextlib.suppress(OSError):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()
    with contextlib.suppress(OSError):  # not there, or checkpoints are in it
        task.work.rmdir()
    write_status(task.folder, replace(status, processes=()))
    return status


def read_status(folder: Path) -> Status:
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # after a power cut it may be empty
        said = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return Status(**{**said, "processes": tuple((pid, created) for pid, created in said["processes"])})
    return Status("running")


def write_status(folder: Path, status: Status) -> None:
    _replace(folder / STATE, {**asdict(status), "changed": utc_now()})


def _replace(file: Path, said: dict[str, Any]) -> None:
    """Whoever reads meanwhile sees the old or the new."""
    with atomic_write(file) as partial:
        partial.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
