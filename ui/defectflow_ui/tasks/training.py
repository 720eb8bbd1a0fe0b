"""Good pictures -> a data check -> a model, in processes that survive the page and the station. No Gradio, no torch.

Everything is below `.training` in the bundles' folder: `tasks/` (see `defectflow_ui.tasks.background`), `pictures/`
(uploads that are to be learned from). A page only asks how the latest task stands, so it may be closed and opened at
any time.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from time import sleep, time
from typing import Any, Literal

from defectflow.data import find_pictures, look_through, test_pictures
from defectflow.data.refit_manifest import Refit
from defectflow.errors import DataError, DefectFlowError
from defectflow.recipe import builtin_recipes, load_recipe
from defectflow.store import Store
from defectflow_ui.models.bundles import Bundles, evaluation_file
from defectflow_ui.tasks.background import WORK, Step, Task, new_folder, resume, start, tasks
from defectflow_ui.tasks.jobs import Job
from defectflow_ui.tasks.recipe_changes import overrides, told
from defectflow_ui.tasks.selection import select, write_selection
from defectflow_ui.tasks.sources import AGAIN, Sources
from defectflow_ui.tasks.time_left import seconds_left
from defectflow_ui.visits.uploads import Arrived
from defectflow_ui.words import train as words

Kind = Literal["check", "train"]
HOME, TASKS, PICTURES = ".training", "tasks", "pictures"
CHECK, LISTED = "check.json", "pictures.csv"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to learn from, and how."""

    source: str
    """One of `Sources.all`."""
    recipe: str
    part_regex: str
    rate: float
    settings: str = ""
    """Changes to the recipe, one a line: see recipe_changes.py."""
    left_out: str = ""
    """Names of pictures that are not to be learned from, one a line."""
    defective: str = ""
    """Names of pictures whose parts are defective, one a line."""

    def settings_told(self) -> list[str]:
        """The changes to the recipe, and in words where to look."""
        return told(self.settings)


class Training:
    """The training side of one station."""

    def __init__(self, bundles: Bundles, data: Path | None, store: Store) -> None:
        """`data`: the folder below which pictures on this machine may be chosen; None: only uploads."""
        self._models = bundles
        self._home = bundles.folder.resolve() / HOME  # a task may be taken up from another working folder
        self._beginning = Lock()
        self.sources = Sources(self._home / PICTURES, data, bundles, store)

    def recipes(self) -> list[str]:
        """Names of the built-in recipes, and of YAML files that lie in the data folder."""
        return [*builtin_recipes(), *self.sources.recipes()]

    def take_upload(self, arrived: list[Arrived]) -> str:
        """Pictures of a drop -> a source. What a task reads, or may yet read, is not removed for it."""
        latest = self.latest("check")
        needed = [task for task in self._tasks() if task == latest or task.resumable or _runs(task)]
        return self.sources.take_upload(arrived, [Path(task.notes["origin"]) for task in needed])

    # ---- work ---------------------------------------------------------------------------------------------------

    def check(self, wish: Wish, who: str) -> Task:
        """Look at the pictures. Raises DataError, SettingsError."""
        with self._alone():
            recipe, origin = self._recipe(wish), self.sources.path(wish.source)
            refit = self.sources.refit(wish.source)
            if refit is not None and not refit.joined:
                raise DataError(words.nothing_joins)
            part_regex = wish.part_regex if refit is None else refit.part_regex or ""
            write, path = _listing(wish, origin, refit, part_regex), origin
            folder = new_folder(self._home / TASKS)
            if write is not None:
                path = folder / LISTED
                write(path)
            products = _products(path, part_regex)
            command = ("check-data", str(path), *recipe, *_option(part_regex))
            choices: list[tuple[str, ...]] = [("--product", name) for name in products] or [()]
            steps = [
                Step("check", (*command, *choice, "--json", str(folder / file)), may_exit=(0, 1))
                for choice, file in zip(choices, _check_files(products), strict=True)
            ]
            notes = {
                "kind": "check",
                "who": who,
                "path": str(path),
                "origin": str(origin),
                "part_regex": part_regex,
                "products": products,
                "wish": asdict(wish),
            }
            return start(folder, words.checking(wish.source), steps, notes)

    def checked(self) -> tuple[Wish, str, bool] | None:
        """What was checked last, by whom, and whether it can be trained on; None where no check has finished."""
        check = self.latest("check")
        found = [] if check is None else list(checks(check).values())
        if check is None or None in found:
            return None
        passed = not any(one["fit_fails"] for one in found if one is not None)
        return Wish(**check.notes["wish"]), str(check.notes["who"]), passed

    def train(self, name: str, wish: Wish, who: str) -> Task:
        """Fit to what was checked last; then evaluate, where there are test pictures. Raises DataError, BundleError."""
        with self._alone():
            check, checked = self.latest("check"), self.checked()
            if check is None or checked is None:
                raise DataError(words.check_first)
            if checked[0] != wish:
                raise DataError(words.changed_since(checked[0], checked[1]))
            if not checked[2]:
                raise DataError(words.fit_would_fail)
            target = self._models.free(name).resolve()
            recipe, path, origin = self._recipe(wish), Path(check.notes["path"]), Path(check.notes["origin"])
            if not path.exists():
                raise DataError(words.no_such_source)
            for old in self._tasks():
                old.forget()  # whoever begins again does not continue with an earlier one
            folder = new_folder(self._home / TASKS)
            if path.parent == check.folder:  # as checked: answers given since would not have been
                path = Path(shutil.copy(path, folder))
            made, option = folder / WORK / name, _option(check.notes["part_regex"])
            fit = ["fit", str(path), "--out", str(made), *recipe, *option]
            steps = [Step("fit", tuple(fit), (name, str(target)), checkpoints=f"{name}.training")]
            tested = origin if wish.source.startswith(AGAIN) else path
            if _has_test_pictures(tested):
                evaluate = ["evaluate", str(target), "--data", str(tested), "--json", str(evaluation_file(target))]
                steps.append(Step("evaluate", (*evaluate, *option), may_exit=(0, 2)))
            notes = {**check.notes, "kind": "train", "who": who, "name": name, "check": check.name, "path": str(path)}
            return start(folder, words.training(name), steps, notes)

    def resume(self) -> Task:
        """Resume the latest training if it was interrupted. Raises DataError."""
        with self._alone():
            task = self.latest("train")
            if task is None or not task.resumable:
                raise DataError(words.nothing_to_resume)
            return resume(task)

    def shown(self) -> Task | None:
        """The task that runs, else the one that has ended last."""
        return max(self._tasks(), key=lambda task: (_runs(task), task.status().changed, task.name), default=None)

    def seconds_left(self, task: Task) -> float | None:
        """Until a running task has made its result, by the last one like it; None where there was none."""
        others = [one for one in self._tasks() if one.name != task.name]
        return seconds_left(task, others, time())

    def latest(self, kind: Kind) -> Task | None:
        return next((task for task in self._tasks() if task.notes["kind"] == kind), None)

    def running(self) -> Task | None:
        return next(filter(_runs, self._tasks()), None)

    def names_in(self, task: Task) -> Callable[[str], str]:
        """A picture's file -> its name as its owner knows it."""
        names = self.sources.names(Path(task.notes["path"]))
        return lambda file: names.get(file, Path(file).name)

    def pictures_of(self, task: Task) -> dict[tuple[str | None, str], list[Path]]:
        """(product, part) -> its pictures, of what a task has looked at; empty where they are gone."""
        parts = dict[tuple[str | None, str], list[Path]]()
        with contextlib.suppress(DefectFlowError):
            regex = task.notes["part_regex"] or None
            for picture in find_pictures(Path(task.notes["path"]), label="good", part_regex=regex):
                parts.setdefault((picture.product, picture.part), []).append(picture.path)
        return parts

    def _tasks(self) -> list[Task]:
        """Newest first; without those of a station that noted less."""
        return [task for task in tasks(self._home / TASKS) if "origin" in task.notes]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While a task is started: nothing runs, and nobody else begins anything. Raises DataError."""
        with self._beginning:
            if (running := self.running()) is not None:
                raise DataError(words.one_at_a_time(running.title))
            yield

    def _recipe(self, wish: Wish) -> list[str]:
        """Options for a recipe and a rate; the review rate is raised where it has to be."""
        if wish.recipe not in self.recipes():
            raise DataError(words.no_such_recipe)
        theirs = {} if wish.recipe in builtin_recipes() else self.sources.recipes()
        recipe = str(theirs.get(wish.recipe, wish.recipe))
        own = overrides(wish.settings)
        review = max(load_recipe(recipe, own).verdict.review_rate, wish.rate)
        changes = [*own, f"verdict.rate={wish.rate}", f"verdict.review_rate={review}"]
        load_recipe(recipe, changes)
        return ["--recipe", recipe, *(word for change in changes for word in ("--set", change))]


def follow(task: Task, job: Job) -> None:
    """Show a task among the station's jobs until it ends. Raises DataError with what it died of."""
    while _runs(task):
        if job.stopping:
            task.cancel()
        if steps := task.progress():
            job.progress = steps[-1]
        sleep(0.5)
    status = task.status()
    if status.state in ("failed", "ended"):
        raise DataError(status.message)


