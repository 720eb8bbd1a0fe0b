"""Review and History in a real browser: ten answers by keyboard, thresholds from them, and the way back."""

from __future__ import annotations

import csv
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspecting import keep
from running import Running, Watch, Watched, call, listening
from support import swatches

from defectflow.bundle import file_digest, open_bundle
from defectflow.line import Inspector
from defectflow.line.recalibrate import recalibrate
from defectflow.store import Inspection, Query, Role, Seen, Store, StoreSettings
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
def page(watch: Watch, inspected: Path) -> Iterator[tuple[Watched, Running]]:
    with listening(inspected) as running:
        watched = watch(running)
        watched.visit()
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
    write(browser, "k", "scratch", "Enter")
    write(browser, "t", "left edge", "Escape")  # out of the text, so that keys count again
    press(browser, "d")
    for text in ("kind", "comment"):  # or the next part would silently get them as well
        browser.wait_for_function("of => document.querySelector(`#review-answers [data-${of}]`).value === ''", arg=text)
    for key in "ns":
        press(browser, key)
    answers = [part.review for part in store.reviews.parts(card.bundle_id) if part.review is not None]
    assert [str(review.answer) for review in answers] == [*["good"] * 7, "defective", "not this part", "skip"]
    assert (answers[7].kind, answers[7].comment, answers[7].by) == ("scratch", "left edge", "local")
    browser.get_by_text("30 waiting: 30 randomly sampled, 0 in the grey band").wait_for()
    press(browser, "u")
    browser.get_by_text("31 waiting").wait_for()
    # Thirty answers are missing: refused, with the reason.
    browser.get_by_text("New thresholds from these answers").click()
    browser.locator("#review-drawn").get_by_text("31 unanswered, 0 skipped. At most 5% may lack").wait_for()
    browser.locator("#review-drawn").get_by_text("29 more answers are needed").wait_for()
    browser.click("#review-preview")
    browser.get_by_text("31 of 40 sampled parts have no answer").wait_for()
    since = browser.get_by_label("Count parts first seen since")
    since.fill("2999-01-01")
    browser.click("#review-preview")
    browser.get_by_text("of 0 that were").wait_for()
    since.fill("last week")
    browser.click("#review-preview")
    browser.locator("#review-drawn").get_by_text("'last week' is no day").wait_for()
    since.fill("")
    for part in store.reviews.queue(card.bundle_id, limit=PARTS):
        store.reviews.answer(part.worst.id, "good", by="test")
    browser.locator("#review-rate input").fill("10")
    browser.keyboard.press("Tab")
    browser.click("#review-preview")
    browser.locator(".proposal").get_by_text("38 good, 1 defective, 1 not this part, 0 without an answer").wait_for()
    browser.locator(".proposal").get_by_text("no rate is promised").wait_for()  # 10% was typed after looking
    flips = browser.locator("[data-flip]").count()
    assert flips > 0
    assert browser.locator("[data-flip] img").count() == flips, "a thumbnail each"
    assert file_digest(bundle / "model.onnx") == model
    browser.click("#review-discard")
    browser.get_by_text("Discarded").wait_for()
    browser.click("#review-preview")
    browser.wait_for_selector(".proposal")
    browser.click("#review-apply")  # without a name: said at the fields, and nothing covers them
    for field in ("name", "reason"):
        browser.locator(f"#review-{field}").get_by_text("Please fill this in").wait_for()
    assert browser.locator(".wrap .error:visible").count() == 0
    browser.locator("#review-name").locator("input, textarea").fill("June")
    browser.locator("#review-reason").locator("input, textarea").fill("false alarms")
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
    watched.page.get_by_text("was answered meanwhile").wait_for()
    assert len(store.reviews.queue(bundle_id, limit=100)) == PARTS - 1
    assert store.reviews.of_part(bundle_id, first.part)[0].by == "somebody else"


def write(page: Any, key: str, text: str, leave: str) -> None:
    """Into the text that a key leads to, and out of it."""
    page.keyboard.press(key)
    page.keyboard.type(text)
    page.keyboard.press(leave)


def test_a_page_works_though_its_script_comes_late(page: tuple[Watched, Running]) -> None:
    watched, running = page
    watched.context.route("**/station.js", lambda route: (time.sleep(2), route.continue_()))
    watched.reload()
    watched.page.get_by_role("tab", name="Review").click()
    watched.page.wait_for_selector("[data-reviewed]")
    watched.page.wait_for_function("window.station")
    press(watched.page, "g")
    assert len(running.station.store.reviews.latest()) == 1


