"""What a fit may go on from: never what was learned of another division of the same pictures."""

from __future__ import annotations

from pathlib import Path

from defectflow.embedding import EmbeddingKey
from defectflow.fitting.learn import checkpoint_folder
from defectflow.recipe import load_recipe


def test_another_boundary_between_train_and_tune_is_another_fit(tmp_path: Path) -> None:
    """The embedded pictures are the same, in the same order; only how many of them train differs."""
    recipe, key = load_recipe("free"), EmbeddingKey("0" * 64, ("a", "b", "c", "d"))
    out = tmp_path / "bundle"
    three, two = (checkpoint_folder(out, key, train, recipe, False) for train in (3, 2))
    assert three != two
    assert checkpoint_folder(out, key, 3, recipe, False) == three
    longer = load_recipe("free", ["training.steps=123"])
    assert checkpoint_folder(out, key, 3, longer, False) != three