def checks(task: Task) -> dict[str, dict[str, Any] | None]:
    """Product -> what a check has found of it, None while there is nothing; one "" where the source names none."""
    products = task.notes.get("products") or []
    return {name: result(task, file) for name, file in zip(products or [""], _check_files(products), strict=True)}


def _check_files(products: Sequence[str]) -> list[str]:
    """What a check of each of these products is written to; of none, the one file."""
    return [f"{number}-{CHECK}" for number in range(len(products))] or [CHECK]


def result(task: Task, name: str) -> dict[str, Any] | None:
    """What a finished task has written; None while there is nothing."""
    if task.status().state != "done":
        return None
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((task.folder / name).read_text(encoding="utf-8")))
    return None


def _runs(task: Task) -> bool:
    return task.status().state == "running"


def _listing(wish: Wish, source: Path, refit: Refit | None, part_regex: str) -> Callable[[Path], None] | None:
    """What writes the manifest of the pictures to be looked at; None where the source is taken as it is.

    Raises DataError, SettingsError.
    """
    if refit is not None:
        still = select(refit.pictures, wish.left_out, wish.defective)
        return replace(refit, pictures=tuple(one for one in still if one.label == "good")).write
    if not wish.left_out and not wish.defective:
        return None
    found = find_pictures(source, label="good", part_regex=part_regex or None)
    good = select([picture for picture in found if picture.label == "good"], wish.left_out, wish.defective)
    chosen = [*good, *(picture for picture in found if picture.label != "good")]
    known = not part_regex and all(picture.part_known for picture in chosen)
    return lambda manifest: write_selection(chosen, manifest, with_parts=known)


def _products(source: Path, part_regex: str) -> list[str]:
    """Which products a manifest names. None of what cannot be read: the check itself says what is wrong with it."""
    with contextlib.suppress(DefectFlowError):
        return list(look_through(source, label="good", part_regex=part_regex or None).products)
    return []


def _has_test_pictures(source: Path) -> bool:
    return any(picture.label == "good" and picture.split == "test" for picture in test_pictures(find_pictures(source)))


def _option(part_regex: str) -> list[str]:
    return ["--part-regex", part_regex] if part_regex else []
