"""How long a task will still take, by the last one like it that came to its end, and by how this one goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from defectflow_ui.tasks.background import Task

EXTREMES = 0.2, 5.0
"""This task against the earlier one: no stage is taken for more than this much faster or slower."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage, from the end of the one before; of the running one, until now."""

    seconds: float
    done: int
    total: int

    @property
    def over(self) -> bool:
        return self.done >= self.total


def seconds_left(task: Task, earlier: Sequence[Task], now: float) -> float | None:
    """Until the whole task is done, not only this stage; None where no task with the same steps has come to its end.

    `earlier`: newest first. `now`: UTC, in seconds since 1970. Each stage still to come is taken to last as long as it
    did then, in proportion to its number of steps, and to how much faster or slower the stages behind us were.
    """
    known = next((_stages(one, None) for one in earlier if _alike(one, task)), None)
    if not known:
        return None
    seen = _stages(task, now)
    first = next(iter(known))
    growth = seen[first].total / max(known[first].total, 1) if first in seen else 1.0
    expected = {name: then.seconds * _growth(then, seen.get(name), growth) for name, then in known.items()}
    behind = [name for name, stage in seen.items() if stage.over and name in known]
    then, took = sum(expected[name] for name in behind), sum(seen[name].seconds for name in behind)
    pace = min(max(took / then, EXTREMES[0]), EXTREMES[1]) if then > 0 else 1.0
    left = 0.0
    for name, seconds in expected.items():
        stage = seen.get(name)
        if stage is None:
            left += pace * seconds
        elif not stage.over:
            in_one = stage.total <= 1  # no sign of how far it is but the clock
            left += (
                max(pace * seconds - stage.seconds, 0.0) if in_one else pace * seconds * (1 - stage.done / stage.total)
            )
    return left


def _growth(then: Stage, now: Stage | None, usual: float) -> float:
    """How many times as many steps a stage has; `usual`: of one that has not begun, by the first stage."""
    if then.total <= 1:
        return 1.0
    return usual if now is None else now.total / then.total


def _alike(one: Task, other: Task) -> bool:
    return [step.name for step in one.steps] == [step.name for step in other.steps] and one.status().state == "done"


def _stages(task: Task, now: float | None) -> dict[str, Stage]:
    """By name, in the order in which they began; empty where nobody timed them. `now`: the last one runs until then."""
    found: dict[str, Stage] = {}
    end = datetime.fromisoformat(task.started).timestamp()
    steps = task.progress_with_times()
    if not all(at for _, at in steps):
        return {}
    for place, (step, at) in enumerate(steps):
        if now is not None and place == len(steps) - 1:
            at = max(at, now) if step.done < step.total else at
        found[step.stage] = Stage(max(at - end, 0.0), step.done, step.total)
        end = at
    return found