def test_any_verdict_can_be_contradicted_on_inspect_and_in_history(
    page: tuple[Watched, Running], tmp_path: Path
) -> None:
    """Not drawn and not in the grey band: nobody asks, and yet everybody may answer, change it, and take it back."""
    watched, running = page
    browser, store = watched.page, running.station.store
    store.configure(StoreSettings(review=ReviewSettings(audit_rate=0.0)), by="test")
    bundle_id = running.station.bundles.active().card.bundle_id
    bar = browser.locator("#inspect-answers")
    browser.wait_for_selector("#drop-zone input[type=file]", state="attached")
    keep(browser)
    browser.set_input_files(
        "#drop-zone input[type=file]", [str(path) for path in sorted(swatches(tmp_path / "new", 2, 900).iterdir())]
    )
    browser.wait_for_selector("#what-if input[type=range]")
    browser.locator(".tile[title='001.png']").click()
    bar.get_by_text("001.png").wait_for()
    newest = next(item for item in store.history.search(Query(limit=2)) if item.file == "001.png")

    def standing() -> tuple[str, str | None, str | None] | None:
        found = store.reviews.standing(bundle_id, newest.part)
        return None if found is None else (str(found.answer), found.kind, found.comment)

    write(browser, "k", "scratch", "Enter")
    write(browser, "t", "left edge", "Escape")
    browser.keyboard.press("d")
    bar.get_by_text("defective (scratch), said somebody at this station").wait_for()
    assert standing() == ("defective", "scratch", "left edge")
    assert bar.locator("[aria-pressed=true]").inner_text().startswith("Defective")
    browser.locator("#part").get_by_text("left edge").wait_for()
    browser.keyboard.press("g")
    bar.get_by_text("good, said somebody at this station").wait_for()
    assert standing() == ("good", None, None)
    browser.keyboard.press("u")
    bar.get_by_text("defective (scratch), said somebody at this station").wait_for()
    write(browser, "t", "of the first one", "Escape")
    browser.locator(".tile[title='000.png']").click()
    bar.get_by_text("000.png").wait_for()
    bar.get_by_text("Nobody has answered yet").wait_for()
    browser.wait_for_function("document.querySelector('#inspect-answers [data-comment]').value === ''")
    assert standing() == ("defective", "scratch", "left edge"), "another part is another answer"
    # Long afterwards, in History.
    bar = browser.locator("#history-answers")
    browser.get_by_role("tab", name="History").click()
    browser.locator(f"tr[data-inspection='{newest.id}']").click()
    bar.get_by_text("defective (scratch), said somebody at this station").wait_for()
    write(browser, "t", "seen again", "Enter")
    browser.keyboard.press("w")
    browser.locator("#history-story").get_by_text("seen again").wait_for()
    assert standing() == ("defective", "scratch", "left edge"), "a comment is no answer"
    store.reviews.answer(newest.id, "good", by="somebody else")
    browser.keyboard.press("n")
    bar.get_by_text("was answered meanwhile").wait_for()
    bar.get_by_text("good, said somebody else").wait_for()
    browser.keyboard.press("n")
    bar.get_by_text("not this part, said somebody at this station").wait_for()
    assert len(store.reviews.queue(bundle_id, limit=100)) == PARTS, "and the queue is as it was"
    browser.get_by_role("tab", name="Review").click()
    browser.wait_for_selector("[data-reviewed]")
    browser.keyboard.press("u")
    browser.get_by_text("You have no answer to take back").wait_for()
    assert standing() == ("not this part", None, None), "Review takes back what was said on Review"
    assert store.verify().passed


