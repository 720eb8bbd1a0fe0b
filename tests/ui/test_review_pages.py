"""Review and History in a real browser: ten answers by keyboard, thresholds from them, and the way back."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Running, Watched, call, listening
from support import swatches

from defectflow.runtime import Inspector
from defectflow.runtime.bundle import file_digest, open_bundle
from defectflow.runtime.recalibrate import recalibrate
from defectflow.store import Role, Seen, Store, StoreSettings
from defectflow.store.settings import ReviewSettings

PARTS = 40


@pytest.fixture
def inspected(tmp_path: Path, uncalibrated_path: Path) -> Path:
    """A folder with a bundle that has inspected 40 parts, all of them drawn for the audit."""
    folder = tmp_path / "models"
    bundle = shutil.copytree(uncalibrated_path, folder / "swatch")
    recalibrate(open_bundle(bundle), rate=0.25, guarantee="expected", review_rate=0.4)
    inspector = Inspector(bundle, threads=1)
    paths = sorted(swatches(tmp_path / "in", PARTS, first_seed=100).iterdir())
    with Store.open(str(folder / "inspections.db")) as store:
        store.configure(StoreSettings(review=ReviewSettings(audit_rate=1.0)), by="test")
        seen = [Seen(path.name, item, picture=path) for path, item in zip(paths, inspector.inspect(paths), strict=True)]
        store.record(inspector.card, seen, by="test", source="test")
    return folder


@pytest.fixture
def page(browser: Any, inspected: Path) -> Iterator[tuple[Watched, Running]]:
    with listening(inspected) as running:
        watched = Watched(browser, running)
        watched.page.goto("/")
        yield watched, running
        assert watched.outside(running) == []
        assert watched.complaints == []
        watched.context.close()


def press(page: Any, key: str) -> None:
    """Answer for the part that is shown, and wait for the next one."""
    before = page.get_attribute("[data-reviewed]", "data-reviewed")
    page.keyboard.press(key)
    page.wait_for_function("was => document.querySelector('[data-reviewed]')?.dataset.reviewed !== was", arg=before)


def test_ten_parts_by_keyboard_then_thresholds_and_back(page: tuple[Watched, Running], inspected: Path) -> None:
    watched, running = page
    browser, store = watched.page, running.station.store
    bundle = inspected / "swatch"
    card, model = open_bundle(bundle).card, file_digest(bundle / "model.onnx")
    browser.get_by_role("tab", name="Review").click()
    browser.wait_for_selector("[data-reviewed] .viewer")
    for key in "ggggggg":
        press(browser, key)
    browser.get_by_label("Kind of defect").fill("scratch")
    browser.get_by_label("Comment").fill("left edge")
    browser.locator("#review-told").click()  # out of the text, so that keys count again
    for key in "dns":
        press(browser, key)
    answers = [part.review for part in store.reviews.parts(card.bundle_id) if part.review is not None]
    assert [str(review.answer) for review in answers] == [*["good"] * 7, "defective", "not this part", "skip"]
    assert (answers[7].kind, answers[7].comment, answers[7].by) == ("scratch", "left edge", "local")
    browser.get_by_text("30 waiting: 30 drawn by lot, 0 in the grey band").wait_for()
    press(browser, "u")
    browser.get_by_text("31 waiting").wait_for()
    # Thirty answers are missing: refused, with the reason.
    browser.get_by_text("New thresholds from these answers").click()
    browser.click("#review-preview")
    browser.get_by_text("31 of 40 audit parts have no answer").wait_for()
    for part in store.reviews.queue(card.bundle_id, limit=PARTS):
        store.reviews.answer(part.worst.id, "good", by="test")
    browser.locator("#review-rate input").fill("10")
    browser.keyboard.press("Tab")
    browser.click("#review-preview")
    browser.locator(".proposal").get_by_text("38 good, 1 defective, 1 not this part, 0 without an answer").wait_for()
    flips = browser.locator("[data-flip]").count()
    assert flips > 0
    assert browser.locator("[data-flip] img").count() == flips, "a thumbnail each"
    assert file_digest(bundle / "model.onnx") == model
    browser.click("#review-discard")
    browser.get_by_text("Discarded").wait_for()
    browser.click("#review-preview")
    browser.wait_for_selector(".proposal")
    browser.get_by_label("Name of the new version").fill("June")
    browser.get_by_label("Reason", exact=True).fill("false alarms")
    browser.click("#review-apply")
    browser.get_by_text("June holds from now on").wait_for()
    assert len(open_bundle(bundle).card.calibration_parts) == 8 + 38
    assert file_digest(bundle / "model.onnx") != model
    browser.click("#review-versions [data-version]")
    browser.get_by_text("holds again").wait_for()
    assert file_digest(bundle / "model.onnx") == model
    assert store.verify().passed


def test_an_answer_is_about_the_part_that_was_shown(page: tuple[Watched, Running]) -> None:
    """Somebody else answers first: the key does not fall on the next part, which nobody has seen."""
    watched, running = page
    store = running.station.store
    watched.page.get_by_role("tab", name="Review").click()
    watched.page.wait_for_selector("[data-reviewed]")
    bundle_id = running.station.bundles.active().card.bundle_id
    first = store.reviews.queue(bundle_id)[0]
    store.reviews.answer(first.worst.id, "defective", by="somebody else")
    press(watched.page, "g")
    watched.page.get_by_text("has its answer already").wait_for()
    assert len(store.reviews.queue(bundle_id, limit=100)) == PARTS - 1
    assert store.reviews.of_part(bundle_id, first.part)[0].by == "somebody else"


def test_a_viewer_answers_and_recalibrates_nothing(inspected: Path) -> None:
    with listening(inspected, tuple((role.value, role) for role in Role)) as running:
        store = running.station.store
        bundle_id = running.station.bundles.active().card.bundle_id
        shown = store.reviews.queue(bundle_id)[0].worst.id
        answer = {"answer": f"{shown} good"}
        viewer, operator = running.client("viewer"), running.client("operator")
        refused = call(viewer, "review-answers", "answer", [False, "", None], answer)
        assert "needs the role 'operator'" in refused["output"]["error"]
        assert store.reviews.latest() == []
        assert call(operator, "review-answers", "answer", [False, "", None], answer)["success"]
        assert [review.by for review in store.reviews.latest()] == ["operator"]
        for client in (viewer, operator):
            assert not call(client, "review-preview", "click", [10, False])["success"]
            assert not call(client, "review-apply", "click", [False, "June", "why"])["success"]
            version = store.versions.all(bundle_id)[0].id
            assert not call(client, "review-versions", "version", [False], {"version": str(version)})["success"]
        assert store.versions.active() is None


def test_history_in_the_browser(page: tuple[Watched, Running]) -> None:
    watched, running = page
    browser, store = watched.page, running.station.store
    first = store.reviews.queue(running.station.bundles.active().card.bundle_id)[0]
    store.reviews.answer(first.worst.id, "good", by="anna", comment="only dust")
    browser.get_by_role("tab", name="History").click()
    browser.wait_for_selector("tr[data-inspection]")
    assert browser.locator("tr[data-inspection]").count() == PARTS
    browser.locator("#history-chart rect").first.wait_for(state="attached")
    browser.locator("#history-file textarea, #history-file input").fill(first.worst.file)
    browser.keyboard.press("Enter")
    browser.wait_for_function("document.querySelectorAll('tr[data-inspection]').length === 1")
    browser.get_by_role("button", name=first.worst.file).click()
    browser.locator("#history-story").get_by_text("only dust").wait_for()
    assert "anna" in browser.inner_text("#history-story")
    browser.click("#history-csv")
    with browser.expect_download() as downloading:
        browser.click("#history-download a")
    rows = list(csv.DictReader(io.StringIO(downloading.value.path().read_text())))
    assert [row["file"] for row in rows] == [first.worst.file]
    assert float(rows[0]["score"]) == first.worst.score
    browser.click("#history-check-drift")
    browser.wait_for_selector("#history-drift svg")
    browser.locator("#history-drift").get_by_text(f"{PARTS} parts").wait_for()
