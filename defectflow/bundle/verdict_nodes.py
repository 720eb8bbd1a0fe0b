"""Calibration -> nodes at the end of the ONNX graph, so that a lone file goes from pixels to a verdict.

The scoring graph that `fit` exports never changes. Its verdict nodes, all named `verdict_...`, are taken off
and put on again at each calibration; this needs onnx, not torch, so it works on the line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from defectflow.bundle.tensors import (
    CARD_IN_MODEL,
    PRODUCT_INDEX,
    PRODUCT_NAMES,
    SCORING_OUTPUTS,
    SQUARE,
    THRESHOLDS,
    TILE_OUTPUTS,
    VERDICT_OUTPUTS,
)
from defectflow.errors import BundleError
from defectflow.verdict import Calibration

PREFIX = "verdict_"
OTHER_OUTPUTS = (*TILE_OUTPUTS, PRODUCT_INDEX)
_WORDS: dict[str, NDArray[np.generic] | np.generic] = {
    "axis_1": np.array([1], np.int64),
    "axes_1_2": np.array([1, 2], np.int64),
    "ok": np.int64(0),
    "review": np.int64(1),
    "defect": np.int64(2),
    "invalid": np.int64(3),
}

# Written as ONNX's own text so that the rule can be read in one piece. Scores of gated pictures count as
# +infinity; `invalid` comes before `defect` before `review`. Comparisons are negated so that a value that is not
# a number rejects. Only what is not ok gets a mask, and where no place passes the pixel threshold it is the map's
# top fraction.
_VERDICT = """
verdict (float[N] score) => (int64[N] decision) {
    verdict_near = LessOrEqual (distance, verdict_distance_limit)
    verdict_gated = Not (verdict_near)
    verdict_score = Where (verdict_gated, verdict_infinity, score)
    verdict_column = Unsqueeze (verdict_score, verdict_axis_1)
    verdict_at_least = GreaterOrEqual (verdict_good_scores, verdict_column)
    verdict_counted = Cast <to = 1> (verdict_at_least)
    verdict_count = ReduceSum <keepdims = 0> (verdict_counted, verdict_axis_1)
    verdict_rank = Add (verdict_count, verdict_one)
    p_value = Div (verdict_rank, verdict_parts_and_one)

    verdict_below = LessOrEqual (score, threshold)
    verdict_is_defect = Not (verdict_below)
    verdict_below_review = LessOrEqual (score, review_threshold)
    verdict_is_review = Not (verdict_below_review)
    verdict_mild = Where (verdict_is_review, verdict_review, verdict_ok)
    verdict_graded = Where (verdict_is_defect, verdict_defect, verdict_mild)
    decision = Where (verdict_gated, verdict_invalid, verdict_graded)

    verdict_peak = ReduceMax <keepdims = 1> (anomaly_map, verdict_axes_1_2)
    verdict_near_peak = Mul (verdict_peak, verdict_peak_share)
    verdict_limit = Max (verdict_near_peak, pixel_threshold)
    verdict_over = Greater (anomaly_map, verdict_limit)
    verdict_over_number = Cast <to = 1> (verdict_over)
    verdict_any_number = ReduceMax <keepdims = 1> (verdict_over_number, verdict_axes_1_2)
    verdict_any = Cast <to = 9> (verdict_any_number)
    verdict_floor = Unsqueeze (top_floor, verdict_axes_1_2)
    verdict_top = GreaterOrEqual (anomaly_map, verdict_floor)
    verdict_none = Not (verdict_any)
    verdict_instead = And (verdict_top, verdict_none)
    verdict_chosen = Or (verdict_over, verdict_instead)
    verdict_not_ok = Or (verdict_is_defect, verdict_is_review)
    verdict_valid = Not (verdict_gated)
    verdict_shown = And (verdict_not_ok, verdict_valid)
    verdict_shown_places = Unsqueeze (verdict_shown, verdict_axes_1_2)
    mask = And (verdict_chosen, verdict_shown_places)
}
"""


# Of several products, each picture is judged by its own product's numbers. `threshold` and its like are tables then.
_BY_PRODUCT = """
verdict (float[N] score) => (int64[N] decision) {
    verdict_distance_limit = Gather (verdict_distance_limit_table, product_index)
    verdict_good_scores = Gather (verdict_good_scores_table, product_index)
    verdict_parts_and_one = Gather (verdict_parts_and_one_table, product_index)
    verdict_peak_shares = Gather (verdict_peak_share_table, product_index)
    verdict_peak_share = Unsqueeze (verdict_peak_shares, verdict_axes_1_2)
    verdict_threshold = Gather (threshold, product_index)
    verdict_review_threshold = Gather (review_threshold, product_index)
    verdict_pixel_thresholds = Gather (pixel_threshold, product_index)
    verdict_pixel_threshold = Unsqueeze (verdict_pixel_thresholds, verdict_axes_1_2)
}
"""


def attach_verdict(model: onnx.ModelProto, calibration: Calibration, distance_limit: float) -> onnx.ModelProto:
    """A scoring graph -> a copy with verdict outputs and overridable thresholds. Earlier verdicts are replaced."""
    model = detach_verdict(model)
    graph = model.graph
    good_scores = _good_scores(calibration)
    _add_constants(
        graph,
        {
            "distance_limit": np.float32(distance_limit),
            "infinity": np.float32(math.inf),
            "good_scores": good_scores[None],  # (1, n): compared with scores (N, 1)
            "one": np.float32(1),
            "peak_share": np.float32(calibration.peak_share),
            "parts_and_one": np.float32(len(good_scores) + 1),
            **_WORDS,
        },
    )
    values = (calibration.threshold.value, calibration.review.value, calibration.pixel_threshold)
    for name, value in zip(THRESHOLDS, values, strict=True):
        _add_default(graph, name, np.array(value, np.float32), [])
    graph.node.extend(onnx.parser.parse_graph(_VERDICT).node)
    return _with_outputs(model)


def attach_verdicts(
    model: onnx.ModelProto, calibrations: Sequence[Calibration | None], distance_limits: Sequence[float]
) -> onnx.ModelProto:
    """The same for a graph of several products, in the order of their numbers: every limit is a table.

    A product without calibration has no limits to judge by, so all its pictures are invalid.
    """
    model = detach_verdict(model)
    graph = model.graph
    tables = [np.empty(0, np.float32) if one is None else _good_scores(one) for one in calibrations]
    longest = max(len(table) for table in tables)
    padded = [np.pad(table, (0, longest - len(table)), constant_values=-math.inf) for table in tables]
    refused = [one is None for one in calibrations]
    _add_constants(
        graph,
        {
            "distance_limit_table": np.where(refused, -math.inf, distance_limits).astype(np.float32),
            "infinity": np.float32(math.inf),
            "good_scores_table": np.stack(padded),  # (products, n): no score is below the least of them
            "one": np.float32(1),
            "peak_share_table": np.array([0 if one is None else one.peak_share for one in calibrations], np.float32),
            "parts_and_one_table": np.array([len(table) + 1 for table in tables], np.float32),
            **_WORDS,
        },
    )
    values = [
        (math.nan,) * len(THRESHOLDS) if one is None else (one.threshold.value, one.review.value, one.pixel_threshold)
        for one in calibrations
    ]
    for name, column in zip(THRESHOLDS, zip(*values, strict=True), strict=True):
        _add_default(graph, name, np.array(column, np.float32), [len(calibrations)])
    graph.node.extend(onnx.parser.parse_graph(_BY_PRODUCT).node)
    graph.node.extend(onnx.parser.parse_graph(re.sub(rf"\b({'|'.join(THRESHOLDS)})\b", r"verdict_\1", _VERDICT)).node)
    return _with_outputs(model)


def _good_scores(calibration: Calibration) -> NDArray[np.float32]:
    return np.array([*calibration.scores, *[math.inf] * calibration.gated], np.float32)


def _add_default(graph: onnx.GraphProto, name: str, value: NDArray[np.float32], shape: list[int]) -> None:
    """An input with an initializer of the same name is an input with a default."""
    graph.initializer.append(numpy_helper.from_array(value, name))
    graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _with_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The verdict's outputs beside the scoring graph's."""
    graph = model.graph
    scoring = {output.name: output for output in graph.output}
    batch = scoring["score"].type.tensor_type.shape.dim[0].dim_param
    places = [dim.dim_value for dim in scoring["anomaly_map"].type.tensor_type.shape.dim[1:]]
    added = {
        "decision": helper.make_tensor_value_info("decision", TensorProto.INT64, [batch]),
        "p_value": helper.make_tensor_value_info("p_value", TensorProto.FLOAT, [batch]),
        "mask": helper.make_tensor_value_info("mask", TensorProto.BOOL, [batch, *places]),
    }
    ours = [scoring.get(name) or added[name] for name in VERDICT_OUTPUTS]
    _keep(graph.output, [*ours, *(scoring[name] for name in OTHER_OUTPUTS if name in scoring)])
    # `top_floor` is needed only inside now; keeping its type lets the scoring graph be restored.
    graph.value_info.append(scoring["top_floor"])
    onnx.checker.check_model(model)
    return model


