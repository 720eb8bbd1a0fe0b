"""The long run is a benchmark, in no package: its folder is on the path for these tests."""

from __future__ import annotations

import sys

from support import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
