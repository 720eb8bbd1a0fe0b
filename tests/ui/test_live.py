"""The page Live: what the line inspects is shown as it comes, with figures that are true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import gradio as gr
from defectflow_ui.pages import live_view
from defectflow_ui.pages.live import BEFORE, LivePage
from desk import Desk
from playwright.sync_api import expect
from running import Running, Watched
from store_support import card_of, record_parts, verdict

from defectflow.bundle import file_digest
from defectflow.line import Inspector
from defectflow.store import Seen, Store

CARD = card_of([n / 39 for n in range(39)])


def test_figures_are_of_parts_and_pictures(tmp_path: Path) -> None:
    """Takt is between parts, however many pictures each has; a pause does not count as takt."""
    with Store.open(str(tmp_path / "s.db")) as store:
        record_parts(store, CARD, {"a": 0.1})
        (row,) = store.history.search()
    seconds = [0, 1, 10, 11, 20, 3600, 3610]
    parts = ["a", "a", "b", "b", "c", "d", "e"]
    rows = [
        replace(row, part=part, at=row.at + timedelta(seconds=after), milliseconds=float(after + 1))
        for part, after in zip(parts, seconds, strict=True)
    ]
    newest_first = rows[::-1]
    assert live_view.takt_s(newest_first) == 10
    assert live_view.takt_s(newest_first[-4:]) is None, "of two parts nobody knows the takt"
    assert live_view.takt_s([replace(row, part=part) for part in "abcd"]) is None, "a drop of pictures is no line"
    assert live_view.slowest_ms(newest_first) == 3611
    assert live_view.slowest_ms([replace(row, milliseconds=None)]) is None


def test_nothing_is_sent_while_nothing_is_written(bundles: Callable[[], Path], pictures: list[Path]) -> None:
    """And pictures that are shown no more are served no more."""
    desk = Desk(bundles())
    page = next(one for one in desk.station.opening if isinstance(getattr(one["fn"], "__self__", None), LivePage))["fn"]
    request = desk.request()

    def look(hours: str = "8") -> Any:
        return page.__self__.look(request, gr.EventData(None, None), hours)

    try:
        store = desk.station.store
        assert "Nothing was inspected yet" in look()
        assert look() == gr.skip()
        for number in range(BEFORE + 5):
            said = verdict(CARD, 0.1 * number, sha256=file_digest(pictures[0]))
            store.record(CARD, [Seen(f"{number}.png", said, picture=pictures[0])], by="line1", source="serve")
            board = look()
            assert f"{number}.png" in board and look() == gr.skip()
        assert look("1") != gr.skip()
        assert board.count("<img") == BEFORE + 1
        assert len(desk.session.served._items) == BEFORE + 1
    finally:
        desk.station.close()


def test_what_comes_is_shown_by_itself(watched: Watched, local: Running, pictures: list[Path]) -> None:
    page, store = watched.page, local.station.store
    local.station.bundles.activate("ring", by="test", reason="a test")
    inspector = Inspector(local.station.bundles.active(), threads=1)
    watched.visit("Live")

    def inspect(path: Path, part: str) -> None:
        (item,) = inspector.inspect([path])
        store.record(inspector.card, [Seen(path.name, item, part=part, picture=path)], by="line1", source="serve")

    inspect(pictures[0], "17")
    expect(page.locator("#live .live-part")).to_contain_text("part 17")
    inspect(pictures[14], "18")
    expect(page.locator("#live .live-verdict")).to_contain_text("Defect")
    expect(page.locator("#live .live-part")).to_contain_text("part 18")
    page.wait_for_function("document.querySelector('.live-newest img')?.naturalWidth > 0")
    assert page.locator("#live .live-newest rect").count() >= 1
    expect(page.locator("#live .live-before figure")).to_have_count(1)
    shown = page.evaluate("parseFloat(getComputedStyle(document.querySelector('.live-verdict')).fontSize)")
    assert shown >= 60, "to be read from three metres"
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    assert watched.complaints == []
