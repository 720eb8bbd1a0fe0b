"""Good pictures -> a data check -> a model, in processes that outlive the page and the station. No Gradio, no torch.

Everything is below `.training` in the bundles' folder: `tasks/` (see `defectflow.background`), `pictures/` (uploads
that are to be learned from). A page only asks how the latest task stands, so it may be closed and opened at any time.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import sleep
from typing import Any, Literal

from defectflow.background import Step, Task, new_folder, start, tasks
from defectflow.dataset import find_pictures, part_of, test_pictures
from defectflow.errors import BundleError, DataError
from defectflow.manifest import SUFFIXES as MANIFEST_SUFFIXES
from defectflow.results import RUN
from defectflow.runtime.bundle import CARD
from defectflow.runtime.image import SUFFIXES
from defectflow.settings import builtin_recipes, load_recipe
from defectflow_ui.jobs import Job
from defectflow_ui.uploads import Arrived
from defectflow_ui.words import train as words

Kind = Literal["check", "train"]
HOME, TASKS, PICTURES = ".training", "tasks", "pictures"
CHECK, EVALUATION = "check.json", "evaluation.json"
MANIFEST, NAMES = "manifest.csv", "names.json"
UPLOADED = "uploaded:"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?<!\.)")
DEEPEST = 3
"""Levels of folders that are offered."""
MOST_FOLDERS = 500
KEPT_UPLOADS = 3
"""Uploads that are kept to be learned from; older ones go when a new one comes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to learn from, and how."""

    source: str
    """One of `Training.sources`."""
    recipe: str
    part_regex: str
    rate: float


class Training:
    """The training side of one station."""

    def __init__(self, bundles: Path, data: Path | None) -> None:
        """`data`: the folder below which pictures on this machine may be chosen; None: only uploads."""
        self._bundles = bundles
        self._data = None if data is None else data.resolve()
        self._home = bundles / HOME

    # ---- what to learn from -------------------------------------------------------------------------------------

    def sources(self) -> list[tuple[str, str]]:
        """(label, value) of everything that may be learned from: uploads, then folders and manifests, by name."""
        uploads = sorted((self._home / PICTURES).glob(f"*/{NAMES}"), key=lambda file: -file.stat().st_mtime)
        found = [(words.uploaded(len(_names(file.parent))), f"{UPLOADED}{file.parent.name}") for file in uploads]
        if self._data is not None:
            for path in list(_data_sources(self._data, DEEPEST))[:MOST_FOLDERS]:
                name = path.relative_to(self._data).as_posix()
                found.append((words.whole_folder if name == "." else name, name))
        return found

    def recipes(self) -> list[str]:
        """Names of the built-in recipes, and of YAML files that lie in the data folder."""
        own = sorted(path.name for path in self._data.glob("*.yaml")) if self._data is not None else []
        return [*builtin_recipes(), *own]

    def take_upload(self, arrived: list[Arrived]) -> str:
        """Pictures of a drop -> a source of their own, under numbers; the browser's names are only remembered."""
        pictures = [one for one in arrived if one.file is not None]
        if not pictures:
            raise DataError(words.nothing_uploaded)
        folder = self._home / PICTURES / secrets.token_hex(8)
        folder.mkdir(parents=True)
        names = dict[str, str]()
        for number, one in enumerate(pictures):
            suffix = Path(one.name).suffix.lower()
            name = f"{number:06}{suffix if suffix in SUFFIXES else '.png'}"
            shutil.copyfile(str(one.file), folder / name)
            names[name] = one.name
        (folder / NAMES).write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
        for old in sorted((self._home / PICTURES).iterdir(), key=lambda path: -path.stat().st_mtime)[KEPT_UPLOADS:]:
            shutil.rmtree(old, ignore_errors=True)
        return f"{UPLOADED}{folder.name}"

    # ---- work ---------------------------------------------------------------------------------------------------

    def check(self, wish: Wish, who: str) -> Task:
        """Look at the pictures. Raises DataError, SettingsError."""
        self._refuse_second()  # first of all: a running task may be reading what `_path` writes
        recipe = self._recipe(wish)
        path = self._path(wish)
        folder = new_folder(self._home / TASKS)
        arguments = ["check-data", str(path), *recipe, *_part_regex(wish), "--json", str(folder / CHECK)]
        notes = {"kind": "check", "who": who, "path": str(path), "wish": asdict(wish)}
        return start(folder, words.checking(wish.source), [Step("check", tuple(arguments), may_exit=(0, 1))], notes)

    def train(self, name: str, who: str) -> Task:
        """Fit to what was checked last; then evaluate, where there are test pictures. Raises DataError, BundleError."""
        self._refuse_second()
        check = self.latest("check")
        found = None if check is None else result(check, CHECK)
        if check is None or found is None:
            raise DataError(words.check_first)
        if found["fit_fails"]:
            raise DataError(words.fit_would_fail)
        if not NAME.fullmatch(name):
            raise DataError(words.bad_name(name))
        if (self._bundles / CARD).is_file():
            raise BundleError(words.one_bundle_only(self._bundles))
        target = self._bundles / name
        if target.exists():
            raise DataError(words.name_taken(name))
        wish = Wish(**check.notes["wish"])
        path, folder = self._path(wish), new_folder(self._home / TASKS)
        made = folder / "work" / name
        fit = ["fit", str(path), "--out", str(made), *self._recipe(wish), *_part_regex(wish)]
        steps = [Step("fit", tuple(fit), publish=(str(made), str(target)))]
        if _has_test_pictures(path):
            evaluate = ["evaluate", str(target), "--data", str(path), "--json", str(folder / EVALUATION)]
            steps.append(Step("evaluate", (*evaluate, *_part_regex(wish)), may_exit=(0, 2)))
        notes = {**check.notes, "kind": "train", "who": who, "name": name, "check": check.name}
        return start(folder, words.training(name), steps, notes)

    def latest(self, kind: Kind) -> Task | None:
        return next((task for task in self._tasks() if task.notes["kind"] == kind), None)

    def running(self) -> Task | None:
        return next((task for task in self._tasks() if task.status().state == "running"), None)

    def name_of(self, file: str) -> str:
        """A picture's name as its owner knows it: an upload's own, else the path below the data folder."""
        path = Path(file)
        if path.parent.parent == self._home / PICTURES:
            return _names(path.parent).get(path.name, path.name)
        with contextlib.suppress(ValueError):
            return path.relative_to(self._data or path.anchor).as_posix()
        return path.name

    def pictures_of(self, task: Task) -> dict[str, list[Path]]:
        """Part -> its pictures, of what a task has looked at; empty where they are gone."""
        wish, parts = Wish(**task.notes["wish"]), dict[str, list[Path]]()
        with contextlib.suppress(DataError):
            regex = wish.part_regex if _part_regex(wish) else None
            for picture in find_pictures(Path(task.notes["path"]), label="good", part_regex=regex):
                parts.setdefault(picture.part, []).append(picture.path)
        return parts

    def _tasks(self) -> list[Task]:
        return tasks(self._home / TASKS)

    def _refuse_second(self) -> None:
        if (running := self.running()) is not None:
            raise DataError(words.one_at_a_time(running.title))

    def _path(self, wish: Wish) -> Path:
        """Where a source lies. What the browser says only selects among what is offered."""
        if wish.source not in [value for _, value in self.sources()]:
            raise DataError(words.no_such_source)
        if wish.source.startswith(UPLOADED):
            return _write_manifest(self._home / PICTURES / wish.source.removeprefix(UPLOADED), wish.part_regex)
        assert self._data is not None  # or no folder would have been offered
        return self._data / wish.source

    def _recipe(self, wish: Wish) -> list[str]:
        """Options for a recipe and a rate; the review rate is raised where it has to be."""
        if wish.recipe not in self.recipes():
            raise DataError(words.no_such_recipe)
        own = None if self._data is None else self._data / wish.recipe
        recipe = str(own) if own is not None and wish.recipe not in builtin_recipes() else wish.recipe
        review = max(load_recipe(recipe).verdict.review_rate, wish.rate)
        rates = [f"verdict.rate={wish.rate}", f"verdict.review_rate={review}"]
        load_recipe(recipe, rates)
        return ["--recipe", recipe, *(word for rate in rates for word in ("--set", rate))]


