"""The site is built strictly and loads nothing from other hosts; what its pages show as code runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import REPOSITORY, once

from defectflow.recipe import builtin_recipes

DOCS = REPOSITORY / "docs"
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)
IN_STYLES = re.compile(r"""(?:url\(|@import\s)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")

    def build(folder: Path) -> None:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder / "site")]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr[-4000:]

    return once(tmp_path_factory, "site", build) / "site"


def outside(site: Path) -> Iterator[str]:
    for file in site.rglob("*"):
        if file.suffix in (".html", ".css"):
            text = file.read_text(encoding="utf-8")
            for found in (LOADED if file.suffix == ".html" else IN_STYLES).findall(text):
                yield f"{file.relative_to(site)}: {''.join(found)}"


def test_its_pages_load_nothing_from_other_hosts(site: Path) -> None:
    assert len(list(site.rglob("index.html"))) > 20
    assert list(outside(site)) == []


def test_what_is_loaded_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="https://fonts.googleapis.com/css"><script src=//cdn.example/a.js></script>'
        '<a href="https://example.org">only a link</a>'
    )
    (tmp_path / "a.css").write_text("a{background:url(https://example.org/a.png)}")
    assert len(list(outside(tmp_path))) == 3


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("api", ["part_regex", "inspect_many", "mask_at_full_size", "ImageError"]),
        ("reference/commands", ["defectflow check-data", "--part-regex", "defectflow versions"]),
        ("reference/recipes", ["embedding.neighbourhood", "at least 32", *builtin_recipes()]),
        ("reference/packages", ["LevelDensity", "recalibrate", "to_square"]),
        ("decisions", ["Only an audit sample recalibrates", "one score"]),
        ("notebooks/first_steps", ["draw_product", "model.inspect"]),
    ],
)
def test_pages_are_made_from_the_code(site: Path, page: str, said: list[str]) -> None:
    text = re.sub(r"<[^>]+>", "", (site / page / "index.html").read_text(encoding="utf-8"))
    assert [words for words in said if words not in text] == []


def test_a_flow_from_scratch_runs_and_is_a_density() -> None:
    text = (DOCS / "a-flow-from-scratch.md").read_text(encoding="utf-8")
    world: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), world)
    assert world["usual"] < world["gaussian_usual"] - 0.3, "it knows two moons better than a Gaussian does"
    assert world["middle"] > world["usual"] + 1.5, "and that nothing lies between them"
    assert world["gaussian_middle"] < world["gaussian_usual"], "which a Gaussian does not"
    assert world["total"].item() == pytest.approx(1, abs=0.02)
    points = world["two_moons"](8)
    latents = points
    with torch.no_grad():
        for coupling in world["flow"].couplings:
            latents = coupling(latents)[0]
        for coupling in reversed(world["flow"].couplings):
            latents = coupling.inverse(latents)
    assert torch.allclose(latents, points, atol=1e-4)


def test_the_first_steps_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(DOCS / "notebooks" / "first_steps.ipynb", as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code"), "commit it without outputs"
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in shown), "a verdict shows itself"
    printed = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    assert "AUROC" in printed and "On average at most" in printed
