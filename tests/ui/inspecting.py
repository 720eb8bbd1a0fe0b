"""What a person does on the page Inspect. Shared by the tests of the pages."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import Running

FILES = "#drop-zone input[type=file]"


def activate(running: Running) -> None:
    """The ring's model judges from now on."""
    running.station.bundles.activate("ring", by="test", reason="test")


def keep(page: Any) -> None:
    """What is judged on the page Inspect from now on is kept: the model is no longer on trial."""
    if "On trial" in (page.locator("#drop-zone").text_content() or ""):
        page.wait_for_function("document.querySelector('#inspect-trial input')?.checked")
        page.locator("#inspect-trial input").uncheck()
        page.wait_for_function("!document.querySelector('#drop-zone').textContent.includes('On trial')")


def drop(page: Any, files: list[Path], tiles: int | None = None) -> None:
    """Choose files on the page Inspect, and wait until all are judged."""
    page.wait_for_selector("#drop-zone [data-ready] input[type=file]", state="attached")
    keep(page)
    page.set_input_files(FILES, [str(file) for file in files])
    page.wait_for_function(
        "count => document.querySelectorAll('.tile').length == count && !document.querySelector('progress')",
        arg=len(files) if tiles is None else tiles,
    )
    page.wait_for_selector("#what-if input[type=range]")


def decisions(page: Any) -> dict[str, str]:
    """Name -> decision of every tile, in their order."""
    tiles = page.eval_on_selector_all(".tile", "all => all.map(one => [one.title, one.dataset.decision])")
    return dict(tiles)


def slide(page: Any, threshold: float) -> None:
    """Move the what-if slider."""
    page.eval_on_selector(
        "#what-if input[type=range]",
        "(range, value) => { range.value = value; range.dispatchEvent(new Event('input', {bubbles: true})); }",
        threshold,
    )


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
