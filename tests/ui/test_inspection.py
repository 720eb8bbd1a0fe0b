"""A drop's pictures, judged, looked at and re-judged, without any browser."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
from defectflow_ui.inspecting.inspection import Inspection
from defectflow_ui.inspecting.judged import Judged
from defectflow_ui.inspecting.picture_views import MOST
from defectflow_ui.pages import inspect_view as view
from defectflow_ui.pages.inspect_gallery import gallery
from defectflow_ui.pages.viewer import MOST_PLACES
from defectflow_ui.settings import Limits
from defectflow_ui.station import Station
from defectflow_ui.visits.served import ROUTE, Served
from defectflow_ui.visits.uploads import Drop
from defectflow_ui.words import inspect as words
from running import finish
from support import marked

from defectflow.bundle import EMBEDDINGS, INDEX, open_bundle
from defectflow.errors import StoreError
from defectflow.image.decode import read_image
from defectflow.line import Inspector
from defectflow.line.reference import References
from defectflow.store import Seen, Store, StoreSettings


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
    made = Inspection(inspector, Served(), recorded.extend)
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
    inspection = Inspection(inspector, Served(), lambda _: None)
    for _ in inspection.run(filled(files), len(files)):
        inspection.stop()
    assert len(inspection.rows) == 1, "the first picture goes alone, so that its verdict comes at once"
    inspection.close()


def test_a_drop_after_a_stop_is_judged(inspector: Inspector, files: dict[str, bytes]) -> None:
    """At once, before the stopped one has noticed; and the browser is told not to send the rest of that."""
    inspection, first = Inspection(inspector, Served(), lambda _: None), Drop(Limits())
    name, of = next(iter(files.items()))
    finish(first.receive(name, content(of)))
    running = inspection.run(first, len(files))
    next(running)
    inspection.stop()
    assert first.ended
    assert not inspection.running
    assert inspection.run(filled(dict(list(files.items())[:2])), 2) is None, "the run goes on with it"
    assert sum(len(fresh) for fresh in running) == 2
    assert len(inspection.rows) == 3
    assert not inspection.stopped
    inspection.close()


def test_drops_that_come_meanwhile_are_judged_by_the_same_run(inspector: Inspector, files: dict[str, bytes]) -> None:
    """The first is still being sent; its end is waited for, and nothing is judged twice."""
    inspection, slow = Inspection(inspector, Served(), lambda _: None), Drop(Limits())
    (name, of), *others = files.items()
    finish(slow.receive(name, content(of)))
    running = inspection.run(slow, 2)
    next(running)
    quick = filled(dict(others[:3]))
    assert inspection.run(quick, 3) is None
    while len(inspection.rows) < 4:
        next(running)
    assert inspection.expected == 5
    assert inspection.run(quick, 3) is None, "a drop is judged once, however often the browser asks"
    finish(slow.receive("last.png", content(of)))
    slow.end()
    for _ in running:
        pass
    assert [row.name for row in inspection.rows] == [name, *dict(others[:3]), "last.png"]
    assert not inspection.running
    again = inspection.run(filled(dict(others[:1])), 1)
    assert again is not None
    assert sum(map(len, again)) == 1
    inspection.close()


def test_a_browser_that_never_ends_a_drop_keeps_nobody_waiting(inspector: Inspector, files: dict[str, bytes]) -> None:
    drop = Drop(Limits(), idle_s=0.3)
    name, of = next(iter(files.items()))
    finish(drop.receive(name, content(of)))
    inspection = Inspection(inspector, Served(), lambda _: None)
    for _ in inspection.run(drop, 5):
        pass
    assert not inspection.running
    assert "of 5 files that it announced, 1 picture arrived" in view.status(inspection)
    assert "<progress" not in view.status(inspection)
    inspection.close()


def test_what_cannot_be_recorded_ends_the_drop_and_keeps_the_rest(
    inspector: Inspector, files: dict[str, bytes]
) -> None:
    recorded: list[Seen] = []

    def record(seen: list[Seen]) -> None:
        if recorded:
            raise StoreError("inspections.db: the disk is full; make room")
        recorded.extend(seen)

    inspection, drop = Inspection(inspector, Served(), record), filled(files)
    with pytest.raises(StoreError):
        list(inspection.run(drop, len(files)))
    assert [row.name for row in inspection.rows] == [one.file for one in recorded]
    assert "the disk is full" in view.status(inspection)
    assert "<progress" not in view.status(inspection)
    list(inspection.run(filled({}), 0))
    assert inspection.problem is None, "the next drop begins afresh"
    inspection.close()


def test_a_picture_that_is_gone_costs_the_zip_no_other(inspection: Inspection) -> None:
    gone = rows(inspection)["part0999_pen.png"]
    assert gone.file is not None
    gone.file.unlink()
    *_, last = inspection.export_zip()
    assert last.left_out == 1
    assert last.address is not None
    assert "1 picture is not in it" in view.drawing(last, len(inspection.rows))
    with zipfile.ZipFile(exported(inspection)) as archive:
        drawn = [name for name in archive.namelist() if name.endswith(".jpg")]
        assert len(drawn) == len(inspection.rows) - 2, "all but the one that is gone and the one that is none"
        assert "part0999_pen.png: no such file" in archive.read("left-out.txt").decode()
        table = csv.DictReader(archive.read("results.csv").decode().splitlines())
        assert {row["file"] for row in table} == set(rows(inspection))


def test_a_stopped_export_leaves_nothing(inspection: Inspection) -> None:
    for drawn in inspection.export_zip():
        assert drawn.address is None
        inspection.exporting = False
    assert list(exported(inspection).parent.iterdir()) == []
    *_, last = inspection.export_zip()
    assert last.address is not None, "and the next one is whole"
    with zipfile.ZipFile(exported(inspection)) as archive:
        assert "left-out.txt" not in archive.namelist()


def exported(inspection: Inspection) -> Path:
    return Path(inspection._exports.name) / "results.zip"


def test_a_look_is_made_once(inspector: Inspector, files: dict[str, bytes]) -> None:
    served = Served()
    inspection = Inspection(inspector, served, lambda _: None)
    for _ in inspection.run(filled(files), len(files)):
        pass
    pen = rows(inspection)["part0999_pen.png"]
    assert pen.file is not None
    assert pen.verdict is not None
    look = inspection.view(pen)
    inspection.what_if = 0.0
    assert inspection.view(pen) is look
    assert look is not None
    for number in range(100, 100 + MOST):
        inspection._views.of(number, pen.file, pen.verdict)
    assert served.take(look.original.removeprefix(ROUTE)) is None, "others have taken its place"
    assert inspection.view(pen) != look
    thumbnail = str(pen.thumbnail).removeprefix(ROUTE)
    assert served.take(thumbnail) is not None
    inspection.close()
    assert served.take(thumbnail) is None


def test_a_large_gallery_comes_in_pieces(inspection: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defectflow_ui.inspecting.inspection.TILES", 3)
    inspection.tiles, inspection.order, inspection.chosen = 3, "arrival", 0
    assert tiles(inspection) == [0, 1, 2]
    assert "(3 of 8)" in gallery(inspection, {})
    for _ in range(3):
        inspection.step(1)
    assert inspection.chosen == 3
    assert tiles(inspection) == [0, 1, 2, 3, 4, 5], "the chosen one is among them"
    inspection.tiles = 9
    assert tiles(inspection) == list(range(8))
    assert "data-more" not in gallery(inspection, {})


def tiles(inspection: Inspection) -> list[int]:
    return [int(number) for number in re.findall(r'data-number="(\d+)"', gallery(inspection, {}))]


def test_places_beyond_the_eighth_are_counted(inspection: Inspection) -> None:
    row = rows(inspection)["part0999_pen.png"]
    assert row.verdict is not None
    mask = np.zeros_like(row.verdict.mask)
    mask[2::8, 2::8] = True
    many = replace(row, item=replace(row.verdict, mask=mask))
    regions = many.verdict.regions()  # type: ignore[union-attr]
    assert len(regions) > 9
    inspection.rows[row.number], inspection.chosen = many, row.number
    page = view.part(inspection)
    assert page.count("data-place=") == MOST_PLACES
    assert f"The {len(regions) - MOST_PLACES} others have lower peaks" in page


def test_closing_removes_everything(inspector: Inspector, files: dict[str, bytes]) -> None:
    recorded: list[Seen] = []
    drop = filled(files)
    inspection = Inspection(inspector, Served(), recorded.extend)
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


def test_the_drop_zone_says_what_the_store_keeps(store: Store) -> None:
    """A server's store without a folder keeps no uploads, whatever its settings may sound like."""
    station = cast(Station, SimpleNamespace(store=store))
    assert (words.keeps_copies in view.drop_zone(station, "tab", trial=False)) == (store.database.file is not None)
    store.configure(StoreSettings(pictures="none"), by="test")
    assert words.keeps_verdicts in view.drop_zone(station, "tab", trial=False)


@pytest.mark.parametrize(
    ("p", "parts", "finest", "said"),
    [
        (4 / 1000, 999, False, "3 of the 999 calibration parts look this unusual or more so."),
        (1 / 20, 19, True, "None of the 19 calibration parts looks this unusual."),
        (2 / 20, 19, False, "1 of the 19 calibration parts looks this unusual or more so."),
        (0.7, 19, False, "An ordinary picture"),
    ],
)
def test_p_values_in_words(p: float, parts: int, finest: bool, said: str) -> None:
    assert words.p_value(p, parts, finest).startswith(said)
