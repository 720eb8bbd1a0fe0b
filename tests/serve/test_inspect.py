"""One picture or many over HTTP: the verdicts are the Inspector's, and each has its row."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving import Serving

from defectflow.image import read_image
from defectflow.line import Inspector
from defectflow.verdict import Verdict


@pytest.fixture(scope="module")
def alone(models: Path, pictures: list[Path]) -> dict[str, Verdict]:
    """Each picture's verdict by the Inspector, one picture at a time."""
    inspector = Inspector(models / "bracket", threads=1, batch=1)
    found = {path.name: item for path, item in zip(pictures, inspector.inspect(pictures), strict=True)}
    assert all(isinstance(item, Verdict) for item in found.values())
    assert len({item.decision for item in found.values()}) > 1
    return found


def test_a_raw_picture(shared: Serving, pictures: list[Path], alone: dict[str, Verdict]) -> None:
    content = pictures[0].read_bytes()
    with shared.http() as http:
        asked = {"name": "00.png", "part": "17", "lot": "L5", "camera": "top"}
        answered = http.post("/v1/inspect", params=asked, content=content, headers={"Content-Type": "image/png"})
        assert answered.status_code == 200, answered.text
        (said,) = answered.json()["inspections"]
        expected = alone["00.png"]
        assert answered.json()["decision"] == said["decision"] == expected.decision.word
        assert said["score"] == expected.score
        assert said["p_value"] == pytest.approx(expected.p_value)
        assert said["threshold"] == pytest.approx(expected.threshold)
        assert len(said["regions"]) == len(expected.regions())
        assert said["sha256"] == hashlib.sha256(content).hexdigest()
        assert (said["part"], said["lot"], said["camera"], said["file"]) == ("17", "L5", "top", "00.png")
        assert said["client"] == "operator"
        assert http.get(f"/v1/inspections/{said['id']}").json() == said
        found = http.get("/v1/parts/17").json()
        assert said in found["inspections"]
        assert http.get("/v1/parts/nothing/of this").status_code == 404
        assert http.get("/v1/inspections/999999").status_code == 404


def test_several_pictures_of_a_form(shared: Serving, pictures: list[Path], alone: dict[str, Verdict]) -> None:
    files = [("file", (path.name, path.read_bytes())) for path in pictures[:5]]
    with shared.http() as http:
        answered = http.post("/v1/inspect", files=files, data={"part": "18", "model": "bracket"})
    assert answered.status_code == 200, answered.text
    said = answered.json()["inspections"]
    assert [one["file"] for one in said] == [path.name for path in pictures[:5]]
    assert {one["part"] for one in said} == {"18"}
    for one in said:
        assert one["score"] == pytest.approx(alone[one["file"]].score, rel=1e-5)


def test_images(shared: Serving, pictures: list[Path], alone: dict[str, Verdict]) -> None:
    name = next(name for name, verdict in alone.items() if verdict.mask.any())
    verdict, path = alone[name], next(path for path in pictures if path.name == name)
    with shared.http() as http:
        params = {"images": ["map", "mask", "overlay"]}
        (said,) = http.post("/v1/inspect", params=params, content=path.read_bytes()).json()["inspections"]
    images = {
        kind: np.asarray(Image.open(BytesIO(base64.b64decode(said["images"][kind])))) for kind in params["images"]
    }
    assert images["map"].shape == images["mask"].shape == read_image(path).shape[:2]
    assert (images["mask"] == 255).sum() == verdict.mask_at_full_size().sum() > 0
    white = said["images"]["map_white"]
    expected = np.clip(verdict.map_at_full_size(), 0, white)
    assert np.abs(images["map"] / 65535 * white - expected).max() < white / 60000
    assert np.array_equal(images["overlay"], np.asarray(verdict.show()))


def test_another_model_by_name(shared: Serving, pictures: list[Path]) -> None:
    with shared.http() as http:
        known = {one["name"]: one for one in http.get("/v1/models").json()}
        assert set(known) == {"bracket", "strict"}
        assert known["bracket"]["active"] and not known["strict"]["active"]
        answered = http.post("/v1/inspect", params={"model": "strict"}, content=pictures[0].read_bytes())
        (said,) = answered.json()["inspections"]
        assert said["calibration_id"] == known["strict"]["calibration_id"] != known["bracket"]["calibration_id"]
        refused = http.post("/v1/inspect", params={"model": "../strict"}, content=pictures[0].read_bytes())
        assert refused.status_code == 404
        assert "bracket, strict" in refused.json()["detail"]


def test_two_hundred_requests_at_once_score_as_alone(
    shared: Serving, pictures: list[Path], alone: dict[str, Verdict]
) -> None:
    """Whatever shares a batch with a picture; and every request has exactly one row."""
    with shared.store() as store, shared.client() as client, ThreadPoolExecutor(16) as pool:
        before = store.history.count()
        asked = [pictures[number % len(pictures)] for number in range(200)]
        answers = list(pool.map(client.inspect, asked))
        assert store.history.count() == before + 200
        assert store.verify().passed
    found = [answer.inspections[0] for answer in answers]
    assert len({one.id for one in found}) == 200
    for path, one in zip(asked, found, strict=True):
        assert one.file == path.name
        assert one.score == pytest.approx(alone[path.name].score, rel=1e-5)
        assert one.decision == alone[path.name].decision.word


def test_bad_pictures_have_rows_that_say_why(shared: Serving, pictures: list[Path]) -> None:
    good = pictures[0].read_bytes()
    with shared.http() as http, shared.store() as store:
        refused = http.post("/v1/inspect", params={"name": "a.png"}, content=good[:200])
        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"
        problem = refused.json()
        assert problem["status"] == 422 and problem["detail"].startswith("a.png: ")
        assert "/tmp" not in refused.text
        row = store.history.get(problem["inspections"][0]["id"])
        assert row is not None and row.decision == "error" and row.file == "a.png"
        files = [("file", ("good.png", good)), ("file", ("bad.png", b"no picture"))]
        answered = http.post("/v1/inspect", files=files).json()
        assert [one["decision"] == "error" for one in answered["inspections"]] == [False, True]
        assert "is not a PNG" in answered["inspections"][1]["error"]


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"content": b""}, 400, "empty"),
        ({"content": b"x", "params": {"modle": "a"}}, 422, "modle"),
        ({"content": b"x", "params": {"images": "heat"}}, 422, "'map', 'mask' or 'overlay'"),
        ({"content": b"x", "params": {"part": "a\nb"}}, 422, "part"),
        ({"files": [("part", (None, "1"))]}, 400, "holds no file"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"files": [("file", ("a.png", b"x"))], "data": {"colour": "red"}}, 422, "colour"),
        ({"files": [("file", (f"{n}.png", b"x")) for n in range(17)]}, 413, "16 pictures"),
        ({"content": bytes(65 * 2**20)}, 413, "64 MiB"),
        ({"files": [("file", ("a.png", bytes(65 * 2**20)))]}, 413, "64 MiB"),
    ],
)
def test_bad_requests_are_refused_and_leave_nothing(
    shared: Serving, request_: dict[str, object], status: int, said: str
) -> None:
    with shared.http() as http, shared.store() as store:
        before = store.history.count()
        refused = http.post("/v1/inspect", **request_)
        assert (refused.status_code, said in refused.json()["detail"]) == (status, True), refused.text
        assert store.history.count() == before
