"""The house rules that a machine can check: lint, format and strict types."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import run

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join)
def test_house_rules(command: list[str]) -> None:
    where: list[str | Path] = [] if command == ["mypy"] else [ROOT]
    result = run(sys.executable, "-m", *command, *where, timeout_s=300, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
