"""Detector -> ONNX scoring graph, refused where ONNX Runtime and torch disagree on real pictures.

The verdict's nodes are added later, by bundle/verdict_nodes.py, whenever thresholds are set.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from defectflow.bundle import ALIGNED, FEATURES, RECTANGLE, SCORING_OUTPUTS, SQUARE, TILE_OUTPUTS
from defectflow.density import WHOLE, packed
from defectflow.errors import ExportError
from defectflow.export.folding import FoldedDetector, FoldedOnTiles
from defectflow.image import Geometry, Tiling
from defectflow.score import Detector, OnTiles
from defectflow.verdict import TOLERANCE, Measurement

LARGEST_SIDE_PX = 30_000


def export_graph(detector: Detector) -> onnx.ModelProto:
    """The scoring graph: uint8 (N, H, W, 3) RGB of any size -> score, map, embedding, distance, top_floor.

    Of a tiled detector, `image` is a tile, a second input `rectangle` (N, 4) says where on the part it lies, and
    `gate_embedding` comes beside the outputs. Raises ExportError if the exporter does not support an operator, or
    left out what keeps the resize's edges right.
    """
    example = torch.zeros(2, 301, 203, 3, dtype=torch.uint8)  # odd and unequal, so that no size is taken as fixed
    dim = torch.export.Dim
    count = dim("N", min=1, max=65_535)
    sizes = {0: count, 1: dim("H", min=16, max=LARGEST_SIDE_PX), 2: dim("W", min=16, max=LARGEST_SIDE_PX)}
    module: torch.nn.Module
    inputs, outputs = {"image": (example, sizes)}, list(SCORING_OUTPUTS)
    squares = [SQUARE] if detector.embedding.alignment is None else [SQUARE, ALIGNED]
    seams = [*squares, *(f"{FEATURES}{level}" for level in range(len(detector.levels)))]
    if detector.tiling is None:
        module = FoldedDetector(detector.cpu().eval())
    else:
        module = FoldedOnTiles(detector.cpu().eval())
        inputs[RECTANGLE] = WHOLE.repeat(2, 1), {0: count}
        outputs += TILE_OUTPUTS
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                tuple(example for example, _ in inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=[*outputs, *seams],
                dynamic_shapes=tuple(sizes for _, sizes in inputs.values()),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"torch {torch.__version__} cannot write this model as an ONNX graph ({_reason(error)}); choose another "
            "flow.family, flow.base or embedding.backbone, and report the recipe. The trained weights are "
            "kept: install another torch or DefectFlow, then fit the same recipe with --resume"
        ) from error
    if program is None:
        raise ExportError("torch.onnx.export returned no program; use a torch release that exports with dynamo=True")
    model = program.model_proto
    _check_resize(model)
    _forget_origin(model)
    _pack_factors(model)
    kept = [output for output in model.graph.output if output.name in outputs]
    model.graph.value_info.extend(output for output in model.graph.output if output.name in seams)
    del model.graph.output[:]
    model.graph.output.extend(kept)
    if detector.tiling is not None:
        _say_tiles(model, detector.tiling)
    onnx.checker.check_model(model)
    return model


def _reason(error: BaseException) -> str:
    """The innermost cause's first line; what torch wraps around it is about torch."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _say_tiles(model: onnx.ModelProto, tiling: Tiling) -> None:
    """The file says that it judges tiles. `rectangle` has no default, so that others get no verdict."""
    model.metadata_props.add(key="defectflow.tiling", value=json.dumps(asdict(tiling)))
    model.doc_string = (
        "Judges one tile of a picture, not the picture. `rectangle` says where on the part the tile lies: left, top, "
        "width, height as fractions. A picture's score is its tiles' largest; the gate's distance is that of the mean "
        "of `gate_embedding` over the tiles."
    )


def _check_resize(model: onnx.ModelProto) -> None:
    """An earlier exporter left `exclude_outside` out (pytorch #183546): edges then blend with black."""
    for node in model.graph.node:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type == "Resize" and attributes.get("antialias") and not attributes.get("exclude_outside"):
            raise ExportError(
                f"the exporter of torch {torch.__version__} wrote Resize without exclude_outside=1, so verdicts at "
                "picture edges would differ from the trained model; install a newer torch"
            )


