"""The station as a person meets it: in a real browser, with a real model."""

from __future__ import annotations

import csv
import io
import re
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from defectflow_ui.visits import visitors
from inspecting import activate, decisions, drop, slide, wait_for
from PIL import Image
from playwright.sync_api import expect
from running import PASSWORD, Running, Watch, Watched, free_port, listening
from support import DEFECTFLOW

from defectflow.store import Query, Role


def test_twenty_pictures_give_twenty_verdicts(judged: Watched, local: Running, pictures: list[Path]) -> None:
    page = judged.page
    seen = decisions(page)
    assert set(seen) == {path.name for path in pictures}
    expected = local.station.bundles.inspector().inspect(pictures[:-1])
    for path, verdict in zip(pictures[:-1], expected, strict=True):
        assert seen[path.name] == verdict.decision.word  # type: ignore[union-attr]
    assert seen["cut.png"] == "error"
    assert {seen[f"pen{n}.png"] for n in range(5)} <= {"defect", "invalid"}, seen
    page.locator(".tile[title='cut.png']").click()
    page.wait_for_function("document.querySelector('#part .problem')")
    said = page.locator("#part").inner_text()
    assert "cut.png: damaged" in said
    assert "defectflow-drop" not in said, "the station's own files are nobody's business"
    recorded = local.station.store.history.search(Query(limit=100))
    assert {one.file for one in recorded} >= set(seen)
    assert {one.source for one in recorded} == {"ui"}


def test_a_defect_is_shown_with_all_that_is_known(judged: Watched, local: Running) -> None:
    page = judged.page
    page.locator(".tile[title='pen0.png']").click()
    page.wait_for_function("document.querySelector('#part .name').textContent == 'pen0.png'")
    said = page.locator("#part").inner_text()
    parts = local.station.bundles.inspector().card.require_calibration().parts
    assert f"None of the {parts} calibration parts looks this unusual" in said
    assert page.locator("#part .place").count() >= 1
    page.wait_for_function("[...document.querySelectorAll('#part img')].every(one => one.naturalWidth > 0)")
    assert page.locator("#part .beside img").count() == 2
    over = page.locator("#part .over")
    for value, opacity in ((0, "0"), (100, "1")):
        page.locator("[data-blend]").fill(str(value))
        assert over.evaluate("one => getComputedStyle(one).opacity") == opacity
    page.keyboard.press("+")
    zoomed = page.locator("#part .layers").evaluate("one => getComputedStyle(one).transform")
    assert zoomed.startswith("matrix(1.5,")


def test_the_what_if_slider_flips_verdicts_and_saves_nothing(judged: Watched, local: Running) -> None:
    page = judged.page
    before = decisions(page)
    rows = {one.file: one for one in local.station.store.history.search(Query(limit=100))}
    fine = sorted(rows[name].score or 0 for name in before if before[name] == "ok")
    cut = (fine[-1] + fine[-2]) / 2
    slide(page, cut)
    page.wait_for_selector("#flips [data-reset]")
    wait_for(lambda: decisions(page) != before, "no verdict flips")
    after = decisions(page)
    for name in before:
        above = (rows[name].score or 0) > cut
        assert after[name] == ("defect" if before[name] in ("ok", "review") and above else before[name])
    flipped = [name for name in before if before[name] != after[name]]
    assert flipped
    assert f"{len(flipped)} picture" in page.locator("#flips").inner_text()
    page.locator("[data-only=flip]").click()
    wait_for(lambda: set(decisions(page)) == set(flipped), "the filter shows what would change")
    page.locator("[data-reset]").click()
    wait_for(lambda: decisions(page) == before, "back to the recorded verdicts")
    assert local.station.bundles.active().card.calibration_id == rows["pen0.png"].calibration_id


def test_sorting_filtering_and_keys(judged: Watched) -> None:
    page = judged.page
    assert next(iter(decisions(page).values())) == "error", "somebody has to see to it"
    judged_tiles = ".tile:not(.error):not(.invalid) .score"
    scores = page.eval_on_selector_all(judged_tiles, "all => all.map(one => Number(one.textContent))")
    assert len(scores) > 10
    assert scores == sorted(scores, reverse=True)
    page.locator("[data-only=defect]").click()
    wait_for(lambda: set(decisions(page).values()) == {"defect"}, "only defects")
    page.locator("body").press("a")
    wait_for(lambda: len(decisions(page)) == 20, "all again")
    first = page.locator("#part .name").inner_text()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("before => document.querySelector('#part .name').textContent != before", arg=first)
    page.keyboard.press("?")
    assert "previous, next picture" in page.locator("#station-keys").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#station-keys").count() == 0
    was_dark = page.evaluate("document.body.classList.contains('dark')")
    page.keyboard.press("Shift+D")
    assert page.evaluate("document.body.classList.contains('dark')") != was_dark


