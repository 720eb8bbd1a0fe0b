"""The service for a long time, while everything around it is killed: is each accepted request recorded and told once?

    python benchmarks/soak.py models/bracket pictures/ --minutes 30 --kill-every 20 --out soak

Clients send small pictures, one or up to `--pictures-at-once` in a request, under keys of their own, and send again
under the same key until they are answered. Among them are slow ones, ones that break off or promise more bytes than
they send, and unreadable pictures. Meanwhile the service, its PostgreSQL server and an MQTT broker are killed with
SIGKILL in turn and started again, and the receiver of the webhook refuses or hangs now and then. With `--small-disk`, a
folder on a small file system of its own (`mount -t tmpfs -o size=32m tmpfs FOLDER`), the disk for arriving pictures and
copies is filled to the last byte for two seconds between kills.

At the end all is quiet, and the store is compared with what the clients were answered and the receivers were told:
every answered request has exactly its rows, nobody else has any, every row that the webhook wants (all but OK) was told
under one id, and the log verifies. `--spare-service` leaves the service alone, so that its memory and open files can be
watched for long; they stand in OUT/samples.csv and OUT/memory.svg. The figures of each run are added to OUT/runs.jsonl.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import paho.mqtt.client as paho
import psutil
import psycopg
import yaml
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select

from defectflow.image import SUFFIXES
from defectflow.serve.webhook import write_secret
from defectflow.store import Store, schema

SAMPLE_S = 5.0
QUIET_S = 300.0
"""How long the receivers may take at the end to be told the rest."""
TOLD = ["review", "defect", "invalid", "error"]
"""What the webhook wants; the broker is told everything."""
KINDS = ("usual", "unreadable", "slow", "broken off", "too short", "no picture")
WEIGHTS = (940, 20, 10, 10, 10, 10)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Victim:
    """A process that is killed and started again."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, ready: Callable[[], object]) -> None:
        self.name, self._command, self._folder, self._ready = name, list(command), folder, ready
        self.kills = 0
        self.process = self._start()

    def kill(self) -> None:
        self.kills += 1
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        time.sleep(random.uniform(0, 3))
        self.process = self._start()

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _start(self) -> subprocess.Popen[bytes]:
        until = time.monotonic() + 120
        while True:
            with (self._folder / f"{self.name}.log").open("ab") as log:
                process = subprocess.Popen(
                    self._command, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
                )
            while process.poll() is None:
                with suppress(Exception):  # whatever a half-started server says
                    self._ready()
                    return process
                if time.monotonic() > until:
                    raise SystemExit(f"{self.name} does not start; see {self._folder / f'{self.name}.log'}")
                time.sleep(0.1)
            time.sleep(0.5)  # PostgreSQL refuses while children of the killed one are still ending


def postgres(folder: Path, port: int) -> Victim:
    """A server with its files in `folder`; as root it runs as the user postgres."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    data = folder / "database"
    data.mkdir()
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(data, "postgres")
    initdb = [*as_user, str(binaries / "initdb"), "-D", str(data), "--username=soak", "--auth=trust"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=data)
    command = [*as_user, str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(data)]
    url = f"postgresql://soak@127.0.0.1:{port}/postgres"
    return Victim("postgres", command, folder, lambda: psycopg.connect(url, connect_timeout=2).close())


def broker(folder: Path, port: int) -> Victim:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    command = [program, "-c", str(folder / "mosquitto.conf")]
    return Victim("mosquitto", command, folder, lambda: socket.create_connection(("127.0.0.1", port), 2).close())


class Receiver:
    """Of the webhook: one in a hundred is refused, one in a thousand waits until the sender gives up."""

    def __init__(self) -> None:
        told = self.told = Counter[str]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                chance = random.random()
                if chance < 0.001:
                    time.sleep(6)
                with suppress(ConnectionError):  # the sender has given up, or was killed
                    if chance < 0.01:
                        self.send_error(503)
                        return
                    told[self.headers["webhook-id"]] += 1
                    self.send_response(204)
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


def listener(port: int) -> tuple[paho.Client, Counter[str]]:
    """What the broker's subscribers hear."""
    heard = Counter[str]()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="soak", clean_session=False)
    client.on_connect = lambda client, *_: client.subscribe("defectflow/soak/+/inspection", qos=1)
    client.on_message = lambda _client, _data, message: heard.update(
        [f"inspection-{json.loads(message.payload)['id']}"]
    )
    client.reconnect_delay_set(1, 1)
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    return client, heard


