"""A recipe and a folder of good pictures -> a bundle. The whole story, in the order in which it happens.

    find -> check -> split by part -> align parts -> adapt the backbone -> embed once -> learn one density per level
    -> freeze the score and the gate -> export, compare with torch
    -> measure calibration parts for the first time, through the graph -> bundle

Nothing is fitted after calibration parts are first measured, and a bundle appears under its name only when whole.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from defectflow.bundle import CARD, Bundle, checksums, finish_publishing, open_bundle, partial_of, publish, save_bundle
from defectflow.common import Progress, Watch, claimed, unwatched
from defectflow.data import (
    Checked,
    Rejected,
    Splits,
    common_size,
    fix_full_scale,
    full_scale_notes,
    near_duplicates,
)
from defectflow.density import choose_device, write_sample
from defectflow.embedding import EmbeddingCache, Weights, geometry_of
from defectflow.errors import CalibrationError, DataError, ImageError, SettingsError
from defectflow.export import write_flow, write_golden, write_reference, write_scoring_graph
from defectflow.fitting.align import align
from defectflow.fitting.divide import Material, look_at
from defectflow.fitting.learn import checkpoint_folder, embed_once, freeze_score_and_gate, learn_levels
from defectflow.flows import BOUND
from defectflow.image import Tiling
from defectflow.line import Inspector, measure_parts
from defectflow.recipe import Recipe
from defectflow.score import Detector, build_detector

FEW_PARTS = 20
"""Fewer training parts than this deserve a warning: what varies between good parts is hardly known."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit has made, and what its user should know."""

    bundle: Bundle
    rejected: tuple[Rejected, ...]


def fit(
    recipe: Recipe,
    source: Path,
    out: Path,
    *,
    cache: EmbeddingCache,
    part_regex: str | None = None,
    resume: bool | None = False,
    overwrite: bool = False,
    watch: Watch = unwatched,
) -> Fitted:
    """Learn from good pictures and write a bundle to `out`, calibrated if the parts allow the wanted rate.

    `resume`: go on with the training that a kill has left; None: where there is one.
    Raises DataError, SettingsError, WeightsError, TrainingError or ExportError. Too few parts for the wanted rate
    is no error: the bundle is saved uncalibrated and says what is missing.
    """
    check_exported(recipe)
    out.parent.mkdir(parents=True, exist_ok=True)
    with claimed(out, out.with_name(f"{out.name}.lock")):
        finish_publishing(out)
        check_place(out, overwrite)
        return _fit(recipe, source, out, cache, part_regex, resume, watch)


def _fit(
    recipe: Recipe,
    source: Path,
    out: Path,
    cache: EmbeddingCache,
    part_regex: str | None,
    resume: bool | None,
    watch: Watch,
) -> Fitted:
    """The story, in a place that nobody else works in."""
    material = look(recipe, source, part_regex, None, watch)
    splits = divide(recipe, material, watch)
    folder = partial_of(out)
    checkpoints = make_bundle(
        _fixed(recipe, splits, material.checked),
        material,
        splits,
        folder,
        out,
        out.name,
        cache,
        part_regex,
        resume,
        watch,
    )
    publish(out)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return Fitted(open_bundle(out), material.checked.rejected)


def make_bundle(
    recipe: Recipe,
    material: Material,
    splits: Splits,
    folder: Path,
    out: Path,
    name: str,
    cache: EmbeddingCache,
    part_regex: str | None,
    resume: bool | None,
    watch: Watch,
) -> Path:
    """From divided pictures to a whole bundle in `folder`, which is emptied first; where its checkpoints may lie still.

    `out`: where the bundle will be, beside which checkpoints are kept.
    """
    device = choose_device(recipe.training)
    torch.use_deterministic_algorithms(recipe.training.deterministic)
    torch.manual_seed(recipe.training.seed)
    checked = material.checked
    detector, weights = build_detector(recipe)
    if detector.tiling is not None:
        _check_tiles(detector.tiling, recipe, splits, checked)
    recipe, _ = align(detector.embedding, recipe, splits, watch)
    embedded = embed_once(detector, recipe, splits, checked, cache, device, watch)
    checkpoints = checkpoint_folder(out, embedded.key, len(splits.train), recipe, bool(resume))
    resume = checkpoints.is_dir() if resume is None else resume
    runs, by_place = learn_levels(detector, embedded, splits, recipe, device, checkpoints, resume, watch)
    distance_limit = freeze_score_and_gate(detector, embedded, by_place, recipe.verdict.gate_margin)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    watch(Progress("export", 0, 1))
    bundle, measured = write_scoring_graph(
        folder, name, detector, weights, recipe, splits, runs, distance_limit, part_regex
    )
    parity = bundle.card.export_parity["score"]
    detail = f"scores differ by at most {parity:.0e} standard deviations of good scores"
    watch(Progress("export", 1, 1, "the exported file matches the model", detail))
    parts, unseen = measure_parts(
        Inspector(bundle), [p.path for p in splits.calibration], [p.part for p in splits.calibration], watch
    )
    write_flow(folder, detector)
    write_sample(folder, embedded.tune, [picture.part for picture in splits.tune], detector.embedding.shapes)
    write_golden(bundle, splits.tune, measured)
    write_reference(bundle, splits, checked, embedded.pooled)
    card = bundle.card.model_copy(update={"calibration_parts": parts, "checksums": checksums(folder)})
    card = card.with_forms(item.form for item in unseen if item.form is not None)
    with contextlib.suppress(CalibrationError):  # saved uncalibrated: the card says what is missing
        card = card.calibrated(parts, recipe.verdict.rate, recipe.verdict.guarantee, recipe.verdict.review_rate)
    everything = np.concatenate([embedded.pooled, *(item.embedding[None] for item in unseen)])
    warnings = _warnings(splits, material, everything, detector, weights, recipe.image.full_scale)
    save_bundle(folder, card.model_copy(update={"warnings": tuple(warnings)}))
    return checkpoints.parent


