"""From pictures to a weights file that a recipe can name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from support import Cli, swatches

from defectflow.common.progress import Progress
from defectflow.embedding.backbone import build_backbone
from defectflow.errors import DataError, SettingsError, TrainingError
from defectflow.pretraining.pretrain import pretrain
from defectflow.pretraining.settings import PretrainingRecipe, load_pretraining
from defectflow.recipe.settings import EmbeddingSettings

TINY = (
    "levels=[1]",
    "pictures.crop_px=[32]",
    "pictures.pixels_per_step=8192",
    "pictures.drawn_px=64",
    "pictures.photo_px=64",
    "objective.places=256",
    "training.check_every=4",
    "training.warmup=2",
)


def tiny(*overrides: str) -> PretrainingRecipe:
    return load_pretraining("pretrain", [*TINY, "training.steps=8", *overrides])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swatches(tmp_path_factory.mktemp("photos"), 6)


def test_the_weights_become_an_embedding(photos: Path, tmp_path: Path) -> None:
    made = pretrain(tiny(), photos, tmp_path / "mine.safetensors")
    assert made.steps == 8
    assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
    settings = EmbeddingSettings(backbone="resnet18", levels=(1,), weights=str(made.path))
    backbone, weights = build_backbone(settings, 64)
    (level,) = backbone(torch.rand(2, 3, 64, 64) * 255)
    assert level.shape == (2, 16, 16, 64)
    assert level.isfinite().all()
    assert weights.unused == ()


def test_the_file_says_how_it_was_made(photos: Path, tmp_path: Path) -> None:
    made = pretrain(tiny("training.seed=7"), photos, tmp_path / "mine.safetensors")
    with safe_open(made.path, "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert PretrainingRecipe.model_validate(recipe) == tiny("training.seed=7")


@pytest.mark.slow
def test_places_come_to_be_recognised(tmp_path: Path) -> None:
    notes = []
    recipe = tiny("training.steps=60", "training.check_every=20", "pictures.drawn_share=1")
    pretrain(recipe, None, tmp_path / "mine.safetensors", watch=lambda progress: notes.append(progress.note))
    first, *_, last = (int(note.removeprefix("places recognised ").partition("%")[0]) for note in notes)
    assert last > first + 10
    assert last > 25  # one place of 256 would be right by chance


def test_the_same_seed_gives_the_same_weights_and_another_one_others(photos: Path, tmp_path: Path) -> None:
    first, again, other = (
        pretrain(tiny(f"training.seed={seed}"), photos, tmp_path / f"{name}.safetensors").sha256
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first != other


def test_a_stopped_run_continues_as_if_nothing_had_happened(photos: Path, tmp_path: Path) -> None:
    whole = pretrain(tiny("training.steps=24"), photos, tmp_path / "whole.safetensors")

    def stop(progress: Progress) -> None:
        if progress.stage == "pretrain" and progress.done == 12:
            raise KeyboardInterrupt

    out = tmp_path / "stopped.safetensors"
    with pytest.raises(KeyboardInterrupt):
        pretrain(tiny("training.steps=24"), photos, out, watch=stop)
    assert not out.exists()
    resumed = pretrain(tiny("training.steps=24"), photos, out, resume=True)
    assert resumed.sha256 == whole.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.safetensors", "whole.safetensors"]


def test_a_stopped_run_can_be_made_longer(photos: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "pretrain":
            raise KeyboardInterrupt

    out = tmp_path / "mine.safetensors"
    with pytest.raises(KeyboardInterrupt):
        pretrain(tiny(), photos, out, watch=stop)
    assert pretrain(tiny("training.steps=12"), photos, out, resume=True).steps == 12


def test_an_unreadable_photograph_stops_nothing(photos: Path, tmp_path: Path) -> None:
    folder = swatches(tmp_path / "photos", 3)
    (folder / "broken.png").write_bytes(b"not a picture")
    made = pretrain(tiny(), folder, tmp_path / "mine.safetensors")
    ((path, reason),) = made.unreadable
    assert path == str(folder / "broken.png") and "broken.png" in reason


class TestRefuses:
    def test_photographs_wanted_but_none_given(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"drawn_share: 0\.5 .*--photos DIR, or --set pictures\.drawn_share=1"):
            pretrain(tiny(), None, tmp_path / "mine.safetensors")

    def test_photographs_that_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "a.png").write_bytes(b"nothing")
        with pytest.raises(DataError, match="none of its 1 photographs can be read"):
            pretrain(tiny(), tmp_path / "photos", tmp_path / "mine.safetensors")

    def test_a_file_that_is_there(self, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.safetensors").write_bytes(b"precious")
        with pytest.raises(SettingsError, match=r"exists already.*--overwrite"):
            pretrain(tiny(), photos, tmp_path / "mine.safetensors")
        assert (tmp_path / "mine.safetensors").read_bytes() == b"precious"

    def test_another_kind_of_file(self, photos: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"mine\.pth.*ends in \.safetensors"):
            pretrain(tiny(), photos, tmp_path / "mine.pth")

    def test_resuming_nothing(self, photos: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="nothing to resume"):
            pretrain(tiny(), photos, tmp_path / "mine.safetensors", resume=True)

    def test_resuming_with_other_settings(self, photos: Path, tmp_path: Path) -> None:
        def stop(progress: Progress) -> None:
            if progress.stage == "pretrain":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pretrain(tiny(), photos, tmp_path / "mine.safetensors", watch=stop)
        with pytest.raises(TrainingError, match="other settings"):
            pretrain(tiny("objective.width=32"), photos, tmp_path / "mine.safetensors", resume=True)

    def test_an_unknown_backbone(self, photos: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="timm has no model 'resnet19'"):
            pretrain(tiny("backbone=resnet19"), photos, tmp_path / "mine.safetensors")

    def test_levels_that_are_not_there(self, photos: Path, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"levels: \[1, 9\] does not suit 'resnet18'"):
            pretrain(tiny("levels=[1, 9]"), photos, tmp_path / "mine.safetensors")

    def test_a_loss_that_is_no_number(self, photos: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"became nan .* at step 0"):
            pretrain(tiny("objective.temperature=1e-42"), photos, tmp_path / "mine.safetensors")


def test_the_command_says_what_it_made(photos: Path, tmp_path: Path, cli: Cli) -> None:
    settings = [word for override in (*TINY, "training.steps=4") for word in ("--set", override)]
    done = cli("pretrain", tmp_path / "mine.safetensors", "--photos", photos, *settings)
    assert done.code == 0, done.err
    assert hashlib.sha256((tmp_path / "mine.safetensors").read_bytes()).hexdigest() in done.out
    assert "pictures per second" in done.out
    refused = cli("pretrain", tmp_path / "mine.safetensors", "--set", "pictures.drawn_shar=1")
    assert refused.code == 2
    assert "pictures.drawn_shar: no such setting; did you mean 'drawn_share'?" in refused.err
