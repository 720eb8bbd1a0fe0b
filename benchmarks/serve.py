"""The service against the bare Inspector: requests per second, and latency at 1, 8 and 64 clients.

    python benchmarks/serve.py models/bracket pictures/ --seconds 10

The Inspector judges the same files in a loop, one by one (latency), and all in one call (throughput). The service is
`defectflow serve` in a process of its own over a fresh SQLite store. Each client sends one picture at a time over a
connection of its own; all clients are threads of this process. `plain` is what people write themselves: FastAPI and
ONNX Runtime in thirty lines, without rows, keys, limits or regions; `anomalib` is a model of its own behind the same
thirty lines, where `--anomalib` names it. All take turns, so that they meet the same work of others. Processor time is
given beside the wall's, since only it says something where other work runs.

Targets: at least 0.9 of the Inspector's throughput, and at most 3 ms on top of its latency at one client.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil
import yaml

from defectflow.errors import ImageError
from defectflow.image import SUFFIXES
from defectflow.line import Inspector

CLIENTS = (1, 8, 64)
TARGET_SHARE, TARGET_MS = 0.9, 3.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one stretch of work."""

    per_second: float
    cpu_ms: float
    """Processor time of each request, of what judges it."""
    milliseconds: tuple[float, ...]
    """Of each request, sorted."""

    def percentile(self, share: float) -> float:
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * len(self.milliseconds)))]

    def __str__(self) -> str:
        p50, p95, p99 = (self.percentile(share) for share in (0.5, 0.95, 0.99))
        wall = f"{self.per_second:7.1f}/s   p50 {p50:7.1f}   p95 {p95:7.1f}   p99 {p99:7.1f} ms"
        return f"{wall}   processor {self.cpu_ms:6.1f} ms"


def inspector_alone(inspector: Inspector, pictures: list[Path], seconds: float) -> Figures:
    """One picture per call."""
    taken = []
    started, cpu = time.perf_counter(), time.process_time()
    for picture in itertools.cycle(pictures):
        begun = time.perf_counter()
        (item,) = inspector.inspect([picture])
        taken.append(1000 * (time.perf_counter() - begun))
        if isinstance(item, ImageError):
            raise item
        if time.perf_counter() - started > seconds:
            break
    cpu_ms = 1000 * (time.process_time() - cpu) / len(taken)
    return Figures(len(taken) / (time.perf_counter() - started), cpu_ms, tuple(sorted(taken)))


def inspector_in_one_call(inspector: Inspector, pictures: list[Path], seconds: float) -> float:
    """Pictures per second."""
    started, count = time.perf_counter(), 0

    def endless() -> Iterator[Path]:
        for picture in itertools.cycle(pictures):
            if time.perf_counter() - started > seconds:
                return
            yield picture

    for _ in inspector.inspect(endless()):
        count += 1
    return count / (time.perf_counter() - started)


@contextmanager
def service(bundle: Path, threads: int) -> Iterator[tuple[str, psutil.Process]]:
    """`defectflow serve` over a fresh store; its address and its process."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "models": str(bundle.resolve()),
            "store": f"{folder}/inspections.db",
            "port": 0,
            "without_keys": True,
            "threads": threads,
            "limits": {"waiting": 256, "requests_per_s": 1e6, "wait_s": 60},
        }
        file = Path(folder) / "serve.yaml"
        file.write_text(yaml.safe_dump(settings))
        with _started([sys.executable, "-m", "defectflow", "serve", str(file)]) as started:
            yield started


@contextmanager
def plain_service(python: str, model: Path | str, threads: int) -> Iterator[tuple[str, psutil.Process]]:
    """A model behind FastAPI alone: see plain_service.py. `python`: of the environment that judges with it."""
    script = Path(__file__).with_name("plain_service.py")
    with _started([python, str(script), str(model), str(threads)]) as started:
        yield started


@contextmanager
def _started(command: list[str]) -> Iterator[tuple[str, psutil.Process]]:
    """A process that says `listening on ADDRESS` first."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[2].rstrip(";"), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def over_http(url: str, process: psutil.Process, pictures: list[Path], clients: int, seconds: float) -> Figures:
    """So many clients at once, each over its own connection."""
    contents = [picture.read_bytes() for picture in pictures]
    until = time.perf_counter() + seconds

    def one(number: int) -> list[float]:
        taken = []
        with closing(HTTPConnection(url.removeprefix("http://"), timeout=120)) as client:
            for place in itertools.count(number):
                begun = time.perf_counter()
                if begun > until:
                    return taken
                client.request("POST", "/v1/inspect", contents[place % len(contents)])
                answer = client.getresponse()
                said = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{url}: {answer.status} {said.decode(errors='replace')}")
                taken.append(1000 * (time.perf_counter() - begun))
        return taken

    started, before = time.perf_counter(), sum(process.cpu_times()[:2])
    with ThreadPoolExecutor(clients) as pool:
        taken = [each for some in pool.map(one, range(clients)) for each in some]
    cpu_ms = 1000 * (sum(process.cpu_times()[:2]) - before) / len(taken)
    return Figures(len(taken) / (time.perf_counter() - started), cpu_ms, tuple(sorted(taken)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--seconds", type=float, default=10, help="of each stretch")
    parser.add_argument("--threads", type=int, default=0, help="of one inference, in both")
    parser.add_argument(
        "--anomalib", nargs=2, metavar=("PYTHON", "MODEL"), help="its environment's Python, and its model.xml"
    )
    given = parser.parse_args()
    pictures = sorted(path for path in given.pictures.rglob("*") if path.suffix.lower() in SUFFIXES)[:64]
    inspector = Inspector(given.bundle, threads=given.threads)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; {len(pictures)} pictures", flush=True)
    with ExitStack() as opened:
        peers = {
            "service": opened.enter_context(service(given.bundle, given.threads)),
            "plain": opened.enter_context(plain_service(sys.executable, given.bundle / "model.onnx", given.threads)),
        }
        if given.anomalib is not None:
            peers["anomalib"] = opened.enter_context(plain_service(*given.anomalib, given.threads))
        for url, process in peers.values():
            over_http(url, process, pictures, 1, 1)  # loads the model
        shares = {}
        for clients in CLIENTS:
            alone = inspector_alone(inspector, pictures, given.seconds)
            batched = inspector_in_one_call(inspector, pictures, given.seconds)
            print(f"Inspector, one by one     {alone}")
            print(f"Inspector, in one call    {batched:8.1f}/s")
            served = {name: over_http(*peer, pictures, clients, given.seconds) for name, peer in peers.items()}
            for name, figures in served.items():
                print(f"{f'{name}, {clients:2} client(s)':25} {figures}", flush=True)
            shares[clients] = served["service"].per_second / batched
            if clients == 1:
                extra = statistics.median(served["service"].milliseconds) - statistics.median(alone.milliseconds)
                print(f"  {extra:+.1f} ms at one client (target: at most {TARGET_MS:g})")
            print(f"  {shares[clients]:.2f} of the throughput in one call (target at 64 clients: {TARGET_SHARE:g})")
    print(f"load {os.getloadavg()[0]:.1f} after")
    sys.exit(0 if shares[64] >= TARGET_SHARE and extra <= TARGET_MS else 1)


if __name__ == "__main__":
    main()
