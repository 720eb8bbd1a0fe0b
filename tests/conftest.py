"""What all tests share: bundles fitted once per run, also where pytest-xdist runs several workers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: on a busy machine its threads wait for each other in spinning loops, a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["COLUMNS"] = "200"  # or what commands print would be broken at the terminal's width, where there is one

import hypothesis
import pytest
from postgres import INSTALL, binaries, new_schema, server
from support import (
    BLUE,
    DEPLOY,
    RED,
    SAMPLE_RECIPE,
    Cli,
    Ended,
    build_stage,
    calibrate_product,
    coloured,
    fit_swatches,
    once,
    product_manifest,
    save,
    swatch,
    swatch_recipe,
    swatches,
)

from defectflow.cli.main import main
from defectflow.embedding.cache import EmbeddingCache
from defectflow.fitting.fit import fit
from defectflow.fitting.fit_products import add_products, fit_products
from defectflow.line import Inspector
from defectflow.recipe.settings import load_recipe
from defectflow.samples import draw_product
from defectflow.store import Store

# On a busy machine anything may take long; what is timed stands in benchmarks.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ring: 70 good parts to fit on; to test on, 20 good parts and 18 defective ones. Some are shot twice."""
    return once(
        tmp_path_factory,
        "ring",
        lambda folder: draw_product("ring", folder, good_parts=70, test_good_parts=20, defective_parts=18),
    )


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Path:
    """A small bundle of the ring, calibrated on 19 parts for 5%. Not to be changed: see `bundle_copy`."""

    def make(folder: Path) -> None:
        recipe = load_recipe("free", list(SAMPLE_RECIPE))
        fit(recipe, sample, folder / "ring", cache=EmbeddingCache(folder / "cache"))

    return once(tmp_path_factory, "ring-bundle", make) / "ring"


@pytest.fixture(scope="session")
def inspector(bundle_path: Path) -> Inspector:
    return Inspector(bundle_path, threads=1)


@pytest.fixture(scope="session")
def swatch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good swatches, seeds 0 to 23."""
    return once(tmp_path_factory, "swatches", lambda folder: swatches(folder, 24))


@pytest.fixture(scope="session")
def uncalibrated_path(tmp_path_factory: pytest.TempPathFactory, swatch_folder: Path) -> Path:
    """A bundle whose 8 calibration parts cannot support 5%. Not to be changed: see `uncalibrated_copy`."""
    made = once(tmp_path_factory, "swatch-bundle", lambda folder: fit_swatches(swatch_folder, folder / "swatch"))
    return made / "swatch"


@pytest.fixture(scope="session")
def two_products(tmp_path_factory: pytest.TempPathFactory, swatch_folder: Path) -> Path:
    """`before`: red alone, fitted like `uncalibrated_path`; `line`: the same, to which blue was added. Thresholds for
    25% each. Not to be changed."""

    def make(folder: Path) -> None:
        cache = EmbeddingCache(folder / "cache")
        for number in range(24):
            shutil.copy(swatch_folder / f"{number:03}.png", save(folder / RED / f"{number:03}.png", swatch(0)))
            save(folder / BLUE / f"{number:03}.png", coloured(BLUE, number))
        rows = {name: [(f"{name}/{n:03}.png", name, f"{n:03}") for n in range(24)] for name in (RED, BLUE)}
        first = product_manifest(folder, rows[RED], "red.csv")
        both = product_manifest(folder, rows[RED] + rows[BLUE], "both.csv")
        fit_products(swatch_recipe(), first, folder / "line", cache=cache)
        calibrate_product(folder / "line", RED)
        shutil.copytree(folder / "line", folder / "before")
        add_products(both, folder / "line", product=BLUE, cache=cache)
        calibrate_product(folder / "line", BLUE)

    return once(tmp_path_factory, "products", make)


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands in a fresh environment, made by the very steps of the line's image."""
    if os.name == "nt":
        pytest.skip("an image's steps are for Linux")
    made = once(tmp_path_factory, "line", lambda folder: build_stage(DEPLOY / "Dockerfile.edge", folder))
    return made / "opt" / "defectflow" / "bin"


@pytest.fixture
def bundle_copy(bundle_path: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle_path, tmp_path / "bundle-copy" / bundle_path.name)


@pytest.fixture
def uncalibrated_copy(uncalibrated_path: Path, tmp_path: Path) -> Path:
    return shutil.copytree(uncalibrated_path, tmp_path / "uncalibrated-copy" / uncalibrated_path.name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A running PostgreSQL server."""
    if binaries() is None:
        pytest.skip(INSTALL)
    with server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be started, once as a file and once on a server."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    return new_schema(request.getfixturevalue("postgres"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def perturb():
    """Moves every parameter of a module, so that nothing is tested at the identity where flows start."""
    import torch

    def move(module, size: float = 0.3):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += size * torch.randn_like(parameter)
        return module

    return move


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`defectflow ...` through its real entry, in this process: a fresh one would import for seconds."""

    def call(*words: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["defectflow", *(str(word) for word in words)])
        code: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return Ended(int(code or 0), " ".join(printed.out.split()), " ".join(printed.err.split()))

    return call