def detach_verdict(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without verdict nodes and card: the scoring graph as it was exported."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    added = {"decision", "p_value", "mask"}
    _keep(graph.node, [n for n in graph.node if not (_ours(n.output[0]) or n.output[0] in added)])
    _keep(graph.initializer, [i for i in graph.initializer if not (_ours(i.name) or i.name in THRESHOLDS)])
    _keep(graph.input, [i for i in graph.input if i.name not in THRESHOLDS])
    known = {value.name: value for value in [*graph.output, *graph.value_info]}
    _keep(graph.value_info, [v for v in graph.value_info if v.name != "top_floor"])
    _keep(graph.output, [known[name] for name in (*SCORING_OUTPUTS, *OTHER_OUTPUTS) if name in known])
    _keep(copy.metadata_props, [e for e in copy.metadata_props if e.key not in (CARD_IN_MODEL, PRODUCT_NAMES)])
    return copy


def has_core(model: onnx.ModelProto) -> bool:
    """Whether the graph names its square."""
    return any(value.name == SQUARE for value in model.graph.value_info)


def core_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph from the square on: float pixels (N, 3, S, S), 0..255, instead of pictures of any size.

    For engines that cannot antialias. Weights, verdict nodes and optional thresholds are those of the whole graph.
    Raises BundleError if the graph names no square (see `has_core`), or if its outputs depend on more than the square.
    """
    if not has_core(model):
        raise BundleError("its graph does not name the resized square, so it has no core; fit again, or run it whole")
    core = onnx.ModelProto()
    core.CopyFrom(model)
    graph = core.graph
    square = next(value for value in graph.value_info if value.name == SQUARE)
    for node in graph.node:  # how many pictures there are, the square says as well
        if node.op_type == "Shape" and node.input[0] == "image" and picture_axis(node):
            node.input[0] = SQUARE
    maker = {name: node for node in graph.node for name in node.output}
    wanted, needed = [output.name for output in graph.output], set[str]()
    while wanted:
        name = wanted.pop()
        if name in needed or name == SQUARE:
            continue
        needed.add(name)
        if name in maker:
            wanted.extend([*maker[name].input, *_captured(maker[name])])
    if "image" in needed:
        raise BundleError("the graph reads its picture outside the square, too, so it has no core; report the recipe")
    _keep(graph.node, [node for node in graph.node if needed.intersection(node.output)])
    _keep(graph.initializer, [value for value in graph.initializer if value.name in needed])
    _keep(graph.value_info, [value for value in graph.value_info if value.name in needed])
    _keep(graph.input, [square, *(value for value in graph.input if value.name != "image")])
    onnx.checker.check_model(core)
    return core


def picture_axis(node: onnx.NodeProto) -> bool:
    """Whether a node says how many pictures there are: the first axis alone."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return node.op_type == "Shape" and (attributes.get("start", 0), attributes.get("end")) == (0, 1)


def _captured(node: onnx.NodeProto) -> list[str]:
    """What the branches of a node read of the graph around them."""
    read, made = list[str](), set[str]()
    for branch in (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH):
        made.update(value.name for value in branch.initializer)
        made.update(name for each in branch.node for name in each.output)
        read.extend(name for each in branch.node for name in each.input)
    return [name for name in read if name not in made]


def _add_constants(graph: onnx.GraphProto, constants: dict[str, NDArray[np.generic] | np.generic]) -> None:
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), PREFIX + name))


def _ours(name: str) -> bool:
    return name.startswith(PREFIX)


def _keep(field: Any, kept: list[Any]) -> None:
    """Replace a repeated protobuf field's content by copies of some messages, which may be its own."""
    copies = [type(item).FromString(item.SerializeToString()) for item in kept]
    del field[:]
    field.extend(copies)
