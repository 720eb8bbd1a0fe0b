"""Processes by number and time of creation: a number alone may be another program's by now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import psutil

Identity = tuple[int, float]
"""(number, time of creation)"""
PATIENCE_S = 10.0
"""How long a process may take to end once it is asked to."""


def identity(pid: int | None = None) -> Identity:
    """Of a running process, by default this one."""
    process = psutil.Process(pid)
    return process.pid, process.create_time()


def exists(pid: int) -> bool:
    """Whether any process has this number."""
    return psutil.pid_exists(pid)


def alive(processes: Iterable[Identity]) -> list[psutil.Process]:
    """Those that still run, and are the ones meant."""
    found = []
    for pid, created in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def stop(processes: Iterable[Identity]) -> None:
    """End processes and whatever they have started."""
    running = alive(processes)
    for process in list(running):
        with contextlib.suppress(psutil.NoSuchProcess):
            running += process.children(recursive=True)
    for process in running:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(running, PATIENCE_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
