"""Bundle -> a model repository for NVIDIA Triton Inference Server: the bundle's own model.onnx, and how to serve it.

DIR/<name>/config.pbtxt     inputs and outputs, dynamic batching, warm-up, instances
DIR/<name>/1/model.onnx     unchanged: raw pixels in, verdict out
DIR/<name>/warmup/          a golden picture's raw pixels, so that the first request is as fast as the next

Pictures of one size are put together; for others Triton makes another batch. Its ONNX Runtime backend takes no optional
inputs where it batches, so the thresholds can be overridden only with `max_batch=0`.
Source of the rules: github.com/triton-inference-server, common/protobuf/model_config.proto and onnxruntime_backend.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from defectflow.bundle import MODEL, Bundle
from defectflow.errors import SettingsError
from defectflow.image import read_image
from defectflow.line import NATIVE, read_golden

TYPES: dict[int, str] = {
    onnx.TensorProto.UINT8: "TYPE_UINT8",
    onnx.TensorProto.INT64: "TYPE_INT64",
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.BOOL: "TYPE_BOOL",
}
QUEUE_DELAY_US = 500
"""How long a picture waits for company, in microseconds: little beside an inference."""


def write_repository(bundle: Bundle, folder: Path, *, max_batch: int = 8, instances: int = 1) -> Path:
    """Add the bundle's model to the model repository `folder`; returns the model's own folder.

    `max_batch`: most pictures in one inference; 0: no batching, and optional thresholds. `instances`: inferences at
    the same time. Raises NotCalibrated, BundleError for a bundle that judges tiles, and SettingsError where the
    repository holds a model of this name.
    """
    bundle.check_alone("Triton")
    bundle.check_whole()
    bundle.card.require_calibration()
    name = re.sub(r"[^\w.-]", "_", bundle.card.name, flags=re.ASCII)
    model = folder / name
    if model.exists():
        raise SettingsError(f"{model}: exists already; remove it, or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the repository until it is whole: a server that polls must not load half a model.
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        made = Path(beside) / name
        (made / "1").mkdir(parents=True)
        (made / "warmup").mkdir()
        shutil.copy(bundle.model, made / "1" / MODEL)
        pixels = _golden_pixels(bundle)
        (made / "warmup" / "golden").write_bytes(pixels.tobytes())
        config = _config(bundle, name, pixels.shape, max_batch, instances)
        (made / "config.pbtxt").write_text(config, encoding="utf-8", newline="\n")
        folder.mkdir(exist_ok=True)
        made.rename(model)
    return model


def _golden_pixels(bundle: Bundle) -> NDArray[np.uint8]:
    """The first golden picture, which has the camera's own size: (H, W, 3)."""
    file = min(golden.file for golden in read_golden(bundle) if golden.file.name.startswith(NATIVE))
    return read_image(file, full_scale=bundle.card.image.full_scale)


def _config(bundle: Bundle, name: str, shape: tuple[int, ...], max_batch: int, instances: int) -> str:
    """config.pbtxt, in protobuf's text form, from what the model says of itself."""
    graph = onnx.load(bundle.model).graph
    has_default = {initializer.name for initializer in graph.initializer}
    inputs = [
        _tensor(value, max_batch, optional=value.name in has_default)
        for value in graph.input
        if max_batch == 0 or value.name not in has_default
    ]
    outputs = [_tensor(value, max_batch) for value in graph.output]
    picture = shape if max_batch else (1, *shape)
    warmups = [_warmup(count, picture) for count in sorted({1, max(1, max_batch)})]
    sections = [
        "# Made by defectflow export. The verdicts were calibrated on a CPU: before KIND_GPU takes KIND_CPU's place\n"
        "# below, compare golden pictures on that device.",
        f'name: {json.dumps(name)}\nbackend: "onnxruntime"\nmax_batch_size: {max_batch}',
        f"input [\n{_listed(inputs)}\n]",
        f"output [\n{_listed(outputs)}\n]",
        f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]",
        f"model_warmup [\n{_listed(warmups)}\n]",
        _parameter("bundle_id", bundle.card.bundle_id),
        _parameter("calibration_id", bundle.card.calibration_id or "none"),
    ]
    if max_batch:
        sections.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}")
    return "\n".join(sections) + "\n"


def _tensor(value: onnx.ValueInfoProto, max_batch: int, *, optional: bool = False) -> str:
    """One input or output. The batch, if there is one, is left out; what then has no dimension is a 1 reshaped away."""
    tensor = value.type.tensor_type
    dims = [dim.dim_value or -1 for dim in tensor.shape.dim]  # -1: of any size
    if max_batch:
        dims = dims[1:]
    words = [f'name: "{value.name}"', f"data_type: {TYPES[tensor.elem_type]}", f"dims: {dims or [1]}"]
    if not dims and max_batch:
        words.append("reshape: { shape: [] }")
    if optional:
        words.append("optional: true")
    return f"  {{ {' '.join(words)} }}"


def _warmup(count: int, shape: Iterable[int]) -> str:
    image = f'key: "image" value: {{ data_type: TYPE_UINT8 dims: {list(shape)} input_data_file: "golden" }}'
    return f'  {{ name: "golden x {count}" batch_size: {count} inputs: {{ {image} }} }}'


def _listed(items: Iterable[str]) -> str:
    return ",\n".join(items)


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
