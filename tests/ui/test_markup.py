"""Nothing that came from outside is markup: whatever bundles, parts, files, people and their notes are called."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
import pytest
from defectflow_ui.models import bundles
from defectflow_ui.tasks.background import STATE, TASK, new_folder
from defectflow_ui.tasks.training import CHECK
from desk import Desk
from running import Running, Watch, Watched, listening
from store_support import verdict
from support import save

from defectflow.bundle import Bundle, Card, open_bundle
from defectflow.common import utc_now
from defectflow.image import read_image
from defectflow.store import Answer, Query, Role, Seen, Store, StoreSettings
from defectflow.store.settings import ReviewSettings

EVIL = '"\'><img src=x onerror="window.evil=1">{{7*7}}${window.evil=2}'
"""It ends whatever it stands in: an attribute, a tag, a template of Jinja's or of the page's."""


class Tags(HTMLParser):
    """What of a piece of a page is markup that nobody at the station has written, or runs as a script."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.evil = list[str]()
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "script" or names.get("src") == "x" or any(name.startswith("on") for name in names):
            self.evil.append(self.get_starttag_text() or tag)


def pieces(desk: Desk, given: Any) -> list[str]:
    """What a handler gives that Gradio shows as HTML."""
    if isinstance(given, list):
        return [text for one in given for text in pieces(desk, one)]
    if isinstance(given, dict):
        shown = {one.elem_id for one in desk.blocks.blocks.values() if isinstance(one, gr.HTML)}
        return [str(value) for one, value in given.items() if getattr(one, "elem_id", one) in shown and value]
    return [str(given)]


def hostile(bundle: Bundle) -> Bundle:
    """The same bundle as somebody makes it who means harm, and gets past every check of its card."""
    card = bundle.card
    parts = tuple(part.model_copy(update={"part": f"{n}{EVIL}"}) for n, part in enumerate(card.calibration_parts))
    evil = {"bundle_id": EVIL, "name": EVIL, "warnings": (EVIL,), "calibration_parts": parts, "versions": {EVIL: EVIL}}
    recipe = {"embedding": {"backbone": EVIL}, "flow": {"family": EVIL}}
    return replace(bundle, card=card.model_copy(update={**evil, "recipe": recipe}))


