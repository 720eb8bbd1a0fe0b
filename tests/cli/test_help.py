"""Every command as its help shows it: whom it is for, an example that works, and JSON where it prints a table."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import shlex
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support import DEFECTFLOW, Cli, run

from defectflow.cli.main import app

PANELS = {"Model", "Line", "Release", "Records"}
EXAMPLE = "Example: defectflow "
ROOT: Any = typer.main.get_command(app)


def walk(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from walk(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = [pytest.param(path, command, id=" ".join(path)) for path, command in walk()]


def prints_tables(function: Callable[..., Any], seen: set[str]) -> bool:
    """Whether a function of the command line, or another one of it that it uses, makes a rich Table."""
    if function.__qualname__ in seen:
        return False
    seen.add(function.__qualname__)
    used = dict(function.__globals__)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("defectflow.cli."):
            module = importlib.import_module(str(node.module))
            used |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if "Table" in names:
        return True
    inner = (used[name] for name in names if inspect.isfunction(used.get(name)))
    return any(prints_tables(one, seen) for one in inner if one.__module__.startswith("defectflow.cli."))


def test_the_walk_finds_commands_and_tables() -> None:
    paths = {path for path, _ in walk()}
    assert {("fit",), ("new-key",), ("log", "drift"), ("versions", "from-reviews"), ("users", "list")} <= paths
    printing = {path for path, command in walk() if prints_tables(inspect.unwrap(command.callback), set())}
    assert {("score",), ("check-data",), ("verify",), ("versions", "from-reviews")} <= printing
    assert not printing & {("fit",), ("sign",), ("log", "verify")}


@pytest.mark.parametrize("name", ROOT.commands)
def test_each_command_or_group_says_whom_it_is_for(name: str) -> None:
    assert ROOT.commands[name].rich_help_panel in PANELS


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_each_command_shows_an_example_that_parses(path: tuple[str, ...], command: Any, cli: Cli) -> None:
    examples = [line for line in (command.epilog or "").split("\n\n") if line.startswith(EXAMPLE)]
    assert examples
    shown = cli(*path, "--help").out
    for example in examples:
        words = shlex.split(example.removeprefix(EXAMPLE))
        assert tuple(words[: len(path)]) == path
        command.make_context(path[-1], words[len(path) :])  # raises where a word is unknown or missing
        assert example in shown


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_each_command_that_prints_a_table_prints_json_too(path: tuple[str, ...], command: Any) -> None:
    if prints_tables(inspect.unwrap(command.callback), set()):
        assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_json_alone_replaces_what_is_printed_and_a_file_is_written_beside_it(cli: Cli, tmp_path: Path) -> None:
    names = {row["name"] for row in json.loads(cli("recipes", "--json").out)}
    assert {"default", "free"} <= names
    assert cli("recipes", "--json", "-").out == cli("recipes", "--json").out
    file = tmp_path / "new" / "recipes.json"
    beside = cli("recipes", "--json", file)
    assert beside.out == cli("recipes").out
    assert {row["name"] for row in json.loads(file.read_text(encoding="utf-8"))} == names
    other = tmp_path / "recipes.txt"
    assert cli("recipes", f"--json={other}").code == 0
    assert other.read_text(encoding="utf-8") == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["describe", "verify"])
def test_json_before_a_bundle_takes_it_for_no_file(cli: Cli, uncalibrated_copy: Path, command: str) -> None:
    options = ("--certificate", uncalibrated_copy.with_name("told.json")) if command == "verify" else ()
    assert "swatch" in json.dumps(json.loads(cli(command, *options, "--json", uncalibrated_copy).out))


@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_the_shell_completes_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "_DEFECTFLOW_COMPLETE": "complete_bash",
        "COMP_WORDS": "defectflow ch",
        "COMP_CWORD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert run(DEFECTFLOW).stdout.split() == ["check-data"]
