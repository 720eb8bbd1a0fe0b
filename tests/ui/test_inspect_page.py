"""The page Inspect when things are many, broken, dropped elsewhere or changed meanwhile; in a real browser."""

from __future__ import annotations

import shutil
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from defectflow_ui.inspecting import exports
from inspecting import FILES, activate, decisions, drop, slide, wait_for
from playwright.sync_api import expect
from running import Running, Watch, Watched, listening

from defectflow.errors import StoreError
from defectflow.store import Seen
from defectflow.verdict.overlay import overlay
from defectflow.verdict.verdict import Verdict


def choose(page: Any, name: str) -> None:
    page.locator(f".tile[title='{name}']").click()
    page.wait_for_function("name => document.querySelector('#part .name')?.textContent == name", arg=name)


def press(page: Any, key: str) -> None:
    """A key that leads to another part."""
    before = page.locator("#part .name").inner_text()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(key)
    page.wait_for_function("before => document.querySelector('#part .name').textContent != before", arg=before)


def style(page: Any, selector: str, name: str) -> str:
    return str(page.locator(selector).evaluate("(one, name) => getComputedStyle(one)[name]", name))


def drag_in(page: Any, files: Sequence[Path]) -> None:
    """Drop files and folders onto the middle of the page, as from the desktop."""
    browser = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})


def zip_of(page: Any) -> zipfile.ZipFile:
    with page.expect_download() as archive:
        page.locator("#export-zip").click()
    return zipfile.ZipFile(archive.value.path())


def test_ten_drops_are_ten_pictures_in_the_zip(watched: Watched, local: Running, pictures: list[Path]) -> None:
    """One after the other, without waiting, as the camera takes them."""
    activate(local)
    page = watched.page
    watched.visit()
    page.wait_for_selector(FILES, state="attached")
    for path in pictures[:10]:
        page.set_input_files(FILES, [str(path)])
    wait_for(lambda: set(decisions(page)) == {path.name for path in pictures[:10]}, "every drop is judged")
    page.wait_for_function("!document.querySelector('progress')")
    with zip_of(page) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".jpg")]) == 10
    assert watched.complaints == []


def test_blend_and_zoom_stay_in_step_with_what_is_shown(judged: Watched) -> None:
    page = judged.page
    choose(page, "pen0.png")
    assert style(page, "#part .over", "opacity") == "0", "outlines first, heat on demand"
    page.locator("[data-blend]").fill("40")
    press(page, "ArrowRight")
    assert style(page, "#part .over", "opacity") == "0.4"
    assert page.locator("[data-blend]").input_value() == "40"
    for opacity in ("0", "0.4"):
        page.keyboard.press("h")
        assert style(page, "#part .over", "opacity") == opacity
    page.keyboard.press("+")
    assert style(page, "#part .layers", "transform").startswith("matrix(1.5,")
    slide(page, 0.5)
    page.wait_for_selector("#flips [data-reset]")
    assert style(page, "#part .layers", "transform").startswith("matrix(1.5,"), "asking what-if moves nothing"
    press(page, "ArrowRight")
    assert style(page, "#part .layers", "transform").startswith("matrix(1,")
    page.keyboard.press("+")
    assert style(page, "#part .layers", "transform").startswith("matrix(1.5,"), "and begins afresh from there"
    choose(page, "cut.png")
    choose(page, "pen1.png")
    assert style(page, "#part .over", "opacity") == "0.4"
    assert page.locator("[data-blend]").input_value() == "40"


def test_the_good_part_is_drawn_over_the_picture_up_to_a_slider(judged: Watched) -> None:
    page = judged.page
    choose(page, "pen0.png")
    page.locator("[data-split]").fill("40")
    clipped = "getComputedStyle(document.querySelector('.viewer .good')).clipPath"
    assert page.evaluate(clipped) == "inset(0px 60% 0px 0px)"
    expect(page.locator("[data-do=good]")).to_have_attribute("aria-pressed", "true")
    page.locator("[data-do=good]").click()
    assert page.evaluate("getComputedStyle(document.querySelector('.viewer .good')).opacity") == "0"
    expect(page.locator("[data-split]")).to_have_value("0")


def test_nothing_is_drawn_again_without_need(judged: Watched) -> None:
    page = judged.page

    def sources() -> list[str]:
        return list(page.eval_on_selector_all("#part img", "all => all.map(one => one.src)"))

    choose(page, "pen0.png")
    before = sources()
    assert len(before) == 5
    slide(page, 0.5)
    page.wait_for_selector("#flips [data-reset]")
    assert sources() == before
    press(page, "ArrowRight")
    assert sources() != before
    press(page, "ArrowLeft")
    assert sources() == before


