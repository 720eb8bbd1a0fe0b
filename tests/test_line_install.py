"""The line PC's install, for real: a fresh environment, the base package, one scored folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import run


def test_it_scores_and_reports(line: Path, bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    scored = run(line / "defectflow", "score", bundle_path, sample / "test" / "good", "--out", tmp_path / "results")
    assert scored.returncode == 0, scored.stderr
    assert len((tmp_path / "results" / "results.csv").read_text().splitlines()) == 1 + 24
    reported = run(line / "defectflow", "report", tmp_path / "results")
    assert reported.returncode == 0, reported.stderr
    assert run(line / "defectflow", "verify", bundle_path).returncode == 0


def test_it_reports_to_nobody(line: Path, bundle_path: Path, tmp_path: Path) -> None:
    """ONNX Runtime's packages would send reports, and keep an identifier of the machine in the user's folder."""
    clean = ("env", "-u", "ORT_DISABLE_TELEMETRY", f"HOME={tmp_path}")
    program = f"from pathlib import Path; from defectflow.line import Inspector; Inspector(Path({str(bundle_path)!r}))"
    assert run(*clean, line / "python", "-c", program).returncode == 0
    assert not list(tmp_path.iterdir())


def test_it_has_no_torch(line: Path) -> None:
    for name in ("torch", "timm", "scipy", "sklearn"):
        assert "ModuleNotFoundError" in run(line / "python", "-c", f"import {name}").stderr


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_training_says_what_to_install(
    line: Path, bundle_path: Path, sample: Path, tmp_path: Path, command: str
) -> None:
    words = {"fit": (sample, "--out", tmp_path / "b"), "evaluate": (bundle_path, "--data", sample)}
    refused = run(line / "defectflow", command, *words[command])
    assert refused.returncode == 2
    assert "pip install 'defectflow[train]'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_station_says_what_to_install(line: Path, tmp_path: Path) -> None:
    refused = run(line / "defectflow", "ui", tmp_path)
    assert refused.returncode == 2
    assert "pip install 'defectflow[ui]'" in refused.stderr


def test_a_store_says_what_to_install(line: Path, bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    store, out = tmp_path / "s.db", tmp_path / "out"
    words = ("score", bundle_path, sample / "test" / "good", "--out", out, "--store", store)
    refused = run(line / "defectflow", *words)
    assert refused.returncode == 2
    assert "pip install 'defectflow[store]'" in refused.stderr
    assert not out.exists(), "before the work, not after it"


def test_everything_that_ships_is_there(line: Path, tmp_path: Path) -> None:
    listed = run(line / "defectflow", "recipes")
    assert listed.returncode == 0, listed.stderr
    assert "default.yaml" in listed.stdout
    program = (
        "import defectflow, defectflow_ui, pathlib; "
        "print(*(p.name for d in (defectflow, defectflow_ui) for p in pathlib.Path(d.__file__).parent.rglob('*')))"
    )
    files = run(line / "python", "-P", "-c", program).stdout.split()
    assert {
        "py.typed",
        "report.html.j2",
        "resnet18.safetensors",
        "default.yaml",
        "fast.yaml",
        "connection.js",
        "station.js",
        "elements.html",
        "station.css",
    } <= set(files)
