"""A scoring graph with its backbone in fp16 or int8. The rest stays in fp32, and no picture is ever judged here.

Only the backbone is converted: it is nearly all of the time and the weights, and it was trained to bear noise.
Whitening divides by spreads that differ a hundredfold, a log-determinant sums thousands of terms, and a foreign
picture's likelihood squares values in the thousands: none of that fits fp16's range or int8's steps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx.utils
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from defectflow.bundle import ALIGNED, FEATURES, SQUARE
from defectflow.errors import BundleError, ExportError
from defectflow.line import CPU

Precision = Literal["fp32", "fp16", "int8"]
Constants = dict[str, NDArray[np.float64]]
Squares = Iterable[NDArray[np.float32]]
"""Pictures as the graph resizes them, (1, 3, S, S), 0..255."""


def with_precision(model: onnx.ModelProto, precision: Precision, train: Squares) -> onnx.ModelProto:
    """A scoring graph in fp32 -> one of this precision. `train`: what int8 takes its ranges from."""
    if precision == "fp32":
        return model
    features = [value.name for value in model.graph.value_info if value.name.startswith(FEATURES)]
    if not features:
        raise BundleError("the graph does not name its backbone's features; fit again with this DefectFlow")
    backbone = onnx.utils.Extractor(model).extract_model([_seen_by_backbone(model)], features)
    converted = _in_fp16(backbone) if precision == "fp16" else _in_int8(backbone, _aligned(model, train))
    return _put_back(model, backbone, converted)


def _seen_by_backbone(model: onnx.ModelProto) -> str:
    """The tensor that the backbone reads."""
    return ALIGNED if any(value.name == ALIGNED for value in model.graph.value_info) else SQUARE


def _aligned(model: onnx.ModelProto, squares: Squares) -> Squares:
    """The squares as the backbone meets them, (1, 3, S, S)."""
    if _seen_by_backbone(model) == SQUARE:
        return squares
    alignment = onnx.utils.Extractor(model).extract_model([SQUARE], [ALIGNED])
    session = onnxruntime.InferenceSession(alignment.SerializeToString(), providers=[CPU])
    return (session.run([ALIGNED], {SQUARE: square})[0] for square in squares)


def level_maps(model: onnx.ModelProto) -> list[str]:
    """The tensors that hold each level's values before the score standardises them, (N, h_l, w_l)."""
    first = {f"densities.{level}.{_first_constant(model, level)}": level for level in range(_levels(model))}
    taken = {first[name]: node.input[0] for node in model.graph.node for name in node.input[1:] if name in first}
    return [taken[level] for level in range(len(first))]


def level_constants(model: onnx.ModelProto) -> list[Constants]:
    """What each level is standardised by: mean and std, (h_l, w_l) or scalars, and typical where it is made use of."""
    constants: list[Constants] = [{} for _ in range(_levels(model))]
    for value, level, name in _constants(model):
        constants[level][name] = numpy_helper.to_array(value).astype(np.float64)
    return constants


def with_level_constants(model: onnx.ModelProto, constants: list[Constants]) -> onnx.ModelProto:
    """A copy whose levels are standardised by these numbers instead."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value, level, name in _constants(copy):
        value.CopyFrom(numpy_helper.from_array(np.asarray(constants[level][name], np.float32), value.name))
    return copy


def _constants(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, int, str]]:
    """Tensor, level and name of each of the score's constants."""
    for value in model.graph.initializer:
        group, _, rest = value.name.partition(".")
        level, _, name = rest.partition(".")
        if group == "densities" and name in ("typical", "mean", "std"):
            yield value, int(level), name


