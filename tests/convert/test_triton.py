"""Would Triton take the exported repository, and would it answer what the bundle answers?

There is no server here: the configuration is parsed by Triton's own protobuf schema, and its ONNX Runtime backend's
rules about shapes are applied to it with the model that was exported.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from support import DEFECTFLOW, Cli, digests, run

from defectflow.bundle.bundle import open_bundle
from defectflow.bundle.tensors import THRESHOLDS, VERDICT_OUTPUTS
from defectflow.convert.triton import write_repository
from defectflow.errors import NotCalibrated
from defectflow.image.decode import read_image
from defectflow.line import Inspector


def schema() -> ModuleType:
    """model_config.proto as Triton's client package carries it; the package around it would want gRPC."""
    package = importlib.util.find_spec("tritonclient")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_config(model: Path) -> Any:
    return text_format.Parse((model / "config.pbtxt").read_text(encoding="utf-8"), schema().ModelConfig())


def open_session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model / "1" / "model.onnx", options, providers=["CPUExecutionProvider"])


def served_shape(tensor: Any, max_batch: int) -> list[int]:
    """The shape that Triton expects of a model's tensor: `reshape` goes before `dims`; batching adds a dimension."""
    dims = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
    return [-1, *dims] if max_batch else dims


@pytest.fixture(scope="module")
def model(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("triton") / "repository"
    done = run(DEFECTFLOW, "export", bundle_path, repository, "--target", "triton")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in repository.parent.iterdir()] == ["repository"], "nothing half-made is left"
    return repository / "ring"


def test_the_model_is_the_bundles_own(model: Path, bundle_path: Path) -> None:
    assert digests(model)["1/model.onnx"] == digests(bundle_path)["model.onnx"]


@pytest.mark.parametrize("max_batch", [8, 0])
def test_inputs_and_outputs_are_the_models(bundle_path: Path, tmp_path: Path, max_batch: int) -> None:
    model = write_repository(open_bundle(bundle_path), tmp_path, max_batch=max_batch)
    config, session = read_config(model), open_session(model)
    assert (config.name, config.backend, config.max_batch_size) == (model.name, "onnxruntime", max_batch)
    defaults = session.get_overridable_initializers()
    offered = {node.name: node for node in [*session.get_inputs(), *session.get_outputs(), *defaults]}
    types = {"TYPE_UINT8": "uint8", "TYPE_INT64": "int64", "TYPE_FP32": "float", "TYPE_BOOL": "bool"}
    for tensor in [*config.input, *config.output]:
        node = offered[tensor.name]
        assert node.type == f"tensor({types[schema().DataType.Name(tensor.data_type)]})"
        shape = [dim if isinstance(dim, int) else -1 for dim in node.shape]
        assert served_shape(tensor, max_batch) == (shape or [1]), "a scalar is [1] to Triton"
        assert all(dim in (-1, *range(1, 10_000)) for dim in tensor.dims), "Triton knows no empty dims"
    assert [tensor.name for tensor in config.output] == list(VERDICT_OUTPUTS)
    assert config.HasField("dynamic_batching") == bool(max_batch)
    optional = {tensor.name for tensor in config.input if tensor.optional}
    assert optional == (set() if max_batch else set(THRESHOLDS)), "its backend batches no optional inputs"
    assert {tensor.name for tensor in config.input} == {"image", *optional}


def test_warm_up_fits_and_runs(model: Path, bundle_path: Path) -> None:
    config, session = read_config(model), open_session(model)
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, config.max_batch_size]
    for warmup in config.model_warmup:
        image = warmup.inputs["image"]
        content = (model / "warmup" / image.input_data_file).read_bytes()
        assert len(content) == math.prod(image.dims)
        pixels = np.frombuffer(content, np.uint8).reshape(image.dims)
        batch = np.stack([pixels] * warmup.batch_size)
        decisions, scores = session.run(["decision", "score"], {"image": batch})
        expected = next(iter(Inspector(bundle_path).inspect([pixels])))
        assert (decisions == expected.decision).all()
        assert np.allclose(scores, expected.score, atol=1e-4)
    golden = read_image(bundle_path / "golden" / "native-0.png")
    assert np.array_equal(pixels, golden)


def test_a_running_server_is_described(model: Path, bundle_path: Path) -> None:
    config, card = read_config(model), open_bundle(bundle_path).card
    assert config.parameters["bundle_id"].string_value == card.bundle_id
    assert config.parameters["calibration_id"].string_value == card.calibration_id
    (group,) = config.instance_group
    assert (group.count, group.kind) == (1, schema().ModelInstanceGroup.KIND_CPU)


def test_a_model_that_is_there_is_kept(model: Path, bundle_path: Path, cli: Cli) -> None:
    before = digests(model)
    refused = cli("export", bundle_path, model.parent, "--target", "triton", "--instances", "2")
    assert refused.code == 2
    assert f"{model}: exists already" in refused.err
    assert digests(model) == before


def test_without_thresholds_there_is_nothing_to_serve(uncalibrated_path: Path, tmp_path: Path) -> None:
    with pytest.raises(NotCalibrated):
        write_repository(open_bundle(uncalibrated_path), tmp_path / "repository")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "needs --precision and --data"),
        (("--target", "triton", "--precision", "fp16"), "first export the precision"),
    ],
)
def test_an_export_says_what_it_lacks(
    bundle_path: Path, tmp_path: Path, words: tuple[str, ...], reason: str, cli: Cli
) -> None:
    refused = cli("export", bundle_path, tmp_path / "out", *words)
    assert refused.code == 2
    assert reason in refused.err
    assert not list(tmp_path.iterdir())
