"""Detector -> ONNX scoring graph, refused where ONNX Runtime and torch disagree on real pictures."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from defectflow.detector import Detector
from defectflow.errors import ExportError
from defectflow.folding import FoldedDetector
from defectflow.runtime.calibration import TOLERANCE
from defectflow.runtime.graph import FEATURES, SCORING_OUTPUTS, SQUARE
from defectflow.runtime.verdict import Measurement

LARGEST_SIDE_PX = 30_000


def export_graph(detector: Detector) -> onnx.ModelProto:
    """The scoring graph: uint8 (N, H, W, 3) RGB of any size -> score, map, embedding, distance, top_floor.

    Raises ExportError where the exporter left out what keeps the resize's edges right.
    """
    example = torch.zeros(2, 301, 203, 3, dtype=torch.uint8)  # odd and unequal, so that no size is taken as fixed
    dim = torch.export.Dim
    seams = [SQUARE, *(f"{FEATURES}{level}" for level in range(len(detector.flows)))]
    sizes = {0: dim("N", min=1, max=65_535), 1: dim("H", min=16, max=LARGEST_SIDE_PX)}
    sizes[2] = dim("W", min=16, max=LARGEST_SIDE_PX)
    with _quiet():
        program = torch.onnx.export(
            FoldedDetector(detector.cpu().eval()).eval(),
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=[*SCORING_OUTPUTS, *seams],
            dynamic_shapes={"image": sizes},
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned no program; use a torch release that exports with dynamo=True")
    model = program.model_proto
    _check_resize(model)
    _forget_origin(model)
    kept = [output for output in model.graph.output if output.name in SCORING_OUTPUTS]
    model.graph.value_info.extend(output for output in model.graph.output if output.name in seams)
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.checker.check_model(model)
    return model


def _check_resize(model: onnx.ModelProto) -> None:
    """An earlier exporter left `exclude_outside` out (pytorch #183546): edges then blend with black."""
    for node in model.graph.node:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if node.op_type == "Resize" and attributes.get("antialias") and not attributes.get("exclude_outside"):
            raise ExportError(
                f"the exporter of torch {torch.__version__} wrote Resize without exclude_outside=1, so verdicts at "
                "picture edges would differ from the trained model; install a newer torch"
            )


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
        with torch.no_grad():
            torch_score, torch_map, _, torch_distance, _ = detector(torch.from_numpy(pixels[None]))
        map_error = float(np.abs(torch_map[0].numpy() - graph.anomaly_map).max())
        # np.maximum and not max, which would take 0 where a difference is not a number.
        score = float(np.maximum(score, abs(torch_score.item() - graph.score) / spread))
        anomaly_map = float(np.maximum(anomaly_map, map_error / spread))
        distance = float(np.maximum(distance, abs(torch_distance.item() - graph.distance) / graph.distance_limit))
        count += 1
    if not (score <= TOLERANCE and distance <= TOLERANCE):
        raise ExportError(
            f"the exported graph differs from the trained model by {score:.2g} standard deviations of the good "
            f"scores (gate: {distance:.2g} of its limit) on {count} tune pictures; the limit is {TOLERANCE:g}. "
            "Lower flow.layers or flow.clamp, or use embedding.normalise: standardise, and report the recipe"
        )
    return Parity(count, score, anomaly_map, distance)


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