def check_place(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise SettingsError(f"{out}: exists already; choose another --out, or replace it with --overwrite")
    if out.exists() and not (out / CARD).is_file():
        raise SettingsError(f"{out}: is not a bundle, so --overwrite does not replace it; choose another --out")


def check_exported(recipe: Recipe) -> None:
    if recipe.flow.family == "iaf":
        raise SettingsError(
            "flow.family: iaf scores a vector of D values in D passes through each layer's network, up to hundreds of "
            "times the cost, and the size, of another family's graph, so it is not exported; use maf, the same layers "
            "with scoring as the fast direction"
        )


def look(recipe: Recipe, source: Path, part_regex: str | None, product: str | None, watch: Watch) -> Material:
    """Pictures of good parts, each read once."""
    watch(Progress("check pictures", 0, 1))
    return look_at(recipe, source, part_regex, product)


def divide(recipe: Recipe, material: Material, watch: Watch) -> Splits:
    """The same, split by part."""
    splits = material.divide(recipe)
    counts = ", ".join(f"{count} parts {side}" for side, count in splits.part_counts.items())
    watch(Progress("check pictures", 1, 1, f"{counts}; {len(material.checked.rejected)} pictures unusable"))
    return splits


def _fixed(recipe: Recipe, splits: Splits, checked: Checked) -> Recipe:
    """The recipe with what it leaves to the training parts: the full scale, and the size that tiles are meant for."""
    image = recipe.image
    if image.full_scale is None:
        image = image.model_copy(update={"full_scale": fix_full_scale(splits, checked)})
    if image.tiling.tile is not None and image.tiling.picture is None:
        tiling = image.tiling.model_copy(update={"picture": common_size(splits, checked)})
        image = image.model_copy(update={"tiling": tiling})
    return recipe.model_copy(update={"image": image})


def _check_tiles(tiling: Tiling, recipe: Recipe, splits: Splits, checked: Checked) -> None:
    """Now that the tiles are known, and before anything is learned: is each picture large enough for them?"""
    for picture in splits.pictures:
        width, height = checked.sizes_px[picture.path]
        cut = geometry_of(recipe.image).cut(height, width)
        try:
            tiling.check(cut.bottom - cut.top, cut.right - cut.left, str(picture.path))
        except ImageError as error:
            raise DataError(f"{error}; or leave it out") from error


def _warnings(
    splits: Splits,
    material: Material,
    embeddings: NDArray[np.float32],
    detector: Detector,
    weights: Weights,
    full_scale: int | None,
) -> Iterator[str]:
    """What the model's user should know; embeddings (n, D) as splits.pictures."""
    yield from splits.warnings
    yield from material.checked.left_out_notes()
    yield from material.distinct.notes()
    yield from _duplicate_warnings(splits, embeddings)
    yield from full_scale_notes(splits, material.checked, full_scale)
    train_parts = splits.part_counts["train"]
    if train_parts < FEW_PARTS:
        yield f"learned from {train_parts} parts only: expect missed defects, whatever the threshold"
    if detector.levels[0].flow.is_bound:
        yield BOUND
    if weights.unused:
        yield f"{len(weights.unused)} tensors of the weights were not needed, the first {weights.unused[0]}"


def _duplicate_warnings(splits: Splits, embeddings: NDArray[np.float32]) -> Iterator[str]:
    """Pictures so alike across the split that they may show one part; embeddings (n, D) as splits.pictures."""
    for first, second in near_duplicates(splits.pictures, splits.sides, embeddings):
        yield (
            f"{first.path} and {second.path} are nearly the same picture, on two sides of the split; if they show one "
            "part, give --part-regex, or the guarantee does not hold"
        )
