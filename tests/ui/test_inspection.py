"""A drop's pictures, judged, looked at and re-judged, without any browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from defectflow_ui.inspection import Inspection, Judged
from defectflow_ui.settings import Limits
from defectflow_ui.shelf import Shelf
from defectflow_ui.uploads import Drop
from defectflow_ui.words import inspect as words
from running import finish
from support import marked

from defectflow.runtime import Inspector
from defectflow.runtime.bundle import EMBEDDINGS, INDEX, open_bundle
from defectflow.runtime.image import read_image
from defectflow.runtime.reference import References
from defectflow.store import Seen


async def content(of: bytes) -> AsyncIterator[bytes]:
    yield of


def filled(files: dict[str, bytes]) -> Drop:
    drop = Drop(Limits())
    for name, of in files.items():
        finish(drop.receive(name, content(of)))
    drop.end()
    return drop


@pytest.fixture(scope="module")
def files(sample: Path) -> dict[str, bytes]:
    good = sorted((sample / "test" / "good").glob("*.png"))[:6]
    found = {path.name: path.read_bytes() for path in good}
    pen = cv2.imencode(".png", marked(read_image(good[0]))[:, :, ::-1])[1].tobytes()
    return {**found, "part0999_pen.png": pen, "text.png": b"no picture"}


@pytest.fixture
def inspection(inspector: Inspector, files: dict[str, bytes]) -> Iterator[Inspection]:
    recorded: list[Seen] = []
    made = Inspection(inspector, Shelf(), recorded.extend)
    for _ in made.run(filled(files), len(files)):
        pass
    assert [one.file for one in recorded] == [row.name for row in made.rows], "what is shown is in the store"
    yield made
    made.close()


def rows(inspection: Inspection) -> dict[str, Judged]:
    return {row.name: row for row in inspection.rows}


def test_decisions_are_the_graphs(inspection: Inspection, files: dict[str, bytes], inspector: Inspector) -> None:
    for name, of in files.items():
        row = rows(inspection)[name]
        if name == "text.png":
            assert row.decision() == "error"
            continue
        pixels = read_image(of)
        (verdict,) = inspector.inspect([pixels])
        assert row.decision() == verdict.decision.word  # type: ignore[union-attr]
    assert rows(inspection)["part0999_pen.png"].decision() in ("defect", "invalid")


def test_what_if_at_the_real_threshold_changes_nothing(inspection: Inspection) -> None:
    inspection.what_if = inspection.calibration.threshold.value
    assert inspection.flips() == []


def test_what_if_agrees_with_a_bundle_of_that_threshold(inspection: Inspection) -> None:
    """The graph itself, given other thresholds as inputs, decides the same."""
    import onnxruntime

    session = onnxruntime.InferenceSession(inspection.inspector.bundle.model, providers=["CPUExecutionProvider"])
    shapes = {one.name: one.shape for one in session.get_overridable_initializers()}
    judged = [row for row in inspection.rows if row.verdict is not None and row.file is not None]
    for cut in np.quantile([row.item.score for row in judged], [0.1, 0.5, 0.9]):  # type: ignore[union-attr]
        inspection.what_if = float(cut)
        review = min(inspection.calibration.review.value, float(cut))
        for row in judged:
            assert row.file is not None
            cuts = {"threshold": cut, "review_threshold": review}
            given = {name: np.full(shapes[name], value, np.float32) for name, value in cuts.items()}
            given["image"] = read_image(row.file)[None]
            (decision,) = session.run(["decision"], given)
            assert row.decision(inspection.what_if) == ("ok", "review", "defect", "invalid")[int(decision[0])]


def test_the_most_unusual_is_chosen_and_first(inspection: Inspection) -> None:
    shown = inspection.shown()
    assert shown[0].name == "text.png"
    assert inspection.find(inspection.chosen) == shown[1]
    inspection.order = "best"
    assert inspection.shown() == shown[::-1]
    inspection.only = "error"
    assert [row.name for row in inspection.shown()] == ["text.png"]


def test_a_second_drop_joins_the_first(inspection: Inspection, files: dict[str, bytes]) -> None:
    before = len(inspection.rows)
    for _ in inspection.run(filled(dict(list(files.items())[:2])), 2):
        pass
    assert [row.number for row in inspection.rows] == list(range(before + 2))


def test_stopping_keeps_what_was_judged(inspector: Inspector, files: dict[str, bytes]) -> None:
    inspection = Inspection(inspector, Shelf(), lambda _: None)
    for _ in inspection.run(filled(files), len(files)):
        inspection.stop()
    assert len(inspection.rows) == 1, "the first picture goes alone, so that its verdict comes at once"
    inspection.close()


def test_closing_removes_everything(inspector: Inspector, files: dict[str, bytes]) -> None:
    recorded: list[Seen] = []
    drop = filled(files)
    inspection = Inspection(inspector, Shelf(), recorded.extend)
    running = inspection.run(drop, len(files))
    next(running)
    inspection.close()
    assert list(running) == []
    assert len(recorded) == 1, "pictures that were removed meanwhile are not recorded as unreadable"
    assert not drop.folder.exists()


def test_the_most_similar_good_part(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    references = References(bundle)
    pooled = np.load(bundle_path / EMBEDDINGS)
    thumbnails = json.loads((bundle_path / INDEX).read_text())["thumbnails"]
    spread = np.maximum(pooled.std(0), 1e-6)
    for probe in (pooled[3], pooled[5] + 0.01 * spread, pooled.mean(0)):
        nearest = min(range(len(pooled)), key=lambda n: float((((pooled[n] - probe) / spread) ** 2).sum()))
        assert references.most_similar(probe).thumbnail.name == thumbnails[nearest]["file"]
    assert references.most_similar(pooled[3]).part == thumbnails[3]["part"]


@pytest.mark.parametrize(
    ("p", "parts", "finest", "said"),
    [
        (1 / 400, 999, False, "About 1 good part in 400 looks this unusual."),
        (1 / 20, 19, True, "Fewer than 1 good part in 19 looks this unusual"),
        (2 / 20, 19, False, "About 1 good part in 10 looks this unusual."),
        (0.7, 19, False, "An ordinary picture"),
    ],
)
def test_p_values_in_words(p: float, parts: int, finest: bool, said: str) -> None:
    assert words.p_value(p, parts, finest).startswith(said)