@pytest.fixture
def folder(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For a station whose bundles are hostile."""
    shutil.copytree(bundle_path, tmp_path / "models" / EVIL)
    monkeypatch.setattr(bundles, "open_bundle", lambda path: hostile(open_bundle(path)))
    return tmp_path / "models"


@pytest.fixture
def pictures(sample: Path, tmp_path: Path) -> list[Path]:
    found = sorted((sample / "test" / "good").glob("*.png"))[:3]
    return [save(tmp_path / "line" / f"{n}{EVIL}.png", read_image(path)) for n, path in enumerate(found)]


def fill(store: Store, card: Card, pictures: list[Path]) -> None:
    """One part that people have said everything about, others that wait; and a version with a reason."""
    store.configure(StoreSettings(review=ReviewSettings(audit_rate=1.0)), by=EVIL)
    judged = [verdict(card, 0.1 * number) for number, _ in enumerate(pictures)]
    seen = [
        Seen(file.name, item, f"{n}{EVIL}", file) for n, (file, item) in enumerate(zip(pictures, judged, strict=True))
    ]
    numbers = store.record(card, seen, by=EVIL, source=EVIL)
    store.reviews.answer(numbers[0], Answer.DEFECTIVE, by=EVIL, kind=EVIL, comment=EVIL)
    store.reviews.comment(numbers[1], EVIL, by=EVIL)
    for reason in ("first", "second"):  # the one that is not in use has a button
        changed = card.calibrated(card.calibration_parts, 0.1 if reason == "first" else 0.2, "expected", 0.4)
        store.versions.add(changed, name=f"{reason}{EVIL}", reason=EVIL, by=EVIL, origin="rate", parent=None)


def checked(home: Path) -> None:
    """A data check that has ended, and has found fault with everything."""
    task = new_folder(home / ".training" / "tasks")
    wish = {"source": f"again:{EVIL}", "recipe": EVIL, "part_regex": EVIL, "rate": 0.05}
    notes = {"kind": "check", "who": EVIL, "path": EVIL, "origin": EVIL, "part_regex": EVIL, "wish": wish}
    (task / TASK).write_text(json.dumps({"title": EVIL, "steps": [], "started": utc_now(), "notes": notes}))
    done = {"state": "done", "step": "", "message": EVIL, "code": 0, "changed": utc_now(), "processes": []}
    (task / STATE).write_text(json.dumps(done))
    finding = {"gravity": "look", "topic": EVIL, "said": EVIL, "remedy": EVIL}
    suspect = {"path": EVIL, "where": [0.5, 0.5], "stands_out": True, "rank": 1}
    nothing = {"unreadable": [], "exact": [], "near": [], "formats": []}
    found = {"findings": [finding], "suspects": [suspect], "siblings": {"part_regex": EVIL}, "fit_fails": False}
    (task / CHECK).write_text(json.dumps(found | nothing))
    (task / "log.txt").write_text(EVIL)


@pytest.fixture
def desk(folder: Path, pictures: list[Path]) -> Iterator[Desk]:
    """Everything that can have a name has this one."""
    checked(folder)
    made = Desk(folder)
    made.station.bundles.activate(EVIL, by=EVIL, reason=EVIL)
    fill(made.station.store, made.station.bundles.active().card, pictures)
    yield made
    made.station.close()


def test_no_name_is_markup_on_any_page(desk: Desk, pictures: list[Path]) -> None:
    (*_, first), going_on = desk.station.store.history.search(Query()), Event()
    desk.station.jobs.start(EVIL, lambda _: going_on.wait(60), who=EVIL)
    shown = {
        "inspect": desk.call("page-inspect", "select"),
        "drop": list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures))),
        "review": desk.call("page-review", "select", False),
        "part": desk.call("review-queue", "part", False, said={"part": f"1{EVIL}"}),
        "history": desk.call("history-search", "click", "all", "", "", "", "", "", ""),
        "story": desk.call("history-list", "inspection", said={"inspection": str(first.id)}),
        "train": desk.call("page-train", "select"),
        "joins": desk.call("train-source", "change", f"again:{EVIL}"),
        "calibrate": desk.call("page-calibrate", "select"),
        "models": desk.call("bundles", "bundle", None, said={"bundle": EVIL}),
        "header": desk.call("station-header", "hush", said={"hush": EVIL}),
        "jobs": desk.call("station-jobs", "stop", said={"stop": EVIL}),
    }
    going_on.set()
    for page, given in shown.items():
        found = [evil for piece in pieces(desk, given) for evil in Tags(piece).evil]
        assert found == [], page
    everything = "".join(text for given in shown.values() for text in pieces(desk, given))
    assert everything.count("&lt;img src=x onerror=") > 40, "the names are there, as text"


def test_no_name_runs_in_the_browser(watch: Watch, folder: Path, pictures: list[Path]) -> None:
    """Pages, dialogs, tips and messages, as Gradio shows them."""
    with listening(folder, (("engineer", Role.ENGINEER),)) as running:
        station = running.station
        station.bundles.activate(EVIL, by=EVIL, reason=EVIL)
        fill(station.store, station.bundles.active().card, pictures)
        watched = watch(running)
        page = watched.page
        page.goto("/sign-in")
        page.fill("[name=name]", EVIL)
        page.fill("[name=password]", "wrong")
        page.click("button")
        assert page.evaluate("window.evil") is None
        page.fill("[name=name]", "engineer")
        page.fill("[name=password]", "correct horse")
        page.click("button")
        page.wait_for_selector("#station-header .station-bar")
        for tab in ("Live", "Review", "History", "Train", "Calibrate", "Models", "Inspect"):
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(1500)
        page.get_by_role("tab", name="History").click()
        page.locator("#history-list [data-inspection]").first.click()
        page.wait_for_selector("#history-story [data-thresholds]")
        page.get_by_role("tab", name="Models").click()
        page.locator("#bundles [data-bundle]").first.click()
        page.wait_for_timeout(3000)  # it is chosen by then, and may be verified
        shutil.rmtree(folder / EVIL)
        page.locator("#verify").click()  # it is gone: a message that names it
        page.wait_for_selector("[data-testid=toast-body]")
        assert EVIL in page.locator("[data-testid=toast-body]").inner_text()
        assert page.evaluate("[window.evil, document.querySelectorAll('img[src=x]').length]") == [None, 0]


def test_no_inline_script_and_no_inline_handler_may_run(watched: Watched, local: Running) -> None:
    """Whatever gets into a page: the policy allows the scripts that Gradio's page came with, and no others."""
    watched.visit()
    allowed = local.client().get("/").headers["content-security-policy"].partition("script-src ")[2].partition(";")[0]
    assert "'unsafe-inline'" not in allowed and "'sha256-" in allowed
    assert watched.complaints == []
    for evil in (
        "<img src=x onerror='window.evil=1'>",
        "<svg onload='window.evil=1'>",
        "<b onclick='window.evil=1'>!</b>",
    ):
        watched.page.evaluate("evil => document.body.insertAdjacentHTML('beforeend', evil)", evil)
    watched.page.locator("body > b").click()
    watched.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil=1'}))"
    )
    watched.page.wait_for_timeout(500)
    assert watched.page.evaluate("window.evil") is None
    assert any("Content Security Policy" in said for said in watched.complaints)
