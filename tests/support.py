"""What several tests share: small pictures, small fits, and looking at folders and commands from outside."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from defectflow.bundle import open_bundle
from defectflow.bundle.products import add_product
from defectflow.common.progress import Watch, unwatched
from defectflow.embedding.cache import EmbeddingCache
from defectflow.fitting.fit import Fitted, fit
from defectflow.line import recalibrate
from defectflow.recipe.settings import Recipe, load_recipe

Pixels = NDArray[np.uint8]
REPOSITORY = Path(__file__).parents[1]
DEPLOY = REPOSITORY / "deploy"
DEFECTFLOW = Path(sys.executable).with_name("defectflow")
SAMPLE_RECIPE = (
    "image.size=128",
    "image.align=never",  # see test_aligned_fit.py
    "embedding.backbone=resnet18",  # its fine levels suffice; those of the default backbone do not
    "embedding.weights=builtin",
    "embedding.levels=[1, 2]",
    "embedding.spacing_px=1",
    "flow={family: glow, place: none, layers: 2, hidden: 32}",
    "training.steps=60",
    "training.batch=1024",
    "training.check_every=20",
)
SWATCH_RECIPE = (
    "image.size=64",
    "image.align=never",  # a weave fits on itself in many places
    "embedding.levels=[1, 2]",
    "embedding.spacing_px=1",
    "flow={family: glow, place: none, layers: 2, hidden: 16}",
    "training.steps=30",
    "training.batch=256",
    "training.check_every=10",
)


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str


Cli = Callable[..., Ended]
"""Runs a command as `defectflow ...` would; see the fixture `cli`."""


def swatch(seed: int, side_px: int = 64, *, scratched: bool = False) -> Pixels:
    """A good part that costs nothing to draw: a woven stripe, (side, side, 3) RGB."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side_px, :side_px]
    weave = np.sin(x * 0.8 + random.uniform(0, 6)) * np.sin(y * 0.8 + random.uniform(0, 6))
    grey = 120 + random.normal(0, 4) + 30 * weave + random.normal(0, 4, (side_px, side_px))
    pixels = np.clip(grey[:, :, None] * [1.0, 0.9, 0.8], 0, 255).astype(np.uint8)  # (side, side, 3)
    if scratched:
        pixels[side_px // 2 : side_px // 2 + 2, side_px // 4 : side_px // 2] //= 2
    return pixels


def marked(ring: Pixels) -> Pixels:
    """A ring with a felt-pen line of 60 x 10 pixels at (40, 100), which any model must see."""
    pixels = ring.copy()
    pixels[100:110, 40:100] = (0, 0, 255)
    return pixels


def save(path: Path, pixels: NDArray[np.generic], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def swatches(folder: Path, count: int, first_seed: int = 0) -> Path:
    """A folder of good swatches, one picture per part."""
    for number in range(count):
        save(folder / f"{number:03}.png", swatch(first_seed + number))
    return folder


def swatch_recipe(*overrides: str) -> Recipe:
    return load_recipe("free", [*SWATCH_RECIPE, *overrides])


def fit_swatches(
    source: Path, out: Path, *overrides: str, resume: bool = False, overwrite: bool = False, watch: Watch = unwatched
) -> Fitted:
    """A fit of a few seconds; its cache lies beside the bundle."""
    cache = EmbeddingCache(out.parent / "cache")
    return fit(swatch_recipe(*overrides), source, out, cache=cache, resume=resume, overwrite=overwrite, watch=watch)


RED, BLUE = "red", "blue"
"""Two products that differ in their colour."""


def coloured(product: str, seed: int, *, scratched: bool = False) -> Pixels:
    """A swatch as it is, or with red and blue exchanged."""
    pixels = swatch(seed, scratched=scratched)
    return pixels if product == RED else pixels[:, :, ::-1].copy()


def product_manifest(folder: Path, rows: Iterable[tuple[str, str, str]], name: str = "manifest.csv") -> Path:
    """(path, product, part) of each picture."""
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([("path", "product", "part"), *rows])
    return folder / name


def calibrate_product(family: Path, product: str, rate: float = 0.25) -> None:
    recalibrate(open_bundle(family / "products" / product), rate=rate, guarantee="expected", review_rate=0.5)


def join_products(folder: Path, bundles: dict[str, Path]) -> Path:
    """A bundle of several products, made of bundles of one product each."""
    for name, bundle in bundles.items():
        shutil.copytree(bundle, folder / "products" / name)
        add_product(folder, folder.name, name)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker fills; the others wait for it. Nobody may change what is in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    try:
        folder.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + 300
        while not (folder / ".made").exists():
            assert time.monotonic() < deadline, f"{folder}: the worker that makes it has failed"
            time.sleep(0.2)
        return folder
    make(folder)
    (folder / ".made").touch()
    return folder


def run(*command: str | Path, timeout_s: float = 120, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A real process, with its output as plain text, however wide a line is."""
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout_s,
        check=False,
        cwd=cwd,
    )


def read_stages(dockerfile: Path) -> list[list[tuple[str, str]]]:
    """The instructions of each stage, as (word, the rest), in order. Comments go, continued lines are joined."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    instructions = [line.split(maxsplit=1) for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]
    stages: list[list[tuple[str, str]]] = []
    for word, rest in instructions:
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages


def build_stage(dockerfile: Path, root: Path) -> None:
    """Run a Dockerfile's first stage without Docker: its COPY and RUN lines as they stand, with `root` for /."""
    source = root / "source"  # a copy: building writes into the folder that it builds from
    source.mkdir()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for word, rest in read_stages(dockerfile)[0]:
        match word:
            case "COPY":
                *files, target = rest.split()
                for name in files:
                    if (REPOSITORY / name).is_dir():
                        leave = shutil.ignore_patterns("__pycache__")
                        shutil.copytree(REPOSITORY / name, source / target, ignore=leave)
                    else:
                        shutil.copy(REPOSITORY / name, source / target)
            case "ARG":
                name, _, value = rest.partition("=")
                environment.setdefault(name, value)
            case "RUN":
                command = rest.replace("/opt/", f"{root}/opt/")
                done = subprocess.run(
                    command, shell=True, cwd=source, env=environment, capture_output=True, text=True, timeout=900
                )
                assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
