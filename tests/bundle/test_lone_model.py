"""A model.onnx without its bundle: it describes itself, and keeps the contract that other languages rely on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from defectflow.bundle.bundle import open_bundle, read_card
from defectflow.bundle.card import Card
from defectflow.bundle.tensors import CARD_IN_MODEL
from defectflow.convert.core import write_core
from defectflow.errors import BundleError, SettingsError
from defectflow.image.decode import read_image
from defectflow.line.recalibrate import recalibrate

OK, REVIEW, DEFECT = 0, 1, 2


@pytest.mark.parametrize("core", [False, True])
def test_a_lone_file_carries_its_card(bundle_copy: Path, tmp_path: Path, core: bool) -> None:
    """Read as C++ or C# would, from the session's metadata; everything but the checksums."""
    card = open_bundle(bundle_copy).card
    lone = Path(shutil.copy(bundle_copy / "model.onnx", tmp_path / "lone.onnx"))
    if core:
        lone = write_core(open_bundle(bundle_copy), tmp_path / "for-another-engine")
        assert lone.name == "model_core.onnx"
        with pytest.raises(SettingsError, match="exists already"):
            write_core(open_bundle(bundle_copy), lone.parent)
    session = onnxruntime.InferenceSession(lone, providers=["CPUExecutionProvider"])
    said = json.loads(session.get_modelmeta().custom_metadata_map[CARD_IN_MODEL])
    assert said.pop("checksums") == {}
    whole = json.loads((bundle_copy / "card.json").read_text())
    assert whole.pop("checksums")
    assert said == whole
    assert read_card(lone) == card.model_copy(update={"checksums": {}})


def test_each_calibration_writes_it_again(bundle_copy: Path) -> None:
    before = read_card(bundle_copy / "model.onnx")
    after = recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4).card
    card = read_card(bundle_copy / "model.onnx")
    assert card.calibration == after.calibration != before.calibration
    keys = [entry.key for entry in onnx.load(bundle_copy / "model.onnx").metadata_props]
    assert keys.count(CARD_IN_MODEL) == 1


def test_an_uncalibrated_model_says_so(uncalibrated_path: Path) -> None:
    card = read_card(uncalibrated_path / "model.onnx")
    assert card.calibration is None
    assert card.guarantee()[0].startswith("Uncalibrated")


def test_files_that_cannot_describe_themselves(bundle_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gone\.onnx: no such file"):
        read_card(tmp_path / "gone.onnx")
    (tmp_path / "cut.onnx").write_bytes((bundle_copy / "model.onnx").read_bytes()[:10_000])
    with pytest.raises(BundleError, match=r"cut\.onnx: is damaged, or not an ONNX file"):
        read_card(tmp_path / "cut.onnx")
    model = onnx.load(bundle_copy / "model.onnx")
    onnx.helper.set_model_props(model, {})
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(BundleError, match=r"other\.onnx: has no card"):
        read_card(tmp_path / "other.onnx")
    onnx.helper.set_model_props(model, {CARD_IN_MODEL: "{}"})
    onnx.save(model, tmp_path / "strange.onnx")
    with pytest.raises(BundleError, match=r"strange\.onnx: its card is damaged or of another version"):
        read_card(tmp_path / "strange.onnx")


def test_each_threshold_can_be_overridden_in_the_file(bundle_path: Path, sample: Path) -> None:
    """The contract of the graph: any size of picture; decisions and masks follow the thresholds that are given."""
    session = onnxruntime.InferenceSession(bundle_path / "model.onnx", providers=["CPUExecutionProvider"])
    promised = {"decision", "score", "p_value", "anomaly_map", "mask", "embedding"}
    assert promised <= {output.name for output in session.get_outputs()}
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[-1]) == ("image", "tensor(uint8)", 3)
    assert {each.name for each in session.get_overridable_initializers()} == {
        "threshold",
        "review_threshold",
        "pixel_threshold",
    }
    card: Card = open_bundle(bundle_path).card
    assert card.calibration is not None
    stored = card.calibration
    pixels = read_image(min((sample / "test" / "good").glob("*.png")))[None]

    def ask(**given: float) -> tuple[int, float, int]:
        feed = {"image": pixels} | {name: np.array(value, np.float32) for name, value in given.items()}
        decision, score, mask = session.run(["decision", "score", "mask"], feed)
        return int(decision[0]), float(score[0]), int(mask.sum())

    usual, score, _ = ask()
    assert usual == (DEFECT if score > stored.threshold.value else REVIEW if score > stored.review.value else OK)
    defaults = {
        "threshold": stored.threshold.value,
        "review_threshold": stored.review.value,
        "pixel_threshold": stored.pixel_threshold,
    }
    assert ask(**defaults) == ask(), "the stored values are the defaults"
    assert ask(threshold=score - 0.01)[0] == DEFECT
    assert ask(threshold=score + 0.01, review_threshold=score - 0.01)[0] == REVIEW
    assert ask(threshold=score + 0.01, review_threshold=score + 0.01)[0] == OK
    places = [ask(threshold=score - 0.01, pixel_threshold=value)[2] for value in (-1e9, score - 1, 1e9)]
    side = session.run(["mask"], {"image": pixels})[0].shape[1:]
    assert places[0] >= places[1] > 0
    top = max(1, round(card.top_fraction * side[0] * side[1]))
    assert places[2] == pytest.approx(top, abs=1), "where no place passes, the map's highest are marked"
