"""Tasks in their own processes: seen through, cancelled, killed, and found by whoever looks into the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from defectflow_ui.tasks.background import (
    CANCEL,
    LOG,
    PROGRESS,
    STATE,
    TASK,
    Status,
    Step,
    Task,
    new_folder,
    open_task,
    resume,
    start,
    tasks,
)
from support import SWATCH_RECIPE

from defectflow.bundle.bundle import open_bundle
from defectflow.errors import DataError

RECIPE = tuple(word for override in SWATCH_RECIPE for word in ("--set", override))
ENDLESS = ("--set", "training.steps=1000000", "--set", "training.patience=1000000")


def begin(root: Path, good: Path, *more: str) -> tuple[Task, Path]:
    """A fit whose bundle is to appear as root/models/swatch."""
    folder, target = new_folder(root / "tasks"), root / "models" / "swatch"
    target.parent.mkdir(exist_ok=True)
    made = folder / "work" / "swatch"
    fit = ("fit", str(good), "--out", str(made), "--cache", str(root / "cache"), *RECIPE, *more)
    step = Step("fit", fit, publish=("swatch", str(target)), checkpoints="swatch.training")
    return start(folder, "Train swatch", [step], {"who": "anna"}), target


def wait(task: Task, until: Callable[[], bool], limit_s: float = 120) -> Status:
    deadline = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < deadline, f"{task.status()}\n{task.log()}"
        time.sleep(0.1)
    return task.status()


def cut_short(root: Path, *arguments: str, name: str = "made.training") -> Task:
    """As a machine that was switched off leaves a task: with checkpoints, and something half-made."""
    folder = new_folder(root)
    step = {"name": "fit", "arguments": arguments, "publish": None, "may_exit": [0], "checkpoints": name}
    (folder / TASK).write_text(json.dumps({"title": "t", "steps": [step], "started": "", "notes": {}}))
    state = {"state": "running", "step": "fit", "message": "", "code": None, "changed": "", "processes": [[1, 1.0]]}
    (folder / STATE).write_text(json.dumps(state))
    (folder / "work" / "made.training" / "level").mkdir(parents=True)
    (folder / "work" / "made").mkdir()
    (folder / "work" / "made.csv").write_text("half a")
    return open_task(folder)


def learning(task: Task) -> bool:
    return any(step.stage.startswith("learn") for step in task.progress())


def test_a_fit_is_seen_through(swatch_folder: Path, tmp_path: Path) -> None:
    task, target = begin(tmp_path, swatch_folder)
    assert not target.exists()
    again = open_task(task.folder)  # as another process would
    assert again == task
    status = wait(again, lambda: again.status().state != "running")
    assert (status.state, status.code) == ("done", 0), task.log()
    assert open_bundle(target).card.name == "swatch"
    assert [step.stage for step in again.progress()][:3] == ["check pictures", "embed", "learn level 1"]
    assert all(step.done == step.total for step in again.progress())
    assert "ONNX file:" in again.log()
    assert not again.work.exists()
    assert tasks(tmp_path / "tasks") == [task]


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_what_is_stopped_leaves_nothing_half_made(swatch_folder: Path, tmp_path: Path, how: str) -> None:
    task, target = begin(tmp_path, swatch_folder, *ENDLESS)
    running = wait(task, lambda: learning(task))
    assert running.state == "running"
    supervisor, command = (psutil.Process(pid) for pid, _ in running.processes)
    if how == "cancelled":
        task.cancel()
    else:  # as the system does when memory runs out, or a person does
        os.kill(supervisor.pid, signal.SIGKILL)
    status = wait(task, lambda: task.status().state != "running")
    assert status.state == ("cancelled" if how == "cancelled" else "ended")
    assert not target.exists()
    assert list(target.parent.iterdir()) == []
    assert {left.name for left in task.work.glob("*")} <= {"swatch.training", "swatch.lock"}
    assert not command.is_running() or command.status() == psutil.STATUS_ZOMBIE
    assert (how == "killed") == ("ended unexpectedly" in status.message)


def test_what_was_cut_short_continues_where_it_stopped(swatch_folder: Path, tmp_path: Path) -> None:
    steps = ("--set", "training.steps=400", "--set", "training.patience=1000")
    task, target = begin(tmp_path, swatch_folder, *steps)
    assert not task.resumable, "it runs"
    wait(task, lambda: any(task.work.glob("*.training/*/*.safetensors")))
    task.cancel()
    wait(task, lambda: task.status().state != "running")
    assert task.status().state == "cancelled", "it was too fast for this test"
    assert task.resumable
    stopped = next(step.done for step in task.progress() if step.stage == "learn level 1")
    seen = len((task.folder / PROGRESS).read_text().splitlines())
    resume(open_task(task.folder))  # as another process would
    assert wait(task, lambda: task.status().state != "running").state == "done", task.log()
    assert open_bundle(target).card.name == "swatch"
    later = [json.loads(line) for line in (task.folder / PROGRESS).read_text().splitlines()[seen:]]
    assert next(step["done"] for step in later if step["stage"] == "learn level 1") >= stopped
    assert not task.work.exists()
    assert not task.resumable
    with pytest.raises(DataError, match="nothing to resume"):
        resume(task)


def test_checkpoints_that_nobody_wants_go(swatch_folder: Path, tmp_path: Path) -> None:
    task, _ = begin(tmp_path, swatch_folder, *ENDLESS)
    wait(task, lambda: any(task.work.glob("*.training/*/*.safetensors")))
    task.forget()
    assert task.work.exists(), "it runs"
    task.cancel()
    wait(task, lambda: task.resumable)
    task.forget()
    assert not task.resumable


def test_a_command_s_own_error_is_the_task_s(tmp_path: Path) -> None:
    step = Step("evaluate", ("evaluate", str(tmp_path / "gone"), "--data", str(tmp_path)))
    task = start(new_folder(tmp_path / "tasks"), "Evaluate", [step, Step("never", ("fit", "--help"))])
    status = wait(task, lambda: task.status().state != "running")
    assert (status.state, status.step, status.code) == ("failed", "evaluate", 2)
    assert status.message.startswith(f"{tmp_path / 'gone'}: no bundle here")


def test_a_result_never_replaces_another(tmp_path: Path) -> None:
    target, folder = tmp_path / "mine", new_folder(tmp_path / "tasks")
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    made = folder / "work" / "made"
    made.mkdir(parents=True)
    task = start(folder, "Help", [Step("help", ("fit", "--help"), publish=("made", str(target)))])
    status = wait(task, lambda: task.status().state != "running")
    assert status.state == "failed"
    assert "appeared in the meantime" in status.message
    assert [file.name for file in target.iterdir()] == ["mine.txt"]


def test_a_recycled_process_number_is_nobody_s_supervisor(tmp_path: Path) -> None:
    """After a restart of the machine, its number may be another program's, which must not be taken for it."""
    folder = new_folder(tmp_path)
    (folder / "task.json").write_text('{"title": "t", "steps": [], "started": "", "notes": {}}')
    (folder / STATE).write_text(
        '{"state": "running", "step": "fit", "message": "", "code": null, "changed": "", '
        f'"processes": [[{os.getpid()}, 1.0]]}}'
    )
    assert open_task(folder).status().state == "ended"
    assert not (folder / CANCEL).exists()


