"""From a folder to a bundle: what is in it, what may not shape it, and what happens when things go wrong."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from support import Pixels, digests, fit_swatches, save, swatch, swatch_recipe, swatches

from defectflow.bundle.bundle import open_bundle
from defectflow.common.progress import Progress
from defectflow.density.saved import open_heads
from defectflow.embedding.cache import EmbeddingCache
from defectflow.embedding.extract import extract
from defectflow.errors import DataError, SettingsError, TrainingError
from defectflow.fitting.fit import Fitted, fit
from defectflow.flows.base import StudentT
from defectflow.line import Inspector
from defectflow.verdict import Measurement
from defectflow.verdict.calibration import TOLERANCE


class Stop:
    """A user who presses Ctrl-C when a level's training has reached a step."""

    def __init__(self, stage: str, step: int) -> None:
        self.stage, self.step = stage, step
        self.seen: list[tuple[str, int]] = []

    def __call__(self, progress: Progress) -> None:
        self.seen.append((progress.stage, progress.done))
        if (progress.stage, progress.done) == (self.stage, self.step):
            raise KeyboardInterrupt


# --- what is in a bundle ---


def test_contents_of_a_bundle(bundle_path: Path, sample: Path) -> None:
    files = digests(bundle_path)
    card = open_bundle(bundle_path).card
    top = {name.split("/")[0] for name in files}
    weights = {"model.onnx", "flow.safetensors", "tune.safetensors"}
    assert top == {*weights, "card.json", "golden", "reference"}
    assert {name: card.checksums[name] for name in files if name != "card.json"} == {
        name: digest for name, digest in files.items() if name != "card.json"
    }
    assert set(card.checksums) == set(files), "no file without checksum, no checksum without file"
    assert {Path(name).suffix for name in files} == {".onnx", ".json", ".safetensors", ".png", ".jpg", ".tif", ".npy"}
    # Each of the binary files is what it says: no pickle in disguise.
    assert safetensors.numpy.load_file(bundle_path / "flow.safetensors")
    embeddings = np.load(bundle_path / "reference" / "embeddings.npy", allow_pickle=False)
    index = json.loads((bundle_path / "reference" / "index.json").read_text())
    assert len(embeddings) == len(index["thumbnails"]) == len(list((bundle_path / "reference").glob("*.jpg")))
    golden = json.loads((bundle_path / "golden" / "expected.json").read_text())
    assert set(golden) | {"expected.json", "maps.npy"} == {path.name for path in (bundle_path / "golden").iterdir()}
    assert not list(bundle_path.parent.glob("*.partial"))
    assert not list(bundle_path.parent.glob("*.training"))


def test_card_states_the_division_and_the_recipe(bundle_path: Path, sample: Path) -> None:
    card = open_bundle(bundle_path).card
    with (sample / "manifest.csv").open(newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["split"] == "train"]
    parts = {row["part"] for row in rows}
    assert card.parts.train + card.parts.tune + card.parts.calibration == len(parts) == 70
    assert card.parts.calibration == len(card.calibration_parts) == 19
    assert card.parts_known
    pictures = {part: sum(row["part"] == part for row in rows) for part in parts}
    for calibrated in card.calibration_parts:
        assert calibrated.pictures == pictures[calibrated.part], "all pictures of a part are on its side"
    assert sum(pictures.values()) == len(json.loads((bundle_path / "reference" / "index.json").read_text())["fitted"])
    assert card.recipe["flow"]["layers"] == 2
    assert card.export_parity["score"] < 1e-3


def test_calibration_scores_are_those_of_the_deployed_graph(bundle_path: Path, sample: Path) -> None:
    """One score per part, the largest over its pictures, through ONNX Runtime."""
    card = open_bundle(bundle_path).card
    with (sample / "manifest.csv").open(newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["split"] == "train"]
    inspector = Inspector(bundle_path, threads=1)
    for part in card.calibration_parts:
        files = [sample / row["path"] for row in rows if row["part"] == part.part]
        items = [item for item in inspector.measure(files) if isinstance(item, Measurement)]
        assert part.score == pytest.approx(max(item.calibrated_score for item in items), abs=1e-3 * card.good_spread)
        assert part.peak == pytest.approx(max(item.anomaly_map.max() for item in items), abs=1e-2 * card.good_spread)
    assert card.good_spread == pytest.approx(np.std([part.score for part in card.calibration_parts]))


