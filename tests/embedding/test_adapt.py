"""Batch statistics measured on training parts: which ones, on which pictures, and what stays as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from support import Pixels, fit_swatches, save, swatch, swatch_recipe
from torch import Tensor, nn

from defectflow.bundle import FLOW, fitted_parts
from defectflow.embedding.adapt import LEAST_SHARE, adapt, measure_statistics
from defectflow.embedding.backbone import Backbone, builtin_weights, read_tensors
from defectflow.embedding.extract import embedding_key
from defectflow.image.decode import read_image
from defectflow.recipe.settings import Recipe
from defectflow.score.detector import Detector, build_detector

CPU = torch.device("cpu")
ADAPT = sys.modules[adapt.__module__]
FIRST = "embedding.backbone.net.bn1."


def detector_of(recipe: Recipe) -> Detector:
    return build_detector(recipe)[0]


def adapted(recipe: Recipe, paths: list[Path]) -> Detector:
    detector = detector_of(recipe)
    adapt(detector.embedding, detector.tiling, recipe.image, paths, CPU)
    return detector


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


def statistics_of(detector: Detector) -> dict[str, Tensor]:
    return {name: value for name, value in detector.state_dict().items() if ".running_" in name}


def test_statistics_are_those_of_the_pictures(swatch_folder: Path) -> None:
    recipe = swatch_recipe("embedding.backbone=resnet18", "embedding.weights=builtin")
    paths = pictures(swatch_folder)
    detector = adapted(recipe, paths)
    net = detector.embedding.backbone.net
    squares = torch.cat([detector.embedding.square(torch.from_numpy(read_image(path))[None]) for path in paths])
    backbone = detector.embedding.backbone
    with torch.no_grad():
        convolved = net.conv1((squares - backbone.mean) / backbone.std)
        centred = net.bn1(convolved)
    torch.testing.assert_close(net.bn1.running_mean, convolved.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(centred.mean((0, 2, 3)), net.bn1.bias, rtol=1e-3, atol=1e-2)
    assert not net.training and all(not module.training for module in net.modules())


def test_weights_stay_as_they_are(swatch_folder: Path) -> None:
    recipe = swatch_recipe()
    detectors = detector_of(recipe), adapted(recipe, pictures(swatch_folder))
    before, after = (detector.embedding.state_dict() for detector in detectors)
    changed = {name.rsplit(".", 1)[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_pictures_are_chosen_alike_every_time_and_from_the_whole_folder(
    swatch_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ADAPT, "ADAPTED_ON", 6)
    recipe, paths = swatch_recipe(), pictures(swatch_folder)
    seen: list[str] = []

    def noted(path: Path, *, full_scale: int | None) -> Pixels:
        seen.append(path.stem)
        return read_image(path, full_scale=full_scale)

    monkeypatch.setattr(ADAPT, "read_image", noted)
    first, second = (adapted(recipe, paths).embedding.backbone.digest() for _ in range(2))
    assert first == second
    assert seen[:6] == seen[6:] and len(set(seen)) == 6
    assert {int(name) // 12 for name in seen} == {0, 1}, "from the first half and from the second"


def test_batches_are_bounded_by_pixels(swatch_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, paths = swatch_recipe(), pictures(swatch_folder)[:5]
    at_once = adapted(recipe, paths)
    sizes: list[int] = []
    forward = Backbone.forward

    def counted(self: Backbone, square: Tensor) -> list[Tensor]:
        sizes.append(len(square))
        return forward(self, square)

    detector = detector_of(recipe)
    monkeypatch.setattr(Backbone, "forward", counted)
    monkeypatch.setattr(ADAPT, "BATCH_PIXELS", 100)  # less than one square has
    adapt(detector.embedding, detector.tiling, recipe.image, paths, CPU)
    assert sizes == [1] * 5
    mean = f"{FIRST}running_mean"
    torch.testing.assert_close(statistics_of(detector)[mean], statistics_of(at_once)[mean], rtol=1e-3, atol=1e-4)


def test_what_rests_on_good_parts_is_not_blown_up() -> None:
    """Black pictures leave every channel at rest: variances of 0 would make the least flaw infinite."""
    backbone = detector_of(swatch_recipe()).embedding.backbone
    learned = {name: value.clone() for name, value in backbone.state_dict().items() if name.endswith("running_var")}
    measure_statistics(backbone, [torch.zeros(4, 3, 64, 64)])
    now = backbone.state_dict()
    assert all(bool((now[name] >= LEAST_SHARE * learned[name] * 0.999).all()) for name in learned)
    flawed = torch.zeros(1, 3, 64, 64)
    flawed[..., 30:34, 30:34] = 255
    assert all(bool(level.isfinite().all()) and level.max() < 1e4 for level in backbone(flawed))


def test_nothing_to_measure_leaves_a_network_as_it_is(swatch_folder: Path) -> None:
    recipe, paths = swatch_recipe(), pictures(swatch_folder)
    detector = detector_of(recipe)
    before = detector.embedding.backbone.digest()
    adapt(detector.embedding, detector.tiling, recipe.image, paths[:1], CPU)
    adapt(detector.embedding, detector.tiling, recipe.image, [], CPU)
    assert detector.embedding.backbone.digest() == before

    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    detector.embedding.backbone = Backbone(plain, (0.5,) * 3, (0.25,) * 3)
    before = detector.embedding.backbone.digest()
    adapt(detector.embedding, detector.tiling, recipe.image, paths, CPU)
    assert detector.embedding.backbone.digest() == before


def test_of_tiled_pictures_different_tiles_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = swatch_recipe("image.tiling.tile=80", "image.tiling.overlap=16", "image.tiling.picture=[160, 160]")
    paths = []
    for number in range(8):
        pixels = np.concatenate([swatch(number, 160)[:80], np.zeros((80, 160, 3), np.uint8)])  # black below
        paths.append(tmp_path / f"{number}.png")
        save(paths[-1], pixels)
    detector = detector_of(recipe)
    seen: list[float] = []
    square = detector.embedding.square

    def noted(image: Tensor) -> Tensor:
        seen.append(image.float().mean().item())
        return square(image)

    monkeypatch.setattr(detector.embedding, "square", noted)
    adapt(detector.embedding, detector.tiling, recipe.image, paths, CPU)
    assert len(seen) == 8
    assert min(seen) < 1 and max(seen) > 50, "tiles of the black half and of the other"


def test_a_fit_measures_train_parts_alone_and_the_bundle_keeps_them(
    swatch_folder: Path, uncalibrated_path: Path, tmp_path: Path
) -> None:
    bundle = fit_swatches(swatch_folder, tmp_path / "adapted", "embedding.adapt=true").bundle
    side = fitted_parts(bundle)
    train = [path for path in pictures(swatch_folder) if side[path.stem] == "train"]
    assert 2 <= len(train) < 24
    stored = safetensors.torch.load_file(bundle.path / FLOW)
    expected = statistics_of(adapted(swatch_recipe(), train))
    assert {name for name in stored if name.startswith("embedding.")} == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(stored[name], value)

    as_trained = safetensors.torch.load_file(uncalibrated_path / FLOW)
    kept = as_trained[f"{FIRST}running_mean"]
    assert torch.equal(kept, read_tensors(builtin_weights("resnet18"))["bn1.running_mean"])
    assert not torch.equal(stored[f"{FIRST}running_mean"], kept)


def test_cached_embeddings_are_distinguished_by_what_they_were_adapted_on(swatch_folder: Path) -> None:
    recipe = swatch_recipe()
    embedding, digests = detector_of(recipe).embedding, ["a", "b", "c"]
    keys = {embedding_key(recipe, embedding, digests, adapted_on=digests[:count]) for count in range(4)}
    assert len(keys) == 4
