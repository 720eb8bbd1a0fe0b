"""How long a training will still take: by the last one, and by how this one goes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from defectflow_ui.tasks.background import STATE, State, Status, Step, Task
from defectflow_ui.tasks.time_left import seconds_left

BEGUN = "2026-05-01T08:00:00+00:00"
AT = 1_777_622_400.0
"""The same, in seconds since 1970."""
WHOLE = [("embed", 1, 100, 1), ("embed", 100, 100, 50), ("export", 1, 1, 70), ("calibrate", 20, 20, 80)]
STEPS = (Step("fit", ("fit",)),)


def task(folder: Path, lines: list[tuple[str, int, int, float]], state: State = "done", steps: Any = STEPS) -> Task:
    folder.mkdir()
    rows = (json.dumps({"stage": name, "done": done, "total": of, "at": AT + at}) for name, done, of, at in lines)
    (folder / "progress.jsonl").write_text("\n".join(rows) + "\n")
    (folder / STATE).write_text(json.dumps(asdict(Status(state))))
    return Task(folder, "Train", steps, BEGUN)


@pytest.fixture
def earlier(tmp_path: Path) -> Task:
    """100 pictures: 50 s of features, 20 s of export, 10 s of calibration."""
    return task(
        tmp_path / "then",
        [("embed", 1, 100, 1), ("embed", 100, 100, 50), ("export", 1, 1, 70), ("calibrate", 20, 20, 80)],
    )


def test_nothing_is_said_without_an_earlier_one(tmp_path: Path, earlier: Task) -> None:
    running = task(tmp_path / "now", [("embed", 10, 100, 5)], "cancelled")
    assert seconds_left(running, [], AT + 5) is None
    other = task(tmp_path / "other", [("embed", 1, 1, 1)], steps=(*STEPS, Step("evaluate", ("evaluate",))))
    cut_short = task(tmp_path / "cut", [("embed", 1, 1, 1)], "failed")
    assert seconds_left(running, [other, cut_short], AT + 5) is None
    assert seconds_left(running, [other, cut_short, earlier], AT + 5) is not None


def test_all_stages_count_and_grow_with_the_pictures(tmp_path: Path, earlier: Task) -> None:
    """Twice the pictures, half as fast: what is to come is told from both."""
    begun = task(tmp_path / "begun", [("embed", 0, 100, 0)], "cancelled")
    assert seconds_left(begun, [earlier], AT) == pytest.approx(80)
    half = task(tmp_path / "half", [("embed", 100, 200, 50)], "cancelled")
    assert seconds_left(half, [earlier], AT + 50) == pytest.approx(50 + 20 + 2 * 10)
    slow = task(tmp_path / "slow", [("embed", 200, 200, 200), ("export", 0, 1, 200)], "cancelled")
    assert seconds_left(slow, [earlier], AT + 210) == pytest.approx(2 * 20 - 10 + 2 * 2 * 10), (
        "an export is one step, however many pictures"
    )
    over = task(tmp_path / "over", WHOLE, "cancelled")
    assert seconds_left(over, [earlier], AT + 80) == 0
