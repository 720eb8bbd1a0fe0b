"""What station.js does in the browser by itself: keys that are held, times, and what cannot be sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from inspecting import FILES, activate, wait_for
from running import Running, Watched

COUNTING = """(keys) => {
    window.pressed = Object.fromEntries(keys.map((key) => [key, 0]));
    for (const key of keys) {
        const button = document.createElement('button');
        button.textContent = key;
        button.onclick = () => pressed[key]++;
        button.dataset.key = key;
        document.body.prepend(button);
    }
}"""


def test_a_key_that_is_held_counts_once(watched: Watched) -> None:
    """Or a part that no one has seen would be answered for; stepping and zooming continue."""
    page = watched.page
    page.goto("/")
    page.wait_for_function("window.station")
    page.evaluate(COUNTING, ["g", "space", "right", "plus"])
    for key in ("g", " ", "ArrowRight", "+"):
        for _ in range(4):  # the browser says that all but the first are repeats
            page.keyboard.down(key)
        page.keyboard.up(key)
    assert page.evaluate("pressed") == {"g": 1, "space": 1, "right": 4, "plus": 4}
    page.evaluate("document.querySelector('[data-key=g]').focus()")
    for _ in range(4):
        page.keyboard.down("Enter")
    assert page.evaluate("pressed.g") == 2
    page.keyboard.up("Enter")
    page.keyboard.press("g")
    assert page.evaluate("pressed.g") == 3, "each press counts"


def test_times_stay_those_of_the_browser(browser: Any, local: Running) -> None:
    """Gradio changes one element into the next: attributes and text, and no node."""
    context = browser.new_context(base_url=local.url, timezone_id="America/New_York")
    page = context.new_page()
    page.goto("/")
    page.wait_for_function("window.station")
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<time id=t datetime=\"2026-01-01T12:00:00Z\">in UTC</time>')"
    )
    page.wait_for_function("document.getElementById('t').textContent === '2026-01-01 07:00'")
    page.wait_for_selector("#station-header .station-bar")
    said = page.evaluate(
        """async () => {
            const time = document.getElementById('t');
            time.removeAttribute('data-local');
            time.setAttribute('datetime', '2026-01-01T13:30:00Z');
            time.firstChild.nodeValue = '2026-01-01 13:30 UTC';
            await null;
            return time.textContent;
        }"""
    )
    assert said == "2026-01-01 08:30"
    context.close()


def test_what_cannot_be_sent_holds_nothing_up(watched: Watched, local: Running, pictures: list[Path]) -> None:
    """The others are sent, the end is told, and the page says what went wrong."""
    activate(local)
    page, lost = watched.page, pictures[1].name
    page.route(re.compile(rf"/drop/.*name={lost}"), lambda route: route.abort())
    page.goto("/")
    page.wait_for_selector(FILES, state="attached")
    page.set_input_files(FILES, [str(path) for path in pictures[:6]])
    page.wait_for_selector("#what-if input[type=range]")  # it is over
    assert page.locator(".tile").count() == 5
    wait_for(lambda: any(url.endswith("/end") for url in watched.asked), "nobody has told the end")
    page.wait_for_function("document.querySelector('#drop-zone .problem').textContent !== ''")
