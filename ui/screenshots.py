"""Screenshots of every page -> docs/images/ui-<page>.png, small. Run by `make screenshots`; look at them afterwards.

    python ui/screenshots.py BUNDLES PICTURES      # a folder of bundles, and a folder of pictures to drop

The bundles are copied first: nothing is activated or recorded in the folder that is given.
"""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from defectflow_ui.pages import PAGES
from defectflow_ui.server import build, serve
from defectflow_ui.settings import Settings
from defectflow_ui.start import open_station
from PIL import Image
from playwright.sync_api import sync_playwright

from defectflow.runtime.bundle import CARD

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PORT = 7899
DROPPED = 24
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main(bundles: Path, pictures: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no Chromium here: apt-get install chromium")
    chosen = sorted(pictures.rglob("*.png"))
    chosen = random.Random(0).sample(chosen, min(DROPPED, len(chosen)))
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        for card in sorted(bundles.glob(f"*/{CARD}")):
            shutil.copytree(card.parent, folder / card.parent.name)
        station = open_station(Settings(folder, port=PORT))
        first = next(found for found in station.bundles.all() if found.bundle and found.bundle.card.calibration)
        station.bundles.activate(first.name, by="screenshots", reason="screenshots")
        app = build(station)
        threading.Thread(target=lambda: asyncio.run(serve(app, "127.0.0.1", PORT)), daemon=True).start()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        for attempt in range(100):
            try:
                page.goto(f"http://127.0.0.1:{PORT}")
                break
            except Exception:
                if attempt == 99:
                    raise
                page.wait_for_timeout(200)
        inspect(page, chosen)
        for part in PAGES:
            tab = part.words.tab
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(2500)
            shoot(page, tab.lower())
        page.get_by_role("tab", name=PAGES[0].words.tab).click()
        page.keyboard.press("Shift+D")
        page.wait_for_timeout(1500)
        shoot(page, "dark")
        page.set_viewport_size({"width": 810, "height": 1080})
        page.wait_for_timeout(1000)
        shoot(page, "tablet")
        browser.close()


def inspect(page: Any, pictures: list[Path]) -> None:
    """Drop pictures, and choose the worst that has a verdict."""
    page.wait_for_selector("#drop-zone input[type=file]", state="attached")
    page.set_input_files("#drop-zone input[type=file]", [str(path) for path in pictures])
    page.wait_for_selector("#what-if input[type=range]", timeout=120_000)
    page.locator(".tile.defect").first.click()


def shoot(page: Any, name: str) -> None:
    """A PNG of 256 colours: a quarter of the size. By coverage, or the small badges would lose theirs."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE).save(
            IMAGES / f"ui-{name}.png", optimize=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
