"""Stations and browsers for the tests of the pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inspecting import activate, drop
from running import CHROMIUM_FLAGS, Running, Watched, listening
from support import marked, save

from defectflow.runtime.image import read_image
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
    """A browser on a busy machine may be slower than a test's patience: it gets a second try, which is told."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium (make test does, where it may)")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def watched(browser: Any, local: Running) -> Iterator[Watched]:
    page = Watched(browser, local)
    yield page
    page.context.close()


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
    watched.page.goto("/")
    drop(watched.page, pictures)
    return watched
