"""What both workers have in common, in any environment: judge every picture, time single pictures and a folder.

A worker gives `open_backend(model, backend)`; it returns a Judge. Needs NumPy alone. Linux: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 5
FIRST_VERDICT = "verdict"
MESSAGE_LINES = 3
"""Lines of a peer's error message that are kept."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One picture: `score`, higher is worse; whether the picture is rejected; the map (h, w) of the model's square."""

    score: float
    rejected: bool
    anomaly_map: np.ndarray


@dataclass(frozen=True, slots=True)
class Judge:
    """A loaded model: a picture file -> its prediction; a folder's files -> theirs, in order, as a user would do it."""

    one: Callable[[Path], Prediction]
    folder: Callable[[Sequence[Path]], Iterator[Prediction]]


OpenBackend = Callable[[Path, str], Judge]


def one_by_one(one: Callable[[Path], Prediction]) -> Judge:
    """A judge whose folder is a loop over its pictures."""
    return Judge(one, lambda paths: map(one, paths))


def attempt(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The action's figures or, where a peer fails, its message: a failure is a result."""
    try:
        return action()
    except Exception as error:  # whatever a peer raises
        traceback.print_exc(file=sys.stderr)
        lines = [line for line in str(error).splitlines() if line.strip()][:MESSAGE_LINES]
        return {"failed": f"{type(error).__name__}: {' '.join(lines)}"}


def test_paths(pictures: Path) -> list[Path]:
    return [Path(row["path"]) for row in json.loads(pictures.read_text(encoding="utf-8"))["test"]]


def predict(judge: Judge, paths: Sequence[Path], to: Path) -> dict[str, Any]:
    """Every test picture, as a folder is judged; scores, verdicts and maps go to a file, their number is returned."""
    predictions = list(judge.folder(paths))
    np.savez(
        to,
        score=np.array([item.score for item in predictions]),
        rejected=np.array([item.rejected for item in predictions]),
        anomaly_map=np.stack([item.anomaly_map.astype(np.float32) for item in predictions]),
    )
    return {"predictions": len(predictions)}


def latency(open_judge: Callable[[], Judge], paths: Sequence[Path], repeats: int) -> dict[str, Any]:
    """Milliseconds from file to verdict, one picture at a time and warm; then the folder; each with the peak memory.

    `median_cpu_ms` is what the process spends on all cores: on a busy machine it says more than the clock on the wall.
    """
    started = time.perf_counter()
    judge = open_judge()
    load_s = time.perf_counter() - started
    turns = [paths[turn % len(paths)] for turn in range(WARM_UP + repeats)]
    taken, spent = [], []
    for path in turns:
        started, cpu_started = time.perf_counter(), time.process_time()
        judge.one(path)
        taken.append(1000 * (time.perf_counter() - started))
        spent.append(1000 * (time.process_time() - cpu_started))
    taken, spent = taken[WARM_UP:], spent[WARM_UP:]
    single_mb = peak_mb()  # before the folder, whose batches need more
    started = time.perf_counter()
    count = sum(1 for _ in judge.folder(paths))
    return {
        "load_s": load_s,
        "median_ms": statistics.median(taken),
        "p95_ms": float(np.quantile(taken, 0.95)),
        "median_cpu_ms": statistics.median(spent),
        "single_peak_mb": single_mb,
        "folder_pictures_per_s": count / (time.perf_counter() - started),
        "folder_peak_mb": peak_mb(),
    }


def first(judge: Judge, picture: Path) -> dict[str, Any]:
    """One verdict; the line on stdout tells whoever started this process when it came."""
    rejected = judge.one(picture).rejected
    print(FIRST_VERDICT, flush=True)
    return {"rejected": rejected, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(kib) * 1024 / 1e6


def size_mb(*paths: Path) -> float:
    """Files, and all files of folders, in MB on disk."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def _absolute(path: str) -> Path:
    return Path(path).absolute()


def run(open_backend: OpenBackend, commands: dict[str, Callable[[argparse.Namespace], dict[str, Any]]]) -> None:
    """The worker's command line: the shared commands and its own; figures go to --json."""
    shared: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "predict": lambda o: predict(open_backend(o.model, o.backend), test_paths(o.pictures), o.to),
        "latency": lambda o: latency(lambda: open_backend(o.model, o.backend), test_paths(o.pictures), o.repeats),
        "first": lambda o: first(open_backend(o.model, o.backend), o.picture),
    }
    everything = shared | commands
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=everything)
    # Absolute at once: a peer may need another working directory.
    parser.add_argument("--json", type=_absolute, required=True)
    for name in ("model", "pictures", "picture", "to", "weights", "source", "reference"):
        parser.add_argument(f"--{name}", type=_absolute)
    for name in ("backend", "kind", "product"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--parts", type=int)
    parser.add_argument("--most", type=int)
    parser.add_argument("--budget-s", type=float)
    options = parser.parse_args()
    figures = attempt(lambda: everything[options.command](options))
    options.json.write_text(json.dumps(figures), encoding="utf-8")