def test_too_few_parts_for_the_rate_are_told_what_they_support(uncalibrated_path: Path) -> None:
    card = open_bundle(uncalibrated_path).card
    assert card.calibration is None
    assert len(card.calibration_parts) == 8  # a third of 24
    said = " ".join(card.guarantee())
    assert "8 calibration parts cannot support a false-reject rate of 5% (0.05) on average" in said
    assert "--false-reject-rate 0.1112" in said  # 1/9, rounded up
    assert "--good DIR" in said


# --- refusals ---


def test_an_existing_bundle_is_not_overwritten(uncalibrated_copy: Path, swatch_folder: Path) -> None:
    before = digests(uncalibrated_copy)
    with pytest.raises(SettingsError, match=r"exists already; choose another --out, or replace it with --overwrite"):
        fit_swatches(swatch_folder, uncalibrated_copy)
    assert digests(uncalibrated_copy) == before


def test_a_folder_that_is_no_bundle_is_never_overwritten(swatch_folder: Path, tmp_path: Path) -> None:
    """`fit GOOD --out GOOD --overwrite` must not delete the pictures."""
    pictures = shutil.copytree(swatch_folder, tmp_path / "pictures")
    before = digests(pictures)
    with pytest.raises(SettingsError, match=r"pictures: is not a bundle, so --overwrite does not replace it"):
        fit_swatches(pictures, pictures, overwrite=True)
    assert digests(pictures) == before


