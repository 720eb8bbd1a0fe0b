"""Screenshots of every page in use -> docs/images/ui-<page>.png, small. Run by `make screenshots`; look at them after.

    python ui/screenshots.py [FOLDER]      # by default docs/images

Everything is made again in a temporary folder (see `example.py`); about two and a half minutes on one core.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from defectflow_ui.pages import PAGES
from defectflow_ui.web.server import build, serve
from example import make_station
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PORT = 7899
DROPPED = 24
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
HEIGHTS_PX = {"train": 1080}
"""Where more than a screen is worth showing: a training and its evaluation."""
SETTLED_MS = 2000
"""Pictures and charts are there by then."""


def main(to: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no Chromium here: apt-get install chromium")
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        station, pictures = make_station(Path(temporary), PORT)
        app = build(station)
        threading.Thread(target=lambda: asyncio.run(serve(app, "127.0.0.1", PORT)), daemon=True).start()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        _open(page)
        inspect(page, pictures[:: max(1, len(pictures) // DROPPED)][:DROPPED])
        ready = {"history": history, "calibrate": calibrate, "models": models}
        for part in PAGES:
            tab = part.tab
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(SETTLED_MS)
            ready.get(tab.lower(), lambda _: None)(page)
            page.set_viewport_size({"width": 1280, "height": HEIGHTS_PX.get(tab.lower(), 800)})
            page.wait_for_timeout(SETTLED_MS)
            shoot(page, to / f"ui-{tab.lower()}.png")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.get_by_role("tab", name=PAGES[0].tab).click()
        page.keyboard.press("Shift+D")
        page.wait_for_timeout(SETTLED_MS)
        shoot(page, to / "ui-dark.png")
        page.set_viewport_size({"width": 810, "height": 1080})
        page.wait_for_timeout(SETTLED_MS)
        shoot(page, to / "ui-tablet.png")
        browser.close()


def _open(page: Any) -> None:
    for attempt in range(100):
        try:
            page.goto(f"http://127.0.0.1:{PORT}")
            return
        except Exception:
            if attempt == 99:
                raise
            page.wait_for_timeout(200)


def inspect(page: Any, pictures: list[Path]) -> None:
    """Drop pictures, and choose the worst that has a verdict."""
    page.wait_for_selector("#drop-zone input[type=file]", state="attached")
    page.set_input_files("#drop-zone input[type=file]", [str(path) for path in pictures])
    page.wait_for_selector("#what-if input[type=range]")
    page.locator(".tile.defect").first.click()


def history(page: Any) -> None:
    """A defective part that somebody has answered about: its story; and has production moved?"""
    answered = page.locator("#history-list tr", has=page.locator(".badge.defect")).filter(has_text="line 2")
    rows = answered if answered.count() else page.locator("#history-list tr", has=page.locator(".badge.defect"))
    rows.first.locator("[data-inspection]").first.click()
    page.locator("#history-check-drift").click()
    page.wait_for_timeout(SETTLED_MS)


def calibrate(page: Any) -> None:
    """Costs are given, and the cheapest threshold is shown beside the promise."""
    page.locator("#calibrate-costs button").first.click()
    page.locator("#cost-share input").fill("2")
    page.locator("#calibrate-cheapest").click()


def models(page: Any) -> None:
    page.locator("#bundles [data-bundle]").last.click()


def shoot(page: Any, file: Path) -> None:
    """A PNG of 256 colours: a quarter of the size. By coverage, or the small badges would lose theirs."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
    small.save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
