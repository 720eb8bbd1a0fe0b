"""How many cores a process may use: bound to some of them, or given a share of them by its container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from defectflow.common import cores


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_what_the_system_says_and_no_more(groups: Path) -> None:
    assert cores.usable_cores() == 8, "no control groups here"
    write(groups / "own", "0::/\n")
    assert cores.usable_cores() == 8, "a group without a limit"
    write(groups / "cgroup" / "cpu.max", "max 100000\n")
    assert cores.usable_cores() == 8


@pytest.mark.parametrize(("quota", "expected"), [("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)])
def test_a_container_s_share(groups: Path, quota: str, expected: int) -> None:
    write(groups / "own", "0::/\n")
    write(groups / "cgroup" / "cpu.max", f"{quota}\n")
    assert cores.usable_cores() == expected


def test_the_tightest_of_the_groups_around_it(groups: Path) -> None:
    write(groups / "own", "0::/system.slice/line.service\n")
    write(groups / "cgroup" / "system.slice" / "cpu.max", "300000 100000\n")
    write(groups / "cgroup" / "system.slice" / "line.service" / "cpu.max", "max 100000\n")
    assert cores.usable_cores() == 3


def test_control_groups_of_version_1(groups: Path) -> None:
    write(groups / "own", "5:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n")
    write(groups / "cgroup" / "cpu" / "cpu.cfs_quota_us", "400000\n")
    write(groups / "cgroup" / "cpu" / "cpu.cfs_period_us", "100000\n")
    assert cores.usable_cores() == 4