def test_too_few_parts_to_fit_on(tmp_path: Path) -> None:
    folder = swatches(tmp_path / "good", 7)
    with pytest.raises(DataError, match=r"^7 good parts .* at least 8 are needed: add 1 more"):
        fit_swatches(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_nothing_to_resume(swatch_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        fit_swatches(swatch_folder, tmp_path / "bundle", resume=True)


def test_the_fewest_parts_that_are_accepted(tmp_path: Path) -> None:
    """With one tune picture, good scores have no spread of their own; it must not end in a division by zero."""
    fitted = fit_swatches(swatches(tmp_path / "good", 8), tmp_path / "bundle", "embedding.levels=[2]")
    assert fitted.bundle.card.parts.tune == 1
    assert fitted.bundle.card.good_spread > 0
    assert fitted.bundle.card.calibration is None


# --- a folder as folders are ---


@pytest.fixture(scope="module")
def untidy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fitted]:
    """16-bit, turned, transparent, repeated and broken pictures, divided by a manifest, at other rates."""
    folder = tmp_path_factory.mktemp("untidy")
    random = np.random.default_rng(0)
    rows = []
    for number in range(24):
        split = "train" if number < 14 else "tune" if number < 18 else "calibration"
        pixels = swatch(number)
        match number % 6:
            case 0:  # a 12-bit camera, as 16-bit colour; calibration parts are brighter than 12 bits
                name = f"{number:02}.png"
                scale = 12 if split != "calibration" else 60
                cv2.imwrite(str(folder / name), pixels[:, :, ::-1].astype(np.uint16) * scale)
            case 1:
                name = f"{number:02} gedreht ä.jpg"
                turned = Image.Exif()
                turned[0x0112] = 6
                save(folder / name, np.rot90(pixels), exif=turned.tobytes(), quality=95)
            case 2:
                name = f"{number:02}.png"
                alpha = np.where(random.random((64, 64, 1)) < 0.02, 0, 255).astype(np.uint8)
                save(folder / name, np.concatenate([pixels, alpha], axis=2))
            case 3:
                name = f"{number:02}.bmp"
                save(folder / name, pixels)
            case 4:
                name = f"{number:02}.tif"
                save(folder / name, pixels[:, :, 0])
            case _:
                name = f"{number:02}.webp"
                save(folder / name, pixels, lossless=True)
        rows.append((name, split))
    save(folder / "twin.png", np.asarray(Image.open(folder / "03.bmp")))
    nearly = swatch(9)
    nearly[0, 0] += 1
    save(folder / "nearly.png", nearly)
    (folder / "broken.png").write_bytes((folder / "00.png").read_bytes()[:300])
    (folder / "empty.jpg").write_bytes(b"")
    rows += [("twin.png", "calibration"), ("nearly.png", "tune"), ("broken.png", "train"), ("empty.jpg", "tune")]
    lines = ["path,split,part", *(f"{name},{split},part {name}" for name, split in rows)]
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    seen: list[Pixels] = []
    module = sys.modules[extract.__module__]
    embed = module._embed

    def watched(levels: Any, embedding: Any, batch: dict[int, Pixels], *rest: Any) -> None:
        seen.extend(pixels.copy() for pixels in batch.values())
        embed(levels, embedding, batch, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_embed", watched)
        out = tmp_path_factory.mktemp("untidy-bundle") / "bundle"
        fitted = fit_swatches(folder, out, "verdict.rate=0.3", "verdict.review_rate=0.5")
    np.savez(out.parent / "seen.npz", *seen)
    return folder, fitted


def fitted_files(folder: Path, *splits: str) -> list[Path]:
    """Readable files of some splits, in the order of their parts, as the manifest of `untidy` has them."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["path"] not in ("broken.png", "empty.jpg")]
    return [
        folder / row["path"]
        for split in splits
        for row in sorted(rows, key=lambda r: r["part"])
        if row["split"] == split
    ]


def test_unreadable_pictures_are_named_and_the_rest_goes_on(untidy: tuple[Path, Fitted]) -> None:
    folder, fitted = untidy
    assert {rejected.path for rejected in fitted.rejected} == {folder / "broken.png", folder / "empty.jpg"}
    assert all(rejected.reason for rejected in fitted.rejected)
    assert (fitted.bundle.card.parts.train, fitted.bundle.card.parts.tune) == (14, 5)


def test_duplicates_across_the_split_are_named(untidy: tuple[Path, Fitted]) -> None:
    folder, fitted = untidy
    same = [warning for warning in fitted.bundle.card.warnings if "repeat the pixels of another" in warning]
    assert any(f"the first is {folder / 'twin.png'}, as {folder / '03.bmp'}" in warning for warning in same)
    near = [warning for warning in fitted.bundle.card.warnings if "nearly the same picture" in warning]
    assert any(str(folder / "09.bmp") in warning and str(folder / "nearly.png") in warning for warning in near)
    assert len(same) + len(near) == 2, "and nothing else is suspected"


def test_wanted_rates_are_calibrated(untidy: tuple[Path, Fitted]) -> None:
    card = untidy[1].bundle.card
    assert (card.wanted_rate, card.wanted_review_rate, card.wanted_guarantee) == (0.3, 0.5, "expected")
    scores = sorted(np.inf if part.score is None else part.score for part in card.calibration_parts)
    assert len(scores) == 6, "the twin counts once"
    assert scores[5] == np.inf, "the overexposed one, which the gate refuses"
    assert card.calibration is not None
    assert card.calibration.threshold.rank == 5  # 2 of 7 may lie above
    assert scores[4] < card.calibration.threshold.value < scores[4] + 0.01 * card.good_spread
    assert card.calibration.review.value == pytest.approx(np.mean(scores[3:5]))  # 3 of 7 may, so k = 4


def test_full_scale_comes_from_training_parts(untidy: tuple[Path, Fitted]) -> None:
    """Training parts have 12 bits. Calibration parts are brighter, and must not be looked at for this."""
    folder, fitted = untidy
    brightest = {
        split: max(
            cv2.imread(str(f), -1).max()
            for f in fitted_files(folder, split)
            if f.name in ("00.png", "06.png", "12.png", "18.png")
        )
        for split in ("train", "calibration")
    }
    assert brightest["train"] <= 4095 < brightest["calibration"]
    assert fitted.bundle.card.image.full_scale == 4095


class Spy:
    """Stands before ONNX Runtime's session and keeps what it is fed."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.fed: list[Pixels] = []

    def run(self, outputs: list[str], feed: dict[str, NDArray[np.uint8]]) -> Any:
        self.fed.extend(feed["image"])
        return self.session.run(outputs, feed)


def test_fit_sees_the_pixels_that_the_inspector_feeds(untidy: tuple[Path, Fitted]) -> None:
    """Bit depth, orientation, transparency, grey: the same on both sides, and what they should be."""
    folder, fitted = untidy
    with np.load(fitted.bundle.path.parent / "seen.npz") as stored:
        in_fit = [stored[f"arr_{index}"] for index in range(len(stored.files))]
    inspector = Inspector(fitted.bundle, threads=1)
    spy = inspector._session = Spy(inspector._session)  # type: ignore[assignment]
    files = fitted_files(folder, "train", "tune")
    assert all(isinstance(item, Measurement) for item in inspector.measure(files))
    assert len(in_fit) == len(spy.fed) == len(files) == 19
    for file, one, other in zip(files, in_fit, spy.fed, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=file.name)
    by_name = dict(zip((file.name for file in files), in_fit, strict=True))
    twelve_bit = swatch(0).astype(float) * 12
    np.testing.assert_array_equal(by_name["00.png"], np.floor(twelve_bit * 255 / 4095 + 0.5))
    turned = by_name["01 gedreht ä.jpg"].astype(int)
    assert np.abs(turned - swatch(1)).mean() < 4 < np.abs(np.rot90(turned) - swatch(1)).mean()
    stored_alpha = np.asarray(Image.open(folder / "02.png"))
    np.testing.assert_array_equal(by_name["02.png"], swatch(2) * (stored_alpha[:, :, 3:] == 255))
    np.testing.assert_array_equal(by_name["04.tif"], np.repeat(swatch(4)[:, :, :1], 3, axis=2))


# --- what may not shape a model ---


def test_calibration_parts_do_not_shape_the_model(uncalibrated_path: Path, swatch_folder: Path, tmp_path: Path) -> None:
    """Everything is frozen before they are measured: with other calibration pictures, the same model."""
    first = open_bundle(uncalibrated_path).card
    folder = shutil.copytree(swatch_folder, tmp_path / "good")
    for part in first.calibration_parts:
        save(folder / f"{part.part}.png", swatch(900 + int(part.part), 80, scratched=True))
    second = fit_swatches(folder, tmp_path / "bundle").bundle
    assert [part.part for part in second.card.calibration_parts] == [part.part for part in first.calibration_parts]
    assert second.card.calibration_parts != first.calibration_parts, "they do give other scores"
    assert digests(second.path)["flow.safetensors"] == digests(uncalibrated_path)["flow.safetensors"]
    assert second.card.distance_limit == first.distance_limit
    assert second.card.bundle_id == first.bundle_id, "the scoring graph is the same, byte for byte"
    assert second.card.recipe == first.recipe


def test_a_stopped_fit_goes_on_as_if_nothing_had_happened(
    uncalibrated_path: Path, swatch_folder: Path, tmp_path: Path
) -> None:
    """Stopped in the first level, again in the second, and then left alone."""
    out = tmp_path / "bundle"
    first, second, last = Stop("learn level 1", 10), Stop("learn level 2", 20), Stop("", 0)
    for watch, resume in ((first, False), (second, True)):
        with pytest.raises(KeyboardInterrupt):
            fit_swatches(swatch_folder, out, resume=resume, watch=watch)
        assert not out.exists(), "a bundle appears only when whole"
    fitted = fit_swatches(swatch_folder, out, resume=True, watch=last)
    assert ("learn level 1", 10) not in second.seen, "the first ten steps were not done again"
    assert next(step for stage, step in last.seen if stage == "learn level 2") == 30
    assert ("embed", 16) in first.seen
    assert not [stage for stage, _ in last.seen if stage == "embed"], "pictures were embedded once"
    assert fitted.bundle.card.bundle_id == open_bundle(uncalibrated_path).card.bundle_id
    assert digests(out)["flow.safetensors"] == digests(uncalibrated_path)["flow.safetensors"]
    assert fitted.bundle.card.training == open_bundle(uncalibrated_path).card.training
    assert not (tmp_path / "bundle.training").exists()


def test_two_fits_at_once_share_a_cache(swatch_folder: Path, tmp_path: Path) -> None:
    """The second runs from start to end while the first is embedding the same pictures."""
    cache = EmbeddingCache(tmp_path / "cache")
    recipe = swatch_recipe("embedding.levels=[2]")
    others: list[Fitted] = []

    def meanwhile(progress: Progress) -> None:
        if progress.stage == "embed" and not others:
            others.append(fit(recipe, swatch_folder, tmp_path / "second", cache=cache))

    first = fit(recipe, swatch_folder, tmp_path / "first", cache=cache, watch=meanwhile)
    (second,) = others
    assert first.bundle.card.bundle_id == second.bundle.card.bundle_id
    assert first.bundle.card.calibration_parts == second.bundle.card.calibration_parts
    (entry,) = (tmp_path / "cache").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["level0.npy", "pictures.json"], (
        "one entry, and nothing half-written"
    )


def test_too_few_parts_because_the_files_are_bad_says_so(swatch_folder: Path, tmp_path: Path) -> None:
    folder = swatches(tmp_path / "good", 6)
    (folder / "cut.png").write_bytes((folder / min(path.name for path in folder.glob("*.png"))).read_bytes()[:80])
    save(folder / "tiny.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError) as caught:
        fit_swatches(folder, tmp_path / "bundle")
    text = str(caught.value)
    assert "6 good parts" in text and "2 picture(s) could not be used" in text
    assert "cut.png: " in text and "tiny.png: 8 x 8 pixels leave fewer than 16" in text


def test_parts_in_the_fit_and_in_the_test_set_are_named(swatch_folder: Path, tmp_path: Path) -> None:
    files = sorted(swatch_folder.glob("*.png"))
    rows = [f"{path},good,{path.stem},train" for path in files[:-1]]
    rows.append(f"{files[-1]},defective,{files[0].stem},test")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["path,label,part,split", *rows]) + "\n", encoding="utf-8")
    warnings = fit_swatches(manifest, tmp_path / "bundle").bundle.card.warnings
    assert any("1 parts have pictures both for fitting and in the test split" in warning for warning in warnings)


def test_a_fit_without_calibration_parts_is_saved_uncalibrated(swatch_folder: Path, tmp_path: Path) -> None:
    files = sorted(swatch_folder.glob("*.png"))
    rows = [f"{path},good,{path.stem},{'tune' if number < 4 else 'train'}" for number, path in enumerate(files)]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["path,label,part,split", *rows]) + "\n", encoding="utf-8")
    card = fit_swatches(manifest, tmp_path / "bundle").bundle.card
    assert card.calibration is None and card.calibration_parts == ()


