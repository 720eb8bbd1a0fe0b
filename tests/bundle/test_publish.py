"""A new bundle takes an old one's place. Its process really dies at each step; the next look finds a whole bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import fit_swatches

from defectflow.bundle import finish_publishing, open_bundle, publish
from defectflow.errors import SettingsError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can die by itself")
DIED = 9
STEPS = range(1, 7)
"""Before and after each of three moves."""


@pytest.fixture
def place(uncalibrated_path: Path, tmp_path: Path) -> Path:
    """Where a bundle lies, told by a comment in it, and another is ready."""
    out = tmp_path / "models" / "bracket"
    shutil.copytree(uncalibrated_path, out)
    shutil.copytree(uncalibrated_path, out.with_name("bracket.partial"))
    (out / "notes.txt").write_text("old")
    (out.with_name("bracket.partial") / "notes.txt").write_text("new")
    return out


def died_at(step: int, work: Callable[[], object]) -> None:
    """Run it in a process of its own that ends without a word at the given step: odd before a move, even after."""
    child = os.fork()
    if child == 0:
        moves = 0

        def rename(self: Path, target: Path, move: Callable[[Path, Path], Path] = Path.rename) -> Path:
            nonlocal moves
            moves += 1
            if 2 * moves - 1 == step:
                os._exit(DIED)
            moved = move(self, target)
            if 2 * moves == step:
                os._exit(DIED)
            return moved

        Path.rename = rename  # type: ignore[method-assign]
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DIED


def beside(out: Path) -> set[str]:
    return {path.name for path in out.parent.iterdir()}


@pytest.mark.parametrize("step", STEPS)
def test_the_next_look_finds_a_whole_bundle(place: Path, step: int) -> None:
    died_at(step, lambda: publish(place))
    open_bundle(place)
    assert (place / "notes.txt").read_text() == ("old" if step == 1 else "new")


@pytest.mark.parametrize("step", STEPS)
def test_what_is_left_is_brought_to_its_end(place: Path, step: int, uncalibrated_path: Path) -> None:
    died_at(step, lambda: publish(place))
    finish_publishing(place)
    open_bundle(place)
    assert beside(place) <= {"bracket", "bracket.partial"}
    shutil.copytree(uncalibrated_path, place.with_name("bracket.partial"), dirs_exist_ok=True)
    publish(place)
    assert beside(place) == {"bracket"}


@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_the_recovery_may_die_too(place: Path, step: int) -> None:
    died_at(2, lambda: publish(place))
    if step <= 4:
        died_at(step - 1, lambda: finish_publishing(place))
    finish_publishing(place)
    open_bundle(place)
    assert beside(place) == {"bracket"}


def test_what_an_older_release_has_left_blocks_nothing(swatch_folder: Path, place: Path) -> None:
    """The new bundle is in place, the old one half removed: every later fit failed there."""
    replaced = place.with_name("bracket.replaced")
    shutil.copytree(place / "golden", replaced / "golden")
    with pytest.raises(SettingsError, match="exists already"):
        fit_swatches(swatch_folder, place)
    replaced.mkdir()
    fit_swatches(swatch_folder, place, overwrite=True)
    assert not (place / "notes.txt").exists(), "fitted anew"
    assert beside(place) == {"bracket", "cache"}
