"""A model of several products at the station: each is listed, and a tab inspects the one that is chosen there."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from defectflow_ui.tasks.background import STATE, TASK, new_folder
from defectflow_ui.web.frame import header_html
from desk import Desk
from inspecting import drop
from running import Watch, listening
from store_support import record_parts
from support import BLUE, RED, coloured, save

from defectflow.bundle import AUTO, open_bundle, save_bundle
from defectflow.common import utc_now
from defectflow.store import Query, Role


@pytest.fixture
def desk(two_products: Path, tmp_path: Path) -> Iterator[Desk]:
    """A station with one model of two products, red being the active one."""
    shutil.copytree(two_products / "line", tmp_path / "models" / "line")
    made = Desk(tmp_path / "models")
    made.station.bundles.activate("line/red", by="test", reason="test")
    yield made
    made.station.close()


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """A red part, a blue one, and what is neither."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    shown = {RED: coloured(RED, 31), BLUE: coloured(BLUE, 32), "noise": noise}
    return [save(tmp_path / f"{name}.png", pixels) for name, pixels in shown.items()]


def choose(desk: Desk, product: str) -> Any:
    return desk.call("inspect-product", "input", product)


def judge(desk: Desk, *files: Path) -> dict[str, Any]:
    """What the page shows once all are judged, by its places' names."""
    *_, last = desk.call("drop-zone", "dropped", said=desk.drop(*files))
    return {one.elem_id: value for one, value in last.items()}


def test_the_chosen_product_judges(watch: Watch, two_products: Path, three: list[Path], tmp_path: Path) -> None:
    shutil.copytree(two_products / "line", tmp_path / "line")
    with listening(tmp_path) as running:
        station = running.station
        assert [(one.name, one.error) for one in station.bundles.all()] == [("line/red", None), ("line/blue", None)]
        station.bundles.activate("line/red", by="test", reason="test")
        assert station.bundles.inspector(BLUE) is station.bundles.inspector(BLUE), "loaded once"
        page = watch(running)
        page.visit()
        page.page.locator("#inspect-product input").click()
        page.page.get_by_role("option", name="blue").click()
        page.page.get_by_text("Size of a pixel: line/blue").wait_for()  # what follows is about this product
        drop(page.page, three[:2])
        rows = station.store.history.search(Query(limit=5))
        assert {(row.model, row.product) for row in rows} == {("line/blue", BLUE)}
        limit = open_bundle(tmp_path / "line" / "products" / BLUE).card.require_calibration().threshold.value
        assert {row.threshold for row in rows} == {limit}


def test_auto_judges_each_picture_as_what_it_resembles(desk: Desk, three: list[Path]) -> None:
    opened = choose(desk, AUTO)
    assert opened["inspect-product"].value == AUTO
    last = judge(desk, *three)
    rows = {row.file: row for row in desk.station.store.history.search(Query(limit=5))}
    for name in (RED, BLUE):
        card, row = desk.station.bundles.find(f"line/{name}").card, rows[f"{name}.png"]
        assert (row.product, row.bundle_id) == (name, card.bundle_id)
        assert row.threshold == card.require_calibration().threshold.value
    assert rows["noise.png"].decision == "invalid"
    assert last["what-if"].visible is False, "no threshold holds for all of them"
    assert str(last["gallery"]).count('class="product"') == 3
    told = " ".join(str(desk.call("gallery", "number", said={"number": number})["part"]) for number in range(3))
    assert "Judged as red, the nearest product." in told
    assert "Judged as blue, the nearest product." in told
    assert "It shows none of the products; the nearest is " in told
    table = csv.DictReader(StringIO(exported(desk)))
    assert {row["file"]: row["product"] for row in table} == {name: row.product for name, row in rows.items()}


def exported(desk: Desk) -> str:
    """What the button CSV gives."""
    return served(desk, str(desk.call("export-csv", "click")))


def served(desk: Desk, link: str) -> str:
    """What a link of the page gives."""
    address = re.search(r'href="([^"]+)"', link)
    assert address is not None
    item = desk.session.served.take(address[1].rpartition("/")[2])
    assert item is not None
    content = item.make()
    return content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")


