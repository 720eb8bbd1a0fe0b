"""The process that sees a task through: `python -m defectflow_ui.tasks.supervisor FOLDER`. No torch here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path
from time import sleep

from defectflow_ui.tasks.background import (
    CANCEL,
    LOG,
    PROGRESS,
    PYTHON,
    Status,
    Step,
    Task,
    finish,
    open_task,
    read_status,
    write_status,
)
from defectflow_ui.tasks.processes import alive, identity, stop

LOOK_EVERY_S = 0.2
RESUME = "--resume"


def supervise(folder: Path) -> Status:
    """Run a task's steps one after the other, until one fails, somebody cancels, or all are done."""
    task = open_task(folder)
    while os.getpid() not in [pid for pid, _ in read_status(folder).processes]:
        if not alive(read_status(folder).processes):
            return read_status(folder)  # whoever started this process is gone, and the task is taken for dead
        sleep(LOOK_EVERY_S)
    first = read_status(folder).step
    status = Status("running", processes=(identity(),))
    for step in dropwhile(lambda step: first not in ("", step.name), task.steps):
        status = replace(status, step=step.name)
        log_size = (folder / LOG).stat().st_size
        code = _run(task, step, status)
        if (folder / CANCEL).exists():
            return finish(task, replace(status, state="cancelled", code=code))
        if code not in step.may_exit:
            message = _last_words(task.log(since=log_size))
            return finish(task, replace(status, state="failed", code=code, message=message))
        if step.publish is not None:
            made, target = task.work / step.publish[0], Path(step.publish[1])
            if target.exists():
                message = f"{target}: appeared in the meantime, and is not replaced; choose another name"
                return finish(task, replace(status, state="failed", code=code, message=message))
            made.rename(target)
        status = replace(status, code=code)
    return finish(task, replace(status, state="done"))


def _run(task: Task, step: Step, status: Status) -> int:
    """The exit code of a step's command."""
    resume_option = (RESUME,) if task.has_checkpoints(step) else ()
    command = [*PYTHON, "defectflow", *step.arguments, *resume_option, "--progress", str(task.folder / PROGRESS)]
    with (task.folder / LOG).open("ab") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    write_status(task.folder, replace(status, processes=(*status.processes, identity(child.pid))))
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(LOOK_EVERY_S)
        if (task.folder / CANCEL).exists():
            stop((identity(child.pid),))
            return child.wait()


def _last_words(log: str) -> str:
    """What a command said on ending: its error, or the last line of its log."""
    head, found, error = log.rpartition("error: ")
    lines = (error if found else head + error).strip().splitlines()
    return "\n".join(lines if found else lines[-1:])


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))
