"""What may import what, proved where a user would suffer: on a line PC without torch."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import defectflow_ui
import pytest

import defectflow
from defectflow.verdict import Decision

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
from collections.abc import Iterator
from pathlib import Path
import defectflow.cli.main
from defectflow.bundle import open_bundle
from defectflow.data import find_pictures
from defectflow.line import Inspector, recalibrate, score_folder, verify
from defectflow.line.report import write_report

out = Path({str(tmp_path)!r})
inspector = Inspector(Path({str(bundle_path)!r}), threads=1)
for verdict in inspector.inspect([Path(name) for name in {[str(path) for path in pictures]!r}]):
    print(verdict.decision.word)
source = Path({str(sample / "test" / "good")!r})
score_folder(inspector, find_pictures(source), source, out / "results", overlays=True)
write_report(out / "results")
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
        ("defectflow.cli.tables", (*HEAVY, "cv2", "onnxruntime")),
        ("defectflow.evaluation", ("torch", "torchvision", "timm")),
        ("defectflow.recipe", (*HEAVY, "cv2", "onnxruntime")),
        ("defectflow.image", (*HEAVY, "pydantic", "onnxruntime")),
        ("defectflow.verdict", (*HEAVY, "pydantic", "onnxruntime")),
        ("defectflow.bundle", (*HEAVY, "typer", "onnx", "onnxruntime")),
        ("defectflow.data", (*HEAVY, "onnxruntime", "sqlalchemy")),
        ("defectflow.line", (*HEAVY, "typer", "jinja2", "onnx", "sqlalchemy")),
        ("defectflow.gauge", (*HEAVY, "typer", "gradio", "onnx")),
        ("defectflow.store", (*HEAVY, "typer", "gradio", "onnxruntime")),
        ("defectflow.serve", (*HEAVY, "typer", "gradio", "onnx", "defectflow.cli")),
        ("defectflow.scale.score_on_ray", (*HEAVY, "typer", "sqlalchemy", "ray", "fsspec", "pandas")),
        ("defectflow.scale.fit_many", (*HEAVY, "typer", "sqlalchemy", "ray", "fsspec", "pandas")),
        ("defectflow.client", (*HEAVY, "numpy", "cv2", "onnxruntime", "sqlalchemy", "fastapi")),
        ("defectflow.samples", (*HEAVY, "onnxruntime")),
        ("defectflow.convert", (*HEAVY, "openvino")),
        ("defectflow.notebook", (*HEAVY, "typer", "onnx", "sqlalchemy")),
        ("defectflow_ui.tasks.background", (*HEAVY, "gradio")),
        ("defectflow_ui.tasks.supervisor", (*HEAVY, "gradio")),
        ("defectflow_ui.tasks.training", HEAVY),
    ],
)
def test_what_an_import_does_not_drag_in(module: str, absent: tuple[str, ...]) -> None:
    loaded = set(python(f"import sys, {module}\nprint(*sys.modules)").split())
    assert not loaded & set(absent)


@pytest.mark.parametrize(
    "command",
    [
        "fit {good} --out {out} --set flow.no=1",
        "fit {out} --out {out}",
        "check-data {good} --set flow.no=1",
        "check-data {out}",
        "pretrain {out} --set no=1",
        "fit-many {out} --out {out}",
    ],
)
def test_a_mistake_is_told_before_torch_is_loaded(command: str, swatch_folder: Path, tmp_path: Path) -> None:
    """Which takes seconds, on a busy machine a quarter of a minute."""
    words = command.format(good=swatch_folder, out=tmp_path / "none").split()
    printed = python(
        f"""
import sys
from defectflow.cli.main import main

sys.argv[1:] = {words!r}
try:
    main()
except SystemExit as stopped:
    print(stopped.code, "torch" in sys.modules)
"""
    )
    assert printed.split()[-2:] == ["2", "False"]


def test_the_numbers_of_decisions() -> None:
    """They are read in other languages."""
    assert [(one.name, int(one)) for one in Decision] == [("OK", 0), ("REVIEW", 1), ("DEFECT", 2), ("INVALID", 3)]


PACKAGES = sorted(file.parent.name for file in PACKAGE.glob("*/__init__.py") if file.parent.name != "cli")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_entered_by_its_public_names(package: str) -> None:
    """Other packages and the station import public names, or a module that `__all__` names."""
    public = set(importlib.import_module(f"defectflow.{package}").__all__)
    files = [*PACKAGE.rglob("*.py"), *Path(defectflow_ui.__file__).parent.rglob("*.py")]
    for file in files:
        if file.is_relative_to(PACKAGE / package):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(f"defectflow.{package}"):
                continue
            _, _, *door = node.module.split(".")
            wanted = set(door) or {alias.name for alias in node.names}
            assert wanted <= public, f"{file.relative_to(REPOSITORY)} line {node.lineno}"


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
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name):
                assert node.id != "print", file
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("environ", "getenv"), file


TAG = re.compile(
    r"</?(a|b|br|button|circle|code|div|em|figure|form|g|h[1-6]|i|iframe|img|input|label|li|line|ol|p|path|pre|rect|script"
    r"|section|span|strong|style|svg|table|tbody|td|text|th|thead|tr|ul)\b[^<]*>?"
)
HANDLER = re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE)
STATION = Path(defectflow_ui.__file__).parent


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Strings, also those within f-strings, but no docstrings and no attribute's explanation."""
    explained = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in explained:
            yield node


def test_only_templates_write_markup() -> None:
    """Jinja2 escapes what it is given; a string that Python puts together does not."""
    for file in [*PACKAGE.rglob("*.py"), *STATION.rglob("*.py")]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert [node.value for node in texts(tree) if TAG.search(node.value)] == [], file
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Markup":
                assert not node.args or file.name == "render.py", f"{file}:{node.lineno} calls a string markup"


def test_no_template_has_an_inline_handler_or_unescaped_value() -> None:
    templates = [*STATION.rglob("*.html"), *PACKAGE.rglob("*.j2")]
    assert len(templates) > 30
    for file in templates:
        text = file.read_text(encoding="utf-8")
        assert not HANDLER.search(text), file
        assert not re.search(r"\|\s*safe\b|autoescape false", text), file
