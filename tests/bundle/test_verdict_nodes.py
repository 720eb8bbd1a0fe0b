"""The verdict nodes against the rule in plain Python, on a graph that passes its inputs through and on a real one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from defectflow.bundle.tensors import SCORING_OUTPUTS, THRESHOLDS, VERDICT_OUTPUTS
from defectflow.bundle.verdict_nodes import attach_verdict, detach_verdict
from defectflow.image.decode import read_image
from defectflow.line import Inspector
from defectflow.verdict import Measurement
from defectflow.verdict.calibration import Calibration, calibrate
from defectflow.verdict.verdict import decide, marked_places

OK, REVIEW, DEFECT, INVALID = 0, 1, 2, 3
SIDE = 5
LIMIT = 2.0
Values = dict[str, NDArray[Any]]


def pass_through() -> onnx.ModelProto:
    """A scoring graph whose outputs are its inputs: given_score -> score, and so on."""
    shapes = {"score": [], "anomaly_map": [SIDE, SIDE], "embedding": [2], "distance": [], "top_floor": []}
    assert tuple(shapes) == SCORING_OUTPUTS
    typed = {name: ["N", *shape] for name, shape in shapes.items()}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"given_{name}"], [name]) for name in typed],
        "scoring",
        [helper.make_tensor_value_info(f"given_{name}", TensorProto.FLOAT, shape) for name, shape in typed.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in typed.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def feed(scores: Any, maps: Any = None, distances: Any = None, floors: Any = None) -> Values:
    scores = np.asarray(scores, np.float32)
    count = len(scores)
    return {
        "given_score": scores,
        "given_anomaly_map": np.zeros((count, SIDE, SIDE), np.float32) if maps is None else maps.astype(np.float32),
        "given_embedding": np.zeros((count, 2), np.float32),
        "given_distance": np.ones(count, np.float32) if distances is None else np.asarray(distances, np.float32),
        "given_top_floor": np.ones(count, np.float32) if floors is None else np.asarray(floors, np.float32),
    }


def outputs(model: onnx.ModelProto, values: Values) -> Values:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, values), strict=True))


def calibration_of(gated: int = 0, seed: int = 0) -> Calibration:
    random = np.random.default_rng(seed)
    scores = random.normal(4, 1, 39).astype(np.float32).astype(float)
    scores[:5] = scores[5]  # ties
    scores[:gated] = math.inf
    return calibrate(scores, rate=0.1, guarantee="expected", review_rate=0.3)


def judged(
    score: float, anomaly_map: NDArray[Any], distance: float, floor: float, calibration: Calibration
) -> tuple[int, float, NDArray[np.bool_]]:
    """The rule of one picture: (decision, p-value, mask)."""
    threshold, review, pixel = (
        float(np.float32(value))
        for value in (calibration.threshold.value, calibration.review.value, calibration.pixel_threshold)
    )
    good = [*calibration.scores, *[math.inf] * calibration.gated]
    nothing = np.zeros_like(anomaly_map, bool)
    if distance > LIMIT:
        return INVALID, (1 + calibration.gated) / (len(good) + 1), nothing
    p_value = (1 + sum(one >= score for one in good)) / (len(good) + 1)
    if score <= review:
        return OK, p_value, nothing
    over = (anomaly_map > pixel) & (anomaly_map > np.float32(calibration.peak_share) * anomaly_map.max())
    return DEFECT if score > threshold else REVIEW, p_value, over if over.any() else anomaly_map >= floor


@pytest.mark.parametrize("gated", [0, 2])
def test_verdict_is_the_rule(gated: int) -> None:
    calibration = calibration_of(gated)
    random = np.random.default_rng(1)
    cuts = [calibration.threshold.value, calibration.review.value]
    edges = [np.nextafter(np.float32(cut), np.float32(way)) for cut in cuts for way in (-99, 99)]
    # Anywhere, at every good score, at the thresholds and at the nearest numbers to either side of them.
    scores = np.float32([*random.uniform(1, 8, 400), *calibration.scores, *cuts, *edges])
    count = len(scores)
    maps = random.normal(3.5, 1, (count, SIDE, SIDE)).astype(np.float32)
    maps[::7, 0, 0] = np.float32(calibration.pixel_threshold)  # not above it
    floors = np.sort(maps.reshape(count, -1))[:, -3]  # so the top fraction is three places
    distances = random.choice([0.5, LIMIT, np.nextafter(np.float32(LIMIT), np.float32(9)), 50], count)
    got = outputs(attach_verdict(pass_through(), calibration, LIMIT), feed(scores, maps, distances, floors))
    seen = set()
    for row in range(count):
        decision, p_value, mask = judged(scores[row], maps[row], distances[row], floors[row], calibration)
        assert got["decision"][row] == decision, scores[row]
        assert got["p_value"][row] == pytest.approx(p_value, abs=1e-6)
        np.testing.assert_array_equal(got["mask"][row], mask)
        asked = math.inf if decision == INVALID else float(scores[row])
        assert calibration.p_value(asked) == pytest.approx(p_value, abs=1e-12), "Python and graph agree"
        # What judges pictures in tiles, which the graph cannot: the same rule in Python, to the last bit.
        cuts = calibration.threshold.value, calibration.review.value
        ruled = decide(float(scores[row]), *cuts, gated=not distances[row] <= LIMIT)
        assert ruled == decision
        marked = marked_places(maps[row], ruled, calibration.pixel_threshold, calibration.peak_share, top_places=3)
        np.testing.assert_array_equal(marked, got["mask"][row])
        seen.add((decision, bool(mask.any()), bool((maps[row] > calibration.pixel_threshold).any())))
    assert len(seen) == 8, "every case of the rule was met"


def test_precedence_is_invalid_defect_review_ok() -> None:
    calibration = calibration_of()
    low, between, high = (
        calibration.review.value - 1,
        (calibration.review.value + calibration.threshold.value) / 2,
        calibration.threshold.value + 1,
    )
    scores, distances = [low, between, high] * 2, [1, 1, 1, 9, 9, 9]
    got = outputs(attach_verdict(pass_through(), calibration, LIMIT), feed(scores, distances=distances))
    assert got["decision"].tolist() == [OK, REVIEW, DEFECT, INVALID, INVALID, INVALID]


def test_mask_falls_back_to_the_top_fraction() -> None:
    calibration = calibration_of()
    maps = np.zeros((2, SIDE, SIDE))
    maps[:, 1, 2], maps[:, 3, 3] = 1.5, 1.0
    maps[1, 4, 4] = calibration.pixel_threshold + 1
    model = attach_verdict(pass_through(), calibration, LIMIT)
    mask = outputs(model, feed([99, 99], maps, floors=[1, 1]))["mask"]
    assert np.argwhere(mask[0]).tolist() == [[1, 2], [3, 3]], "nothing passed, so the highest places are shown"
    assert np.argwhere(mask[1]).tolist() == [[4, 4]], "something passed, and only that is shown"


def test_places_far_below_their_pictures_peak_are_not_marked() -> None:
    calibration = calibration_of()
    maps = np.zeros((2, SIDE, SIDE))
    maps[:, 2, 2] = calibration.pixel_threshold + 0.5  # around a strong defect, and alone
    maps[0, 2, 3], maps[0, 2, 4] = 10 * calibration.pixel_threshold, 7.5 * calibration.pixel_threshold
    mask = outputs(attach_verdict(pass_through(), calibration, LIMIT), feed([99, 99], maps))["mask"]
    assert [np.argwhere(each).tolist() for each in mask] == [[[2, 3], [2, 4]], [[2, 2]]]


def test_outputs_of_the_two_graphs() -> None:
    model = attach_verdict(pass_through(), calibration_of(), LIMIT)
    assert [output.name for output in model.graph.output] == list(VERDICT_OUTPUTS)
    assert [output.name for output in detach_verdict(model).graph.output] == list(SCORING_OUTPUTS)


def test_detaching_restores_the_scoring_graph() -> None:
    model = pass_through()
    before = model.SerializeToString()
    attached = attach_verdict(model, calibration_of(), LIMIT)
    assert model.SerializeToString() == before, "the graph that was given is left alone"
    assert detach_verdict(attached).SerializeToString() == before
    assert detach_verdict(model).SerializeToString() == before


def test_attaching_again_replaces_the_verdict() -> None:
    first, second = calibration_of(seed=1), calibration_of(gated=1, seed=2)
    again = attach_verdict(attach_verdict(pass_through(), first, LIMIT), second, 7.0)
    assert again.SerializeToString() == attach_verdict(pass_through(), second, 7.0).SerializeToString()


def test_thresholds_are_inputs_with_defaults() -> None:
    calibration = calibration_of()
    session = onnxruntime.InferenceSession(
        attach_verdict(pass_through(), calibration, LIMIT).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert {each.name for each in session.get_overridable_initializers()} == set(THRESHOLDS)
    assert not {each.name for each in session.get_inputs()} & set(THRESHOLDS), "nobody has to give them"
    score = calibration.threshold.value + 0.5
    maps = np.full((1, SIDE, SIDE), calibration.pixel_threshold + 0.5)
    stored = {
        "threshold": calibration.threshold.value,
        "review_threshold": calibration.review.value,
        "pixel_threshold": calibration.pixel_threshold,
    }

    def ask(**changed: float) -> tuple[int, int]:
        given = {name: np.array(value, np.float32) for name, value in changed.items()}
        decision, mask = session.run(["decision", "mask"], feed([score], maps, floors=[99]) | given)
        return int(decision[0]), int(mask.sum())

    assert ask() == ask(**stored) == (DEFECT, SIDE * SIDE)
    assert ask(threshold=score + 1) == (REVIEW, SIDE * SIDE)
    assert ask(threshold=score + 1, review_threshold=score + 0.5) == (OK, 0)
    assert ask(pixel_threshold=calibration.pixel_threshold + 1) == (DEFECT, 0)


def test_a_real_bundle_follows_the_rule(inspector: Inspector, bundle_path: Path, sample: Path) -> None:
    """Measured without thresholds, judged by the rule in Python: the lone file must say the same."""
    files = [*sorted((sample / "test" / "good").glob("*.png"))[:8], *sorted((sample / "test" / "scratch").glob("*"))]
    pixels = np.stack([*(read_image(file) for file in files), np.zeros((256, 256, 3), np.uint8)])
    card = inspector.card
    # A rate at which good parts give every decision.
    calibration, limit = (
        card.calibrated(card.calibration_parts, 0.4, "expected", 0.7).require_calibration(),
        card.distance_limit,
    )
    model = attach_verdict(onnx.load(bundle_path / "model.onnx"), calibration, limit)
    measured, verdicts = outputs(detach_verdict(model), {"image": pixels}), outputs(model, {"image": pixels})
    np.testing.assert_array_equal(verdicts["score"], measured["score"])
    for row, (score, distance) in enumerate(zip(measured["score"], measured["distance"], strict=True)):
        decision, p_value, mask = judged(
            float(score),
            measured["anomaly_map"][row],
            math.inf if distance > limit else 0,
            measured["top_floor"][row],
            calibration,
        )
        assert verdicts["decision"][row] == decision
        assert verdicts["p_value"][row] == pytest.approx(p_value, abs=1e-6)
        np.testing.assert_array_equal(verdicts["mask"][row], mask)
    assert {OK, REVIEW, DEFECT, INVALID} == set(verdicts["decision"].tolist())
    # What other languages read from the file is what Python measures.
    for row, item in enumerate(inspector.measure(files)):
        assert isinstance(item, Measurement)
        assert item.score == pytest.approx(verdicts["score"][row], abs=1e-3 * calibration.spread)


def test_what_is_not_a_number_is_rejected() -> None:
    """A comparison with NaN is false, so a graph that asked "is it above?" would pass such a part as ok."""
    model = attach_verdict(pass_through(), calibration_of(), LIMIT)
    got = outputs(model, feed([math.nan, 0.0], distances=[1.0, math.nan]))
    assert got["decision"].tolist() == [DEFECT, INVALID]
    assert decide(math.nan, 1.0, 0.5, gated=False) == DEFECT
