"""A whole bundle takes the place of another. Killed between any two steps, the next look finishes it.

    OUT -> OUT.replaced        the old bundle steps aside
    OUT.partial -> OUT         the new one, whole by now, takes its place
    OUT.replaced -> OUT.removed, and that is removed

So OUT.replaced is always whole, and OUT.removed is nobody's any more.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


def partial_of(out: Path) -> Path:
    """Where a bundle is made that is to become `out`."""
    return out.with_name(f"{out.name}.partial")


def publish(out: Path) -> None:
    """What `partial_of(out)` holds, whole, becomes `out`; another bundle that had the name is gone."""
    if out.exists():
        out.rename(_replaced(out))
    with suppress(FileNotFoundError):  # whoever has opened `out` meanwhile may have been faster: see finish_publishing
        partial_of(out).rename(out)
    _remove_replaced(out)


def finish_publishing(out: Path) -> None:
    """What a kill has left of `publish` is brought to its end: the new bundle is in place, and no trace of the old one.

    It may also be still at work, in another process. Both then move the same folders, each of them once.
    """
    replaced, partial = _replaced(out), partial_of(out)
    if replaced.is_dir() and not out.exists():
        with suppress(FileNotFoundError):
            (partial if partial.is_dir() else replaced).rename(out)
    _remove_replaced(out)


def _remove_replaced(out: Path) -> None:
    removed = out.with_name(f"{out.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    with suppress(FileNotFoundError):
        _replaced(out).rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _replaced(out: Path) -> Path:
    return out.with_name(f"{out.name}.replaced")
