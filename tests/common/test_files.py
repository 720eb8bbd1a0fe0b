"""A file appears whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from defectflow.common.files import atomic_write, remedy


def test_a_file_is_replaced_once_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with atomic_write(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert [(left.name, left.read_text()) for left in tmp_path.iterdir()] == [("a.txt", "new")]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_failed_leaves_the_old_one_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(error), atomic_write(file) as partial:
        partial.write_text("ne")
        raise error
    assert [(left.name, left.read_text()) for left in tmp_path.iterdir()] == [("a.txt", "old")]


def test_two_write_at_once_and_neither_spoils_the_other(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with atomic_write(file) as first, atomic_write(file) as second:
        first.write_text("first")
        second.write_text("second")
    assert file.read_text() == "first", "whoever ends last"
    assert len(list(tmp_path.iterdir())) == 1


def test_making_room_helps_against_a_full_disk_alone() -> None:
    assert {remedy(OSError(code, "")) for code in (errno.ENOSPC, errno.EDQUOT)} == {"make room"}
    for code in (errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG, errno.EIO):
        assert "room" not in remedy(OSError(code, ""))
