"""What the commands share: one console, progress bars, and plain messages instead of stack traces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

if TYPE_CHECKING:  # the runtime imports OpenCV and ONNX Runtime, for which --help should not wait
    from defectflow.runtime.progress import Progress as Step
    from defectflow.runtime.progress import Watch

out = Console()
err = Console(stderr=True)

BundlePath = Annotated[Path, typer.Argument(help="A bundle that fit has written.")]
PublicKey = Annotated[
    Path | None, typer.Option(help="Refuse the bundle unless the owner of this public key (PEM) has signed it.")
]
PartRegex = Annotated[
    str | None,
    typer.Option(
        help=r"Finds the part's name in a picture's path, e.g. '(part\d+)'. Pictures of one part stay together."
    ),
]


@contextmanager
def progress_bars() -> Iterator[Watch]:
    """A bar per stage on the error stream, so that piped results stay clean."""
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
            bars.update(tasks[step.stage], completed=step.done, total=step.total, note=step.note)

        yield watch


def cache_folder() -> Path:
    """Where embeddings are cached unless --cache says otherwise."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "defectflow" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "defectflow"


def show_failures(failed: list[tuple[str, str]]) -> None:
    """Unusable pictures by name, with the reason."""
    if failed:
        err.print(f"[yellow]{len(failed)} picture(s) could not be used:[/yellow]")
    for name, reason in failed[:20]:
        err.print(f"  {name}: {reason.removeprefix(f'{name}: ')}", markup=False, highlight=False)
    if len(failed) > 20:
        err.print(f"  and {len(failed) - 20} more")
