"""What is heard of a command whose output is no terminal, and how it shares the machine."""

from __future__ import annotations

import os
import sys
from io import StringIO

import pytest
from rich.console import Console

from defectflow.cli import console
from defectflow.cli.main import main
from defectflow.common import Progress


def test_a_log_hears_of_each_look_and_of_long_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    log, clock = StringIO(), [0.0]
    monkeypatch.setattr(console, "err", Console(file=log, force_terminal=False, width=60))
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with console.progress_bars() as watch:
        for done in range(1, 101):
            clock[0] += 1
            watch(Progress("embed", done, 100))
        for step in (50, 100, 150):
            watch(Progress("learn level 2", step, 150, "tune loss still improving, 12 s left", "1.2345 nats/dim"))
    lines = log.getvalue().splitlines()
    assert lines[-3] == "learn level 2: 50/150, tune loss still improving, 12 s left (1.2345 nats/dim)"
    assert lines[:2] == ["embed: 11/100", "embed: 21/100"]
    assert "embed: 100/100" in lines
    assert len(lines) == 13
    assert "\x1b" not in log.getvalue()


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_threads_sleep_while_they_wait_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    monkeypatch.setattr(sys, "argv", ["defectflow", "--version"])
    monkeypatch.setenv("OMP_WAIT_POLICY", asked or "")
    if asked is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit):
        main()
    assert os.environ["OMP_WAIT_POLICY"] == (asked or "PASSIVE")
