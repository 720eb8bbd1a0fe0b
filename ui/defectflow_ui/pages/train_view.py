"""What the page Train shows of its form and of the latest task; see train_outcome.py for what that has made."""

from __future__ import annotations

from markupsafe import Markup

from defectflow.data.refit_manifest import Refit
from defectflow_ui.markup.elements import empty, notice
from defectflow_ui.markup.render import render
from defectflow_ui.tasks.background import Status, Task
from defectflow_ui.tasks.training import Wish
from defectflow_ui.visits.uploads import ACCEPTED
from defectflow_ui.words import train as words

MOST_REFUSED = 20
LOG_BYTES = 12_000
COLOURS = {"done": "ok", "running": "error", "cancelled": "error", "failed": "defect", "ended": "defect"}
"""For a task's badge, by its state."""


def drop_zone(offers_folders: bool) -> Markup:
    return render("train/drop_zone.html", words=words, accepted=ACCEPTED, offers_folders=offers_folders)


def nothing_yet() -> Markup:
    return empty(words.nothing_yet, words.nothing_yet_do)


def engineers_only() -> Markup:
    return empty(words.engineers_only, words.engineers_only_do)


def gone(name: str, why: str) -> Markup:
    """A model that was trained here, and cannot be used any more."""
    return empty(name, why)


def task_state(task: Task, status: Status, seconds_left: float | None) -> Markup:
    """Title, one bar per stage, what it said; how long it will still take, where that can be told."""
    state = status.state
    said = words.leave if state == "running" else words.stopped if state == "cancelled" else status.message
    if task.resumable:
        said = f"{'' if state == 'cancelled' else said} {words.kept}".strip()
    stages = [(step, _purpose(step.stage)) for step in task.progress()]
    return render(
        "train/task.html",
        words=words,
        state=state,
        title=task.title,
        colour=COLOURS[state],
        stages=stages,
        said=said,
        left="" if seconds_left is None else words.time_left(seconds_left),
    )


def _purpose(stage: str) -> str:
    """What a stage is for, on hover and focus."""
    return next((told for known, told in words.stages.items() if stage.startswith(known)), "")


def basis(wish: Wish, who: str, passed: bool, *, as_checked: bool) -> Markup:
    """What would be trained on: what was checked; or that the form says something else by now."""
    if not as_checked:
        return render("train/basis.html", kind="warn", said=sentence(words.changed_since(wish, who)))
    said = words.as_checked(wish, who) if passed else sentence(words.fit_would_fail)
    return render("train/basis.html", kind="quiet", said=said)


def joins(source: str, refit: Refit | None) -> Markup:
    """Which answers a model would be fitted again with; nothing where the source is not a model."""
    if refit is None:
        return Markup()
    first = refit.missing[0] if refit.missing else ""
    model = source.partition(":")[2]
    return notice(words.joins(model, refit.parts, refit.joined, len(refit.missing), first, refit.unnamed))


def arriving(pictures: int, files: int, size: int) -> Markup:
    """How far an upload of so many bytes is; of a ZIP, each picture counts, and of how many is not known."""
    told = words.arriving(pictures, files, size / 1e6)
    return render("train/arriving.html", pictures=pictures, files=files, told=told)


def refused(reasons: list[str]) -> Markup:
    """What of an upload could not be taken."""
    more = max(len(reasons) - MOST_REFUSED, 0)
    return render("train/refused.html", words=words, reasons=reasons[:MOST_REFUSED], more=more)


def sentence(said: str) -> str:
    """A reason, which messages begin in lower case, as its own sentence."""
    return said[:1].upper() + said[1:].removesuffix(".") + "."


def log(task: Task) -> Markup:
    return render("train/log.html", log=task.log(LOG_BYTES))


def activated(name: str) -> Markup:
    return notice(words.activated(name))