def test_exports(judged: Watched, pictures: list[Path]) -> None:
    page = judged.page
    page.locator("#export-csv").click()
    with page.expect_download() as table:
        page.locator("#inspect-download a").click()
    rows = list(csv.DictReader(io.StringIO(Path(table.value.path()).read_text(encoding="utf-8"))))
    assert {row["file"]: row["decision"] for row in rows} == decisions(page)
    page.locator("#export-zip").click()
    page.wait_for_function("document.querySelector('#inspect-download a')?.textContent.includes('ZIP')")
    with page.expect_download() as archive:
        page.locator("#inspect-download a").click()
    with zipfile.ZipFile(archive.value.path()) as opened:
        names = opened.namelist()
        assert "results.csv" in names
        drawn = [name for name in names if name.endswith(".jpg")]
        assert len(drawn) == len(pictures) - 1
        assert any(re.fullmatch(r"defect/\d+-pen0\.jpg", name) for name in drawn)
        with Image.open(opened.open(drawn[0])) as picture:
            assert picture.size == Image.open(pictures[0]).size


def test_a_zip_and_the_camera(watched: Watched, local: Running, pictures: list[Path], tmp_path: Path) -> None:
    activate(local)
    batch = tmp_path / "batch.zip"
    with zipfile.ZipFile(batch, "w") as archive:
        for path in pictures[:3]:
            archive.write(path, path.name)
    page = watched.page
    watched.visit()
    drop(page, [batch], tiles=3)
    assert set(decisions(page)) == {f"batch.zip/{path.name}" for path in pictures[:3]}
    page.locator("[data-camera]").click()
    page.wait_for_function("document.querySelector('.camera video')?.videoWidth > 0")
    page.locator(".camera button").click()
    wait_for(lambda: "camera-001.png" in decisions(page), "the camera's picture joins the others")
    assert decisions(page)["camera-001.png"] == "invalid", "the camera's test pattern is no ring"
    expect(page.locator(".camera-result")).to_have_text("NG")
    page.locator(".camera select").select_option("1")
    wait_for(lambda: "camera-003.png" in decisions(page), "a picture every second")
    page.locator("[data-camera]").click()
    expect(page.locator(".camera video")).not_to_be_attached()


def test_a_camera_that_waits_for_something_to_move(watched: Watched, local: Running) -> None:
    """Its stream is a drawing: what has moved and lies still is taken once, and what moves on is not."""
    activate(local)
    page = watched.page
    watched.visit()
    page.evaluate(
        """() => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 320, height: 240});
            const context = canvas.getContext('2d');
            window.part = 0;
            setInterval(() => {
                context.fillStyle = '#222';
                context.fillRect(0, 0, 320, 240);
                context.fillStyle = '#ddd';
                context.fillRect(window.part === 'moves' ? (performance.now() / 2) % 320 : window.part, 40, 150, 150);
            }, 40);
            navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(25);
        }"""
    )
    page.locator("[data-camera]").click()
    page.wait_for_function("document.querySelector('.camera video')?.videoWidth > 0")
    page.locator(".camera select").select_option("motion")
    page.wait_for_timeout(1500)
    assert not decisions(page), "nothing has moved"
    page.evaluate("window.part = 'moves'")
    page.wait_for_timeout(1500)
    assert not decisions(page), "it moves all the time"
    page.evaluate("window.part = 120")
    expect(page.locator(".camera-result")).to_have_text(re.compile("OK|NG|LOOK"))
    page.wait_for_timeout(1500)
    assert len(decisions(page)) == 1


def test_nothing_leaves_this_machine_and_nothing_goes_wrong(judged: Watched, local: Running) -> None:
    page = judged.page
    page.get_by_role("tab", name="Models").click()
    page.wait_for_selector("[data-bundle=ring]")
    assert judged.outside(local) == []
    assert judged.complaints == []
    assert any(url.startswith(f"{local.url}/gradio_api") for url in judged.asked)


def folders(running: Running) -> set[Path]:
    """Of all drops that are still there."""
    all_of_them = (drop.folder for session in running.station.sessions for drop in session.drops.values())
    return {folder for folder in all_of_them if folder.exists()}


