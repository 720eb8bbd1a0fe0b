"""For those who make models: fit, evaluate, doctor, draw, and pretrain a backbone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from defectflow.cli.console import (
    PartRegex,
    ProgressFile,
    SignKey,
    as_json,
    err,
    out,
    progress_bars,
    show_failures,
    show_found,
    watching,
    write_json,
)
from defectflow.cli.release import sign_bundle

if TYPE_CHECKING:
    from defectflow.density import Check, Head

UNKNOWN_PARTS = "every picture counts as a part of its own; where several show one part, told apart is too high"


def fit(
    good: Annotated[
        Path, typer.Argument(help="Folder of good pictures, MVTec-style tree, or manifest (CSV, Parquet).")
    ],
    to: Annotated[Path, typer.Option("--out", help="Where the bundle goes, e.g. models/bracket.")],
    recipe: Annotated[str, typer.Option(help="A built-in recipe's name, or a YAML file.")] = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting, e.g. --set flow.layers=12. Repeatable.")
    ] = None,
    part_regex: PartRegex = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at --out.")] = False,
    progress: ProgressFile = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached embeddings; safe to delete.")] = None,
    cache_limit: Annotated[float, typer.Option(help="Most that the cache may hold, in GB.")] = 20.0,
    key: SignKey = None,
) -> None:
    """Learn from good pictures and write a calibrated bundle with one ONNX file."""
    from defectflow.data import look_through
    from defectflow.density import choose_device
    from defectflow.embedding import EmbeddingCache
    from defectflow.fitting import fit as run_fit
    from defectflow.recipe import load_recipe

    chosen = load_recipe(recipe, settings)
    show_found(look_through(good, label="good", part_regex=part_regex))
    err.print(f"Training on {choose_device(chosen.training)}. Stop with Ctrl-C; go on with --resume.")
    with watching(progress) as watch:
        fitted = run_fit(
            chosen,
            good,
            to,
            cache=EmbeddingCache(cache, cache_limit),
            part_regex=part_regex,
            resume=resume,
            overwrite=overwrite,
            watch=watch,
        )
    show_failures([(str(rejected.path), rejected.reason) for rejected in fitted.rejected])
    for warning in fitted.bundle.card.warnings:
        err.print(f"[yellow]note:[/yellow] {escape(warning)}", highlight=False)
    for sentence in fitted.bundle.card.guarantee():
        out.print(sentence, markup=False, highlight=False)
    if key is not None:
        sign_bundle(fitted.bundle, key)
    out.print(f"Bundle: {fitted.bundle.path}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"ONNX file: {fitted.bundle.model}", markup=False, highlight=False, soft_wrap=True)


def check_data(
    good: Annotated[Path, typer.Argument(help="Folder of good pictures, MVTec-style tree, or manifest.")],
    recipe: Annotated[str, typer.Option(help="The recipe that a fit would use.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change one setting. Repeatable.")] = None,
    part_regex: PartRegex = None,
    rate: Annotated[
        float | None, typer.Option(help="Share of good parts that may be rejected; by default the recipe's.")
    ] = None,
    to_json: Annotated[Path | None, typer.Option("--json", help="Also write everything found to this file.")] = None,
    progress: ProgressFile = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached embeddings; safe to delete.")] = None,
    cache_limit: Annotated[float, typer.Option(help="Most that the cache may hold, in GB.")] = 20.0,
) -> None:
    """Look at good pictures before a fit: unreadable files, duplicates, suspects, and whether the parts suffice.

    Exits with 1 where a fit would fail.
    """
    from defectflow.cli.tables import data_tables
    from defectflow.embedding import EmbeddingCache
    from defectflow.fitting import check_data as run_check
    from defectflow.recipe import load_recipe

    chosen = load_recipe(recipe, settings)
    if rate is not None:
        review_rate = max(rate, chosen.verdict.review_rate)
        rates = [f"verdict.rate={rate}", f"verdict.review_rate={review_rate}"]
        chosen = load_recipe(recipe, [*(settings or []), *rates])
    embeddings = EmbeddingCache(cache, cache_limit)
    with watching(progress) as watch:
        check = run_check(chosen, good, cache=embeddings, part_regex=part_regex, watch=watch)
    for table in data_tables(check):
        out.print(table)
    show_failures([(str(rejected.path), rejected.reason) for rejected in check.unreadable])
    if to_json is not None:
        write_json(to_json, check.to_json())
    if check.fit_fails:
        err.print("[red]A fit would fail.[/red]")
        raise typer.Exit(1)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle that fit has written.")],
    data: Annotated[Path, typer.Option(help="MVTec-style tree, its test/ folder, or a manifest with labels.")],
    part_regex: PartRegex = None,
    to_json: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    progress: ProgressFile = None,
) -> None:
    """Measure a bundle on labelled pictures, at its calibrated thresholds. Nothing is chosen here."""
    from defectflow.cli.tables import tables
    from defectflow.data import look_through
    from defectflow.evaluation import evaluate as run_evaluate
    from defectflow.evaluation import find_test_pictures
    from defectflow.line import Inspector

    inspector = Inspector(bundle)
    found = look_through(data, part_regex=part_regex, usual_part_regex=inspector.card.part_regex)
    show_found(found)
    pictures = find_test_pictures(found, data)
    with watching(progress) as watch:
        evaluation = run_evaluate(inspector, pictures, watch=watch)
    if evaluation.seen_in_fit:
        err.print(
            f"[yellow]note:[/yellow] {len(evaluation.seen_in_fit)} of these pictures were fitted or calibrated on, the "
            f"first {escape(str(evaluation.seen_in_fit[0]))}: the figures flatter; give pictures that were kept apart",
            highlight=False,
        )
    for table in tables(evaluation):
        out.print(table)
    show_failures([(str(path), reason) for path, reason in evaluation.unreadable])
    for sentence in (*evaluation.notes, *evaluation.guarantee):
        out.print(sentence, markup=False, highlight=False)
    if to_json is not None:
        write_json(to_json, evaluation.to_json())


def pretrain(
    weights: Annotated[Path, typer.Argument(metavar="OUT", help="The weights file to write, e.g. mine.safetensors.")],
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs of anything, besides the drawings.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="The built-in recipe's name, or a YAML file.")] = "pretrain",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting, e.g. --set training.steps=2000. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the weights file OUT.")] = False,
) -> None:
    """Make weights for a backbone from drawings and photographs that nobody labelled. Takes hours on a CPU.

    Use them with: defectflow fit GOOD --set embedding.weights=OUT --out MODEL
    """
    from defectflow.density import choose_device
    from defectflow.pretraining.pretrain import pretrain as run_pretrain
    from defectflow.pretraining.settings import load_pretraining

    chosen = load_pretraining(recipe, settings)
    err.print(f"Training on {choose_device(chosen.training)}. Stop with Ctrl-C; go on with --resume.")
    with progress_bars() as watch:
        made = run_pretrain(chosen, photos, weights, resume=resume, overwrite=overwrite, watch=watch)
    show_failures(list(made.unreadable))
    out.print(f"{made.steps} steps, {made.pictures_per_s:.0f} pictures per second", highlight=False)
    out.print(f"Weights: {made.path}  SHA-256 {made.sha256}", markup=False, highlight=False, soft_wrap=True)


def doctor(
    bundle: Annotated[Path, typer.Argument(help="A bundle that fit has written.")],
    every_layer: Annotated[bool, typer.Option("--every-layer", help="Show each layer, not only the worst.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table, with every layer.")] = False,
) -> None:
    """Examine a model's numerical health on vectors of its tune parts. Exits with 1 where it should not be shipped."""
    from defectflow.bundle import open_bundle
    from defectflow.density import examine, open_heads

    opened = open_bundle(bundle)
    heads = open_heads(opened)
    checks, notes = examine(heads), _notes(heads)
    fit_to_ship = all(check.finding != "unfit" for check in checks)
    if json:
        tree = {"bundle": opened.card.bundle_id, "fit_to_ship": fit_to_ship, "notes": notes}
        typer.echo(as_json(tree | {"checks": [check.to_json() for check in checks]}), nl=False)
    else:
        _show_health(checks, notes, every_layer)
    if not fit_to_ship:
        err.print("[red]Do not ship this model.[/red]")
        raise typer.Exit(1)
    if not json:
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
    bundle: Annotated[Path, typer.Argument(help="A bundle that fit has written.")],
    count: Annotated[int, typer.Option(min=100, help="Embeddings to draw for each level.")] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed draws others.")] = 0,
    to: Annotated[Path | None, typer.Option("--out", help="Also write them, whitened, to this .npz file.")] = None,
) -> None:
    """Draw embeddings from a model, and say how typical they are beside real ones of tune parts."""
    from defectflow.bundle import open_bundle
    from defectflow.density import draw_embeddings, open_heads, write_embeddings

    opened = open_bundle(bundle)
    heads = open_heads(opened)
    drawn = draw_embeddings(heads, count, seed)
    table = Table("level", "real", "drawn", "within the middle 95% of real", "KS of log p", "told apart", title="Drawn")
    for level in drawn:
        table.add_row(
            str(level.level),
            f"{level.real_nats:.3f}",
            f"{level.drawn_nats:.3f}",
            f"{level.share_typical:.0%}",
            f"{level.likelihood_distance:.3f}",
            "-" if level.told_apart is None else f"{level.told_apart:.3f}",
        )
    out.print(table)
    out.print(
        "real, drawn: mean log-likelihood in nats per dimension. told apart: AUROC of the distance to the nearest "
        "real vector of other parts; 0.5 if drawn vectors are like real ones.",
        highlight=False,
    )
    reasons = {f"told apart has no figure: {level.not_told}" for level in drawn if level.not_told}
    for note in [*sorted(reasons), *_notes(heads), *([] if opened.card.parts_known else [UNKNOWN_PARTS])]:
        out.print(f"note: {note}", markup=False, highlight=False)
    if to is not None:
        write_embeddings(drawn, to)
        out.print(f"Embeddings: {to}", markup=False, highlight=False, soft_wrap=True)
