"""A running station, spoken to over HTTP and from a browser. Shared by the tests of the pages."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from defectflow_ui.settings import Limits, Settings
from defectflow_ui.start import open_station
from defectflow_ui.station import Station
from defectflow_ui.web.server import build

from defectflow.store import Role

PASSWORD = "correct horse"
PATIENCE_MS = 60_000
"""For whatever a page has to show; only a busy machine makes use of it."""
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


@dataclass(frozen=True)
class Running:
    """A station that listens."""

    station: Station
    url: str

    def client(self, user: str | None = None) -> httpx.Client:
        """A browser's session, without the browser; signed in where there are users."""
        client = httpx.Client(base_url=self.url, follow_redirects=False, timeout=30)
        if user is not None:
            entered = client.post("/sign-in", data={"name": user, "password": PASSWORD})
            assert entered.status_code == 303, entered.text
        else:
            client.get("/")
        return client


def free_port() -> int:
    """For its own process, which has to be told one: somebody else may take it first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def listening(
    bundles: Path, users: tuple[tuple[str, Role], ...] = (), limits: Limits | None = None, data: Path | None = None
) -> Iterator[Running]:
    """A station in a thread, on a free port."""
    bound = socket.create_server(("127.0.0.1", 0))
    port = int(bound.getsockname()[1])
    station = open_station(Settings(bundles, port=port, limits=limits or Limits(), data=data))
    for name, role in users:
        if station.store.users.get(name) is None:
            station.store.users.add(name, role, PASSWORD, by="test")
    config = uvicorn.Config(
        build(station), host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the station does not start"
        time.sleep(0.05)
    try:
        yield Running(station, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(timeout=20)


class Watched:
    """A page of the browser, with everything that it asked for and complained about."""

    def __init__(
        self, browser: Any, running: Running, viewport: tuple[int, int] = (1280, 800), language: str = "en-US"
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": viewport[0], "height": viewport[1]},
            base_url=running.url,
            permissions=["camera"],
            locale=language,
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def visit(self, tab: str = "Inspect") -> None:
        """Open the station as a person does, who clicks on nothing before it is there."""
        self.page.goto("/")
        self.page.wait_for_selector("#station-header .station-bar")
        self.page.wait_for_selector("#drop-zone [data-ready]", state="attached")
        if tab != "Inspect":
            self.page.get_by_role("tab", name=tab).click()

    def reload(self) -> None:
        """As a person does, in the middle of whatever the page waits for: that these requests end is no complaint."""
        before = len(self.complaints)
        self.page.reload()
        del self.complaints[before:]

    def outside(self, running: Running) -> list[str]:
        """What it asked of anybody but the station."""
        return [url for url in self.asked if not url.startswith((running.url, "data:", "blob:"))]


Watch = Callable[..., Watched]
"""A station, and a viewport in px -> its page in a browser."""


def call(client: httpx.Client, elem_id: str, event: str, data: list[Any], said: Any = None) -> dict[str, Any]:
    """What the page itself sends when something happens to a component, and the answer."""
    config = client.get("/config").json()
    component = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == elem_id)
    function = next(one["id"] for one in config["dependencies"] if [component, event] in one["targets"])
    body = {"data": data, "fn_index": function, "session_hash": "abc123", "event_data": said, "trigger_id": component}
    joined = client.post("/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "abc123"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:") and (message := json.loads(line[5:]))["msg"] == "process_completed":
                return dict(message)
    raise AssertionError("no answer")


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end, in a thread: a browser's own loop may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
