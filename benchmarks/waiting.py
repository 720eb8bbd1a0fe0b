"""Threads that spin while they wait, or sleep: on an idle machine, and beside other work.

    python benchmarks/waiting.py BUNDLE [--rounds 3]

Learning: steps of a small network with torch, OMP_WAIT_POLICY unset and PASSIVE. Judging: one picture at a time through
the bundle's graph, `session.intra_op.allow_spinning` 1 and 0. Each pair runs side by side in turns, in fresh processes,
alone and beside as many busy processes as there are cores. Printed: the median and the fastest, which other work on the
machine disturbs least, over all rounds; and the ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from defectflow.common import usable_cores

STEPS, PICTURES = 30, 30
BUSY = "while True: pass"


def learn() -> list[float]:
    """Milliseconds of each step: a network as wide as a coupling's, on a batch as large as a recipe's."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(128, 256), torch.nn.Tanh(), torch.nn.Linear(256, 128))
    optimiser = torch.optim.AdamW(net.parameters())
    batch, taken = torch.randn(2048, 128), list[float]()
    for _ in range(STEPS):
        started = time.perf_counter()
        optimiser.zero_grad()
        net(batch).square().mean().backward()
        optimiser.step()
        taken.append(1000 * (time.perf_counter() - started))
    return taken[5:]


def judge(bundle: Path, spinning: str) -> list[float]:
    """Milliseconds of each inference, with a pause before each as on a line."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    session = onnxruntime.InferenceSession(bundle / "model.onnx", options, providers=["CPUExecutionProvider"])
    picture, taken = np.full((1, 256, 256, 3), 100, np.uint8), list[float]()
    for _ in range(PICTURES):
        time.sleep(0.02)
        started = time.perf_counter()
        session.run(None, {"image": picture})
        taken.append(1000 * (time.perf_counter() - started))
    return taken[5:]


@contextmanager
def busy(processes: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measured(*words: str, environment: dict[str, str]) -> list[float]:
    without = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, __file__, "--worker", *words]
    return list(map(float, subprocess.check_output(command, env=without | environment, text=True).split()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("spinning", nargs="?")
    arguments = parser.parse_args()
    if arguments.worker:
        print(*(learn() if arguments.spinning is None else judge(arguments.bundle, arguments.spinning)))
        return
    bundle = str(arguments.bundle)
    print(f"{usable_cores()} cores, {arguments.rounds} rounds")
    for beside in (0, usable_cores()):
        with busy(beside):
            learning: dict[str, list[float]] = {"spin": [], "sleep": []}
            judging: dict[str, list[float]] = {"spin": [], "sleep": []}
            for _ in range(arguments.rounds):
                learning["spin"].extend(measured(bundle, environment={}))
                learning["sleep"].extend(measured(bundle, environment={"OMP_WAIT_POLICY": "PASSIVE"}))
                judging["spin"].extend(measured(bundle, "1", environment={}))
                judging["sleep"].extend(measured(bundle, "0", environment={}))
        for what, times in (("a step of learning", learning), ("one picture", judging)):
            for how, figure in (("median", statistics.median), ("fastest", min)):
                spin, sleep = figure(times["spin"]), figure(times["sleep"])
                print(f"{beside} busy: {what}, {how}: {spin:.2f} ms spinning, {sleep:.2f} sleeping: {sleep / spin:.2f}")


if __name__ == "__main__":
    main()