def test_pictures_are_removed_with_the_tab(
    watch: Watch, local: Running, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a moment: a page that is only loaded anew takes them over."""
    monkeypatch.setattr(visitors, "LEFT_S", 1.0)
    activate(local)
    before = folders(local)
    watched = watch(local)
    watched.visit()
    drop(watched.page, pictures[:2])
    there = folders(local) - before
    assert there
    watched.context.close()
    wait_for(lambda: not any(folder.exists() for folder in there), "the drop's folder is still there")


def test_the_command_serves(browser: Any, bundles: Callable[[], Path], pictures: list[Path]) -> None:
    """The real process."""
    folder, port = bundles(), free_port()
    command = [str(DEFECTFLOW), "ui", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        context = browser.new_context(base_url=f"http://127.0.0.1:{port}")
        page = context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        for attempt in range(60):
            try:
                page.goto("/")
                break
            except Exception:
                assert attempt < 59, "the station does not answer"
                time.sleep(0.5)
        drop(page, pictures)
        page.locator("#inspect-clear").click()
        page.wait_for_function("document.querySelectorAll('.tile').length == 0")
        context.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) is not None


def test_a_viewer_sees_and_may_not(watch: Watch, bundles: Callable[[], Path]) -> None:
    with listening(bundles(), (("viewer", Role.VIEWER),)) as running:
        activate(running)
        watched = watch(running)
        page = watched.page
        page.goto("/")
        page.wait_for_url("**/sign-in")
        page.fill("[name=name]", "viewer")
        page.fill("[name=password]", "wrong password")
        page.click("button")
        assert "wrong" in page.locator(".problem").inner_text()
        page.fill("[name=name]", "viewer")
        page.fill("[name=password]", PASSWORD)
        page.click("button")
        page.wait_for_selector("#drop-zone .empty")
        assert "needs the role operator" in page.locator("#drop-zone").inner_text()
        for name, told in (("Train", "#train-state"), ("Calibrate", "#calibrate-histogram")):
            page.get_by_role("tab", name=name).click()
            page.locator(told).get_by_text("For engineers").wait_for()
            form = page.locator(f"#page-{name.lower()} :is(input, button, textarea):visible")
            page.wait_for_function(
                "tab => ![...document.querySelectorAll(`#page-${tab} :is(input, button, textarea)`)]"
                ".some((one) => one.offsetParent !== null)",
                arg=name.lower(),
            )
            assert form.count() == 0, "a form that this role may not use is not shown"
        page.get_by_role("tab", name="Models").click()
        page.locator("[data-bundle=ring]").click()
        page.wait_for_selector("#card table")
        assert page.locator("#activate").is_disabled()
        page.evaluate("document.querySelector('#activate').disabled = false")
        page.locator("#activate").click()
        page.wait_for_function("document.body.innerText.includes(\"needs the role 'engineer'\")")
        page.click("text=Sign out")
        page.wait_for_url("**/sign-in")
        watched.context.close()


def test_models_are_reported_compared_and_verified(watched: Watched, local: Running) -> None:
    page = watched.page
    watched.visit("Models")
    page.locator("[data-bundle=swatch]").click()
    page.wait_for_function("document.querySelector('#card h3')?.firstChild.textContent.trim() == 'swatch'")
    assert "Uncalibrated" in page.locator("#card").inner_text()
    page.locator("[data-bundle=ring]").click()
    page.wait_for_function("document.querySelector('#card h3')?.firstChild.textContent.trim() == 'ring'")
    card = local.station.bundles.find("ring").card
    for sentence in card.guarantee():
        assert sentence in page.locator("#card").inner_text()
    page.locator("#compare input").click()
    page.get_by_role("option", name="swatch").click()
    page.wait_for_function("document.querySelectorAll('#card h3').length == 2")
    assert page.locator("#card .differs").count() > 3
    page.locator("#verify").click()
    page.wait_for_selector("#card .said", timeout=90_000)
    assert "intact" in page.locator("#card").inner_text()
    with page.expect_download() as model:
        page.locator("#card a.link-button").first.click()
    assert Path(model.value.path()).read_bytes() == local.station.bundles.find("ring").model.read_bytes()


def test_a_tablet_scrolls_down_and_not_sideways(watch: Watch, local: Running) -> None:
    activate(local)
    for width, height in ((1280, 800), (1024, 768), (810, 1080)):
        watched = watch(local, (width, height))
        watched.visit()
        watched.page.wait_for_selector("#drop-zone .drop-zone")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        watched.context.close()