def test_what_a_power_cut_emptied_hides_no_other_task(tmp_path: Path) -> None:
    whole, emptied, odd = (new_folder(tmp_path) for _ in range(3))
    (whole / "task.json").write_text('{"title": "t", "steps": [], "started": "", "notes": {}}')
    (whole / STATE).write_text("")
    (emptied / "task.json").write_text("")
    (odd / "task.json").write_text("[]")
    (found,) = tasks(tmp_path)
    assert found.name == whole.name
    assert found.status().state == "ended"


def test_no_task(tmp_path: Path) -> None:
    assert tasks(tmp_path) == []
    with pytest.raises(DataError, match="holds no task"):
        open_task(tmp_path)


def test_checkpoints_are_found_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A station is started with `models`, and the next day with `/srv/models`."""
    monkeypatch.chdir(tmp_path)
    task = cut_short(Path("tasks"))
    assert task.status().state == "ended"
    assert task.resumable
    monkeypatch.chdir("/")
    again = open_task(tmp_path / task.folder)
    assert again.resumable
    assert [left.name for left in again.work.iterdir()] == ["made.training"], "nor does a half-made file stay"


@pytest.mark.parametrize("base", ["/elsewhere/work", "models/.training/tasks/x/work"])
def test_a_task_of_an_earlier_version_is_read(tmp_path: Path, base: str) -> None:
    """It had paths for names, and did not have all of today's values."""
    task = cut_short(tmp_path, name=f"{base}/made.training")
    (task.folder / PROGRESS).write_text('{"stage": "embed", "done": 1, "total": 2}\n')
    assert task.resumable
    assert [(step.stage, step.done) for step in task.progress()] == [("embed", 1)]
    old = json.loads((task.folder / TASK).read_text())
    del old["notes"], old["steps"][0]["checkpoints"], old["steps"][0]["may_exit"], old["steps"][0]["publish"]
    (task.folder / TASK).write_text(json.dumps(old))
    (found,) = tasks(tmp_path)
    assert found.steps == (Step("fit", ()),)
    assert not found.resumable


def test_nobody_else_continues_with_a_task_that_is_being_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two supervisors would write into one folder."""
    task = cut_short(tmp_path, "fit", "--help")
    started, really = list[str](), subprocess.Popen

    def slow(*arguments: object, **more: object) -> object:
        with pytest.raises(DataError, match="nothing to resume"):
            resume(open_task(task.folder))
        started.append(task.status().step)
        return really(*arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", slow)
    resume(task)
    assert started == ["fit"]
    assert wait(task, lambda: task.status().state != "running").state == "done", task.log()


def test_a_task_that_cannot_be_taken_up_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = cut_short(tmp_path)
    before = task.status()

    def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", no_memory)
    with pytest.raises(DataError, match="cannot be started"):
        resume(task)
    assert (task.status().state, task.status().step) == ("ended", "fit") == (before.state, before.step)
    assert task.resumable
    folder = new_folder(tmp_path)
    with pytest.raises(DataError, match="cannot be started"):
        start(folder, "Help", [Step("help", ("fit", "--help"))])
    assert open_task(folder).status().state == "failed"


def test_an_earlier_run_s_error_is_not_the_last_one_s(tmp_path: Path) -> None:
    task = cut_short(tmp_path, "no-such-command")
    (task.folder / LOG).write_text("error: the disk is full\n")
    resume(task)
    status = wait(task, lambda: task.status().state != "running")
    assert status.state == "failed"
    assert "disk is full" not in status.message
    assert status.message
