"""For those who make models: check-data, fit, evaluate, and pretrain a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from defectflow.cli.console import (
    BundlePath,
    Json,
    PartRegex,
    Product,
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

if TYPE_CHECKING:
    from defectflow.bundle import Bundle, Family
    from defectflow.evaluation import Evaluation
    from defectflow.fitting import DataCheck


def fit(
    good: Annotated[
        Path, typer.Argument(help="Folder of good pictures, MVTec-style tree, or manifest (CSV, Parquet).")
    ],
    to: Annotated[Path | None, typer.Option("--out", help="Where the bundle goes, e.g. models/bracket.")] = None,
    recipe: Annotated[str, typer.Option(help="A built-in recipe's name, or a YAML file.")] = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting, e.g. --set flow.layers=12. Repeatable.")
    ] = None,
    part_regex: PartRegex = None,
    product: Annotated[
        str | None,
        typer.Option(help="Fit this product alone, in a bundle to which others can be added; of a manifest, its rows."),
    ] = None,
    add_to: Annotated[
        Path | None,
        typer.Option(help="Add products to this bundle of several, with its recipe; the others' verdicts stay."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle at --out.")] = False,
    progress: ProgressFile = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached embeddings; safe to delete.")] = None,
    cache_limit: Annotated[float, typer.Option(help="Size limit of the cache, in GB.")] = 20.0,
    key: SignKey = None,
) -> None:
    """Learn from good pictures and write a calibrated bundle with one ONNX file.

    A manifest with a column `product` gives one bundle of several products, each with its own limits and promise.
    """
    from defectflow.data import look_through
    from defectflow.recipe import load_recipe

    if (to is None) == (add_to is None):
        raise typer.BadParameter("give --out for a new bundle, or --add-to for one that is to get more products")
    if add_to is not None and (recipe != "default" or settings or overwrite):
        raise typer.BadParameter("--add-to takes the bundle's own recipe; leave --recipe, --set and --overwrite out")
    chosen = load_recipe(recipe, settings)
    found = look_through(good, label="good", part_regex=part_regex)
    show_found(found)
    from defectflow.density import choose_device  # what needs torch comes after what can be refused at once
    from defectflow.embedding import EmbeddingCache
    from defectflow.fitting import add_products, fit_products
    from defectflow.fitting import fit as run_fit

    err.print(f"Training on {choose_device(chosen.training)}. Stop with Ctrl-C; continue with --resume.")
    embeddings = EmbeddingCache(cache, cache_limit)
    with watching(progress) as watch:
        options: dict[str, Any] = {"cache": embeddings, "part_regex": part_regex, "resume": resume, "watch": watch}
        if add_to is not None:
            several = add_products(good, add_to, product=product, **options)
        elif product is not None or found.products:
            several = fit_products(chosen, good, _given(to), product=product, overwrite=overwrite, **options)
        else:
            fitted = run_fit(chosen, good, _given(to), overwrite=overwrite, **options)
            several = None
    made: Bundle | Family
    bundles: tuple[Bundle, ...]
    if several is None:
        bundles, rejected, made = (fitted.bundle,), fitted.rejected, fitted.bundle
    else:
        bundles, rejected, made = several.bundles, several.rejected, several.family
    show_failures([(str(each.path), each.reason) for each in rejected])
    for bundle in bundles:
        of = "" if bundle.product is None else f"{bundle.product}: "
        for warning in bundle.card.warnings:
            err.print(f"[yellow]note:[/yellow] {escape(of + warning)}", highlight=False)
        for sentence in bundle.card.guarantee():
            out.print(f"{of}{sentence}", markup=False, highlight=False)
        for hint in bundle.card.hints():
            err.print(f"[yellow]note:[/yellow] {escape(of + hint)}", highlight=False)
    if key is not None:
        sign_bundle(made, key)
    out.print(f"Bundle: {made.path}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"ONNX file: {made.model}", markup=False, highlight=False, soft_wrap=True)


def _given(to: Path | None) -> Path:
    if to is None:
        raise typer.BadParameter("--out is missing: where the bundle goes, e.g. models/bracket")
    return to


def check_data(
    good: Annotated[Path, typer.Argument(help="Folder of good pictures, MVTec-style tree, or manifest.")],
    recipe: Annotated[str, typer.Option(help="The recipe that a fit would use.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change one setting. Repeatable.")] = None,
    part_regex: PartRegex = None,
    product: Product = None,
    rate: Annotated[
        float | None, typer.Option(help="Share of good parts that may be rejected; by default the recipe's.")
    ] = None,
    json: Json = None,
    progress: ProgressFile = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for cached embeddings; safe to delete.")] = None,
    cache_limit: Annotated[float, typer.Option(help="Size limit of the cache, in GB.")] = 20.0,
) -> None:
    """Check good pictures before a fit: unreadable files, duplicates, suspects, and whether there are enough parts.

    Of several products, each is checked by itself. Exits with 1 if a fit would fail.
    """
    from defectflow.data import look_through
    from defectflow.recipe import load_recipe

    chosen = load_recipe(recipe, settings)
    if rate is not None:
        review_rate = max(rate, chosen.verdict.review_rate)
        rates = [f"verdict.rate={rate}", f"verdict.review_rate={review_rate}"]
        chosen = load_recipe(recipe, [*(settings or []), *rates])
    named = look_through(good, label="good", part_regex=part_regex).products
    from defectflow.cli.tables import data_tables  # what needs torch comes after what can be refused at once
    from defectflow.embedding import EmbeddingCache
    from defectflow.fitting import check_data as run_check

    embeddings = EmbeddingCache(cache, cache_limit)
    names: Sequence[str | None] = [product] if product is not None or not named else named
    checks: dict[str | None, DataCheck] = {}
    with watching(progress) as watch:
        for name in names:
            checks[name] = run_check(chosen, good, cache=embeddings, part_regex=part_regex, product=name, watch=watch)
    trees = {str(name): check.to_json() for name, check in checks.items()}
    if not print_json(json, trees if len(checks) > 1 else checks[names[0]].to_json()):
        for name, check in checks.items():
            if name is not None:
                out.print(f"Product {name}", style="bold", markup=False, highlight=False)
            for table in data_tables(check):
                out.print(table)
    for check in checks.values():
        show_failures([(str(rejected.path), rejected.reason) for rejected in check.unreadable])
    if any(check.fit_fails for check in checks.values()):
        err.print("[red]A fit would fail.[/red]")
        raise typer.Exit(1)


def evaluate(
    bundle: BundlePath,
    data: Annotated[Path, typer.Option(help="MVTec-style tree, its test/ folder, or a manifest with labels.")],
    part_regex: PartRegex = None,
    product: Product = None,
    json: Json = None,
    progress: ProgressFile = None,
) -> None:
    """Measure a bundle on labelled pictures, at its calibrated thresholds; one of several products, each by itself."""
    from defectflow.cli.tables import tables
    from defectflow.data import look_through
    from defectflow.evaluation import evaluate as run_evaluate
    from defectflow.evaluation import find_test_pictures
    from defectflow.line import Inspector
    from defectflow.line.products import by_product

    inspector = Inspector(bundle, product=product)
    found = look_through(data, part_regex=part_regex, usual_part_regex=inspector.bundles[0].card.part_regex)
    show_found(found)
    pictures = find_test_pictures(found, data)
    evaluations: list[tuple[str | None, Evaluation]] = []
    with watching(progress) as watch:
        for name, own, shown in by_product(inspector, pictures, data):
            evaluations.append((name, run_evaluate(own, shown, watch=watch)))
    for _, evaluation in evaluations:
        _note_seen(evaluation)
        show_failures([(str(path), reason) for path, reason in evaluation.unreadable])
    trees = {str(name): evaluation.to_json() for name, evaluation in evaluations}
    if print_json(json, evaluations[0][1].to_json() if inspector.family is None else trees):
        return
    for name, evaluation in evaluations:
        if name is not None:
            out.print(f"Product {name}", style="bold", markup=False, highlight=False)
        for table in tables(evaluation):
            out.print(table)
        for sentence in (*evaluation.notes, *evaluation.guarantee):
            out.print(sentence, markup=False, highlight=False)


def _note_seen(evaluation: Evaluation) -> None:
    if evaluation.seen_in_fit:
        err.print(
            f"[yellow]note:[/yellow] {len(evaluation.seen_in_fit)} of these pictures were used in the fit or the "
            f"calibration, the first is {escape(str(evaluation.seen_in_fit[0]))}: the figures are too optimistic; use "
            "pictures that were kept apart",
            highlight=False,
        )


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
    from defectflow.pretraining.settings import load_pretraining

    chosen = load_pretraining(recipe, settings)
    from defectflow.density import choose_device  # what needs torch comes after what can be refused at once
    from defectflow.pretraining.pretrain import pretrain as run_pretrain

    err.print(f"Training on {choose_device(chosen.training)}. Stop with Ctrl-C; continue with --resume.")
    with progress_bars() as watch:
        made = run_pretrain(chosen, photos, weights, resume=resume, overwrite=overwrite, watch=watch)
    show_failures(list(made.unreadable))
    out.print(f"{made.steps} steps, {made.pictures_per_s:.0f} pictures per second", highlight=False)
    out.print(f"Weights: {made.path}  SHA-256 {made.sha256}", markup=False, highlight=False, soft_wrap=True)
