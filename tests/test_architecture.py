"""What may import what, proved where a user would suffer: on a line PC without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support import run

import defectflow
from defectflow import runtime

PACKAGE = Path(defectflow.__file__).parent
REPOSITORY = PACKAGE.parent
HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "safetensors", "onnxscript", "pyarrow", "cryptography")

BLOCKER = f"""
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked by the test)", name=name)

sys.meta_path.insert(0, Blocker())
"""


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_line_works_without_torch(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    """Score a folder, draw, report, recalibrate and verify in a process where nothing heavy can be imported."""
    pictures = sorted((sample / "test" / "good").glob("*.png"))[:2]
    printed = python(
        BLOCKER
        + f"""
import shutil
from pathlib import Path
import defectflow.line, defectflow.line.score_folder, defectflow.line.report, defectflow.cli.main
from defectflow.data.pictures import find_pictures
from defectflow.line import Inspector
from defectflow.bundle.bundle import open_bundle
from defectflow.line.recalibrate import recalibrate
from defectflow.line.verify import verify

out = Path({str(tmp_path)!r})
inspector = Inspector(Path({str(bundle_path)!r}), threads=1)
for verdict in inspector.inspect([Path(name) for name in {[str(path) for path in pictures]!r}]):
    print(verdict.decision.word)
source = Path({str(sample / "test" / "good")!r})
defectflow.line.score_folder.score_folder(inspector, find_pictures(source), source, out / "results", overlays=True)
defectflow.line.report.write_report(out / "results")
copy = Path(shutil.copytree({str(bundle_path)!r}, out / "copy"))
recalibrate(open_bundle(copy), rate=0.1, guarantee="expected", review_rate=0.2)
assert verify(open_bundle(copy)).passed
assert not set({HEAVY!r}) & set(sys.modules)
"""
    )
    assert len(printed.split()) == 2
    assert set(printed.split()) <= {"ok", "review", "defect"}
    assert (tmp_path / "results" / "report.html").stat().st_size > 10_000


def test_the_blocker_blocks() -> None:
    """Otherwise the test above would prove nothing."""
    assert "blocked" in python(BLOCKER + "try:\n    import torch\nexcept ImportError as error:\n    print(error)")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("defectflow", (*HEAVY, "numpy", "cv2", "onnx", "onnxruntime", "pydantic", "yaml", "typer")),
        ("defectflow.errors", (*HEAVY, "numpy", "cv2", "onnxruntime")),
        ("defectflow.cli.main", (*HEAVY, "cv2", "onnxruntime", "onnx", "sqlalchemy", "argon2")),
        ("defectflow.line.score_folder", (*HEAVY, "sqlalchemy")),
        ("defectflow.store", (*HEAVY, "typer", "gradio", "defectflow.recipe.settings")),
        ("defectflow.line", (*HEAVY, "typer", "jinja2")),
        ("defectflow.recipe.settings", (*HEAVY, "cv2", "onnxruntime")),
        ("defectflow_ui.tasks.background", (*HEAVY, "gradio")),
        ("defectflow_ui.training", HEAVY),
    ],
)
def test_what_an_import_does_not_drag_in(module: str, absent: tuple[str, ...]) -> None:
    loaded = set(python(f"import sys, {module}\nprint(*sys.modules)").split())
    assert not loaded & set(absent)


def test_public_names_of_the_runtime() -> None:
    assert runtime.__all__ == ["Decision", "Inspector", "Measurement", "Region", "Verdict"]
    assert [(decision.name, int(decision)) for decision in runtime.Decision] == [
        ("OK", 0),
        ("REVIEW", 1),
        ("DEFECT", 2),
        ("INVALID", 3),
    ], "these numbers are read in other languages"


def test_import_contracts() -> None:
    checked = run(Path(sys.executable).with_name("lint-imports"), "--config", REPOSITORY / "pyproject.toml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert " 0 broken" in checked.stdout
    assert "Contracts: 0 kept" not in checked.stdout, "a check of nothing"


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_uses_pickle_or_eval(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not imported(tree) & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec"}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            assert isinstance(node.value, ast.Constant)
            assert node.value.value is (node.arg == "weights_only")


def test_the_core_never_prints_and_never_reads_the_environment() -> None:
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.parent.name == "cli" or file == PACKAGE / "__init__.py":  # the latter keeps ONNX Runtime from reporting
            continue
        hands_on = file == PACKAGE / "background.py"  # its own to the commands that it runs, and looks at nothing in it
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name):
                assert node.id != "print", file
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("environ", "getenv") or hands_on, file
