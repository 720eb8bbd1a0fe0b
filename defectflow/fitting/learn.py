"""Training and tune pictures -> a detector that has learned: a density per level, score and gate frozen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectflow.common import Watch
from defectflow.data import Checked, Splits, fold_by_part
from defectflow.density import Run, learn_level
from defectflow.embedding import EmbeddingCache, EmbeddingKey, Vectors, adapt, embedding_key
from defectflow.errors import TrainingError
from defectflow.fitting.embed import embed_pictures
from defectflow.recipe import Recipe
from defectflow.score import Detector


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the densities learn from: vectors of training and tune pictures, by level, and their pooled embeddings."""

    key: EmbeddingKey
    """All that they depend on."""
    train: list[Vectors]
    tune: list[Vectors]
    pooled: NDArray[np.float32]
    """(n, sum of D_l): training pictures, then tune pictures."""


def embed_once(
    detector: Detector,
    recipe: Recipe,
    splits: Splits,
    checked: Checked,
    cache: EmbeddingCache,
    device: torch.device,
    watch: Watch,
) -> Embedded:
    """Each training and tune picture through the backbone, once; first adapted, where the recipe asks for it."""
    learned_from = [*splits.train, *splits.tune]
    digests = [checked.pixel_digests[picture.path] for picture in learned_from]
    adapted_on = splits.train if recipe.embedding.adapt else ()
    key = embedding_key(
        recipe,
        detector.embedding,
        digests,
        adapted_on=digests[: len(adapted_on)],
        aligned_to=digests[: len(splits.train)],
    )
    adapt(detector.embedding, detector.tiling, recipe.image, [picture.path for picture in adapted_on], device, watch)
    levels, pooled = embed_pictures(
        detector,
        recipe.image,
        [picture.path for picture in learned_from],
        cache=cache,
        key=key,
        device=device,
        watch=watch,
    )
    last = len(splits.train)
    train, tune = [vectors.rows(0, last) for vectors in levels], [vectors.rows(last) for vectors in levels]
    return Embedded(key, train, tune, pooled)


def learn_levels(
    detector: Detector,
    embedded: Embedded,
    splits: Splits,
    recipe: Recipe,
    device: torch.device,
    checkpoints: Path,
    resume: bool,
    watch: Watch,
) -> tuple[list[Run], list[Tensor | None]]:
    """One density after another: whitening measured on training parts, flow from them with early stopping on tune.

    Also gives each level's nats per dimension of training parts, measured as unseen ones, see `learn_level`.
    """
    folds = fold_by_part([picture.part for picture in splits.train])
    detector.cpu()
    levels = zip(recipe.embedding.levels, detector.levels, embedded.train, embedded.tune, strict=True)
    learned = [
        learn_level(
            density,
            train,
            tune,
            folds,
            recipe,
            device=device,
            checkpoint=checkpoints / f"level{number}.safetensors",
            resume=resume,
            name=f"learn level {level}",
            watch=watch,
        )
        for number, (level, density, train, tune) in enumerate(levels)
    ]
    return [run for run, _ in learned], [by_place for _, by_place in learned]


@torch.no_grad()
def freeze_score_and_gate(
    detector: Detector, embedded: Embedded, by_place: list[Tensor | None], gate_margin: float
) -> float:
    """The score's constants from tune parts, and by place from training parts; the gate from training parts, and its
    limit, which is returned, from tune parts.
    """
    values = []
    for density, vectors in zip(detector.levels, embedded.tune, strict=True):
        pictures = (vectors.of_picture(picture) for picture in range(len(vectors.maps)))
        values.append(torch.stack([density.at(seen, places) for seen, places in pictures]))
    detector.score.fit(values, by_place)
    pooled, train_pictures = torch.from_numpy(embedded.pooled), len(embedded.train[0].maps)
    detector.gate.fit(pooled[:train_pictures])
    return float(detector.gate(pooled[train_pictures:]).max().item() * (1 + gate_margin))


def checkpoint_folder(out: Path, key: EmbeddingKey, train_pictures: int, recipe: Recipe, resume: bool) -> Path:
    """Where this very training, by its data, their division and its settings, keeps its checkpoints."""
    settings = recipe.model_dump_json(include={"flow", "training", "embedding"})
    digest = hashlib.sha256(f"{key.name} {train_pictures} {settings}".encode()).hexdigest()
    folder = out.with_name(f"{out.name}.training") / digest[:16]
    if resume and not folder.is_dir():
        raise TrainingError(
            f"{folder.parent}: nothing to resume for this recipe and these pictures; leave --resume out"
        )
    return folder
