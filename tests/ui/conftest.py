"""Stations and browsers for the tests of the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inspecting import activate, drop
from running import CHROMIUM_FLAGS, PATIENCE_MS, Running, Watch, Watched, listening
from support import marked, save

from defectflow.image.decode import read_image
from defectflow.store import Role


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path, uncalibrated_path: Path) -> Callable[[], Path]:
    """Makes folders with a calibrated bundle and an uncalibrated one."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("station")
        shutil.copytree(bundle_path, folder / "ring")
        shutil.copytree(uncalibrated_path, folder / "swatch")
        return folder

    return make


@pytest.fixture(scope="module")
def local(bundles: Callable[[], Path]) -> Iterator[Running]:
    """A station without users, on this machine."""
    with listening(bundles()) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(bundles: Callable[[], Path]) -> Iterator[Running]:
    """A station with a user of each role, named like it."""
    with listening(bundles(), tuple((role.value, role) for role in Role)) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser that starves on a busy machine gets a second try, which the report tells: look at the first."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium (make test does, where it may)")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def watch(browser: Any) -> Iterator[Watch]:
    """Opens pages of stations, and closes them however the test ends."""
    opened = list[Watched]()

    def open_page(running: Running, viewport: tuple[int, int] = (1280, 800), language: str = "en-US") -> Watched:
        opened.append(Watched(browser, running, viewport, language))
        return opened[-1]

    yield open_page
    for page in opened:
        page.context.close()


@pytest.fixture
def watched(watch: Watch, local: Running) -> Watched:
    return watch(local)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> list[Path]:
    """20 files: 14 good rings, 5 with a felt-pen line, and one that is cut short."""
    folder = tmp_path_factory.mktemp("pictures")
    good = sorted((sample / "test" / "good").glob("*.png"))
    files = [save(folder / path.name, read_image(path)) for path in good[:14]]
    files += [save(folder / f"pen{n}.png", marked(read_image(path))) for n, path in enumerate(good[14:19])]
    cut = folder / "cut.png"
    cut.write_bytes(good[0].read_bytes()[:2000])
    return [*files, cut]


@pytest.fixture
def judged(watched: Watched, local: Running, pictures: list[Path]) -> Watched:
    """The page Inspect after a drop."""
    activate(local)
    watched.visit()
    drop(watched.page, pictures)
    return watched