def inside(model: onnx.ModelProto, height: int, width: int) -> NDArray[np.bool_]:
    """The region of interest at a level's grid, (height, width), by the rule of `Score.inside_at`."""
    mask = next((value for value in model.graph.initializer if value.name.endswith("score.inside")), None)
    if mask is None:
        return np.ones((height, width), bool)
    shares = numpy_helper.to_array(mask).astype(np.float64)
    for axis, count in enumerate((height, width)):
        side = shares.shape[axis]
        starts, stops = np.arange(count) * side // count, -(-np.arange(1, count + 1) * side // count)
        spans = [shares.take(range(start, stop), axis).mean(axis) for start, stop in zip(starts, stops, strict=True)]
        shares = np.stack(spans, axis)
    return shares >= 0.5


def _levels(model: onnx.ModelProto) -> int:
    return sum(value.name.startswith("densities.") and value.name.endswith(".std") for value in model.graph.initializer)


def _first_constant(model: onnx.ModelProto, level: int) -> str:
    names = {value.name for value in model.graph.initializer}
    return "typical" if f"densities.{level}.typical" in names else "mean"


def _in_fp16(backbone: onnx.ModelProto) -> onnx.ModelProto:
    # ONNX Runtime's own converter, on the backbone alone: told to spare single nodes of a whole graph, it would carry
    # values between two spared nodes in fp16 as well, which loses just the range that sparing them should keep.
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted: onnx.ModelProto = convert_float_to_float16(backbone, keep_io_types=True)
    return converted


def _in_int8(backbone: onnx.ModelProto, train: Squares) -> onnx.ModelProto:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.squares: Iterator[NDArray[np.float32]] = iter(train)

        def get_next(self) -> dict[str, Any] | None:
            square = next(self.squares, None)
            return None if square is None else {backbone.graph.input[0].name: square}

    add_pre_process_metadata(backbone)  # or it logs advice to do what the exporter has done
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "int8.onnx"
        quantize_static(
            backbone,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # 7 bits for weights: with 8, CPUs without VNNI let sums of two products overflow silently, and give
            # other scores than the machine that calibrated.
            reduce_range=True,
            # The whole range of good parts, not a percentile of it: what is unusual must not be cut off.
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(target)


def _put_back(model: onnx.ModelProto, backbone: onnx.ModelProto, converted: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with one backbone exchanged for another; both read the same square and write the features."""
    graph = model.graph
    seams = {SQUARE, _seen_by_backbone(model), *(value.name for value in backbone.graph.output)}
    _rename(converted.graph, seams)  # the two may share constants, of which one is now of another type
    made = {name for node in backbone.graph.node for name in node.output}
    others = [node for node in graph.node if not made.intersection(node.output)]
    needed = {name for node in others for name in node.input}
    constants = [*(value for value in graph.initializer if value.name in needed), *converted.graph.initializer]
    merged = onnx.helper.make_graph(
        _in_order([*others, *converted.graph.node], {value.name for value in (*graph.input, *constants)}),
        graph.name,
        graph.input,
        graph.output,
        constants,
        value_info=[value for value in graph.value_info if value.name in seams or value.name not in made],
    )
    opsets = {opset.domain: opset for opset in (*model.opset_import, *converted.opset_import)}
    result = onnx.helper.make_model(merged, opset_imports=list(opsets.values()), ir_version=model.ir_version)
    result.metadata_props.extend(model.metadata_props)
    onnx.checker.check_model(result)
    return result


def _rename(graph: onnx.GraphProto, seams: set[str]) -> None:
    """Every tensor and node but the seams is prefixed; `onnx.compose` before 1.19 would rename the seams, too."""

    def renamed(name: str) -> str:
        return name if not name or name in seams else f"backbone_{name}"

    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for value in graph.initializer:
        value.name = renamed(value.name)


def _in_order(nodes: list[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """Each node after those that make its inputs."""
    ordered, known = list[onnx.NodeProto](), {*known, ""}  # "": an optional input left out
    while nodes:
        later = list[onnx.NodeProto]()
        for node in nodes:
            if known.issuperset(node.input):
                ordered.append(node)
                known.update(node.output)
            else:
                later.append(node)
        if len(later) == len(nodes):
            raise ExportError(f"the converted backbone lacks {later[0].input[0]}, which it needs; report the recipe")
        nodes = later
    return ordered