def test_a_part_drawn_by_lot_is_judged_blind_and_from_all_sides(page: tuple[Watched, Running], tmp_path: Path) -> None:
    watched, running = page
    browser, store = watched.page, running.station.store
    inspector = running.station.bundles.inspector()
    paths = sorted(swatches(tmp_path / "sides", 3, 950).iterdir())
    seen = zip(paths, inspector.inspect(paths), strict=True)
    store.record(inspector.card, [Seen(path.name, item, "sides", path) for path, item in seen], by="t", source="t")
    (part,) = (one for one in store.reviews.parts(inspector.card.bundle_id) if one.part == "sides")
    if part.decision == "review":
        pytest.skip("this model is unsure about it, so nothing is hidden")
    for other in store.reviews.queue(inspector.card.bundle_id, limit=PARTS + 1):
        if other.part != "sides":
            store.reviews.answer(other.worst.id, "good", by="test")
    browser.get_by_role("tab", name="Review").click()
    shown = browser.locator("[data-reviewed=sides]")
    shown.locator(".views .tile").nth(2).wait_for()
    assert shown.locator(".badge, .over, [data-blend], .score").count() == 0
    assert browser.locator("#review-queue .badge, #review-queue .score").count() == 0
    assert f"{part.worst.score:.3f}" not in shown.inner_text()
    shown.get_by_text("shown once you have answered").wait_for()
    assert shown.locator(".part-head .name").inner_text() == "000.png", "the first picture, not the worst"
    browser.keyboard.press("ArrowRight")
    shown.locator(".part-head .name", has_text="001.png").wait_for()
    shown.locator(".views .tile").nth(2).click()
    shown.locator(".part-head .name", has_text="002.png").wait_for()
    browser.keyboard.press("g")
    told = browser.locator("#review-answers")
    told.get_by_text("The model says").wait_for()
    assert told.locator(f".badge.{part.decision}").count() == 1
    assert store.reviews.standing(inspector.card.bundle_id, "sides") is not None


def test_an_answer_looks_at_few_pictures(inspected: Path) -> None:
    """Thumbnails are found and checked once for a tab, not once for each key that is pressed."""
    with listening(inspected) as running:
        store, client = running.station.store, running.client()
        waiting = store.reviews.queue(running.station.bundles.active().card.bundle_id, limit=3)
        looked, find = list[int](), store.picture

        def counted(inspection: Inspection) -> Path | None:
            looked.append(inspection.id)
            return find(inspection)

        store.picture = counted  # type: ignore[method-assign]
        for part, most in zip(waiting, (20, 3, 3), strict=True):
            looked.clear()
            assert call(client, "review-answers", "answer", [False], {"answer": f"{part.worst.id} 0 good"})["success"]
            assert 0 < len(looked) <= most


def test_a_viewer_answers_and_recalibrates_nothing(inspected: Path) -> None:
    with listening(inspected, tuple((role.value, role) for role in Role)) as running:
        store = running.station.store
        bundle_id = running.station.bundles.active().card.bundle_id
        shown = store.reviews.queue(bundle_id)[0].worst.id
        answer = {"answer": f"{shown} 0 good"}
        viewer, operator = running.client("viewer"), running.client("operator")
        for bar, values in (("review-answers", [False]), ("inspect-answers", []), ("history-answers", [])):
            refused = call(viewer, bar, "answer", values, answer)
            assert "needs the role 'operator'" in refused["output"]["error"]
        assert store.reviews.latest() == []
        for nonsense in ("", "x 0 good", f"{shown} 0 perfect", f"{2**64} 0 good", f"{shown} 0 take back"):
            assert not call(operator, "history-answers", "answer", [], {"answer": nonsense})["success"]
        assert store.reviews.latest() == []
        assert call(operator, "review-answers", "answer", [False], answer)["success"]
        assert [review.by for review in store.reviews.latest()] == ["operator"]
        for client in (viewer, operator):
            assert not call(client, "review-preview", "click", [10, "", False])["success"]
            assert not call(client, "review-apply", "click", [False, "June", "why"])["success"]
            version = store.versions.all(bundle_id)[0].name
            assert not call(client, "review-versions", "version", [False], {"version": version})["success"]
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
    browser.locator("#history-story .viewer img").first.wait_for()
    browser.locator("#history-story [data-do=heat]").click()
    browser.locator("#history-story [data-shot]").click()
    browser.locator("#history-story [data-shot][aria-pressed=true]").wait_for()
    browser.click("#history-csv")
    with browser.expect_download() as downloading:
        browser.click("#history-download a")
    rows = list(csv.DictReader(io.StringIO(downloading.value.path().read_text())))
    assert [row["file"] for row in rows] == [first.worst.file]
    assert float(rows[0]["score"]) == first.worst.score
    browser.click("#history-check-drift")
    browser.wait_for_selector("#history-drift svg")
    browser.locator("#history-drift").get_by_text(f"{PARTS} parts").wait_for()
