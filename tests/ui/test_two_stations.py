"""Two stations over one store, a viewer, and a kill in the middle: nothing is lost, nothing is doubled."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspecting import FILES, keep
from playwright.sync_api import Error, expect
from running import PASSWORD, PATIENCE_MS, free_port
from station_process import serving

from defectflow.bundle import open_bundle
from defectflow.store import Answer, Query, Role, Store

USERS = (("olga", Role.OPERATOR), ("otto", Role.OPERATOR), ("vera", Role.VIEWER))


def enter(browser: Any, port: int, user: str) -> Any:
    """A browser of their own, signed in."""
    page = browser.new_context(base_url=f"http://127.0.0.1:{port}").new_page()
    page.set_default_timeout(PATIENCE_MS)
    sign_in(page, user)
    return page


def sign_in(page: Any, user: str) -> None:
    for _ in range(120):  # a station says its address a moment before it listens
        try:
            page.goto("/")
            break
        except Error:
            page.wait_for_timeout(500)
    page.locator("[name=name]").fill(user)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("[name=password]").press("Enter")
    page.wait_for_selector("#station-header .station-bar")


def judge(page: Any, files: list[Path], tiles: int) -> None:
    page.wait_for_selector("#drop-zone [data-ready] input[type=file]", state="attached")
    keep(page)
    page.set_input_files(FILES, [str(file) for file in files])
    page.wait_for_function(f"document.querySelectorAll('.tile').length == {tiles}")
    page.wait_for_function("!document.querySelector('#inspect-status progress')")


def test_two_stations_a_viewer_and_a_restart_lose_nothing(
    browser: Any, bundles: Callable[[], Path], pictures: list[Path], tmp_path: Path
) -> None:
    folder = bundles()
    url, ports = str(tmp_path / "shared.db"), (free_port(), free_port())
    with Store.open(url) as store:
        for user, role in USERS:
            store.users.add(user, role, PASSWORD, by="test")
        store.versions.activate(open_bundle(folder / "ring"), by="test", reason="test")
    with serving(folder, ports[0], "--store", url) as first, serving(folder, ports[1], "--store", url):
        olga, otto, vera = (
            enter(browser, port, user) for port, (user, _) in zip((*ports, ports[1]), USERS, strict=True)
        )
        judge(olga, pictures[:4], 4)
        judge(otto, pictures[4:8], 4)
        vera.get_by_role("tab", name="History").click()
        expect(vera.locator("tr[data-inspection]")).to_have_count(8)
        vera.locator("tr[data-inspection] button").first.click()
        expect(vera.locator("#history-story [data-story]")).to_be_visible()
        expect(vera.locator("#history-answers [data-answer]")).to_have_count(0)

        first.send_signal(signal.SIGKILL)
        judge(otto, pictures[8:10], 6)
        otto.get_by_role("tab", name="History").click()
        otto.get_by_role("button", name=pictures[0].name, exact=True).click()
        otto.locator("#history-answers [data-answer]").first.click()
        expect(otto.locator("#history-story")).to_contain_text("otto")
        with serving(folder, ports[0], "--store", url):
            sign_in(olga, "olga")  # sessions end with the process that knows them
            judge(olga, pictures[10:12], 2)
            olga.get_by_role("tab", name="History").click()
            expect(olga.locator("tr[data-inspection]")).to_have_count(12)
            olga.get_by_role("button", name=pictures[0].name, exact=True).click()
            expect(olga.locator("#history-story")).to_contain_text("otto")
        for page in (olga, otto, vera):
            page.context.close()
    with Store.open(url) as store:
        found = store.history.search(Query(limit=100))
        assert sorted(item.file for item in found) == sorted(file.name for file in pictures[:12]), "each once"
        assert {item.by for item in found} == {"olga", "otto"}
        (part,) = [one for one in store.reviews.parts(found[0].bundle_id) if one.answer is not None]
        assert part.answer in (Answer.GOOD, Answer.DEFECTIVE)
        assert store.verify().passed
