"""`defectflow doctor` and `draw`: is a model's density numerically sound, and are its samples like real embeddings?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from defectflow.cli.console import BundlePath, Json, err, out, print_json

if TYPE_CHECKING:
    from defectflow.density import Check, Drawn, Head

NOT_FIT = 1
UNKNOWN_PARTS = "every picture counts as a separate part; where several show one part, the separation is too high"


def doctor(
    bundle: BundlePath,
    every_layer: Annotated[bool, typer.Option("--every-layer", help="Show each layer, not only the worst.")] = False,
    json: Json = None,
) -> None:
    """Check a model's numerical health on its tune parts. With --json: every layer.

    Exits with 1 if the model should not be shipped.
    """
    from defectflow.bundle import open_bundle
    from defectflow.density import examine, open_heads

    opened = open_bundle(bundle)
    heads = open_heads(opened)
    checks, notes = examine(heads), _notes(heads)
    fit_to_ship = all(check.finding != "unfit" for check in checks)
    tree = {"bundle": opened.card.bundle_id, "fit_to_ship": fit_to_ship, "notes": notes}
    printed = print_json(json, tree | {"checks": [check.to_json() for check in checks]})
    if not printed:
        _show_health(checks, notes, every_layer)
    if not fit_to_ship:
        err.print("[red]Do not ship this model.[/red]")
        raise typer.Exit(NOT_FIT)
    if not printed:
        out.print("Nothing speaks against shipping this model.")


def _notes(heads: list[Head]) -> list[str]:
    """What must be known to read a density's figures."""
    from defectflow.flows import BOUND

    return [BOUND] if any(head.flow.is_bound for head in heads) else []


def _show_health(checks: list[Check], notes: list[str], every_layer: bool) -> None:
    colours = {"ok": "green", "watch": "yellow", "unfit": "red"}
    table = Table("level", "question", "value", "watch\nfrom", "unfit\nfrom", "finding", title="Numerical health")
    for check in checks if every_layer else _worst_layers(checks):
        limits = (f"{limit:g}" if math.isfinite(limit) else "-" for limit in (check.watch, check.unfit))
        finding = f"[{colours[check.finding]}]{check.finding}[/]"
        question = f"layer {check.layer}: {check.question}" if check.layer else check.question
        table.add_row(str(check.level), question, f"{check.value:.2g}", *limits, finding)
    out.print(table)
    for check in checks:
        if check.finding != "ok":
            place = f"level {check.level}, layer {check.layer}" if check.layer else f"level {check.level}"
            out.print(f"{place}, {check.question}: {check.remedy}", markup=False, highlight=False)
    for note in notes:
        out.print(f"note: {note}", markup=False, highlight=False)


def _worst_layers(checks: list[Check]) -> list[Check]:
    """All that is not ok, and of each question about a level's layers the worst answer."""
    worst: dict[tuple[int, str, bool], Check] = {}
    for check in checks:
        key = (check.level, check.question, bool(check.layer))
        if key not in worst or not check.value <= worst[key].value:
            worst[key] = check
    return [check for check in checks if check.finding != "ok" or check in worst.values()]


def draw(
    bundle: BundlePath,
    count: Annotated[int, typer.Option(min=100, help="Embeddings to sample for each level.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
    to: Annotated[
        Path | None, typer.Option("--out", help="Also write the samples, whitened, to this .npz file.")
    ] = None,
    json: Json = None,
) -> None:
    """Sample embeddings from a model, and compare them with real ones of tune parts."""
    from defectflow.bundle import open_bundle
    from defectflow.density import draw_embeddings, open_heads, write_embeddings

    opened = open_bundle(bundle)
    heads = open_heads(opened)
    drawn = draw_embeddings(heads, count, seed)
    reasons = {f"no separation: {level.no_separation}" for level in drawn if level.no_separation}
    notes = [*sorted(reasons), *_notes(heads), *([] if opened.card.parts_known else [UNKNOWN_PARTS])]
    if to is not None:
        write_embeddings(drawn, to)
    tree = {"bundle": opened.card.bundle_id, "count": count, "seed": seed, "notes": notes}
    if not print_json(json, tree | {"levels": [level.to_json() for level in drawn]}):
        _show_drawn(drawn, notes)
        if to is not None:
            out.print(f"Embeddings: {to}", markup=False, highlight=False, soft_wrap=True)


def _show_drawn(drawn: list[Drawn], notes: list[str]) -> None:
    table = Table("level", "real", "drawn", "within the middle 95% of real", "KS of log p", "separation", title="Drawn")
    for level in drawn:
        table.add_row(
            str(level.level),
            f"{level.real_nats:.3f}",
            f"{level.drawn_nats:.3f}",
            f"{level.share_typical:.0%}",
            f"{level.likelihood_distance:.3f}",
            "-" if level.separation is None else f"{level.separation:.3f}",
        )
    out.print(table)
    out.print(
        "real, drawn: mean log-likelihood in nats per dimension. separation: AUROC of the distance to the nearest real "
        "vector of other parts, drawn against real; 0.5 if drawn vectors are like real ones.",
        highlight=False,
    )
    for note in notes:
        out.print(f"note: {note}", markup=False, highlight=False)
