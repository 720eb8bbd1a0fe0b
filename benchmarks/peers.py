"""DefectFlow and anomalib side by side: one data set, one backbone, one file of weights, one machine, one run.

    python benchmarks/peers.py                                    a sample product; makes the environments first (15 GB)
    DEFECTFLOW_DATA=... python benchmarks/peers.py --real pill    a real set, by its manifest's name
    python benchmarks/peers.py --pictures 100                     learn from 100 good pictures alone, taken evenly
    python benchmarks/peers.py --only latency                     time the models of an earlier run again

Each peer runs in its own environment (peer_environments.py) through its own worker (peers/*_worker.py);
this driver needs nothing but Python. A flow of anomalib gets --budget-s of wall-clock, and is judged at its last step.
No peer sees a test picture before it is judged. A failure is recorded with its message, and the others continue.
Everything is kept in results.json after every step, and written as tables to results.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peer_environments
from peer_tables import targets, write_tables

HERE = Path(__file__).parent
WEIGHTS = "weights.safetensors"
"""What recipes and peers share, below the cache."""
STAGES = ("environments", "fit", "latency")
LIMIT_S = 7200
"""A worker that takes longer has failed."""
STARTS = 3
"""Processes started to time the first verdict."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What is fitted, where, and its ways to a verdict; the first is the trained model, which the others must match."""

    environment: str
    backends: tuple[str, ...]

    def worker(self) -> str:
        return f"{self.environment}_worker.py"


ANOMALIB = ("engine", "torch", "onnx", "openvino")
PEERS = {
    "fast": Peer("defectflow", ("torch", "onnx")),
    "default": Peer("defectflow", ("torch", "onnx")),
    "padim": Peer("anomalib", ANOMALIB),
    "patchcore": Peer("anomalib", ANOMALIB),
    "cflow": Peer("anomalib", ANOMALIB),
}


def main() -> None:
    options = _options()
    run = Run(options.cache.absolute(), options.repeats)
    stages = options.only or STAGES
    run.results["machine"] = _machine()
    for name in peer_environments.REQUIREMENTS if "environments" in stages else ():
        _say(f"environment {name}")
        folder = run.cache / "environments" / name
        peer_environments.make(name, folder)
        run.keep(peer_environments.measure(name, folder), "environments", name)
    for name, source in _sources(options).items():
        if "fit" in stages:
            _say(f"{name}: pictures")
            given = {"source": source} if source else {"product": name, "parts": options.parts}
            given |= {"most": options.pictures} if options.pictures else {}
            made = run.work("defectflow", "defectflow_worker.py", "pictures", name, to=run.cache / name, **given)
            if run.at("sets", name, "data") != made:
                run.at("sets").pop(name, None)  # what was fitted on other pictures is not to be compared
            run.keep({"data": made}, "sets", name)
            written = run.work("defectflow", "defectflow_worker.py", "weights", name, to=run.cache / WEIGHTS)
            if "failed" in written:
                sys.exit(f"the shared weights cannot be written: {written['failed']}")
        elif not (run.cache / name / "pictures.json").is_file():
            sys.exit(f"{name}: nothing was fitted on it in {run.cache}; run the stage fit first, or name its --cache")
        for model in options.peer or PEERS:
            if "fit" in stages:
                fit(run, name, model, options.budget_s)
            if "latency" in stages:
                time_peer(run, name, model)
    write_tables(run.results, run.cache / "results.md")
    print((run.cache / "results.md").read_text(encoding="utf-8"))
    print(f"{run.cache / 'results.json'}\n{run.cache / 'results.md'}")


class Run:
    """One cache folder: environments, data, models, logs, and results.json as it grows."""

    def __init__(self, cache: Path, repeats: int) -> None:
        self.cache = cache
        self.repeats = repeats
        self.file = cache / "results.json"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.results: dict[str, Any] = json.loads(self.file.read_text()) if self.file.is_file() else {}

    def keep(self, figures: dict[str, Any], *keys: str) -> None:
        """Put figures at their place; what an earlier stage left there stays unless it is measured again."""
        place = self.results
        for key in keys:
            place = place.setdefault(key, {})
        place.update(figures)
        self.results["targets"] = targets(self.results)
        self.file.write_text(json.dumps(self.results, indent=2) + "\n", encoding="utf-8")

    def at(self, *keys: str) -> dict[str, Any]:
        place = self.results
        for key in keys:
            place = place.get(key, {})
        return place

    def command(self, environment: str, worker: str, command: str, data: str, **options: Any) -> tuple[list[str], Path]:
        """A worker's command line, and the file that its figures go to."""
        figures = self.cache / data / "figures.json"
        figures.parent.mkdir(parents=True, exist_ok=True)
        figures.unlink(missing_ok=True)
        given = {"json": figures, "pictures": self.cache / data / "pictures.json", "repeats": self.repeats} | options
        python = peer_environments.python_of(self.cache / "environments" / environment)
        flags = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        return [str(python), str(HERE / "peers" / worker), command, *flags], figures

    def work(self, environment: str, worker: str, command: str, data: str, **options: Any) -> dict[str, Any]:
        """Run a worker to its end; its figures, or how it failed."""
        line, figures = self.command(environment, worker, command, data, **options)
        log = self.cache / data / "workers.log"
        with log.open("a", encoding="utf-8") as stream:
            print(f"\n$ {' '.join(line)}", file=stream, flush=True)
            try:
                given = {"stdout": stream, "stderr": stream, "env": _environment(), "timeout": LIMIT_S}
                code = subprocess.run(line, check=False, **given).returncode
            except subprocess.TimeoutExpired:
                return {"failed": f"stopped after {LIMIT_S} s"}
        if figures.is_file():
            return json.loads(figures.read_text(encoding="utf-8"))
        return {"failed": f"the process ended with {code} and no figures; see {log.name}"}


