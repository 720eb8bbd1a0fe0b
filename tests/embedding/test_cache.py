"""The embeddings' cache: made once, bounded, never half-written, safe to delete."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from defectflow.embedding.cache import ABANDONED_S, EmbeddingCache, EmbeddingKey, Levels
from defectflow.errors import DataError

SHAPES = [(4, 5, 25), (2, 2, 25)]  # 600 values, 1200 bytes a picture
PICTURES = 10
ENTRY_BYTES = 12_000 + 2 * 128  # with the two files' headers


class Fill:
    """Writes a known number everywhere and counts how often it was asked to."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value
        self.calls = 0
        self.rows: list[int] = []

    def __call__(self, levels: Levels, rows: Sequence[int]) -> None:
        self.calls += 1
        self.rows = list(rows)
        for number, level in enumerate(levels):
            level[rows] = self.value + number


def key(name: str, pictures: int = PICTURES) -> EmbeddingKey:
    return EmbeddingKey(name * 20, tuple(f"{name}{number}" for number in range(pictures)))


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for item in [*path.iterdir(), path]:
        os.utime(item, (then, then))


def test_made_once_then_read(tmp_path: Path) -> None:
    fill = Fill(3.0)
    for _ in range(3):
        levels = EmbeddingCache(tmp_path / "deep" / "cache").levels(key("key"), SHAPES, fill)
        assert [level.shape for level in levels] == [(10, 4, 5, 25), (10, 2, 2, 25)]
        assert all(level.dtype == np.float16 for level in levels)
        assert (levels[0] == 3).all() and (levels[1] == 4).all()
        assert not levels[0].flags.writeable  # nobody spoils it for the next run
    assert fill.calls == 1
    assert entries(tmp_path / "deep" / "cache") == [key("key").name]


def test_another_key_is_another_entry(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    first = cache.levels(key("a"), SHAPES, Fill(1))
    second = cache.levels(key("b"), SHAPES, Fill(7))
    assert (first[0] == 1).all() and (second[0] == 7).all()


def numbered(levels: Levels, rows: Sequence[int]) -> None:
    for level in levels:
        for row in rows:
            level[row] = row + 1


def test_pictures_that_another_entry_holds_are_not_made_again(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    few, more = EmbeddingKey("s" * 64, ("a", "b", "c")), EmbeddingKey("s" * 64, ("x", "c", "y", "a"))
    cache.levels(few, SHAPES, numbered)
    fill = Fill(9)
    level, _ = cache.levels(more, SHAPES, fill)
    assert fill.rows == [0, 2]
    assert level[:, 0, 0, 0].tolist() == [9, 3, 9, 1]
    other_settings = Fill(5)
    cache.levels(EmbeddingKey("t" * 64, few.pictures), SHAPES, other_settings)
    assert other_settings.rows == [0, 1, 2]


def test_a_set_that_is_wholly_known_asks_for_nothing(tmp_path: Path) -> None:
    cache, fill = EmbeddingCache(tmp_path), Fill()
    cache.levels(EmbeddingKey("s" * 64, ("a", "b", "c")), SHAPES, Fill(2))
    level, _ = cache.levels(EmbeddingKey("s" * 64, ("c", "a")), SHAPES, fill)
    assert fill.calls == 0 and (level == 2).all()


def test_an_entry_that_is_half_deleted_is_passed_over(tmp_path: Path) -> None:
    cache, fill = EmbeddingCache(tmp_path), Fill(4)
    few = EmbeddingKey("s" * 64, ("a", "b"))
    cache.levels(few, SHAPES, Fill(2))
    (tmp_path / few.name / "level1.npy").unlink()
    level, _ = cache.levels(EmbeddingKey("s" * 64, ("a", "c")), SHAPES, fill)
    assert fill.rows == [0, 1] and (level == 4).all()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, limit_gb=2.5 * ENTRY_BYTES / 1e9)
    cache.levels(key("a"), SHAPES, Fill())
    cache.levels(key("b"), SHAPES, Fill())
    age(tmp_path / key("a").name, 200)
    age(tmp_path / key("b").name, 100)
    cache.levels(key("a"), SHAPES, Fill())  # used again: now b is the oldest
    cache.levels(key("c"), SHAPES, Fill())
    assert entries(tmp_path) == [key("a").name, key("c").name]


def test_a_smaller_limit_takes_effect_but_never_on_the_entry_in_use(tmp_path: Path) -> None:
    for name in "abc":
        EmbeddingCache(tmp_path).levels(key(name), SHAPES, Fill())
    levels = EmbeddingCache(tmp_path, limit_gb=0.5 * ENTRY_BYTES / 1e9).levels(key("a"), SHAPES, Fill())
    assert entries(tmp_path) == [key("a").name]
    assert (levels[0] == 1).all()


def test_too_large_for_the_limit_is_reported_before_the_work(tmp_path: Path) -> None:
    fill = Fill()
    with pytest.raises(
        DataError, match=r"1000000 pictures need 1\.2 GB; the cache may hold 1\.0 GB.*--cache-limit"
    ) as e:
        EmbeddingCache(tmp_path, limit_gb=1).levels(key("key", 1_000_000), SHAPES, fill)
    assert str(tmp_path) in str(e.value) and "image.size" in str(e.value)
    assert fill.calls == 0 and entries(tmp_path) == []


def test_too_large_for_the_disk_is_reported_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 500, 500))
    with pytest.raises(DataError, match=r"0\.0 GB are free"):
        EmbeddingCache(tmp_path).levels(key("key"), SHAPES, Fill())