def follow(task: Task, job: Job) -> None:
    """Show a task among the station's jobs until it ends. Raises DataError with what it died of."""
    while task.status().state == "running":
        if job.stopping:
            task.cancel()
        if steps := task.progress():
            job.progress = steps[-1]
        sleep(0.5)
    status = task.status()
    if status.state in ("failed", "ended"):
        raise DataError(status.message)


def result(task: Task, name: str) -> dict[str, Any] | None:
    """What a finished task has written; None while there is nothing."""
    if task.status().state != "done":
        return None
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((task.folder / name).read_text(encoding="utf-8")))
    return None


def _data_sources(folder: Path, depth: int) -> Iterator[Path]:
    """Folders that hold pictures, and manifests; a tree of a known form counts as one. Links are not followed."""
    if _made_here(folder):
        return
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and not entry.is_symlink())
    files = [entry for entry in entries if entry.is_file()]
    whole = (folder / MANIFEST).is_file() or (folder / "train" / "good").is_dir()
    if whole or any(file.suffix.lower() in SUFFIXES for file in files):
        yield folder
    yield from (file for file in files if file.suffix.lower() in MANIFEST_SUFFIXES and file.name != MANIFEST)
    if not whole and depth:
        for entry in entries:
            if entry.is_dir():
                yield from _data_sources(entry, depth - 1)


def _made_here(folder: Path) -> bool:
    """Whether it is a bundle, results of `score`, or a store's copies: nothing that is meant to be learned from."""
    copies = folder.suffix == ".pictures" and folder.with_suffix("").is_file()
    return copies or any((folder / name).is_file() for name in (CARD, RUN))


def _has_test_pictures(source: Path) -> bool:
    return any(picture.split == "test" for picture in test_pictures(find_pictures(source)))


def _names(folder: Path) -> dict[str, str]:
    """An upload's files by their numbers -> what their owner calls them."""
    try:
        return dict(json.loads((folder / NAMES).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(words.no_such_source) from error


def _write_manifest(folder: Path, part_regex: str) -> Path:
    """An upload's manifest: parts by their owner's names, since the files have numbers. Raises DataError."""
    rows = [(file, part_of(name, part_regex or None), name) for file, name in _names(folder).items()]
    nameless = [name for _, part, name in rows if part is None]
    if part_regex and nameless:
        raise DataError(words.no_part(nameless[0], part_regex))
    with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "part"] if part_regex else ["path"])
        table.writerows((path, part) if part_regex else (path,) for path, part, _ in rows)
    return folder / MANIFEST


def _part_regex(wish: Wish) -> list[str]:
    """The option, unless an upload's manifest names the parts already."""
    return ["--part-regex", wish.part_regex] if wish.part_regex and not wish.source.startswith(UPLOADED) else []
