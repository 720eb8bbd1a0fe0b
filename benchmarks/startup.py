"""From process start to the first verdict: time, and resident memory, of a fresh process on an install without torch.

    python -m venv line && line/bin/pip install .
    python benchmarks/startup.py models/bracket picture.png --python line/bin/python

Targets: under 1.5 s and under 600 MB. Processor time is given beside the wall's, since only it says something on a
machine that does other work, too. `--profile` prints the slowest imports.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TARGET_S, TARGET_MB = 1.5, 600.0
VERDICT = """
import sys
from pathlib import Path
from defectflow.line import Inspector
(verdict,) = Inspector(Path(sys.argv[1])).inspect([Path(sys.argv[2])])
print(verdict.decision.word)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from its start to its end."""

    wall_s: float
    cpu_s: float
    resident_mb: float
    """The largest it ever was, in 10^6 bytes."""


def measure(words: list[str]) -> Run:
    """Raises CalledProcessError if the process fails."""
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, words)
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def report(name: str, runs: list[Run]) -> bool:
    """Print a line; returns whether the targets are met."""
    walls, cpu = sorted(run.wall_s for run in runs), statistics.median(run.cpu_s for run in runs)
    wall, resident = statistics.median(walls), max(run.resident_mb for run in runs)
    print(f"{name:24} {wall:6.2f} s median {walls[0]:6.2f} s best {cpu:6.2f} s processor {resident:6.0f} MB resident")
    return wall < TARGET_S and resident < TARGET_MB


def slowest_imports(python: str, count: int = 12) -> str:
    done = subprocess.run(
        [python, "-P", "-X", "importtime", "-c", "import defectflow.line"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = re.findall(r"import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)", done.stderr)
    top = sorted(rows, key=lambda row: -int(row[1]))[:count]
    return "\n".join(
        f"{int(total) / 1000:8.0f} ms with all it imports, {int(own) / 1000:6.0f} ms alone  {name}"
        for own, total, name in top
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the install to measure")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    command = str(Path(asked.python).with_name("defectflow"))
    to_verdict = [asked.python, "-P", "-c", VERDICT, str(asked.bundle), str(asked.picture)]
    measure(to_verdict)  # files into the system's cache: a line PC starts from a disk that was read before
    met = report("Inspector, from Python", [measure(to_verdict) for _ in range(asked.runs)])
    with tempfile.TemporaryDirectory() as results:
        report(
            "defectflow score",
            [
                measure([command, "score", str(asked.bundle), str(asked.picture), "--out", f"{results}/{number}"])
                for number in range(asked.runs)
            ],
        )
    report("python -c pass", [measure([asked.python, "-c", "pass"]) for _ in range(asked.runs)])
    if asked.profile:
        print(slowest_imports(asked.python))
    print(f"target ({TARGET_S:g} s, {TARGET_MB:g} MB): {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
