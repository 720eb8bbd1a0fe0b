"""The benchmarks are scripts, in no package: their folders are on the path for these tests."""

from __future__ import annotations

import sys

from support import REPOSITORY

sys.path[:0] = [str(REPOSITORY / "benchmarks"), str(REPOSITORY / "benchmarks" / "peers")]
