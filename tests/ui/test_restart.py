"""A station that is killed and started again: the open page notices, says what was not judged, and goes on."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspecting import FILES, keep
from running import PATIENCE_MS, free_port
from station_process import serving

from defectflow.store import Query, Store

ARRIVE = 4
"""Pictures that are judged before the kill."""


def test_a_killed_station_is_noticed_and_what_was_not_judged_is_judged(
    browser: Any, bundles: Callable[[], Path], pictures: list[Path]
) -> None:
    folder, port, dropped = bundles(), free_port(), pictures[:10]
    context = browser.new_context(base_url=f"http://127.0.0.1:{port}")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    held = re.compile(rf"/drop/.*name=({'|'.join(file.name for file in dropped[ARRIVE:])})")
    with serving(folder, port) as process:
        for _ in range(60):
            try:
                page.goto("/")
                break
            except Exception:
                page.wait_for_timeout(500)
        page.wait_for_selector("#drop-zone [data-ready] input[type=file]", state="attached")
        keep(page)
        page.route(held, lambda route: None)  # on its way for ever
        page.set_input_files(FILES, [str(file) for file in dropped])
        page.locator("#inspect-status").get_by_text(f"Judging: {ARRIVE} of 10").wait_for()
        process.send_signal(signal.SIGKILL)
    page.locator("#station-lost").get_by_text("does not answer").wait_for()
    page.unroute(held)
    with serving(folder, port):
        message = page.locator("#station-lost")
        message.get_by_text("Not judged: 6").wait_for()
        assert all(file.name in message.inner_text() for file in dropped[ARRIVE:])
        message.get_by_text("Judge these now").click()
        page.wait_for_function("document.querySelectorAll('.tile').length == 6")
        page.wait_for_function("!document.querySelector('#inspect-status progress')")
        context.close()
    with Store.open(str(folder / "inspections.db")) as store:
        names = [item.file for item in store.history.search(Query(limit=100))]
    assert sorted(names) == sorted(file.name for file in dropped), "each once"