@dataclass
class Clients:
    """What they sent, and what they were answered."""

    url: str
    pictures: list[bytes]
    at_once: int = 1
    """Pictures in a request, at most."""
    over: threading.Event = field(default_factory=threading.Event)
    answered: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Key -> ids of its rows."""
    refused: set[str] = field(default_factory=set)
    """Keys of requests that never were whole, so that nothing may be recorded under them."""
    statuses: Counter[str] = field(default_factory=Counter)

    def go_on(self, number: int) -> None:
        """One client, until the end. Nothing is left half asked."""
        chance = random.Random(number)
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as http:
            for place in itertools.count():
                if self.over.is_set():
                    return
                key, kind = f"{number}-{place}-{secrets.token_hex(4)}", chance.choices(KINDS, WEIGHTS)[0]
                pictures = chance.choices(self.pictures, k=chance.randint(1, self.at_once))
                if kind in ("broken off", "too short"):
                    self._lie(key, pictures[0], waits=kind == "too short")
                else:
                    self._ask(http, key, kind, pictures)

    def _ask(self, http: httpx.Client, key: str, kind: str, pictures: list[bytes]) -> None:
        first = pictures[0]
        first = {"unreadable": first[: len(first) // 2], "no picture": b"\x00" * 200}.get(kind, first)
        headers, content = {"Idempotency-Key": key}, first
        if len(pictures) > 1:
            files = [("file", (f"{place}.png", each)) for place, each in enumerate([first, *pictures[1:]])]
            form = httpx.Request("POST", self.url, files=files)
            headers, content = headers | {"Content-Type": form.headers["content-type"]}, form.read()

        def slowly() -> object:
            for start in range(0, len(content), 1 + len(content) // 4):
                yield content[start : start + 1 + len(content) // 4]
                time.sleep(0.3)

        while True:
            try:
                body = slowly() if kind == "slow" else content
                answer = http.post("/v1/inspect", content=body, headers=headers)  # type: ignore[arg-type]
            except httpx.TransportError as error:
                self.statuses[type(error).__name__] += 1
                time.sleep(0.2)
                continue
            self.statuses[str(answer.status_code)] += 1
            if answer.status_code in (200, 422):
                self.answered[key] = tuple(one["id"] for one in answer.json()["inspections"])
                return
            if answer.status_code not in (429, 500, 503, 507):
                raise SystemExit(f"{kind}: {answer.status_code} {answer.text}")
            time.sleep(0.2)

    def _lie(self, key: str, picture: bytes, *, waits: bool) -> None:
        """Promise a whole picture, send half of it, and go; at once, or after a while."""
        host, port = self.url.removeprefix("http://").split(":")
        lines = (
            "POST /v1/inspect HTTP/1.1",
            f"Host: {host}",
            f"Idempotency-Key: {key}",
            f"Content-Length: {len(picture)}",
        )
        head = "\r\n".join([*lines, "", ""])
        self.refused.add(key)
        with suppress(OSError), closing(socket.create_connection((host, int(port)), 5)) as sending:
            sending.sendall(head.encode() + picture[: len(picture) // 2])
            if waits:
                time.sleep(1)


def sample(service: Victim, began: float, rows: list[tuple[float, int, float, int]], over: threading.Event) -> None:
    """Memory (MB) and open files of the service, with its generation."""
    while not over.wait(SAMPLE_S):
        with suppress(psutil.Error):
            process = psutil.Process(service.process.pid)
            rows.append((time.monotonic() - began, service.kills, process.memory_info().rss / 1e6, process.num_fds()))


def fill(folder: Path) -> None:
    """Leave no byte of a file system for two seconds."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb") as stream:
        while True:
            stream.write(b"\x00" * 65536)
            stream.flush()
    time.sleep(2)
    ballast.unlink()


def compare(store_url: str, clients: Clients) -> tuple[dict[str, int], set[str]]:
    """What the store holds, and what the webhook must be told. Raises SystemExit: something else was answered."""
    with Store.open(store_url, create=False) as store:
        with store.database.reading() as connection:
            spans = {
                row.key: tuple(range(row.first, row.last + 1)) for row in connection.execute(select(schema.requests))
            }
            found = connection.execute(select(schema.inspections.c.id, schema.inspections.c.decision))
            decisions = {row.id: row.decision for row in found}
            ids = set(decisions)
        findings = []
        if wrong := {key for key, rows in clients.answered.items() if spans.get(key) != rows}:
            findings.append(
                f"{len(wrong)} requests were answered with other rows than they have, e.g. {sorted(wrong)[:3]}"
            )
        if lied := clients.refused & set(spans):
            findings.append(f"{len(lied)} requests that never were whole have rows")
        if extra := set(spans) - set(clients.answered):
            findings.append(f"{len(extra)} keys have rows and no answer")
        if len(ids) != sum(map(len, spans.values())) or ids != {number for rows in spans.values() for number in rows}:
            findings.append("there are rows that belong to no request")
        verified = store.verify()
        findings += verified.findings
    if findings:
        raise SystemExit("\n".join(findings))
    wanted = {f"inspection-{number}" for number, decision in decisions.items() if decision in TOLD}
    return {"requests": len(spans), "rows": len(ids), "log_rows": verified.rows}, wanted