def test_the_chosen_tile_is_marked_and_in_sight(judged: Watched) -> None:
    page = judged.page
    for key in ["ArrowRight"] * 17 + ["ArrowLeft"] * 3:
        press(page, key)
    page.wait_for_function(
        "document.querySelector('.tile[aria-pressed=true]').title == document.querySelector('#part .name').textContent"
    )
    assert page.locator(".tile[aria-pressed=true]").count() == 1
    boxes = page.evaluate(
        "['.gallery', '.tile[aria-pressed=true]'].map(one => document.querySelector(one).getBoundingClientRect())"
    )
    assert boxes[0]["top"] <= boxes[1]["top"]
    assert boxes[1]["bottom"] <= boxes[0]["bottom"]
    assert page.evaluate("document.querySelector('.gallery').scrollTop") > 0


def test_more_tiles_come_by_key(watched: Watched, local: Running, pictures: list[Path], monkeypatch: Any) -> None:
    monkeypatch.setattr("defectflow_ui.inspecting.inspection.TILES", 4)
    activate(local)
    page = watched.page
    watched.visit()
    drop(page, pictures[:7], tiles=4)
    assert "(4 of 7)" in page.locator("[data-more]").inner_text()
    page.locator("body").press("m")
    wait_for(lambda: len(decisions(page)) == 7, "the rest")
    assert page.locator("[data-more]").count() == 0


def test_a_broken_upload_is_sent_again_or_reported(watched: Watched, local: Running, pictures: list[Path]) -> None:
    activate(local)
    page, broken = watched.page, list[str]()

    def break_off(route: Any) -> None:
        name = route.request.url.rpartition("name=")[2]
        if "/lost" in route.request.url or (name == "pen1.png" and name in broken):
            route.continue_()
            return
        broken.append(name)
        route.abort()

    page.route(lambda url: "/drop/" in url and url.endswith(("name=pen0.png", "name=pen1.png")), break_off)
    watched.visit()
    drop(page, [*pictures[:2], *pictures[14:16]])
    seen = decisions(page)
    assert sorted(broken) == ["pen0.png", "pen0.png", "pen1.png"]
    assert seen["pen0.png"] == "error"
    assert seen["pen1.png"] in ("defect", "invalid")
    choose(page, "pen0.png")
    assert "did not arrive" in page.locator("#part").inner_text()


def test_the_numbers_beside_a_defect_are_the_verdicts(judged: Watched, local: Running, pictures: list[Path]) -> None:
    page = judged.page
    for path in pictures[14:19]:
        (verdict,) = local.station.bundles.inspector().inspect([path])
        assert isinstance(verdict, Verdict)
        if regions := verdict.regions():
            break
    choose(page, path.name)
    shown = page.eval_on_selector_all(
        "#part .place", "all => all.map(card => [...card.children].map(one => one.textContent).filter(Boolean))"
    )
    assert shown == [
        [
            str(number),
            f"{one.peak / verdict.pixel_threshold:.1f} × the limit for places",
            f"{one.width_px} × {one.height_px} px",
            f"at {one.left_px}, {one.top_px}; {one.area_px:,} px²",
        ]
        for number, one in enumerate(regions[:8], start=1)
    ]
    assert page.locator("#part .outlines polygon:not(.under)").count() >= len(regions[:8])
    page.locator("#part .place").first.click()
    number, picture = (page.locator(f"#part .{one} >> nth=0") for one in ("outlines text", "viewer"))
    inside, box = number.bounding_box(), picture.bounding_box()
    assert box["x"] <= inside["x"] <= box["x"] + box["width"], "a click zooms to its place"
    assert style(page, "#part .layers", "transform") != "matrix(1, 0, 0, 1, 0, 0)"
    page.locator("#part .place").first.click()
    assert style(page, "#part .layers", "transform") == "matrix(1, 0, 0, 1, 0, 0)"
    numbers = page.locator("#part .numbers b").all_inner_texts()
    assert numbers == [f"{n:.3f}" for n in (verdict.score, verdict.threshold, verdict.review_threshold)]


def test_a_camera_needs_encryption_and_the_page_says_so(watched: Watched, local: Running) -> None:
    """As a browser on another machine has it, over http."""
    activate(local)
    page = watched.page
    page.add_init_script(
        "Object.defineProperty(window, 'isSecureContext', {value: false});"
        "Object.defineProperty(navigator, 'mediaDevices', {value: undefined});"
    )
    watched.visit()
    page.locator("[data-camera]").click()
    page.wait_for_function("document.querySelector('#drop-zone .problem').textContent.includes('https://')")
    assert "TypeError" not in page.locator("#drop-zone").inner_text()
    assert watched.complaints == []


