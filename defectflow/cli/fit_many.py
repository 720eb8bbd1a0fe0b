"""For those who make many models: fit-many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.table import Table

from defectflow.cli.console import Json, Ray, err, guard_own_ray, out, print_json

if TYPE_CHECKING:
    from defectflow.scale.fit_many import FitState, Show

SOME_FAILED = 3


def fit_many(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.yaml", help="Products, recipes and seeds; see docs/scale.md.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder for the bundles; by default the plan's `out`.")
    ] = None,
    ray: Ray = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Make only what is missing or has failed; bundles that are there stay.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Without --ray: folder for cached embeddings; safe to delete.")
    ] = None,
    json: Json = None,
) -> None:
    """Fit every product of a plan with every recipe and seed, and write one page about all bundles.

    Exit codes: 0 done, 2 wrong use, 3 some fits failed.
    """
    from defectflow.errors import SettingsError
    from defectflow.scale.fit_many import fit_many as run_plan
    from defectflow.scale.fit_plan import planned_fits, read_plan

    read = read_plan(plan)
    folder = to or (None if read.out is None else plan.parent / read.out)
    if folder is None:
        raise SettingsError(f"{plan}: says no `out`; add it, or give --out")
    fits = planned_fits(read, plan)
    guard_own_ray(ray)
    with _showing() as show:
        states = run_plan(fits, folder, address=ray, needs=read.each_fit.needs, resume=resume, cache=cache, show=show)
    failed = [state for state in states if state.state == "failed"]
    tree = {
        "out": str(folder),
        "fits": [
            {"name": state.fit.name, "state": state.state, "note": state.note}
            | ({} if state.record is None else state.record.model_dump(mode="json", exclude={"pictures"}))
            for state in states
        ],
    }
    if not print_json(json, tree):
        out.print(_table(states))
        out.print(f"All bundles on one page: {folder / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        for state in failed if err.is_terminal else []:  # whole; the table's column is narrow, and lines have told it
            err.print(f"{state.fit.name}: {state.note}", markup=False, highlight=False, soft_wrap=True)
        err.print(f"{len(failed)} of {len(states)} fits failed; put right what is said there, then add --resume")
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _showing() -> Iterator[Show]:
    """The table while it runs; where output is no terminal, a line for each fit that begins, ends or fails."""
    if not err.is_terminal:
        told: dict[str, str] = {}

        def say(states: Sequence[FitState]) -> None:
            for state in states:
                if told.get(state.fit.name, "waiting") != state.state:
                    told[state.fit.name] = state.state
                    why = f": {state.note}" if state.state == "failed" else ""
                    err.print(f"{state.fit.name}: {state.state}{why}", markup=False, highlight=False, soft_wrap=True)

        yield say
        return
    with Live(console=err, transient=True, refresh_per_second=4) as live:
        yield lambda states: live.update(_table(states))


def _table(states: Sequence[FitState]) -> Table:
    table = Table("product", "recipe", "seed", "state", "image AUROC", "escapes", "overkill", "fit", title="Plan")
    for state in states:
        record = state.record
        figures = ["-"] * 4
        if record is not None:
            shares = [f"{one.count} of {one.of}" if one else "-" for one in (record.escape, record.overkill)]
            figures = ["-" if record.auroc is None else f"{record.auroc:.3f}", *shares, f"{record.fit_seconds:.0f} s"]
        said = f"{state.state}: {state.note}" if state.note else state.state
        table.add_row(state.fit.product, state.fit.variant, str(state.fit.seed), said, *figures)
    return table
