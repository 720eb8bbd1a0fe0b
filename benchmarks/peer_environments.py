"""One virtual environment per peer, from pinned releases, and what each takes on disk and to import."""

from __future__ import annotations

import hashlib
import shutil
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PINS = Path(__file__).parent / "peers" / "pins.txt"
REQUIREMENTS = {
    # Its exports need the openvino extra; it brings no ONNX Runtime, which judges its ONNX file here.
    "anomalib": ["anomalib[cpu,openvino]", "onnxruntime"],
    "defectflow": ["{tree}[train]"],
    "base": ["{tree}"],  # the line's install: no torch
}
IMPORTS = {
    "anomalib": {
        "train": "from anomalib.engine import Engine; from anomalib.models import Fastflow",
        "judge": "from anomalib.deploy import OpenVINOInferencer",
    },
    "defectflow": {"train": "from defectflow.fitting.fit import fit"},
    "base": {"judge": "from defectflow.line import Inspector"},
}
SHIPPED = ("defectflow", "ui/defectflow_ui", "configs")
GPU_PACKAGES = ("nvidia", "triton", "cuda")
"""Folders that a wheel of torch for CPUs alone would not bring; the wheel itself would be smaller, too."""
IMPORT_REPEATS = 3


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make(name: str, folder: Path) -> None:
    """Create the environment, or bring it up to date where pins, requirements or this tree have changed."""
    sources = [PINS, REPOSITORY / "pyproject.toml"]
    if name != "anomalib":
        sources += sorted(path for shipped in SHIPPED for path in (REPOSITORY / shipped).rglob("*") if _ships(path))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    done = folder / "made.txt"
    if done.is_file() and done.read_text(encoding="utf-8") == digest:
        return
    if not python_of(folder).is_file():
        venv.create(folder, with_pip=True)
    pip = [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--constraint", str(PINS)]
    tree = folder / "tree"  # a copy: building writes into the folder that it builds from
    if name != "anomalib":
        shutil.rmtree(tree, ignore_errors=True)
        for shipped in SHIPPED:
            shutil.copytree(REPOSITORY / shipped, tree / shipped, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(REPOSITORY / file, tree)
    wanted = [requirement.format(tree=tree) for requirement in REQUIREMENTS[name]]
    subprocess.run([*pip, *wanted], check=True)
    if name != "anomalib":  # the same version number says nothing about a changed tree
        subprocess.run([*pip, "--force-reinstall", "--no-deps", str(tree)], check=True)
        shutil.rmtree(tree)
    done.write_text(digest, encoding="utf-8")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """MB on disk, with and without what only a GPU needs; packages; median seconds of imports in fresh processes."""
    packages = next(folder.glob("[Ll]ib*/**/site-packages"))
    sizes = {path.name: _disk_mb(path) for path in packages.iterdir()}
    gpu = sum(size for path, size in sizes.items() if path.startswith(GPU_PACKAGES))
    return {
        "disk_mb": sum(sizes.values()),
        "disk_without_gpu_mb": sum(sizes.values()) - gpu,
        "packages": sum(path.endswith(".dist-info") for path in sizes),
        "versions": _pinned_versions(folder),
        "import_s": {use: _import_s(python_of(folder), statement) for use, statement in IMPORTS[name].items()},
    }


def _ships(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _disk_mb(path: Path) -> float:
    """What `du` says: blocks, not bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() or file.is_dir()]
    return sum(file.lstat().st_blocks * 512 for file in files) / 1e6


def _import_s(python: Path, statement: str) -> float:
    program = f"import time; s = time.perf_counter(); {statement}; print(time.perf_counter() - s)"
    runs = [
        subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(IMPORT_REPEATS)
    ]
    return statistics.median(float(printed.splitlines()[-1]) for printed in runs)


def _pinned_versions(folder: Path) -> dict[str, str]:
    pinned = {line.partition("==")[0].lower() for line in PINS.read_text().splitlines() if "==" in line}
    freeze = [str(python_of(folder)), "-m", "pip", "list", "--format=freeze"]
    listed = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.splitlines()
    versions = dict(line.split("==") for line in listed if "==" in line)
    return {name: version for name, version in versions.items() if name.lower() in pinned}
