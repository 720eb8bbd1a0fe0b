"""Ray against one process: pictures per second and driver's memory; and stragglers and lost nodes, simulated.

    python benchmarks/scale.py speed models/bracket pictures/          # one process, then Ray with 1 and 2 workers
    python benchmarks/scale.py memory --pictures 10000 100000 1000000  # synthetic rows through the real driver
    python benchmarks/scale.py simulate                                # 100 nodes, by the driver's own rules

`speed` scores the same folder in turns, so that all meet the same other work, and prints the machine's load beside it.
Processor time is that of the driver and the workers: on a busy machine it says more than the clock. Ray's start, and a
worker's opening of the bundle, are told apart from what each picture costs.
`memory` replaces the Inspector by rows that are made up; listing, shards, Ray, Parquet and manifest are the real ones.
`simulate` knows nothing of Ray: workers, shards of random length, two shards given ahead, second copies of late ones.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

from defectflow.bundle import open_bundle
from defectflow.data import Archive, Listed, find_pictures, printable
from defectflow.line import Inspector, score_folder
from defectflow.line.journal import Row, gather_parts
from defectflow.line.shards import parts_to_parquet, rows_to_parquet
from defectflow.scale.cluster import LOCAL, Needs, connected
from defectflow.scale.pool import AHEAD, LATE, Pool
from defectflow.scale.score_on_ray import Results, Wanted, score_on_ray
from defectflow.scale.shard_plan import Shard, ShardPlan, shard_count
from defectflow.scale.worker import Done

MEGABYTE = 1e6
TARGET_OVERHEAD = 0.10


# --- speed --------------------------------------------------------------------------------------------------


def speed(bundle: Path, pictures: Path, rounds: int) -> None:
    found = find_pictures(pictures)
    opened = open_bundle(bundle)
    print(f"{len(found)} pictures, {os.cpu_count()} cores; one thread for each inference")
    figures: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            before, started, own = os.getloadavg()[0], time.perf_counter(), time.process_time()
            inspector = Inspector(opened, threads=1)
            opened_at = time.perf_counter()
            score_folder(inspector, found, pictures, Path(folder) / "one", table="parquet")
            took, cpu = time.perf_counter() - opened_at, time.process_time() - own
            _print(figures, "one process", len(found), took, time.perf_counter() - started, cpu, before)
            for workers in (1, 2):
                before, started, own = os.getloadavg()[0], time.perf_counter(), time.process_time()
                out = Path(folder) / f"ray{workers}"
                scored = score_on_ray(opened, str(pictures), out, Wanted(workers=workers), address=LOCAL)
                whole, cpu = time.perf_counter() - started, time.process_time() - own + scored.processor_seconds
                _print(figures, f"Ray, {workers} workers", len(found), scored.working_seconds, whole, cpu, before)
    alone = [statistics.median(values) for values in zip(*figures["one process"], strict=True)]
    for name, several in figures.items():
        rate, cpu = (statistics.median(values) for values in zip(*several, strict=True))
        shares = f"{rate / alone[0]:.2f} and {cpu / alone[1]:.2f} of one process"
        print(f"{name:16}  median {rate:7.1f} pictures/s, {cpu:6.1f} ms of processor time a picture: {shares}")
    print(f"target: at least {1 - TARGET_OVERHEAD:.2f} of one process with one worker")


def _print(
    figures: dict[str, list[tuple[float, float]]],
    name: str,
    count: int,
    took: float,
    whole: float,
    cpu: float,
    load: float,
) -> None:
    figures.setdefault(name, []).append((count / took, 1000 * cpu / count))
    start = f"{took:6.1f} s, with the start {whole:6.1f} s"
    print(f"{name:16}  {count / took:7.1f} pictures/s  {start}  processor {cpu:6.1f} s  load {load:.1f}", flush=True)


# --- memory -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Synthetic(Archive):
    """An archive of pictures that are not there, in folders of a thousand."""

    count: int = 0

    def files(self) -> Iterator[Listed]:
        for number in range(self.count):
            yield Listed(PurePosixPath(f"line {number // 1000 % 6}/{number // 1000:05}/{number:08}.png"))


class SyntheticActor:
    """Answers for a shard at once, with rows as real ones are."""

    def bring_up_to_date(self, shard: Shard, known: bytes | None) -> Done:
        rows = [
            Row(
                file=one.name,
                part=one.picture.part,
                decision="ok",
                score=random.random(),
                p_value=random.random(),
                threshold=1.0,
                review_threshold=1.0,
                distance=random.random(),
                distance_limit=2.0,
                milliseconds=20.0,
                bundle_id="0" * 12,
                calibration_id="0" * 12,
                sha256=f"{random.getrandbits(256):064x}",
                size_bytes=100_000,
                modified_ns=0,
                width_px=640,
                height_px=480,
                grey=False,
                bits=8,
            )
            for one in shard.pictures
        ]
        parts = gather_parts(rows)
        counts = {"ok": len(rows)}
        tables = rows_to_parquet(rows, ()), parts_to_parquet(parts)
        return Done(shard.number, *tables, {}, counts, {"ok": len(parts)}, len(rows), 0, 0, None, 0, (), 0.0)

    def ready(self) -> None:
        pass


def memory(counts: list[int]) -> None:
    import ray

    process = psutil.Process()
    with connected(LOCAL):
        remote = ray.remote(SyntheticActor).options(num_cpus=1)

        def make() -> tuple[Any, Any]:
            actor = remote.remote()
            return actor, actor.ready.remote()

        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                out, started = Path(folder), time.perf_counter()
                (out / "results").mkdir()
                (out / "parts").mkdir()
                archive = Synthetic("nowhere", count=count)
                most, rows = 0, 0
                with ShardPlan(out) as plan:
                    plan.list_files(archive.files())
                    listed = ((printable(one.name), one) for one in archive.pictures(plan.names, None))
                    plan.add(listed, listed=False)
                    planned, most = time.perf_counter() - started, process.memory_info().rss
                    shards = shard_count(len(plan), 2, drawn=False)
                    pool = Pool(make, Needs(1), 2)
                    with Results(out) as results:
                        for done in pool.run(plan.shards(shards), results.known):
                            results.keep(done)
                            rows += sum(done.pictures.values())
                            most = max(most, process.memory_info().rss)
                took = time.perf_counter() - started
                size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / MEGABYTE
                print(
                    f"{count:9} pictures  {rows:9} rows in {shards} shards  driver at most {most / MEGABYTE:6.0f} MB  "
                    f"listing {planned:6.1f} s  all {took:6.1f} s  results {1e6 * size / count:.0f} B each"
                )


# --- simulation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class World:
    """What goes wrong. Times are in seconds."""

    name: str
    nodes: int = 100
    per_node: int = 8
    """Workers of a node."""
    slow: float = 0.0
    """Share of nodes that are `slowness` times slower."""
    slowness: float = 4.0
    lost_per_hour: float = 0.0
    """Nodes lost in an hour, of all; each is replaced after `replaced_s`."""
    replaced_s: float = 300.0
    noticed_s: float = 30.0
    """Until the cluster knows that a node is gone."""
    second_copies: bool = True


def simulate(pictures: int, milliseconds: float, per_shard: int, seeds: int) -> None:
    ideal = pictures * milliseconds / 1000 / 800
    print(f"{pictures} pictures of {milliseconds:g} ms in shards of {per_shard}; 100 nodes with 8 workers")
    print(f"ideal: {ideal:.0f} s")
    print(f"{'world':44} {'time':>8} {'of ideal':>9} {'lost work':>10} {'second copies':>14}")
    for world in (
        World("nothing goes wrong"),
        World("5 nodes 4 times slower", slow=0.05),
        World("5 nodes 4 times slower, no second copies", slow=0.05, second_copies=False),
        World("5 nodes 20 times slower", slow=0.05, slowness=20),
        World("5 nodes 20 times slower, no second copies", slow=0.05, slowness=20, second_copies=False),
        World("10 nodes lost in an hour", lost_per_hour=10),
        World("60 nodes lost in an hour", lost_per_hour=60),
        World("5 slow, 60 lost in an hour", slow=0.05, lost_per_hour=60),
    ):
        runs = [_simulated(world, pictures, milliseconds, per_shard, seed) for seed in range(seeds)]
        time_s, wasted, copies = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{world.name:44} {time_s:6.0f} s {time_s / ideal:9.3f} {wasted:9.2%} {copies:14.0f}")


def _simulated(
    world: World, pictures: int, milliseconds: float, per_shard: int, seed: int
) -> tuple[float, float, float]:
    """Seconds until all shards are done, share of work that was done in vain, second copies."""
    chance = random.Random(seed)
    shards = -(-pictures // per_shard)
    base = per_shard * milliseconds / 1000
    length = [base * chance.lognormvariate(0, 0.15) for _ in range(shards)]
    workers = world.nodes * world.per_node
    slow = set(chance.sample(range(world.nodes), round(world.slow * world.nodes)))
    speed_of = [world.slowness if worker // world.per_node in slow else 1.0 for worker in range(workers)]
    waiting = list(range(shards))[::-1]
    queues: list[list[int]] = [[] for _ in range(workers)]
    """The shards of each worker, the first at work: at most AHEAD."""
    given: dict[tuple[int, int], float] = {}
    """(shard, worker) -> since when it is out."""
    copies: dict[int, set[int]] = {}
    alive, epoch = [True] * workers, [0] * workers
    done, took, wasted, second, now = set[int](), list[float](), 0.0, 0, 0.0
    events: list[tuple[float, str, int, int]] = []
    begun = [0.0] * workers

    def begin(worker: int) -> None:
        begun[worker] = now
        heapq.heappush(events, (now + length[queues[worker][0]] * speed_of[worker], "end", worker, epoch[worker]))

    def send(worker: int, shard: int) -> None:
        queues[worker].append(shard)
        given[shard, worker] = now
        copies.setdefault(shard, set()).add(worker)
        if len(queues[worker]) == 1:
            begin(worker)

    def fill(worker: int) -> None:
        nonlocal second
        while alive[worker] and len(queues[worker]) < AHEAD and waiting:
            send(worker, waiting.pop())
        if world.second_copies and alive[worker] and not queues[worker] and not waiting and len(took) >= 3:
            alone = [
                (since, shard) for (shard, _), since in given.items() if shard not in done and len(copies[shard]) == 1
            ]
            if alone and now - min(alone)[0] > LATE * statistics.median(took[-200:]):
                second += 1
                send(worker, min(alone)[1])

    if world.lost_per_hour:
        at = 0.0
        while at < 100 * base * shards / workers:
            at += chance.expovariate(world.lost_per_hour / 3600)
            heapq.heappush(events, (at, "lose", chance.randrange(world.nodes), 0))
    for _ in range(AHEAD):  # as the driver does: to each worker one, then to each another
        for worker in range(workers):
            if waiting:
                send(worker, waiting.pop())
    tick = base / 4
    heapq.heappush(events, (tick, "tick", 0, 0))
    while len(done) < shards:
        now, what, which, of = heapq.heappop(events)
        match what:
            case "end" if of == epoch[which] and alive[which]:
                shard = queues[which].pop(0)
                since = given.pop((shard, which))
                if shard in done:
                    wasted += now - begun[which]
                else:
                    done.add(shard)
                    took.append(now - since)
                if queues[which]:
                    begin(which)
                fill(which)
            case "lose":
                for worker in range(which * world.per_node, (which + 1) * world.per_node):
                    if alive[worker] and queues[worker]:
                        wasted += now - begun[worker]
                    alive[worker], epoch[worker] = False, epoch[worker] + 1
                heapq.heappush(events, (now + world.noticed_s, "notice", which, 0))
                heapq.heappush(events, (now + world.replaced_s, "replace", which, 0))
            case "notice":
                for worker in range(which * world.per_node, (which + 1) * world.per_node):
                    for shard in queues[worker]:
                        given.pop((shard, worker), None)
                        copies[shard].discard(worker)
                        if shard not in done and not copies[shard]:
                            waiting.append(shard)
                    queues[worker] = []
            case "replace":
                for worker in range(which * world.per_node, (which + 1) * world.per_node):
                    if not queues[worker]:
                        alive[worker] = True
                        fill(worker)
            case "tick":
                for worker in range(workers):
                    if not queues[worker]:
                        fill(worker)
                heapq.heappush(events, (now + tick, "tick", 0, 0))
    return now, wasted / sum(length), second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    one = ways.add_parser("speed")
    one.add_argument("bundle", type=Path)
    one.add_argument("pictures", type=Path)
    one.add_argument("--rounds", type=int, default=3)
    two = ways.add_parser("memory")
    two.add_argument("--pictures", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    three = ways.add_parser("simulate")
    three.add_argument("--pictures", type=int, default=10_000_000)
    three.add_argument("--milliseconds", type=float, default=100.0, help="of one picture on one worker")
    three.add_argument("--per-shard", type=int, default=256)
    three.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    match given.way:
        case "speed":
            speed(given.bundle, given.pictures, given.rounds)
        case "memory":
            memory(given.pictures)
        case "simulate":
            simulate(given.pictures, given.milliseconds, given.per_shard, given.seeds)


if __name__ == "__main__":
    main()
