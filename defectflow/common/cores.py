"""How many cores this process may use: those it is bound to, and no more than its container's share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """At least 1. A share of 1.5 cores is one core: threads that wait for their share hold up the others."""
    affinity = getattr(os, "sched_getaffinity", None)
    bound = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([bound, *(int(share) for share in _shares())]))


def are_limited() -> bool:
    """Whether a library that counts the machine's cores would count too many."""
    return usable_cores() < (os.cpu_count() or 1)


def _shares() -> Iterator[float]:
    """Every limit on this process's time, in cores: of its control groups and of those around them."""
    with suppress(OSError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            folder = Path(path.lstrip("/"))
            for group in (folder, *folder.parents):
                if not controllers:  # version 2
                    yield from _share(CGROUPS / group / "cpu.max")
                elif "cpu" in controllers.split(","):
                    for root in (CGROUPS / "cpu", CGROUPS / controllers):
                        yield from _share(root / group / "cpu.cfs_quota_us", root / group / "cpu.cfs_period_us")


def _share(*files: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):  # no such group here, or no limit: "max 100000"
        quota, period = " ".join(file.read_text() for file in files).split()
        if int(quota) > 0:
            yield int(quota) / int(period)