def test_scale_and_part_rule_are_the_product_s_own(desk: Desk) -> None:
    """What an engineer sets is of the product that is chosen, which the page names; the active one stays at work."""
    bundles, store = desk.station.bundles, desk.station.store
    for name in (RED, BLUE):
        bundle = bundles.find(f"line/{name}")
        save_bundle(bundle.path, bundle.card.model_copy(update={"parts_known": True, "part_regex": None}))
    chosen = choose(desk, BLUE)
    assert "line/blue" in chosen["inspect-scale"].label
    assert "line/blue" in chosen["inspect-parts"].label
    assert "line/blue" in str(desk.call("scale-keep", "click", 0.25))
    assert "line/blue" in str(desk.call("parts-keep", "click", r"(p\d+)")["parts-said"])
    red, blue = (bundles.find(f"line/{name}").card for name in (RED, BLUE))
    assert (blue.mm_per_px, blue.part_regex) == (0.25, r"(p\d+)")
    assert (red.mm_per_px, red.part_regex) == (None, None)
    assert bundles.active_name == "line/red"
    assert [one.change for one in store.model_changes.all(blue.bundle_id)] == ["described"] * 2
    assert desk.call("inspect-product", "input", RED)["scale-mm"] is None

    several = choose(desk, AUTO)
    assert not several["inspect-scale"].visible
    assert not several["inspect-parts"].visible
    assert "line/red" in str(several["parts-told"])
    assert "line/blue" not in str(several["parts-told"])
    with pytest.raises(gr.Error, match="choose one product"):
        desk.call("scale-keep", "click", 0.5)


def test_models_marks_every_product_that_is_at_work(desk: Desk) -> None:
    """Whichever of them was activated."""
    listed = str(desk.call("page-models", "select", "")["bundles"])
    assert listed.count('class="badge ok') == 2


def test_products_are_renamed_and_deleted_together(desk: Desk) -> None:
    """The one at work stays at work, the log tells of each, and what lies beside the model moves along."""
    station, models = desk.station, desk.station.bundles.folder
    for name in ("line.evaluation.json", "line.blue.certificate.json"):
        (models / name).write_text("{}")
    before = {name: station.bundles.find(f"line/{name}").card for name in (RED, BLUE)}
    chosen = desk.call("bundles", "bundle", None, said={"bundle": "line/blue"})
    assert chosen["models-name"].value == "line"
    assert chosen["models-name"].info == "This goes for all its products: red, blue"
    shown = desk.call("models-rename", "click", None, "line-2")
    assert "line/blue is called line-2/blue from now on" in shown["models-said"]
    assert {one.name for one in station.bundles.all()} == {"line-2/red", "line-2/blue"}
    assert station.bundles.active_name == "line-2/red"
    after = {name: station.bundles.find(f"line-2/{name}").card for name in (RED, BLUE)}
    for name, card in after.items():
        assert card.name == f"line-2/{name}"
        assert (card.bundle_id, card.calibration_id) == (before[name].bundle_id, before[name].calibration_id)
        assert [one.change for one in station.store.model_changes.all(card.bundle_id)] == ["renamed"]
    beside = sorted(file.name for file in models.glob("*.json"))
    assert beside == ["line-2.blue.certificate.json", "line-2.evaluation.json"]

    with pytest.raises(gr.Error, match="line-2 is active and judges"):
        desk.call("models-delete", "click", None, "worn out")
    shutil.copytree(models / "line-2", models / "other")
    station.bundles.activate("other/red", by="test", reason="test")
    shown = desk.call("models-delete", "click", None, "worn out")
    assert "line-2 is deleted" in shown["models-said"]
    assert {one.name for one in station.bundles.all()} == {"other/red", "other/blue"}
    assert not (models / "line-2").exists() and not list(models.glob("*.json"))
    assert station.store.verify().passed


def test_a_station_within_a_model_leaves_the_model_alone(two_products: Path, tmp_path: Path) -> None:
    """Started on one product, it would otherwise delete the others, too."""
    shutil.copytree(two_products / "line", tmp_path / "models" / "line")
    for within in ("line", "line/products", "line/products/red"):
        desk = Desk(tmp_path / "models" / within)
        desk.call("bundles", "bundle", None, said={"bundle": "line/red"})
        for button, said in (("models-rename", "line-2"), ("models-delete", "worn out")):
            with pytest.raises(gr.Error, match="start it with the folder that holds your bundles"):
                desk.call(button, "click", None, said)
        desk.station.close()
    assert open_bundle(tmp_path / "models" / "line" / "products" / "blue").card.name == "line/blue"


def test_trial_ends_once_every_product_is_in_production(desk: Desk, three: list[Path]) -> None:
    assert choose(desk, AUTO)["inspect-trial"].value
    judge(desk, three[0])
    assert not choose(desk, RED)["inspect-trial"].value
    assert choose(desk, AUTO)["inspect-trial"].value, "blue was never inspected"
    judge(desk, three[1])
    assert not choose(desk, AUTO)["inspect-trial"].value


