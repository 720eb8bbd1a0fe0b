"""What the commands share: one console, progress bars, and plain messages instead of stack traces."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from typer.core import TyperCommand

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.common import Progress as Step
    from defectflow.common import Watch
    from defectflow.data import Found

out = Console()
err = Console(stderr=True)

BundlePath = Annotated[Path, typer.Argument(help="A bundle that fit has written.")]
PublicKey = Annotated[
    Path | None, typer.Option(help="Refuse the bundle unless the owner of this public key (PEM) has signed it.")
]
SignKey = Annotated[Path | None, typer.Option("--sign", help="Sign the bundle with this private key (PEM).")]
PartRegex = Annotated[
    str | None,
    typer.Option(
        help=r"Finds the part's name in a picture's path, e.g. '(part\d+)'. Pictures of one part stay together."
    ),
]
Provider = Annotated[
    str, typer.Option(help="Execution provider that runs the model: cpu, cuda, openvino, ... `verify` certifies it.")
]
Core = Annotated[
    bool, typer.Option("--core", help="Run only the graph's core, for providers that cannot shrink pictures.")
]
Threads = Annotated[int, typer.Option(min=0, help="Threads of one inference; 0: all cores.")]
ProgressFile = Annotated[
    Path | None,
    typer.Option("--progress", help="Also write progress to this file, one JSON object per line."),
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="[FILE.json]",
        help="Print JSON instead of tables. With a FILE.json: write it there, and print the tables, too.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on Ray: alone, on this machine; with HOST:PORT, or auto, on a cluster that this machine belongs to.",
    ),
]
Product = Annotated[
    str | None,
    typer.Option(help="Of a bundle or a manifest of several products: this one."),
]
STANDARD_OUTPUT = Path("-")
OPTIONAL = {"--json": (r"-|.*\.json", "-"), "--ray": (r"auto|local|.+://.+|[^/\s]+:\d+", "local")}
"""Options whose value may be left out -> how a value looks, and what stands for one that is not there."""
PROGRESS_EVERY_S = 0.2
LINE_EVERY_S = 10.0
"""Where output is no terminal, a stage that goes on is heard of so often."""


class Command(TyperCommand):
    """A command whose `--json` may be followed by a file, and whose `--ray` may be followed by an address.

    A file is the next word if it ends in .json or is `-`; an address, if it is one.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        words = list(args)
        for place, option in reversed(list(enumerate(options))):
            if option in OPTIONAL:
                expected, otherwise = OPTIONAL[option]
                if not re.fullmatch(expected, "".join(words[place + 1 : place + 2])):
                    words.insert(place + 1, otherwise)
        try:
            return super().parse_args(ctx, words)
        except Exception as error:  # a usage error: typer says it, and does not export its class
            said = str(getattr(error, "message", ""))
            if "--ray" in options and "extra argument" in said:
                raise typer.BadParameter(f"{said}; an address after --ray is HOST:PORT, or auto", ctx) from error
            raise


def command(
    app: typer.Typer, name: str, *examples: str, panel: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds a function to `app` as a command; `examples` are shown below its help, without the command itself."""
    group = "" if app.info.name == "defectflow" else f"{app.info.name} "
    epilog = "\n\n".join(f"Example: defectflow {group}{name} {words}".rstrip() for words in examples)
    return app.command(name, cls=Command, epilog=epilog, rich_help_panel=panel)


@contextmanager
def progress_bars() -> Iterator[Watch]:
    """A bar per stage on the error stream, so that piped results stay clean; plain lines where that is no terminal."""
    if not err.is_terminal:
        yield _plain_lines()
        return
    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=15)),
        BarColumn(bar_width=8),
        TextColumn("{task.completed}/{task.total}", table_column=Column(no_wrap=True, min_width=9)),
        TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True)),
    )
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def watch(step: Step) -> None:
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task(step.stage, total=step.total, note="")
            note = f"{step.note} ({step.detail})" if step.detail else step.note
            bars.update(tasks[step.stage], completed=step.done, total=step.total, note=note)

        yield watch


def _plain_lines() -> Watch:
    """A line where a stage begins and ends, at each look at the tune parts, and every few seconds in between."""
    printed: dict[str, float] = {}

    def watch(step: Step) -> None:
        now = time.monotonic()
        between = 0 < step.done < step.total and not step.detail
        if between and now - printed.setdefault(step.stage, now) < LINE_EVERY_S:
            return
        printed[step.stage] = now
        note = f"{step.note} ({step.detail})" if step.detail else step.note
        line = f"{step.stage}: {step.done}/{step.total}{f', {note}' if note else ''}"
        err.print(line, markup=False, highlight=False, soft_wrap=True)

    return watch


@contextmanager
def watching(file: Path | None) -> Iterator[Watch]:
    """The bars and, where a program wants to follow, the same as JSON lines: at most five a second for each stage.

    The first and the last step of a stage are always written; `at` is in seconds since 1970.
    """
    with progress_bars() as show, file.open("a", encoding="utf-8") if file else nullcontext() as lines:
        written: dict[str, float] = {}

        def watch(step: Step) -> None:
            show(step)
            now = time.time()
            if lines is None or (step.done < step.total and now - written.get(step.stage, 0.0) < PROGRESS_EVERY_S):
                return
            written[step.stage] = now
            lines.write(json.dumps({**asdict(step), "at": round(now, 3)}) + "\n")
            lines.flush()

        yield watch


def guard_own_ray(address: str | None) -> None:
    """Before a Ray of this run's own is started: its ports, which Ray opens to the network, ask for a secret.

    What the caller's environment says stands. Read when Ray is loaded, so set before.
    """
    if address == "local" and "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def print_json(file: Path | None, tree: dict[str, Any] | list[Any] | str) -> bool:
    """What `--json` asks for; True if JSON went to standard output, which then takes nothing else.

    `tree` may be JSON already. Values that are no finite numbers raise ValueError: JSON does not have them.
    """
    if file is None:
        return False
    text = tree if isinstance(tree, str) else json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if file == STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return True
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return False


def show_found(found: Found) -> None:
    """Which folders are used as what, and which files are not."""
    for line in found.summary():
        err.print(line, markup=False, highlight=False, soft_wrap=True)


def show_skipped(found: Found) -> None:
    """Which files are not looked at, if any."""
    for line in found.left_out_notes():
        err.print(f"note: {line}", markup=False, highlight=False, soft_wrap=True)


def show_failures(failed: list[tuple[str, str]], count: int | None = None) -> None:
    """Unusable pictures by name, with the reason. `count`: of all, where `failed` holds the first ones only."""
    count = len(failed) if count is None else count
    if failed:
        err.print(f"[yellow]{count} picture(s) could not be used:[/yellow]")
    for name, reason in failed[:20]:
        *_, said = reason.rpartition(f"{name}: ")  # where it names the file, mostly by a longer path
        err.print(f"  {name}: {said}", markup=False, highlight=False)
    if count > 20:
        err.print(f"  and {count - 20} more")