def fit(run: Run, data: str, name: str, budget_s: float) -> None:
    """Fit one peer, judge the test pictures with each of its backends, and count flips against the first."""
    peer = PEERS[name]
    folder = run.cache / data
    model = folder / "models" / name
    listing = json.loads((folder / "pictures.json").read_text(encoding="utf-8"))
    _say(f"{data}: fit {name}")
    shutil.rmtree(model, ignore_errors=True)  # what an earlier run left must not be judged as this one's
    for stale in folder.glob(f"{name}_*.npz"):
        stale.unlink()
    source = listing["source"] if peer.environment == "defectflow" else folder
    given = {"source": source, "kind": name, "model": model}
    given |= {"budget_s": budget_s, "weights": run.cache / WEIGHTS} if peer.environment == "anomalib" else {}
    fitted = run.work(peer.environment, peer.worker(), "fit", data, **given)
    run.keep({"fit": fitted, "backends": {}}, "sets", data, "peers", name)
    trained = folder / f"{name}_{peer.backends[0]}.npz"
    for backend in peer.backends:
        _say(f"{data}: judge with {name} {backend}")
        predictions = folder / f"{name}_{backend}.npz"
        figures = run.work(
            peer.environment, peer.worker(), "predict", data, model=model, backend=backend, to=predictions
        )
        if "failed" not in figures:
            reference = {"reference": trained} if trained.is_file() else {}
            figures = run.work("defectflow", "defectflow_worker.py", "figures", data, source=predictions, **reference)
        run.keep({"judged": figures}, "sets", data, "peers", name, "backends", backend)


def time_peer(run: Run, data: str, name: str) -> None:
    """Single pictures, a folder, and from process start to the first verdict; for recipes also the graph's share."""
    peer = PEERS[name]
    model = run.cache / data / "models" / name
    picture = json.loads((run.cache / data / "pictures.json").read_text(encoding="utf-8"))["test"][0]["path"]
    for backend in peer.backends:
        _say(f"{data}: time {name} {backend}")
        environment = "base" if backend == "onnx" and peer.environment == "defectflow" else peer.environment
        figures = run.work(environment, peer.worker(), "latency", data, model=model, backend=backend)
        place = ("sets", data, "peers", name, "backends", backend)
        run.keep({"latency": figures}, *place)
        if "failed" not in figures:
            starts = [
                first_verdict_s(run, environment, peer, data, model=model, backend=backend, picture=picture)
                for _ in range(STARTS)
            ]
            known = [start for start in starts if start is not None]
            run.keep({"first_verdict_s": statistics.median(known) if known else None}, *place)
    if peer.environment == "defectflow":
        to = run.cache / data / "graphs"
        graph = run.work("defectflow", "defectflow_worker.py", "graph", data, model=model, kind=name, to=to)
        run.keep({"graph": graph}, "sets", data, "peers", name)


def first_verdict_s(run: Run, environment: str, peer: Peer, data: str, **options: Any) -> float | None:
    """Seconds from starting a process to its first verdict; None if it gave none."""
    line, _ = run.command(environment, peer.worker(), "first", data, **options)
    started = time.perf_counter()
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_environment()
    ) as process:
        seconds = None
        for printed in process.stdout or ():
            if printed.strip() == "verdict":
                seconds = time.perf_counter() - started
    return seconds


def _environment() -> dict[str, str]:
    """Neither this tree nor a hub: what is measured is what is installed, and its weights are a file."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | {"HF_HUB_OFFLINE": "1"}


def _machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.is_file() else []
    return {
        "time": datetime.now(UTC).isoformat(timespec="minutes"),
        "system": platform.platform(),
        "cpu": models[0].partition(": ")[2] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def _sources(options: argparse.Namespace) -> dict[str, Path | None]:
    """Name -> manifest; None for a sample product, which is drawn."""
    if options.real is None:
        return {options.product: None}
    folder = os.environ.get("DEFECTFLOW_DATA")
    if not folder:
        sys.exit("--real: DEFECTFLOW_DATA is not set; name the folder that holds the manifests")
    there = {manifest.stem: manifest for manifest in sorted(Path(folder).glob("*.csv"))}
    unknown = [name for name in options.real if name not in there]
    if unknown:
        sys.exit(f"--real: no manifest {unknown[0]}.csv in {folder}; there are {', '.join(there)}")
    return {name: there[name] for name in options.real or there}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "defectflow-peers")
    parser.add_argument("--only", action="append", choices=STAGES, help="repeatable; by default all, in this order")
    parser.add_argument("--peer", action="append", choices=PEERS, help="repeatable; by default all")
    parser.add_argument("--product", default="fabric", help="the sample product to draw")
    parser.add_argument("--parts", type=int, default=60, help="good parts to draw; a third of them are shot again")
    parser.add_argument("--real", nargs="*", metavar="NAME", help="sets of DEFECTFLOW_DATA instead; none named: all")
    parser.add_argument("--pictures", type=int, help="good pictures to learn from, at most; by default all")
    parser.add_argument("--budget-s", type=float, default=150, help="wall-clock that a flow of anomalib learns for")
    parser.add_argument("--repeats", type=int, default=100, help="single pictures timed")
    return parser.parse_args()


def _say(step: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {step}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