def test_a_trained_model_of_several_is_shown_and_put_to_work(two_products: Path, desk: Desk) -> None:
    """As after a training from a manifest: each product's promise and figures, and one button for all."""
    station, models = desk.station, desk.station.bundles.folder
    shutil.move(models / "line", models / "new")
    cards = {name: station.bundles.find(f"new/{name}").card for name in (RED, BLUE)}
    nothing = dict.fromkeys(("overkill", "escape", "overkill_inside", "seen_in_fit"))
    figures = {
        name: {"bundle_id": card.bundle_id, "calibration_id": card.calibration_id, "part_auroc": auroc, **nothing}
        for (name, card), auroc in zip(cards.items(), (0.987, 0.876), strict=True)
    }
    (models / "new.evaluation.json").write_text(json.dumps(figures))
    task, manifest = new_folder(models / ".training" / "tasks"), str(two_products / "both.csv")
    wish = {"source": "", "recipe": "default", "part_regex": "", "rate": 0.25}
    notes = {"kind": "train", "who": "anna", "path": manifest, "origin": manifest, "part_regex": "", "wish": wish}
    told = {"title": "Train new", "steps": [], "started": utc_now(), "notes": notes | {"name": "new"}}
    (task / TASK).write_text(json.dumps(told))
    done = {"state": "done", "step": "", "message": "", "code": 0, "changed": utc_now(), "processes": []}
    (task / STATE).write_text(json.dumps(done))

    shown = desk.call("page-train", "select")
    found = str(shown["train-findings"])
    assert re.findall("<h3>([^<]*)</h3>", found) == [RED, BLUE]
    assert "0.987" in found and "0.876" in found
    assert found.count('class="shot"') == 16, "of each product the eight calibration parts it is least sure of"
    assert shown["train-activate"].interactive
    assert "new/red" in str(desk.call("train-activate", "click"))
    assert station.bundles.active_name == "new/red"


ANYTHING = ("all", "", "", "", "")
"""The form of History, but for product and model."""


def test_history_tells_products_apart(desk: Desk) -> None:
    """In the list, counts, the table, the report, and on Live; and marks pictures of each product at work."""
    cards = {name: desk.station.bundles.find(f"line/{name}").card for name in (RED, BLUE)}
    for name, parts in ((RED, {"a": 0.0, "b": 50.0}), (BLUE, {"a": 0.0, "c": 0.0, "d": 0.0})):
        record_parts(desk.station.store, cards[name], parts)
    opened = desk.call("page-history", "select", *ANYTHING, "", "")
    assert [value for _, value in opened["history-product"].choices] == ["", BLUE, RED]
    assert opened["history-product"].visible
    apart = r"<th>blue</th><td>3 parts judged, 100.0% of them passed as OK</td>.*<th>red</th><td>2 parts judged, 50.0%"
    found = desk.call("history-product", "input", *ANYTHING, "", "")
    assert re.search(apart, str(found["history-chart"]), re.DOTALL)
    of_blue = desk.call("history-product", "input", *ANYTHING, BLUE, "")
    assert "3 parts judged, 100.0%" in str(of_blue["history-chart"])
    assert "line/blue" in str(of_blue["history-list"])
    assert "line/red" not in str(of_blue["history-list"])
    table = list(csv.DictReader(StringIO(served(desk, str(desk.call("history-csv", "click", *ANYTHING, RED, ""))))))
    assert [(row["product"], row["part"]) for row in table] == [(RED, "a"), (RED, "b")]

    report = served(desk, str(desk.call("history-report", "click", *ANYTHING, "", "")))
    assert "<title>line: inspection report</title>" in report
    assert re.search(apart, report, re.DOTALL)
    assert report.count("<h3>red</h3>") == report.count("<h3>blue</h3>") == 2, "drift and promise"
    report = served(desk, str(desk.call("history-report", "click", *ANYTHING, BLUE, "")))
    assert "product blue" in report
    assert "<h3>red</h3>" not in report

    live = str(desk.call("live-stretch", "input", "8"))
    assert re.search(apart, live, re.DOTALL)
    assert re.search(r"live-part.{0,40}blue", live, re.DOTALL)


def test_the_drift_of_each_product_is_watched(desk: Desk) -> None:
    """Also of one that is not the active one; whoever sees to an alarm says it of that product."""
    station = desk.station
    store, blue = station.store, station.bundles.find("line/blue").card
    settings = store.settings
    drift = settings.drift.model_copy(update={"run_length": 100})
    store.configure(settings.model_copy(update={"drift": drift}), by="test")
    record_parts(store, blue, {f"p{part}": -10.0 - part for part in range(40)})  # ever more ordinary
    checked = desk.call("history-check-drift", "click")
    courses = station.drift.look()
    assert [bool(courses[f"line/{name}"].standing) for name in (RED, BLUE)] == [False, True]
    assert checked["history-drift-product"].value == "line/blue"
    assert "Production has moved" in str(checked["history-drift"])
    assert "blue" in str(header_html(station, station.visitor(desk.request(), gr.EventData(None, None), Role.VIEWER)))
    of_red = desk.call("history-drift-product", "input", "line/red")
    assert "No part has been inspected" in str(of_red["history-drift"])
    desk.call("history-drift-product", "input", "line/blue")
    seen = desk.call("history-looked-into", "click", "a lamp")
    assert "a lamp" in str(seen["history-drift"])
    assert not any(course.standing for course in station.drift.look().values())
