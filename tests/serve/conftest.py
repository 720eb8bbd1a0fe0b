"""Bundles, pictures and services for the tests of the service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from serving import Serve, Serving, listening, prepare
from support import once, save, swatch

from defectflow.bundle import open_bundle
from defectflow.line import recalibrate


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, uncalibrated_path: Path) -> Path:
    """Two bundles of one fit with other thresholds, `bracket` and `strict`. Not to be changed: see `workplace`."""

    def make(folder: Path) -> None:
        for name, rate in (("bracket", 0.25), ("strict", 0.4)):
            copy = shutil.copytree(uncalibrated_path, folder / "models" / name)
            recalibrate(open_bundle(copy), rate=rate, guarantee="expected", review_rate=0.5)

    return once(tmp_path_factory, "served-models", make) / "models"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """40 swatches of two sizes, every fourth scratched."""

    def make(folder: Path) -> None:
        for number in range(40):
            pixels = swatch(500 + number, 64 if number % 3 else 96, scratched=number % 4 == 0)
            save(folder / f"{number:02}.png", pixels)

    return sorted(once(tmp_path_factory, "served-pictures", make).glob("*.png"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Serving]:
    """A service that several tests share; they leave its models, keys and settings alone."""
    folder = tmp_path_factory.mktemp("service")
    with listening(folder, prepare(folder, models)) as serving:
        yield serving


@pytest.fixture
def serve(tmp_path: Path, models: Path) -> Iterator[Serve]:
    """Starts services in one folder, with settings; the next one there finds what the one before left."""
    keys: dict[str, str] = {}
    with ExitStack() as stack:

        def start(*words: str, **settings: object) -> Serving:
            if not keys:
                keys.update(prepare(tmp_path, models, **settings))
            return stack.enter_context(listening(tmp_path, keys, *words))

        yield start
