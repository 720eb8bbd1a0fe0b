"""A real service in its own process, on a free port. Shared by the tests of the service."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from defectflow.bundle import open_bundle
from defectflow.client import Client
from defectflow.serve import add_key
from defectflow.store import Role, Store

LISTENING = re.compile(r"listening on (https?://[^\s\";]+)")


@dataclass
class Serving:
    """A service that listens."""

    process: subprocess.Popen[str]
    url: str
    folder: Path
    keys: dict[str, str]

    def http(self, role: str | None = "operator") -> httpx.Client:
        headers = {} if role is None else {"Authorization": f"Bearer {self.keys.get(role, role)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def client(self, role: str = "operator", **given: object) -> Client:
        return Client(self.url, self.keys[role], **given)

    def store(self) -> Store:
        return Store.open(str(self.folder / "inspections.db"), create=False)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Serve = Callable[..., Serving]


def prepare(folder: Path, models: Path, **settings: object) -> dict[str, str]:
    """Settings, models and keys in a folder; the key of each role."""
    shutil.copytree(models, folder / "models")
    keys = {role.value: add_key(folder / "keys.yaml", role.value, role) for role in Role}
    usual = {"models": "models", "store": "inspections.db", "port": 0, "keys": "keys.yaml", "threads": 1}
    (folder / "serve.yaml").write_text(yaml.safe_dump(usual | settings))
    with Store.open(str(folder / "inspections.db")) as store:
        store.versions.activate(open_bundle(folder / "models" / "bracket"), by="test", reason="a test")
    return keys


@contextmanager
def listening(folder: Path, keys: dict[str, str], *words: str) -> Iterator[Serving]:
    """`defectflow serve serve.yaml` in a process of its own; it is ended like systemd ends it."""
    command = [sys.executable, "-m", "defectflow", "serve", "serve.yaml", *words]
    environment = os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    with (folder / "log.txt").open("a") as log:
        begun = log.tell()
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, text=True, env=environment)
    deadline = time.monotonic() + 60
    while (said := LISTENING.search((folder / "log.txt").read_bytes()[begun:].decode())) is None:
        assert process.poll() is None and time.monotonic() < deadline, (folder / "log.txt").read_text()
        time.sleep(0.02)
    serving = Serving(process, said.group(1), folder, keys)
    with httpx.Client(base_url=serving.url, verify=False, trust_env=False) as http:
        while True:
            try:
                if http.get("/healthz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log.txt").read_text()
            time.sleep(0.02)
    try:
        yield serving
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert "Traceback" not in (folder / "log.txt").read_text()
