"""A place belongs to one process at a time, and to nobody once that is gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from defectflow.common import claimed
from defectflow.errors import SettingsError


def test_whoever_comes_second_learns_who_is_there(tmp_path: Path) -> None:
    file = tmp_path / "run.lock"
    with claimed(tmp_path, file):
        assert json.loads(file.read_text())["process"] == os.getpid()
        with (
            pytest.raises(SettingsError, match=rf"process {os.getpid()} on .*wait until it has ended"),
            claimed(tmp_path, file),
        ):
            pass
        assert file.exists(), "who was refused removes nothing"
    assert not file.exists()
    with claimed(tmp_path, file):
        pass


def test_what_a_kill_has_left_claims_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.lock"
    file.write_text("{half")
    with claimed(tmp_path, file):
        pass
    assert not file.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that shares nothing but the folder")
def test_many_at_once_are_never_two(tmp_path: Path) -> None:
    """Each adds one to a number, slowly; whoever is refused comes again."""
    number, file = tmp_path / "number", tmp_path / "run.lock"
    number.write_text("0")
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            done = 0
            while done < 30:
                try:
                    with claimed(tmp_path, file):
                        number.write_text(str(int(number.read_text()) + 1))
                        done += 1
                except SettingsError:
                    pass
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert number.read_text() == "180"
