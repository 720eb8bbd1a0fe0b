"""A place in which one process at a time works. The operating system keeps the claim, so that a kill ends it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from defectflow.common.clock import utc_now
from defectflow.errors import SettingsError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCKED_BYTE = 1 << 30
"""Windows keeps others from reading what is locked, so a byte is locked that lies behind all that is written."""


@contextmanager
def claimed(place: Path, file: Path) -> Iterator[None]:
    """Nobody else works on `place` meanwhile: `file`, which goes on leaving, is locked and says who holds it.

    Raises SettingsError naming who works there already, or where the file system cannot lock files.
    """
    descriptor = _open_locked(place, file)
    try:
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": utc_now()}
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(holder).encode())
        yield
    finally:
        with suppress(OSError):
            if sys.platform != "win32":  # while it is held: nobody else can have claimed it by this name
                file.unlink()
        os.close(descriptor)
        with suppress(OSError):
            if sys.platform == "win32":  # an open file cannot be removed there, so neither can another's claim
                file.unlink()


def _open_locked(place: Path, file: Path) -> int:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, place, file)
            if os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed it since it was opened


def _lock(descriptor: int, place: Path, file: Path) -> None:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise SettingsError(
            f"{place}: {_holder(file)} is at work there; wait until it has ended, stop it, or choose another --out"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"{file}: cannot be locked ({error.strerror}), so two runs could mix their results; choose an --out on "
            "another file system"
        ) from error


def _holder(file: Path) -> str:
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']} (since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or just ended
        return "another process"
