"""Texts of the station -> its catalogues, ui/defectflow_ui/words/<language>.po: `make words`.

Texts that are new come with an empty translation, those that are gone are left out, and nothing is guessed. A
translator fills the empty ones, with an editor for .po files or any other. `--new fr` begins a language.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from babel.messages import Catalog
from babel.messages.pofile import read_po, write_po
from defectflow_ui.language import CATALOGUES, Kept, is_text

SAYING = {"say": 1, "count": 2}
"""Functions that say a text, and how many of their arguments are one."""


def modules() -> list[Path]:
    """The modules whose words are translated."""
    words = import_module("defectflow_ui.words")
    left_out = {"__init__", *words.ALWAYS_ENGLISH}
    return sorted(file for file in CATALOGUES.glob("*.py") if file.stem not in left_out)


def texts() -> dict[str | tuple[str, str], list[str]]:
    """Every text, or (one, many), with the modules that it stands in."""
    found: dict[str | tuple[str, str], list[str]] = {}
    for file in modules():
        module = import_module(f"defectflow_ui.words.{file.stem}")
        for text in [*constants(module), *said(ast.parse(file.read_text(encoding="utf-8")))]:
            places = found.setdefault(text, [])
            if file.stem not in places:
                places.append(file.stem)
    for pair in [text for text in found if isinstance(text, tuple)]:  # a .po file has no text twice
        if pair[0] in found:
            found[pair] += found.pop(pair[0])
    return found


def constants(module: ModuleType) -> Iterator[str]:
    """Texts that the module's own names hold, wherever nested; not the keys of a dictionary."""
    for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name):
            yield from _held(getattr(module, target.id))


def _held(value: Any) -> Iterator[str]:
    if isinstance(value, str) and type(value) in (str, Kept):
        if is_text(without_braces(value)):
            yield str(value)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _held(one)
    elif isinstance(value, dict):
        yield from _held(list(value.values()))
    elif hasattr(value, "said"):
        yield from _held(value.said)


def said(tree: ast.AST) -> Iterator[str | tuple[str, str]]:
    """Texts that functions say."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        name, given = call.func.id, call.args
        if name == "counted" and isinstance(given[1], ast.Constant):
            yield (f"{{number}} {given[1].value}", f"{{number}} {given[1].value}s")
        elif name in SAYING:
            told = [str(one.value) for one in given[: SAYING[name]] if isinstance(one, ast.Constant)]
            if name == "count" and len(told) == 2:
                yield (told[0], told[1])
            elif told and is_text(without_braces(told[0])):
                yield told[0]


def without_braces(text: str) -> str:
    kept, depth = "", 0
    for one in text:
        depth += (one == "{") - (one == "}")
        kept += one if depth == 0 else " "
    return kept


def update(file: Path, language: str) -> int:
    """Bring a language's catalogue up to date. -> texts that lack a translation."""
    template = Catalog(project="DefectFlow", charset="utf-8")
    for text, places in texts().items():
        template.add(text, locations=[(f"words/{place}.py", None) for place in places])  # type: ignore[misc]
    known = Catalog(locale=language)
    if file.exists():
        with file.open("rb") as stored:
            known = read_po(stored, locale=language)
    known.update(template, no_fuzzy_matching=True, update_creation_date=False)
    known.obsolete.clear()
    with file.open("wb") as stored:
        write_po(stored, known, width=120, sort_by_file=True, omit_header=False)
    return sum(not all(_translations(entry.string)) for entry in known if entry.id)


def _translations(string: Any) -> list[str]:
    return [string] if isinstance(string, str) else list(string or [""])


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--new", metavar="LANGUAGE", help="begin a catalogue, for example fr")
    if new := asked.parse_args().new:
        (CATALOGUES / f"{new}.po").touch(exist_ok=False)
    missing = 0
    for file in sorted(CATALOGUES.glob("*.po")):
        empty = update(file, file.stem)
        sys.stdout.write(f"{file.name}: {empty} texts lack a translation\n")
        missing += empty
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