RARELY = [pytest.param(family, marks=pytest.mark.slow) for family in ("nice", "planar", "spline", "cnf")]


@pytest.mark.parametrize("family", ["gaussian", "maf", *RARELY])
def test_any_family_is_one_line_of_a_recipe_away(family: str, swatch_folder: Path, tmp_path: Path) -> None:
    """Fit refuses a bundle whose graph and torch disagree, so one that is there was exported faithfully."""
    small = (
        "embedding.levels=[1]",
        "training.steps=6",
        "training.check_every=3",
        f"flow={{family: {family}, hidden: 16}}",
    )
    fitted = fit_swatches(swatch_folder, tmp_path / family, *small)
    assert fitted.bundle.card.recipe["flow"]["family"] == family
    (good,) = Inspector(fitted.bundle).measure_all([save(tmp_path / "good.png", swatch(100))])
    (bad,) = Inspector(fitted.bundle).measure_all([save(tmp_path / "bad.png", swatch(100, scratched=True))])
    assert bad.score > good.score


@pytest.mark.slow
def test_an_augmented_flow_says_that_its_likelihood_is_an_estimated_bound(swatch_folder: Path, tmp_path: Path) -> None:
    small = ("embedding.levels=[1]", "training.steps=4", "training.check_every=2")
    fitted = fit_swatches(swatch_folder, tmp_path / "cnf", *small, "flow={family: cnf, hidden: 16, augmented: 3}")
    assert any("estimates of a lower bound" in warning for warning in fitted.bundle.card.warnings)


