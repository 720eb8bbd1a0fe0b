"""What README and documentation show as code: every command is parsed, most are run; every Python block runs."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np
import pytest
from defectflow_ui.settings import Settings
from defectflow_ui.start import open_station
from support import REPOSITORY, SWATCH_RECIPE, Cli, once, save, swatch, swatches
from typer import BadParameter
from typer.core import TyperGroup
from typer.main import get_command

import defectflow
from defectflow.bundle import open_bundle
from defectflow.cli.main import app
from defectflow.line import recalibrate
from defectflow.store import Store

UsageError = BadParameter.__base__ or Exception
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")), *(REPOSITORY / "deploy").rglob("*.md")]
COMMAND = re.compile(r"^ {4}defectflow (?P<words>.*?)(?:\s{2,}#.*)?$", re.MULTILINE)
OPTIONAL = re.compile(r"\[(--[^\]]+)\]")
NOT_RUN = {
    "demo-data": "draws hundreds of pictures",
    "export": "tests/convert does, with what each target needs",
    "fit": "learns for minutes",
    "fit-many": "learns for longer; tests/scale does",
    "pretrain": "learns for hours",
    "study agreement": "tests/gauge does, with the answers of people",
    "serve": "serves until it is stopped; tests/serve does",
    "ui": "serves until it is stopped",
    "users": "tests/store does, with a password",
}
"""Commands whose lines are only parsed, and why; so are those for other machines: an execution provider, or Ray."""

MAY_END = {"check-data": 1}
"""Commands that end with another code where they find something: here, few pictures."""


def commands() -> list[tuple[str, str]]:
    """(page, words after `defectflow`), each once."""
    found = {}
    for page in PAGES:
        for match in COMMAND.finditer(page.read_text(encoding="utf-8")):
            found.setdefault(match["words"].strip(), page.relative_to(REPOSITORY).as_posix())
    return [(page, words) for words, page in found.items()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, uncalibrated_path: Path) -> Path:
    """The folders that the documentation speaks of, with small pictures and a small bundle."""

    def make(folder: Path) -> None:
        bundle = shutil.copytree(uncalibrated_path, folder / "models" / "bracket")
        recalibrate(open_bundle(bundle), rate=0.25, guarantee="expected", review_rate=0.4)
        for name in ("bracket-new", "fabric"):
            shutil.copytree(bundle, folder / "models" / name)
        for number, name in enumerate(("own", "incoming", "incoming/old")):
            swatches(folder / name, 4, first_seed=100 * (number + 1))
        for seed in range(4):
            save(folder / "good" / f"part{seed}.png", swatch(seed))
        save(folder / "incoming" / "a.png", swatch(7))
        shutil.copy(folder / "incoming" / "a.png", folder / "a.png")
        for seed in range(4):
            save(folder / "testset" / "good" / f"{seed}.png", swatch(900 + seed))
            save(folder / "testset" / "bad" / f"{seed}.png", swatch(950 + seed, scratched=True))
        shutil.copytree(folder / "testset", folder / "demo" / "data" / "fabric" / "test")
        for number, shift in enumerate(("masters", "shift")):  # the same two parts, pictured anew
            save(folder / shift / "good" / "m1.png", swatch(902) + np.uint8(number))
            save(folder / shift / "defect" / "m2.png", swatch(903, scratched=True) + np.uint8(number))
        swatches(folder / "kept_apart", 12, first_seed=900)
        with Store.open(str(folder / "inspections.db")) as store:
            store.outbox.hold("webhook mes", "a service that ran once", seconds=0)

    return once(tmp_path_factory, "documented", make)


@pytest.fixture
def here(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace, as the working folder."""
    monkeypatch.chdir(shutil.copytree(workspace, tmp_path / "here"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "here"


def parse(words: list[str]) -> None:
    """Take these words apart as the command line does, and check their values. Raises UsageError."""
    command, context = get_command(app), None
    name: str | None = "defectflow"
    while isinstance(command, TyperGroup):
        context = command.make_context(name, words, parent=context)
        name, inner, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None
        command = inner
    command.make_context(name, words, parent=context)


def plain(words: str, *, optional: bool) -> list[str]:
    """A documented line as somebody types it: with or without what is optional, and with a real store."""
    typed = OPTIONAL.sub(r"\1" if optional else "", words)
    return ["inspections.db" if word == "URL" else word for word in shlex.split(typed)]


@pytest.mark.parametrize(("page", "words"), commands())
def test_a_documented_command_exists(page: str, words: str, here: Path) -> None:
    for optional in (True, False):
        parse(plain(words, optional=optional))


def test_a_wrong_command_would_be_found(here: Path) -> None:
    assert len(commands()) > 40
    for wrong in ("fit good/ --outt x", "diff models/bracket", "log rotate --store x", "fit good/ --out"):
        with pytest.raises(UsageError):
            parse(shlex.split(wrong))


def test_documented_commands_run(here: Path, cli: Cli) -> None:
    """In the order of the pages, since each builds on those before; but for NOT_RUN."""
    run = set()
    for page, words in commands():
        typed = plain(words, optional=False)
        if {typed[0], " ".join(typed[:2])} & set(NOT_RUN) or {"--provider", "--ray"} & set(typed):
            continue
        if typed[0] == "score":
            shutil.rmtree("results", ignore_errors=True)
        ended = cli(*typed)
        assert ended.code in (0, MAY_END.get(typed[0])), f"{page}: defectflow {words}: {ended.out} {ended.err}"
        run.add(typed[0])
    assert run == {
        *("check-data", "cost", "diff", "evaluate", "golden", "keys", "log", "new-key", "report", "score", "sign"),
        *("study", "verify", "versions"),
    }


# ---- Python ---------------------------------------------------------------------------------------------------------


def blocks(page: str) -> str:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def run_blocks(page: str) -> dict[str, Any]:
    world: dict[str, Any] = {"__name__": "documented"}
    exec(compile(blocks(page), page, "exec"), world)
    return world


@pytest.fixture
def quick_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from defectflow import fit` fits for seconds."""
    recipe = partial(defectflow.fit, recipe="free", settings=SWATCH_RECIPE)
    monkeypatch.setattr(defectflow, "fit", recipe, raising=False)


def front(here: Path) -> None:
    """README and the site's first page: fit on as many parts as 5% needs, and one verdict."""
    swatches(here / "good", 60)
    assert run_blocks("README.md")["verdict"].decision is not None
    assert run_blocks("docs/index.md")["model"].card.bundle_id


def background(here: Path) -> None:
    """A fit that is cancelled at once."""
    swatches(here / "good", 24)
    world = run_blocks("docs/train-and-calibrate.md")
    task = world["open_task"](world["folder"])
    deadline = time.monotonic() + 120
    while task.status().state == "running":
        assert time.monotonic() < deadline, task.log()
        time.sleep(0.1)
    assert task.status().state == "cancelled"


def store(here: Path) -> None:
    world = run_blocks("docs/store.md")
    assert world["version"].name == "June"
    assert world["bundle"].card.calibration_id == world["version"].calibration_id


def core(here: Path) -> None:
    assert run_blocks("docs/graph.md")["inspector"].card.name


def page_of_the_station(here: Path) -> None:
    """It is laid out and connected, its words being there."""
    words = ModuleType("defectflow_ui.words.counts")
    words.__dict__.update(tab="Counts", nothing="Nothing", what_to_do="Inspect", again="Again")
    sys.modules[words.__name__] = sys.modules["defectflow_ui.words"].counts = words  # type: ignore[attr-defined]
    station = open_station(Settings(here / "models"))
    try:
        with gr.Blocks():
            page = run_blocks("docs/ui.md")["CountsPage"](station)
        assert page.again.value == "Again"
    finally:
        station.close()
        del sys.modules[words.__name__]


RUN: dict[str, Callable[[Path], None]] = {
    "README.md": front,
    "docs/graph.md": core,
    "docs/store.md": store,
    "docs/train-and-calibrate.md": background,
    "docs/ui.md": page_of_the_station,
}
ELSEWHERE = {"docs/a-flow-from-scratch.md", "docs/index.md", "docs/api.md", "docs/serve.md", "docs/products.md"}
"""Run by tests/test_docs.py, with README.md, by tests/serve and tests/fitting, and by tests that import these names."""


@pytest.mark.usefixtures("quick_fit")
@pytest.mark.parametrize("page", RUN)
def test_documented_python_runs(page: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RUN[page](here)


def test_every_page_with_python_is_run() -> None:
    pages: Iterator[str] = (page.relative_to(REPOSITORY).as_posix() for page in PAGES)
    assert {page for page in pages if blocks(page)} == {*RUN, *ELSEWHERE}
    run_blocks("docs/api.md")