def _pack_factors(model: onnx.ModelProto) -> None:
    """Of whitening by place, the file holds the factors' triangles as fp16, a quarter of what the graph works with.

    Engines unpack them once, on loading: Gather of each row's values and a zero, Cast, Reshape.
    """
    graph = model.graph
    for value in [value for value in graph.initializer if value.name.endswith("whitening.factor")]:
        factor = torch.from_numpy(onnx.numpy_helper.to_array(value).copy())
        width = factor.shape[-1]
        triangle = F.pad(packed(factor), (0, 1)).numpy()  # (squares, T + 1), the last one zero
        places = np.full((width, width), triangle.shape[1] - 1, np.int32)
        places[np.triu_indices(width)] = np.arange(triangle.shape[1] - 1)
        constants = {"triangle": triangle, "places": places.ravel(), "shape": np.array(factor.shape, np.int64)}
        names = {name: f"{value.name}.{name}" for name in (*constants, "gathered", "cast")}
        graph.initializer.remove(value)
        graph.initializer.extend(onnx.numpy_helper.from_array(each, names[name]) for name, each in constants.items())
        nodes = [
            onnx.helper.make_node("Gather", [names["triangle"], names["places"]], [names["gathered"]], axis=1),
            onnx.helper.make_node("Cast", [names["gathered"]], [names["cast"]], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Reshape", [names["cast"], names["shape"]], [value.name]),
        ]
        for node in reversed(nodes):
            graph.node.insert(0, node)


def _forget_origin(model: onnx.ModelProto) -> None:
    """The exporter notes stack traces, with this machine's paths; by them, equal models would have unequal ids."""
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del noted.metadata_props[:]


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest differences between ONNX Runtime and torch over the compared pictures."""

    pictures: int
    score: float
    """In standard deviations of the good scores."""
    anomaly_map: float
    """In the same unit."""
    distance: float
    """Relative to the gate's limit."""


def compare(
    detector: Detector, pictures: Iterable[NDArray[np.uint8]], measured: Sequence[Measurement], spread: float
) -> Parity:
    """The same pictures, at their native sizes, through torch and through the graph. Raises ExportError.

    `spread` is the standard deviation of the good scores, the unit of the tolerance.
    """
    if not spread > 0:
        raise ExportError(
            f"the scores of the {len(measured)} tune pictures have a standard deviation of {spread:g}, so differences "
            "from the exported graph have no unit; add good pictures that are not copies of each other"
        )
    score = anomaly_map = distance = 0.0
    count = 0
    for pixels, graph in zip(pictures, measured, strict=True):
        expected = in_torch(detector, pixels, graph.geometry)
        map_error = float(np.abs(expected["anomaly_map"] - graph.anomaly_map).max())
        # np.maximum and not max, which would take 0 where a difference is not a number.
        score = float(np.maximum(score, abs(expected["score"] - graph.score) / spread))
        anomaly_map = float(np.maximum(anomaly_map, map_error / spread))
        distance = float(np.maximum(distance, abs(expected["distance"] - graph.distance) / graph.distance_limit))
        count += 1
    if not (score <= TOLERANCE and distance <= TOLERANCE):
        raise ExportError(
            f"the exported graph differs from the trained model by {score:.2g} standard deviations of the good "
            f"scores (gate: {distance:.2g} of its limit) on {count} tune pictures; the limit is {TOLERANCE:g}. "
            "Lower flow.layers or flow.clamp, or use embedding.normalise: standardise, and report the recipe"
        )
    return Parity(count, score, anomaly_map, distance)


@torch.no_grad()
def in_torch(detector: Detector, pixels: NDArray[np.uint8], geometry: Geometry) -> dict[str, Any]:
    """Score, anomaly_map, embedding and distance of one picture (H, W, 3), by the trained model."""
    if detector.tiling is None:
        values = detector(torch.from_numpy(pixels[None]))
        return {name: value[0].numpy() for name, value in zip(SCORING_OUTPUTS, values, strict=True)}
    tiles = detector.tiling.cut(geometry.part(pixels))
    rectangles = torch.from_numpy(detector.tiling.rectangles)
    look = OnTiles(detector)
    seen = [look(torch.from_numpy(tile[None]), where[None]) for tile, where in zip(tiles, rectangles, strict=True)]
    values = (torch.cat(each).numpy() for each in zip(*seen, strict=True))
    return detector.tiling.join(dict(zip((*SCORING_OUTPUTS, *TILE_OUTPUTS), values, strict=True)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns about its own internals; none of it concerns the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