def test_a_student_t_base_is_learned_exported_and_calibrated(swatch_folder: Path, tmp_path: Path) -> None:
    small = ("embedding.levels=[1]", "training.steps=4", "training.check_every=2", "flow.base=student_t")
    fitted = fit_swatches(swatch_folder, tmp_path / "t", *small, "verdict.rate=0.2", "verdict.review_rate=0.3")
    card = fitted.bundle.card
    assert card.calibration is not None and card.export_parity["score"] < TOLERANCE
    assert isinstance(open_heads(fitted.bundle)[0].flow.base, StudentT)


@pytest.mark.parametrize("family", ["gaussian", "realnvp"])
def test_whitening_by_place_is_in_the_graph_alone_and_comes_back(
    family: str, swatch_folder: Path, tmp_path: Path
) -> None:
    small = ("embedding.levels=[1]", "training.steps=4", "training.check_every=2", "score.by_place=0.5")
    fitted = fit_swatches(swatch_folder, tmp_path / "m", *small, f"flow={{family: {family}, place: full, hidden: 16}}")
    (head,) = open_heads(fitted.bundle)
    with torch.no_grad():
        nats = -head.flow.log_prob(head.vectors, head.context).mean().item() / head.flow.width
    assert nats == pytest.approx(fitted.bundle.card.training["level 1"]["tune_nats_per_dim"], abs=0.03)
    assert head.density.whitening is not None
    files = {path.name: path.stat().st_size for path in fitted.bundle.path.glob("*.safetensors")}
    assert files["flow.safetensors"] < 2 * head.density.whitening.factor.numel()  # what its values would take in fp16
    constants = [v for v in onnx.load(fitted.bundle.model).graph.initializer if v.name.startswith("densities.0.std")]
    assert [len(set(numpy_helper.to_array(v).ravel())) > 1 for v in constants] == [True], "each place has its own"


def test_a_family_that_is_not_exported_is_refused_before_anything_is_learned(
    swatch_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"flow\.family: iaf .* D passes .* not exported; use maf"):
        fit_swatches(swatch_folder, tmp_path / "iaf", "flow={family: iaf}")


@pytest.mark.parametrize("kind", ["latent_norm", pytest.param("typicality", marks=pytest.mark.slow)])
def test_other_scores_are_calibrated_and_exported_alike(kind: str, swatch_folder: Path, tmp_path: Path) -> None:
    usual = ("embedding.levels=[1]", "verdict.rate=0.2", "verdict.review_rate=0.3")
    fitted = fit_swatches(swatch_folder, tmp_path / kind, *usual, f"score.kind={kind}")
    plain = fit_swatches(swatch_folder, tmp_path / "plain", *usual)
    assert fitted.bundle.card.calibration is not None
    pictures = [save(tmp_path / f"{seed}.png", swatch(seed)) for seed in range(100, 106)]
    ours, theirs = ([m.score for m in Inspector(one.bundle).measure_all(pictures)] for one in (fitted, plain))
    assert not np.allclose(ours, theirs, atol=1e-3)