def draw(rows: Sequence[tuple[float, int, float, int]], to: Path) -> None:
    """Memory and open files over time, as SVG."""
    width, height, left, gap = 720, 120, 60, 40
    last = rows[-1][0] or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {2 * (height + gap)}" '
        'font-family="sans-serif" font-size="11">'
    ]
    for place, (title, column) in enumerate((("memory, MB", 2), ("open files", 3))):
        top, most = place * (height + gap) + 20, max(row[column] for row in rows) * 1.1
        points = " ".join(
            f"{left + (width - left - 10) * row[0] / last:.1f},{top + height * (1 - row[column] / most):.1f}"
            for row in rows
        )
        parts.append(f'<text x="{left}" y="{top - 6}">{title}; 0 to {most:.0f}, over {last / 60:.0f} minutes</text>')
        parts.append(f'<path d="M{left} {top}v{height}h{width - left - 10}" fill="none" stroke="#888"/>')
        parts.append(f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>')
    to.write_text("".join([*parts, "</svg>\n"]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--pictures-at-once", type=int, default=1, help="in one request, at most")
    parser.add_argument("--kill-every", type=float, default=20, help="seconds between two kills, on average")
    parser.add_argument("--spare-service", action="store_true", help="kill the database and the broker alone")
    parser.add_argument("--small-disk", type=Path, help="a folder on a small file system that may be filled")
    parser.add_argument("--out", type=Path, default=Path("soak"))
    given = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted(given.pictures.rglob("*")) if path.suffix.lower() in SUFFIXES][:64]
    given.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        folder = Path(
            opened.enter_context(tempfile.TemporaryDirectory(prefix="defectflow-soak-", ignore_cleanup_errors=True))
        )
        folder.chmod(0o755)
        ports = [free_port() for _ in range(3)]
        database, mosquitto = postgres(folder, ports[0]), broker(folder, ports[1])
        opened.callback(database.end)
        opened.callback(mosquitto.end)
        receiver = Receiver()
        hearing, heard = listener(ports[1])
        opened.callback(hearing.loop_stop)
        store_url, url = f"postgresql://soak@127.0.0.1:{ports[0]}/postgres", f"http://127.0.0.1:{ports[2]}"
        write_secret(folder / "hook.secret")
        settings = {
            "models": str(given.bundle.resolve()),
            "store": store_url,
            "port": ports[2],
            "without_keys": True,
            "threads": 1,
            "limits": {"requests_per_s": 1e6, "receive_s": 5},
            "webhooks": {
                "plant": {"url": receiver.url, "secret": "hook.secret", "timeout_s": 5, "decisions": TOLD, "at_once": 8}
            },
            "mqtt": {"host": "127.0.0.1", "port": ports[1], "station": "soak", "tls": False},
        }
        (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
        if given.small_disk is not None:
            os.environ["TMPDIR"] = str(given.small_disk.resolve())
        command = [sys.executable, "-m", "defectflow", "serve", "serve.yaml"]
        service = Victim("service", command, folder, lambda: httpx.get(f"{url}/readyz", timeout=5).raise_for_status())
        opened.callback(service.end)
        clients = Clients(url, pictures, given.pictures_at_once)
        rows, began = list[tuple[float, int, float, int]](), time.monotonic()
        samples_over = threading.Event()
        threads = [threading.Thread(target=clients.go_on, args=(number,)) for number in range(given.clients)]
        threads.append(threading.Thread(target=sample, args=(service, began, rows, samples_over)))
        for thread in threads:
            thread.start()
        victims = [database, mosquitto, *([] if given.spare_service else [service])]
        filled = 0
        while time.monotonic() - began < 60 * given.minutes:
            time.sleep(random.expovariate(1 / given.kill_every))
            if given.small_disk is not None and random.random() < 0.3:
                fill(given.small_disk)
                filled += 1
            else:
                random.choice(victims).kill()
        clients.over.set()
        for thread in threads[:-1]:
            thread.join()
        sent_s = time.monotonic() - began
        samples_over.set()
        threads[-1].join()
        found, wanted = compare(store_url, clients)
        until = time.monotonic() + QUIET_S
        while wanted - set(receiver.told) and time.monotonic() < until:
            time.sleep(1)
        figures = found | {
            "pictures_at_once": given.pictures_at_once,
            "for_the_webhook": len(wanted),
            "minutes": round(sent_s / 60, 1),
            "told_by_webhook": len(receiver.told),
            "told_again": sum(receiver.told.values()) - len(receiver.told),
            "heard_over_mqtt": len(heard),
            "kills": {victim.name: victim.kills for victim in (service, database, mosquitto)},
            "full_disk": filled,
            "statuses": dict(clients.statuses),
            "lies": len(clients.refused),
            "first_mb": rows[len(rows) // 10][2] if rows else None,
            "last_mb": rows[-1][2] if rows else None,
            "open_files": [min(row[3] for row in rows), max(row[3] for row in rows)] if rows else None,
        }
        with (given.out / "runs.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(figures) + "\n")
        with (given.out / "samples.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("seconds", "generation", "memory_mb", "open_files"), *rows])
        draw(rows, given.out / "memory.svg")
        shutil.copy(folder / "service.log", given.out / "service.log")
        print(json.dumps(figures, indent=2))
        told = {number for number in receiver.told if number.startswith("inspection-")}  # beside alarms
        if told != wanted:
            raise SystemExit(
                f"webhook: {len(wanted - told)} rows were not told, {len(told - wanted)} were told wrongly"
            )


if __name__ == "__main__":
    main()
