"""Bundles in fp16 and int8: calibrated again on the same parts, guarded like any other, close to fp32."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from support import Cli, digests, fit_swatches, marked, swatches

from defectflow.bundle import fitted_digests, open_bundle
from defectflow.convert.precision import Exported, export_precision
from defectflow.convert.quantising import inside, level_maps
from defectflow.errors import BundleError, DataError, SettingsError
from defectflow.image.decode import pixel_digest, read_image, read_raw
from defectflow.line import Inspector
from defectflow.line.verify import verify
from defectflow.verdict import Measurement, Verdict


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path, sample: Path) -> dict[str, Exported]:
    folder = tmp_path_factory.mktemp("precisions")
    bundle = open_bundle(bundle_path)
    return {
        precision: export_precision(bundle, precision, [sample], folder / precision)
        for precision in ("fp32", "fp16", "int8")
    }


def scores(bundle: Path, files: list[Path]) -> np.ndarray:
    items = list(Inspector(bundle, threads=1).measure(files))
    assert all(isinstance(item, Measurement) for item in items)
    return np.array([item.score for item in items if isinstance(item, Measurement)])


@pytest.mark.parametrize(("precision", "mean", "largest"), [("fp32", 1e-4, 1e-3), ("fp16", 0.02, 0.1), ("int8", 1, 3)])
def test_scores_stay_close_to_those_of_fp32(
    exported: dict[str, Exported], precision: str, mean: float, largest: float
) -> None:
    made = exported[precision]
    assert made.bundle.card.precision == precision
    print(precision, made.mean_score_difference, made.bundle.card.export_parity)
    assert made.mean_score_difference < mean
    assert made.bundle.card.export_parity["score"] < largest


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_thresholds_come_from_the_calibration_parts_through_the_new_graph(
    exported: dict[str, Exported], bundle_path: Path, sample: Path, precision: str
) -> None:
    bundle = exported[precision].bundle
    sides = fitted_digests(open_bundle(bundle_path))
    files = sorted((sample / "train" / "good").glob("*.png"))
    of_side = {
        side: [f for f in files if sides.get(pixel_digest(read_raw(f))) == side] for side in ("calibration", "tune")
    }
    rows = [row for row in bundle.card.calibration_parts if row.score is not None]
    assert Counter(row.part for row in rows) == Counter(
        row.part for row in open_bundle(bundle_path).card.calibration_parts
    )
    assert max(row.score or 0 for row in rows) == pytest.approx(
        scores(bundle.path, of_side["calibration"]).max(), rel=1e-4
    )
    assert bundle.card.calibration is not None
    below = sum((row.score or 0) <= bundle.card.calibration.threshold.value for row in rows)
    assert below == bundle.card.calibration.threshold.rank
    farthest = max(item.distance for item in Inspector(bundle, threads=1).measure_all(of_side["tune"]))
    margin = bundle.card.recipe["verdict"]["gate_margin"]
    assert bundle.card.distance_limit == pytest.approx(farthest * (1 + margin), rel=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_it_is_a_bundle_like_any_other(exported: dict[str, Exported], precision: str, sample: Path) -> None:
    """Verified, and judging alike whole and by its core, in a batch and alone; it sees what any model must see."""
    bundle = exported[precision].bundle
    assert verify(bundle).passed
    good = [read_image(file) for file in sorted((sample / "test" / "good").glob("*.png"))[:6]]
    pictures = [*good, *(marked(ring) for ring in good[:2])]
    whole = list(Inspector(bundle, threads=1).inspect(pictures))
    core = list(Inspector(bundle, threads=1, core=True, batch=1).inspect(pictures))
    for one, other in zip(whole, core, strict=True):
        assert isinstance(one, Verdict)
        assert isinstance(other, Verdict)
        assert one.decision == other.decision
    judged = [verdict.score for verdict in whole if isinstance(verdict, Verdict)]
    assert min(judged[6:]) > max(judged[:6])


def test_the_backbone_alone_is_converted(exported: dict[str, Exported]) -> None:
    fp16, int8 = (onnx.load(exported[precision].bundle.model).graph for precision in ("fp16", "int8"))
    halves = [value.name for value in fp16.initializer if value.data_type == TensorProto.FLOAT16]
    assert halves
    assert all(name.startswith("backbone_") for name in halves)
    kernels = [value for value in int8.initializer if value.data_type == TensorProto.INT8]
    assert all(value.name.startswith("backbone_") for value in kernels)
    scales = [value for value in int8.initializer if value.name.endswith("weight_scale")]
    assert any(value.dims and value.dims[0] > 1 for value in scales), "one scale for each channel"
    largest = max(np.abs(numpy_helper.to_array(value).astype(int)).max() for value in kernels if len(value.dims) == 4)
    assert largest <= 64, "7 bits, so that no CPU's sums overflow"
    assert exported["int8"].bundle.model.stat().st_size < 0.6 * exported["fp32"].bundle.model.stat().st_size


def test_good_places_are_average_on_every_level_again(exported: dict[str, Exported], bundle_path: Path) -> None:
    """0 on the map is an average good place, in whatever precision: each level was standardised again."""
    for precision in ("fp32", "int8"):
        values = {
            value.name: float(numpy_helper.to_array(value).mean())
            for value in onnx.load(exported[precision].bundle.model).graph.initializer
            if value.name.startswith("densities.") and value.name.endswith((".mean", ".std"))
        }
        original = {
            value.name: float(numpy_helper.to_array(value).mean())
            for value in onnx.load(bundle_path / "model.onnx").graph.initializer
            if value.name in values
        }
        assert len(values) == 4
        # Embeddings were kept in half precision while learning, so even fp32 differs a little.
        assert values == pytest.approx(original, abs=1e-3 if precision == "fp32" else 1)
        if precision == "int8":
            assert values != pytest.approx(original, abs=1e-3)


def test_missing_pictures_are_named_and_nothing_is_written(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    sides = fitted_digests(bundle)
    partial = tmp_path / "some"
    partial.mkdir()
    for file in sorted((sample / "train" / "good").glob("*.png")):
        if sides[pixel_digest(read_raw(file))] != "calibration":
            shutil.copy(file, partial)
    with pytest.raises(DataError, match=r"calibration pictures of the fit are missing: parts .*; give the folders"):
        export_precision(bundle, "fp16", [partial], tmp_path / "out")
    with pytest.raises(DataError, match=r"tune pictures of the fit are missing"):
        export_precision(bundle, "int8", [sample / "test" / "good"], tmp_path / "out")
    with pytest.raises(DataError, match=r"make 1 parts, but 19 calibrated .*; name the parts as in the fit"):
        export_precision(bundle, "fp16", [sample / "train" / "good"], tmp_path / "out", part_regex="(p)")
    assert [path.name for path in tmp_path.iterdir()] == ["some"]


def test_what_is_refused(exported: dict[str, Exported], bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is in int8 already; export from the fp32 bundle"):
        export_precision(exported["int8"].bundle, "fp16", [sample], tmp_path / "out")
    before = digests(bundle_path)
    with pytest.raises(SettingsError, match=r"exists already"):
        export_precision(open_bundle(bundle_path), "fp16", [sample], bundle_path)
    assert digests(bundle_path) == before


def test_the_command_says_what_it_has_made(bundle_path: Path, sample: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "half"
    done = cli("export", bundle_path, out, "--precision", "fp16", "--data", sample)
    assert done.code == 0, done.err
    assert "standard deviations of good scores" in done.out
    assert "On average at most 5.00% of good parts" in done.out
    assert open_bundle(out).card.precision == "fp16"
    again = cli("export", bundle_path, out, "--precision", "fp16", "--data", sample)
    assert again.code == 2
    assert "exists already" in again.err


def test_one_tune_part_has_no_spread(tmp_path: Path) -> None:
    """Its differences still need a unit, which is then that of the bundle it was made from."""
    good = swatches(tmp_path / "good", 8)
    fit_swatches(good, tmp_path / "few")
    few = open_bundle(tmp_path / "few")
    assert (few.card.parts.tune, few.card.calibration) == (1, None)
    made = export_precision(few, "fp16", [good], tmp_path / "half").bundle
    assert made.card.good_spread == few.card.good_spread > 0
    assert verify(made, threads=1, core=False).passed


def test_the_region_of_interest_at_every_grid() -> None:
    """As torch shrinks a mask, also where the grids do not divide each other."""
    import torch

    mask = np.random.default_rng(0).random((14, 9)) < 0.6
    model = onnx.helper.make_model(
        onnx.helper.make_graph([], "g", [], [], [numpy_helper.from_array(mask, "detector.score.inside")])
    )
    for size in ((14, 9), (7, 4), (5, 3)):
        theirs = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None].float(), size=size, mode="area")
        np.testing.assert_array_equal(inside(model, *size), theirs[0, 0].numpy() >= 0.5)


def test_every_level_is_found(bundle_path: Path) -> None:
    assert len(set(level_maps(onnx.load(bundle_path / "model.onnx")))) == 2
