"""A hook of MkDocs: the pages that are made from the code, the notebook and the list of decisions.

Being generated, they cannot become outdated: commands from typer, recipes from their settings' models, packages from
their public names, the first steps from the notebook that the tests execute.
"""

from __future__ import annotations

import ast
import inspect
import json
import posixpath
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo

from defectflow.recipe import Recipe, Settings, builtin_recipes

DOCS = Path(__file__).parents[1]
PACKAGES = (
    *(
        "recipe",
        "data",
        "image",
        "embedding",
        "flows",
        "density",
        "score",
        "verdict",
        "bundle",
        "line",
    ),  # the data path
    *("gauge", "fitting", "export", "convert", "evaluation", "store", "serve", "samples"),
    *("pretraining", "scale", "common"),
)
"""The data path, then what stands beside it."""
FORBIDDEN = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in _made():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a file of the repository that is not a page becomes its name."""
    here = posixpath.dirname(page.file.src_uri)

    def kept(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, link[2].partition("#")[0]))
        return link[1] if target.startswith("..") else link[0]

    return FORBIDDEN.sub(kept, markdown)


def _made() -> Iterator[tuple[str, str]]:
    yield "notebooks/first_steps.md", _notebook(DOCS / "notebooks" / "first_steps.ipynb")
    yield "reference/commands.md", _commands()
    yield "reference/recipes.md", "\n".join(_recipes())
    yield "reference/packages.md", _packages()
    yield "decisions/index.md", _decisions()


def _notebook(file: Path) -> str:
    """Markdown as it stands, code in fences; outputs are for who runs it."""
    blocks = [f"*This page is the notebook `docs/notebooks/{file.name}`.*"]
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        blocks.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    title = next(block for block in blocks if block.startswith("# "))
    blocks.remove(title)
    return "\n\n".join([title, *blocks]) + "\n"


def _commands() -> str:
    command = [sys.executable, "-m", "typer", "defectflow.cli.main", "utils", "docs", "--name", "defectflow"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    made = re.sub(r"^Example: (.+)$", r"Example: `\1`", made, flags=re.MULTILINE)
    return made.replace("# `defectflow`", "# Commands", 1)


def _packages() -> str:
    """The public names of each package."""
    text = [
        "# Packages",
        "In the order of the data path, with the names that other packages may use. Unlike the public "
        "interface ([api.md](../api.md)), they may change from one version to the next.",
    ]
    for name in PACKAGES:
        text += [f"## {name}", f"::: defectflow.{name}\n    options: {{show_root_heading: false, members: true}}"]
    return "\n\n".join(text) + "\n"


def _recipes() -> Iterator[str]:
    yield "# Recipes\n"
    yield "A recipe is a YAML file; every setting can be changed on the command line: `--set flow.layers=12`.\n"
    yield "## Settings\n"
    for name, group in Recipe.model_fields.items():
        models = [one for one in (get_args(group.annotation) or (group.annotation,)) if _is_settings(one)]
        for model in models:
            kind = f" ({model.__name__.removesuffix('Settings')})" if len(models) > 1 else ""
            yield f"### {name}{kind}\n\n{inspect.cleandoc(model.__doc__ or '')}\n"
            yield "| setting | type | default | limits | meaning |\n|---|---|---|---|---|"
            yield from _rows(name, model)
            yield ""
    yield "## The built-in recipes\n"
    for name, file in builtin_recipes().items():
        yield f"### {name}\n\n```yaml\n{file.read_text(encoding='utf-8').rstrip()}\n```\n"


def _is_settings(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, Settings)


def _rows(path: str, model: type[Settings]) -> Iterator[str]:
    said = _said(model)
    for name, field in model.model_fields.items():
        inner = next((one for one in (field.annotation, *get_args(field.annotation)) if _is_settings(one)), None)
        if inner is not None:
            yield from _rows(f"{path}.{name}", inner)
            continue
        default = "" if field.is_required() else f"`{json.dumps(_plain(field.get_default(call_default_factory=True)))}`"
        cells = [f"`{path}.{name}`", _type(field.annotation), default, _limits(field.metadata), said.get(name, "")]
        yield f"| {' | '.join(cells)} |"


def _type(annotation: object) -> str:
    """In the words of YAML, not of Python."""
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return f"{_type(arguments[0])} {_limits(annotation.__metadata__)}".strip()  # type: ignore[attr-defined]
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is tuple:
        count = "list of" if arguments[-1] is ... else f"{len(arguments)} x"
        return f"{count} {_type(arguments[0])}"
    if arguments:
        return " or ".join(map(_type, arguments))
    words = {int: "whole number", float: "number", bool: "true, false", str: "text", Path: "path", type(None): "null"}
    return words[annotation]  # type: ignore[index]


def _limits(metadata: Iterable[object]) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    inside = [one for limit in metadata for one in (limit.metadata if isinstance(limit, FieldInfo) else [limit])]
    return ", ".join(
        f"{said} {getattr(one, key)}" for one in inside for key, said in words.items() if hasattr(one, key)
    )


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str | list | tuple | dict | None) else str(value)


def _said(model: type[Settings]) -> dict[str, str]:
    """The sentence below each setting in its class, or in one that it inherits from."""
    found: dict[str, str] = {}
    for one in reversed([one for one in model.__mro__ if _is_settings(one)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for setting, after in pairwise(body.body):
            if isinstance(setting, ast.AnnAssign) and isinstance(after, ast.Expr):
                assert isinstance(setting.target, ast.Name) and isinstance(after.value, ast.Constant)
                found[setting.target.id] = " ".join(str(after.value.value).split())
    return found


def _decisions() -> str:
    text = ["# Decisions", "What was decided, why, and what it costs; the newest last.", ""]
    for file in sorted((DOCS / "decisions").glob("0*.md")):
        title = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        text.append(f"- [{title}]({file.name})")
    return "\n".join(text) + "\n"
