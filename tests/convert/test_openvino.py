"""Does the file give in OpenVINO the verdicts that it gives in ONNX Runtime?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from PIL import Image
from support import DEFECTFLOW, Cli, Pixels, marked, run

from defectflow.bundle.bundle import open_bundle
from defectflow.bundle.tensors import VERDICT_OUTPUTS
from defectflow.convert.openvino import IR, PRECISION, write_ir
from defectflow.errors import ExportError, NotCalibrated
from defectflow.image.decode import read_image
from defectflow.line import Inspector
from defectflow.line.golden import read_golden
from defectflow.verdict import Decision
from defectflow.verdict.calibration import TOLERANCE

SIZES = ((128, 128), (256, 256), (100, 100), (64, 200), (640, 480), (1000, 701))
"""Width and height: shrunk, as it is and enlarged on the way to the model's 128 x 128, and of other aspects."""


@pytest.fixture(scope="module")
def ir(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ir") / "ring"
    done = run(DEFECTFLOW, "export", bundle_path, folder, "--target", "openvino")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["model.bin", "model.xml"]
    return folder / IR


@pytest.fixture(scope="module")
def compiled(ir: Path) -> Any:
    return openvino.Core().compile_model(ir, "CPU", PRECISION | {"INFERENCE_NUM_THREADS": 1})


@pytest.fixture(scope="module")
def ring(sample: Path) -> Pixels:
    return read_image(min((sample / "test" / "good").glob("*.png")))


def differences(compiled: Any, inspector: Inspector, pictures: list[Pixels]) -> tuple[list[bool], float, float]:
    """Per picture whether the decision is the same; largest score and map differences, in good scores' deviations."""
    found = compiled({"image": np.stack(pictures)})
    same, score, places = [], 0.0, 0.0
    spread = inspector.card.good_spread
    for row, given in enumerate(inspector.inspect(pictures)):
        # Of an invalid picture, the graph marks nothing; the runtime marks a gross defect.
        marks = given.gated or (found["mask"][row] == given.mask).all()
        same.append(found["decision"][row] == given.decision and marks)
        if not given.gated:
            score = max(score, abs(found["score"][row] - given.score) / spread)
            places = max(places, float(np.abs(found["anomaly_map"][row] - given.anomaly_map).max()) / spread)
        assert found["p_value"][row] == pytest.approx(given.p_value)
    return same, score, places


def test_golden_pictures_have_the_same_verdicts(compiled: Any, inspector: Inspector, bundle_path: Path) -> None:
    files = [golden.file for golden in read_golden(open_bundle(bundle_path)) if golden.record is not None]
    assert len(files) >= 10
    for file in files:
        same, score, _ = differences(compiled, inspector, [read_image(file)])
        assert same == [True]
        assert score <= TOLERANCE


@pytest.mark.parametrize("size", SIZES)
def test_any_size_has_the_same_verdict(
    compiled: Any, inspector: Inspector, ring: Pixels, size: tuple[int, int]
) -> None:
    good, defective = (np.array(Image.fromarray(p).resize(size)) for p in (ring, marked(ring)))
    same, score, places = differences(compiled, inspector, [good, defective])
    assert same == [True, True]
    assert score <= TOLERANCE
    assert places <= TOLERANCE


def test_a_batch_has_the_same_verdicts(compiled: Any, inspector: Inspector, sample: Path) -> None:
    files = sorted((sample / "test").glob("*/*.png"))[::6]
    pictures = [read_image(file) for file in files]
    decisions = {verdict.decision for verdict in inspector.inspect(pictures)}
    assert {Decision.OK, Decision.DEFECT} <= decisions, "or the test shows little"
    same, score, _ = differences(compiled, inspector, pictures)
    assert all(same)
    assert score <= TOLERANCE


def test_the_file_says_what_it_is(ir: Path, inspector: Inspector) -> None:
    model = openvino.Core().read_model(ir)
    assert [port.any_name for port in model.inputs] == ["image"]
    assert [port.any_name for port in model.outputs] == list(VERDICT_OUTPUTS)
    assert str(model.get_rt_info(["defectflow", "bundle_id"]).value) == inspector.card.bundle_id
    assert str(model.get_rt_info(["defectflow", "calibration_id"]).value) == inspector.card.calibration_id


def test_without_the_other_filter_it_is_refused(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason for the filter; where this fails, OpenVINO has learnt `antialias` and the filter can go."""
    monkeypatch.setattr(sys.modules[write_ir.__module__], "_put_filter", lambda model: None)
    with pytest.raises(ExportError, match="OpenVINO, golden pictures: ") as refused:
        write_ir(open_bundle(bundle_path), tmp_path / "ir")
    assert str(bundle_path) in str(refused.value)
    assert "--" not in str(refused.value), "an option of verify"
    assert not (tmp_path / "ir").exists()


def test_what_is_there_is_kept(ir: Path, bundle_path: Path, uncalibrated_path: Path, tmp_path: Path, cli: Cli) -> None:
    refused = cli("export", bundle_path, ir.parent, "--target", "openvino")
    assert refused.code == 2
    assert f"{ir}: exists already" in refused.err
    with pytest.raises(NotCalibrated):
        write_ir(open_bundle(uncalibrated_path), tmp_path / "ir")
