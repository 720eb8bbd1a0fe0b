"""Every page on a phone, a tablet, a wide screen, and at 200% of a small one: nothing lies on anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defectflow_ui.pages import PAGES
from inspecting import activate, drop
from running import Running, Watched

from defectflow.store import Answer, Query

SIZES = {"phone": (360, 740), "tablet": (768, 1024), "wide": (1440, 900), "200% of 1280 x 800": (640, 400)}
OVERLAPS = (Path(__file__).parent / "overlaps.js").read_text(encoding="utf-8").partition("\n() =>")
MEASURE = f"() =>{OVERLAPS[2]}"
OPEN = """name => {
    const named = [...document.querySelectorAll('#station-tabs button')].filter(tab => tab.textContent.trim() === name);
    (named.find(tab => tab.role === 'tab') || named.at(-1)).click();
}"""
"""Tabs that have no room stand in a menu."""


def lying_on_each_other(page: Any) -> list[str]:
    """What is wrong on the page that is in front; it may still be filling itself."""
    found: dict[str, Any] = {}
    for _ in range(3):
        page.wait_for_timeout(300)
        found = page.evaluate(MEASURE)
        if not any(found.values()):
            break
    return [f"{kind}: {said}" for kind, said in found.items() if said]


def test_nothing_lies_on_anything_else(watched: Watched, local: Running, pictures: list[Path]) -> None:
    activate(local)
    page, store = watched.page, local.station.store
    watched.visit()
    drop(page, [*pictures[:4], *pictures[14:18]])
    bad = next(one for one in store.history.search(Query(limit=8)) if one.file == pictures[14].name)
    store.reviews.answer(
        bad.id, Answer.DEFECTIVE, by="a colleague with a long name", kind="scratch along the inner rim"
    )
    page.locator(f".tile[title='{bad.file}']").click()
    page.wait_for_selector("#part .place")
    wrong = []
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for part in PAGES:
            page.evaluate(OPEN, part.tab)
            if part.tab == "History":
                page.locator("#history-list [data-inspection]").nth(1).click()
                page.wait_for_selector("#history-answers .answering")
            wrong += [f"{size}, {part.tab}: {said}" for said in lying_on_each_other(page)]
        page.evaluate(OPEN, "Inspect")
        part, bar = page.locator("#part .viewer"), page.locator("#inspect-answers")
        part.scroll_into_view_if_needed()
        seen, asked = part.bounding_box(), bar.bounding_box()
        assert asked["y"] >= seen["y"] + seen["height"] - 1 or asked["y"] >= height * 0.7, f"{size}: the bar hides it"
    assert not wrong, "\n".join(wrong)
