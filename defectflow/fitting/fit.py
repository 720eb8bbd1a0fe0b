"""A recipe and a folder of good pictures -> a bundle. The whole story, in the order in which it happens.

    find -> check -> split by part -> adapt the backbone -> embed once -> learn one density per level
    -> freeze the score and the gate -> export, compare with torch
    -> measure calibration parts for the first time, through the graph -> bundle

Nothing is fitted after calibration parts are first measured, and a bundle appears under its name only when whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from defectflow.bundle import CARD, Bundle, checksums, open_bundle, save_bundle
from defectflow.common import Progress, Watch, unwatched
from defectflow.data import (
    Checked,
    Rejected,
    Splits,
    common_size,
    fix_full_scale,
    full_scale_told,
    near_duplicates,
)
from defectflow.density import Run, choose_device, fit_normalisation, train_flow, write_sample
from defectflow.embedding import EmbeddingCache, Vectors, adapt, embedding_key, geometry_of
from defectflow.errors import CalibrationError, DataError, ImageError, SettingsError, TrainingError
from defectflow.export import write_flow, write_golden, write_reference, write_scoring_graph
from defectflow.fitting.divide import look_at
from defectflow.fitting.embed import embed_pictures
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
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = unwatched,
) -> Fitted:
    """Learn from good pictures and write a bundle to `out`, calibrated if the parts allow the wanted rate.

    Raises DataError, SettingsError, WeightsError, TrainingError or ExportError. Too few parts for the wanted rate
    is no error: the bundle is saved uncalibrated and says what is missing.
    """
    if out.exists() and not overwrite:
        raise SettingsError(f"{out}: exists already; choose another --out, or replace it with --overwrite")
    if out.exists() and not (out / CARD).is_file():
        raise SettingsError(f"{out}: is not a bundle, so --overwrite does not replace it; choose another --out")
    if recipe.flow.family == "iaf":
        raise SettingsError(
            "flow.family: iaf scores a vector of D values in D passes through each layer's network, up to hundreds of "
            "times the cost, and the size, of another family's graph, so it is not exported; use maf, the same layers "
            "with scoring as the fast direction"
        )
    device = choose_device(recipe.training)
    torch.use_deterministic_algorithms(recipe.training.deterministic)
    torch.manual_seed(recipe.training.seed)

    watch(Progress("check pictures", 0, 1))
    material = look_at(recipe, source, part_regex)
    checked, verdict = material.checked, recipe.verdict
    splits = material.divide(recipe)
    recipe = _fixed(recipe, splits, checked)
    counts = ", ".join(f"{count} parts {side}" for side, count in splits.part_counts.items())
    watch(Progress("check pictures", 1, 1, f"{counts}; {len(checked.rejected)} pictures unusable"))

    detector, unused_weights = build_detector(recipe)
    if detector.tiling is not None:
        _check_tiles(detector.tiling, recipe, splits, checked)
    learned_from = [*splits.train, *splits.tune]
    digests = [checked.pixel_digests[picture.path] for picture in learned_from]
    adapted_on = splits.train if recipe.embedding.adapt else ()
    key = embedding_key(recipe, detector.embedding, digests, digests[: len(adapted_on)])
    adapt(detector.embedding, detector.tiling, recipe.image, [picture.path for picture in adapted_on], device, watch)
    levels, embeddings = embed_pictures(
        detector,
        recipe.image,
        [picture.path for picture in learned_from],
        cache=cache,
        key=key,
        device=device,
        watch=watch,
    )
    train = [vectors.rows(0, len(splits.train)) for vectors in levels]
    tune = [vectors.rows(len(splits.train)) for vectors in levels]
    checkpoints = _checkpoints(out, f"{key} {len(splits.train)}", recipe, resume)
    runs = [
        _learn_level(detector, index, train[index], tune[index], recipe, device, checkpoints, resume, watch)
        for index in range(len(levels))
    ]
    detector.cpu()
    distance_limit = _freeze(detector, tune, embeddings, verdict.gate_margin)

    folder = out.with_name(f"{out.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    watch(Progress("export", 0, 1))
    bundle, measured = write_scoring_graph(folder, out.name, detector, recipe, splits, runs, distance_limit, part_regex)
    parity = bundle.card.export_parity["score"]
    detail = f"scores within {parity:.0e} of torch, in standard deviations of the good ones"
    watch(Progress("export", 1, 1, "the file gives what was learned", detail))
    parts, unseen = measure_parts(
        Inspector(bundle), [p.path for p in splits.calibration], [p.part for p in splits.calibration], watch
    )
    write_flow(folder, detector)
    write_sample(folder, tune, [picture.part for picture in splits.tune], detector.embedding.shapes)
    write_golden(bundle, splits.tune, measured)
    write_reference(bundle, splits, checked, embeddings)
    card = bundle.card.model_copy(update={"calibration_parts": parts, "checksums": checksums(folder)})
    with contextlib.suppress(CalibrationError):  # saved uncalibrated: the card says what is missing
        card = card.calibrated(parts, verdict.rate, verdict.guarantee, verdict.review_rate)
    everything = np.concatenate([embeddings, *(item.embedding[None] for item in unseen)])
    warnings = [*splits.warnings, *material.distinct.told(), *_duplicate_warnings(splits, everything)]
    warnings += full_scale_told(splits, checked, recipe.image.full_scale)
    train_parts = splits.part_counts["train"]
    if train_parts < FEW_PARTS:
        warnings.append(f"learned from {train_parts} parts only: the promise holds, but many defects will be missed")
    if detector.flow(0).is_bound:
        warnings.append(BOUND)
    if unused_weights:
        warnings.append(f"{len(unused_weights)} tensors of the weights were not needed, the first {unused_weights[0]}")
    save_bundle(folder, card.model_copy(update={"warnings": tuple(warnings)}))
    replaced = out.with_name(f"{out.name}.replaced")
    if out.exists():
        out.rename(replaced)
    folder.rename(out)
    for leftover in (replaced, checkpoints.parent):
        shutil.rmtree(leftover, ignore_errors=True)
    return Fitted(open_bundle(out), checked.rejected)


def _checkpoints(out: Path, key: str, recipe: Recipe, resume: bool) -> Path:
    """Where this very training, by its data, their division and its settings, keeps its checkpoints."""
    settings = recipe.model_dump_json(include={"flow", "training", "embedding"})
    folder = out.with_name(f"{out.name}.training") / hashlib.sha256(f"{key} {settings}".encode()).hexdigest()[:16]
    if resume and not folder.is_dir():
        raise TrainingError(
            f"{folder.parent}: nothing to resume for this recipe and these pictures; leave --resume out"
        )
    return folder


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


def _learn_level(
    detector: Detector,
    index: int,
    train: Vectors,
    tune: Vectors,
    recipe: Recipe,
    device: torch.device,
    checkpoints: Path,
    resume: bool,
    watch: Watch,
) -> Run:
    """Normalisation from train, flow from train with early stopping on tune."""
    fit_normalisation(detector.normalisation(index), train, recipe.embedding.normalise)
    return train_flow(
        detector.flow(index),
        detector.normalisation(index),
        detector.condition(index),
        train,
        tune,
        recipe.training,
        device=device,
        checkpoint=checkpoints / f"level{index}.safetensors",
        resume=resume,
        name=f"learn level {recipe.embedding.levels[index]}",
        watch=watch,
    )


@torch.no_grad()
def _freeze(detector: Detector, tune: list[Vectors], embeddings: NDArray[np.float32], gate_margin: float) -> float:
    """The score's constants from tune parts, the gate from training parts; returns its limit, from tune parts."""
    values = []
    for index, vectors in enumerate(tune):
        conditions = detector.condition(index).flatten(0, -2)
        pictures = (vectors.of_picture(picture) for picture in range(len(vectors.maps)))
        values.append(torch.cat([detector.unusual(index, seen, conditions[places]) for seen, places in pictures]))
    detector.score.fit_values(values)
    pooled, train_pictures = torch.from_numpy(embeddings), len(embeddings) - len(tune[0].maps)
    detector.gate.fit(pooled[:train_pictures])
    return float(detector.gate(pooled[train_pictures:]).max().item() * (1 + gate_margin))


def _duplicate_warnings(splits: Splits, embeddings: NDArray[np.float32]) -> Iterator[str]:
    """Pictures so alike across the split that they may show one part; embeddings (n, D) as splits.pictures."""
    for first, second in near_duplicates(splits.pictures, splits.sides, embeddings):
        yield (
            f"{first.path} and {second.path} are nearly the same picture, on two sides of the split; if they show one "
            "part, give --part-regex, or the guarantee does not hold"
        )