@pytest.mark.parametrize("stop", [ValueError("a bad picture"), KeyboardInterrupt()])
def test_a_failing_fill_leaves_nothing(stop: BaseException, tmp_path: Path) -> None:
    def fail(levels: Levels, rows: Sequence[int]) -> None:
        levels[0][:3] = 1
        raise stop

    cache = EmbeddingCache(tmp_path)
    with pytest.raises(type(stop)):
        cache.levels(key("key"), SHAPES, fail)
    assert entries(tmp_path) == []
    assert (cache.levels(key("key"), SHAPES, Fill(5))[0] == 5).all()


def _fill_together(folder: Path, barrier, filled) -> None:
    def fill(levels: Levels, rows: Sequence[int]) -> None:
        barrier.wait(60)  # both are writing now
        filled.value += 1
        for level in levels:
            level[:] = 2.0
        barrier.wait(60)  # and both have finished before either renames

    levels = EmbeddingCache(folder).levels(key("key"), SHAPES, fill)
    assert all((level == 2).all() for level in levels)


def test_two_runs_at_once_end_with_one_good_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, filled = context.Barrier(2), context.Value("i", 0)
    runs = [context.Process(target=_fill_together, args=(tmp_path, barrier, filled)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
    assert [run.exitcode for run in runs] == [0, 0]
    assert filled.value == 2
    assert entries(tmp_path) == [key("key").name]
    levels = EmbeddingCache(tmp_path).levels(key("key"), SHAPES, Fill(9))
    assert all((level == 2).all() for level in levels)


def test_deleting_it_while_in_use_is_safe(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    levels = cache.levels(key("key"), SHAPES, Fill(4))
    shutil.rmtree(tmp_path / "cache")
    if os.name == "posix":
        assert (levels[0] == 4).all()
    assert (cache.levels(key("key"), SHAPES, Fill(6))[0] == 6).all()


def test_a_deletion_that_stopped_half_way_is_made_good(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.levels(key("key"), SHAPES, Fill(4))
    (tmp_path / key("key").name / "level1.npy").unlink()
    levels = cache.levels(key("key"), SHAPES, Fill(6))
    assert (levels[0] == 6).all() and (levels[1] == 7).all()


def test_what_a_killed_run_left_is_removed_but_not_what_another_run_writes(tmp_path: Path) -> None:
    for name, seconds in (("dead.x.partial", ABANDONED_S + 60), ("alive.y.partial", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "level0.npy").write_bytes(b"half")
        age(tmp_path / name, seconds)
    EmbeddingCache(tmp_path).levels(key("key"), SHAPES, Fill())
    assert entries(tmp_path) == ["alive.y.partial", key("key").name]


def test_a_rename_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "denied", str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError, match="denied"):
        EmbeddingCache(tmp_path).levels(key("key"), SHAPES, Fill())
    assert entries(tmp_path) == []


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # read on Linux only
    folder = EmbeddingCache().folder
    assert folder.name in ("defectflow", "Cache") and "defectflow" in str(folder)
    assert not sys.platform.startswith("linux") or folder == tmp_path / "defectflow"
