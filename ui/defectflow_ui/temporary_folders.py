"""Folders for what is uploaded and exported: in the system's temporary folder, named by the process that made them.

A station that is killed leaves them behind, and the next one to start removes them.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

OURS = re.compile(r"defectflow-(?:drop|export)-(\d+)-.+")
OLD_S = 3600.0
"""What changed since is left alone even without its process: it may be another container's, whose ids differ."""


def prefix(kind: str) -> str:
    """For `tempfile`; `kind` is drop or export."""
    return f"defectflow-{kind}-{os.getpid()}-"


def sweep(runs: Callable[[int], bool]) -> None:
    """Remove what dead stations have left behind. `runs`: whether there is a process of this number."""
    for folder in Path(tempfile.gettempdir()).iterdir():
        found = OURS.fullmatch(folder.name)
        with suppress(OSError):  # somebody else removes it, too
            old = found is not None and time.time() - folder.lstat().st_mtime > OLD_S
            if found and old and folder.is_dir() and not folder.is_symlink() and not runs(int(found[1])):
                shutil.rmtree(folder, ignore_errors=True)