def test_a_folder_is_dropped_with_what_lies_in_it(
    watched: Watched, local: Running, pictures: list[Path], tmp_path: Path
) -> None:
    activate(local)
    folder = tmp_path / "shift"
    (folder / "late").mkdir(parents=True)
    shutil.copy(pictures[0], folder / "a.png")
    shutil.copy(pictures[1], folder / "late" / "b.png")
    shutil.copy(pictures[1], folder / "late" / "._b.png")
    (folder / "Thumbs.db").write_bytes(b"no picture")
    page = watched.page
    watched.visit()
    page.wait_for_selector(FILES, state="attached")
    drag_in(page, [folder])
    wait_for(lambda: set(decisions(page)) == {"shift/a.png", "shift/late/b.png"}, "the folder's pictures")
    for name in ("a.png", "late/b.png"):
        (folder / name).unlink()
    drag_in(page, [folder])
    page.wait_for_function("document.querySelector('#drop-zone .problem').textContent.includes('No picture lies in')")
    drag_in(page, [pictures[2], pictures[-1]])
    wait_for(lambda: len(decisions(page)) == 4, "and then single files")


def test_files_that_are_dropped_elsewhere_do_not_leave_the_station(
    watched: Watched, local: Running, pictures: list[Path]
) -> None:
    activate(local)
    page = watched.page
    watched.visit()
    page.wait_for_selector(FILES, state="attached")
    page.get_by_role("tab", name="Models").click()
    page.wait_for_selector("[data-bundle=ring]")
    drag_in(page, pictures[:1])
    # Headless, the browser stays where it is in any case; elsewhere it stays only if the page has taken the event.
    left_to_the_browser = page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(['x'], 'a.png'));
            return ['dragover', 'drop'].filter((kind) => document.body.dispatchEvent(
                new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true})));
        }"""
    )
    assert left_to_the_browser == []
    assert not any(url.endswith("/drop") for url in watched.asked), "nothing here takes pictures"


def test_another_model_meanwhile_is_reported(judged: Watched, local: Running, pictures: list[Path]) -> None:
    bundles, page = local.station.settings.bundles, judged.page
    shutil.copytree(bundles / "ring", bundles / "ring2")
    try:
        local.station.bundles.activate("ring2", by="test", reason="test")
        drop(page, pictures[:1])
        assert "20 pictures of before were cleared here" in page.locator("#inspect-status").inner_text()
    finally:
        activate(local)
        shutil.rmtree(bundles / "ring2")


def test_what_cannot_be_recorded_leaves_a_finished_page(
    watched: Watched, local: Running, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    activate(local)
    page, record = watched.page, local.station.store.record

    def once(card: Any, seen: list[Seen], **how: Any) -> list[int]:
        monkeypatch.setattr(local.station.store, "record", full)
        return record(card, seen, **how)

    def full(*_: Any, **__: Any) -> list[int]:
        raise StoreError("inspections.db: the disk is full; make room")

    monkeypatch.setattr(local.station.store, "record", once)
    watched.visit()
    drop(page, pictures, tiles=1)
    said = page.locator("#inspect-status").inner_text()
    assert "1 picture judged" in said
    assert "the disk is full" in said
    monkeypatch.undo()
    drop(page, pictures[1:3], tiles=3)
    assert "the disk is full" not in page.locator("#inspect-status").inner_text()


def test_an_export_can_be_stopped(
    judged: Watched, local: Running, monkeypatch: pytest.MonkeyPatch, pictures: list[Path]
) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def held(*of: Any) -> Any:
        """All but the first picture wait for the click: the page shows a way to stop once one is done."""
        if begun.is_set():
            stopped.wait(60)
        begun.set()
        return overlay(*of)

    page = judged.page
    monkeypatch.setattr(exports, "overlay", held)
    page.locator("#export-zip").click()
    page.locator("#inspect-download [data-stop]").click()
    stopped.set()
    page.wait_for_function("document.querySelector('#inspect-download').textContent.includes('no ZIP was made')")
    monkeypatch.undo()
    with zip_of(page) as archive:
        assert len(archive.namelist()) == len(pictures), "the table, and a picture of all but the damaged one"


def test_without_a_model_the_page_says_what_to_do(watch: Watch, bundles: Callable[[], Path]) -> None:
    folder = bundles()
    shutil.rmtree(folder / "ring")
    with listening(folder) as running:
        watched = watch(running)
        watched.visit()
        watched.page.wait_for_selector("#drop-zone .empty")
        said = watched.page.locator("#page-inspect").inner_text()
        assert "Nothing to inspect with yet" in said
        assert "above" not in said, "there is no drop zone to point at"
        assert "Click one" not in said
        watched.context.close()


@pytest.mark.parametrize("size", [(1280, 800), (820, 1180)])
def test_a_judged_page_fits_a_screen_and_a_tablet(
    watch: Watch, local: Running, pictures: list[Path], size: tuple[int, int]
) -> None:
    activate(local)
    watched = watch(local, size)
    page = watched.page
    watched.visit()
    drop(page, pictures)
    choose(page, "pen0.png")
    page.wait_for_function("[...document.querySelectorAll('#part .viewer img')].every(one => one.naturalWidth > 0)")
    page.evaluate("window.scrollTo(0, 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for selector in (".tile >> nth=0", ".viewer", "#what-if"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0], selector
        assert box["y"] + min(box["height"], 200) <= size[1], f"{selector} is in sight without scrolling"
