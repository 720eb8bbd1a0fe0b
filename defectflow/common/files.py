"""A file that appears whole or not at all, whoever reads it, or writes it too, meanwhile; and a disk that is full."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Where to write: on leaving, what lies there takes the place of `file`; where writing fails, it is removed."""
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}.partial")  # others may be writing `file`, too
    try:
        yield partial
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(file: Path, text: str) -> None:
    """Text as UTF-8 with the same line ends everywhere, written by `atomic_write`."""
    with atomic_write(file) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def is_full(error: OSError) -> bool:
    """Whether there is no room left, on the disk or within a quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def remedy(error: OSError) -> str:
    """What helps where something could not be written."""
    return "make room" if is_full(error) else "see that files can be written"
