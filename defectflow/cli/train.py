"""For those who make models: check-data, fit, evaluate, and pretrain a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from defectflow.cli.console import (
    BundlePath,
    Json,
    PartRegex,
    ProgressFile,
    SignKey,
    err,
    out,
    print_json,
    progress_bars,
    show_failures,
    show_found,
    watching,
)
from defectflow.cli.sign import sign_bundle


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
    resume: Annotated[bool, typer.Option("--resume", help="Resume a training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at --out.")] = False,
    progress: ProgressFile = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached embeddings; safe to delete.")] = None,
    cache_limit: Annotated[float, typer.Option(help="Size limit of the cache, in GB.")] = 20.0,
    key: SignKey = None,
) -> None:
    """Learn from good pictures and write a calibrated bundle with one ONNX file."""
    from defectflow.data import look_through
    from defectflow.recipe import load_recipe

    chosen = load_recipe(recipe, settings)
    show_found(look_through(good, label="good", part_regex=part_regex))
    from defectflow.density import choose_device  # what needs torch comes after what can be refused at once
    from defectflow.embedding import EmbeddingCache
    from defectflow.fitting import fit as run_fit

    err.print(f"Training on {choose_device(chosen.training)}. Stop with Ctrl-C; continue with --resume.")
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
    json: Json = None,
    progress: ProgressFile = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached embeddings; safe to delete.")] = None,
    cache_limit: Annotated[float, typer.Option(help="Size limit of the cache, in GB.")] = 20.0,
) -> None:
    """Check good pictures before a fit: unreadable files, duplicates, suspects, and whether there are enough parts.

    Exits with 1 if a fit would fail.
    """
    from defectflow.cli.tables import data_tables
    from defectflow.recipe import load_recipe

    chosen = load_recipe(recipe, settings)
    if rate is not None:
        review_rate = max(rate, chosen.verdict.review_rate)
        rates = [f"verdict.rate={rate}", f"verdict.review_rate={review_rate}"]
        chosen = load_recipe(recipe, [*(settings or []), *rates])
    from defectflow.embedding import EmbeddingCache  # what needs torch comes after what can be refused at once
    from defectflow.fitting import check_data as run_check

    embeddings = EmbeddingCache(cache, cache_limit)
    with watching(progress) as watch:
        check = run_check(chosen, good, cache=embeddings, part_regex=part_regex, watch=watch)
    if not print_json(json, check.to_json()):
        for table in data_tables(check):
            out.print(table)
    show_failures([(str(rejected.path), rejected.reason) for rejected in check.unreadable])
    if check.fit_fails:
        err.print("[red]A fit would fail.[/red]")
        raise typer.Exit(1)


def evaluate(
    bundle: BundlePath,
    data: Annotated[Path, typer.Option(help="MVTec-style tree, its test/ folder, or a manifest with labels.")],
    part_regex: PartRegex = None,
    json: Json = None,
    progress: ProgressFile = None,
) -> None:
    """Measure a bundle on labelled pictures, at its calibrated thresholds."""
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
            f"[yellow]note:[/yellow] {len(evaluation.seen_in_fit)} of these pictures were used in the fit or the "
            f"calibration, the first is {escape(str(evaluation.seen_in_fit[0]))}: the figures are too optimistic; use "
            "pictures that were kept apart",
            highlight=False,
        )
    show_failures([(str(path), reason) for path, reason in evaluation.unreadable])
    if print_json(json, evaluation.to_json()):
        return
    for table in tables(evaluation):
        out.print(table)
    for sentence in (*evaluation.notes, *evaluation.guarantee):
        out.print(sentence, markup=False, highlight=False)


def pretrain(
    weights: Annotated[Path, typer.Argument(metavar="OUT", help="The weights file to write, e.g. mine.safetensors.")],
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs of any kind, used beside the drawings.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="The built-in recipe's name, or a YAML file.")] = "pretrain",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting, e.g. --set training.steps=2000. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the weights file OUT.")] = False,
) -> None:
    """Pretrain a backbone on drawings and unlabelled photographs. Takes hours on a CPU.

    Use them with: defectflow fit GOOD --set embedding.weights=OUT --out MODEL
    """
    from defectflow.density import choose_device
    from defectflow.pretraining.pretrain import pretrain as run_pretrain
    from defectflow.pretraining.settings import load_pretraining

    chosen = load_pretraining(recipe, settings)
    err.print(f"Training on {choose_device(chosen.training)}. Stop with Ctrl-C; continue with --resume.")
    with progress_bars() as watch:
        made = run_pretrain(chosen, photos, weights, resume=resume, overwrite=overwrite, watch=watch)
    show_failures(list(made.unreadable))
    out.print(f"{made.steps} steps, {made.pictures_per_s:.0f} pictures per second", highlight=False)
    out.print(f"Weights: {made.path}  SHA-256 {made.sha256}", markup=False, highlight=False, soft_wrap=True)
