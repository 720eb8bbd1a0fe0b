"""Pictures from folders in, verdicts to webhooks and brokers out: whatever is killed or away, nothing is lost."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from serving import Serve, Serving, prepare
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from support import DEPLOY, REPOSITORY, Cli, wait_until

from defectflow.errors import SettingsError
from defectflow.serve import tell, write_secret
from defectflow.serve.answers import InspectionAnswer
from defectflow.serve.webhook import read_secret, signed
from defectflow.store import Alarm, Inspection, Query

PAGE = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")
PYTHON, JSON = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("python", "json"))


def rows_of(serving: Serving) -> list[Inspection]:
    with serving.store() as store:
        return store.history.search(Query(limit=1000))


# ---- folders --------------------------------------------------------------------------------------------------------


def test_a_watched_folder(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    """Half-written pictures are waited for, a kill loses and doubles nothing, and what is no picture stays."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "note.txt").write_text("for the night shift")
    settings = {"folders": {str(incoming): {"camera": "top", "settled_s": 0.2}}}
    serving = serve(**settings)
    content = pictures[0].read_bytes()
    half = incoming / "half.png"
    half.write_bytes(content[: len(content) // 2])
    shutil.copy(pictures[1], incoming / "whole.png")
    wait_until(lambda: len(list(incoming.glob("done/*/whole.png"))) == 1)
    assert half.exists() and len(rows_of(serving)) == 1
    half.write_bytes(content)
    wait_until(lambda: len(list(incoming.glob("done/*/half.png"))) == 1)
    for number, path in enumerate(pictures):
        shutil.copy(path, incoming / f"p{number:02}.png")
    wait_until(lambda: len(list(incoming.glob("done/*/p*.png"))) >= 5)
    serving.kill()
    again = serve()
    wait_until(lambda: not list(incoming.glob("*.png")))
    rows = rows_of(again)
    assert (
        len(rows) == 42 and {row.camera for row in rows} == {"top"} and {row.by for row in rows} == {"folder incoming"}
    )
    for row in rows:
        picture = incoming / "done" / row.decision / row.file
        assert picture.is_file()
        said = json.loads(picture.with_name(f"{row.file}.json").read_text(encoding="utf-8"))
        assert (said["id"], said["decision"], said["sha256"]) == (row.id, row.decision, row.sha256)
    assert {path.name for path in incoming.iterdir()} == {"done", "note.txt"}
    shutil.copy(pictures[2], incoming / "p00.png")
    wait_until(lambda: not list(incoming.glob("*.png")))
    assert len(list(incoming.glob("done/*/p00*.png"))) == 2, "another picture of the same name replaces none"


def test_pictures_that_stay_and_a_table(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "broken.png").write_bytes(b"no picture")
    long_ago = time.time() - 3600
    settings = {"folders": {str(incoming): {"pictures": "stay", "verdicts": "csv", "settled_s": 0.1}}}
    for path in pictures[:4]:
        shutil.copy(path, incoming)
    serving = serve(**settings)
    table = incoming / "done" / "verdicts.csv"

    def lines() -> list[dict[str, str]]:
        if not table.exists():
            return []
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    wait_until(lambda: len(lines()) == 5)
    assert {line["file"] for line in lines() if line["decision"] == "error"} == {"broken.png"}
    serving.kill()
    with table.open("a") as file:
        file.write("99,torn off by a ki")
    shutil.copy(pictures[5], incoming / "old.png")

    os.utime(incoming / "old.png", (long_ago, long_ago))
    again = serve()
    wait_until(lambda: len(lines()) == 6)
    time.sleep(1)
    assert len({line["id"] for line in lines()}) == len(lines()) == len(rows_of(again)) == 6
    assert len(list(incoming.glob("*.png"))) == 6


# ---- webhooks -------------------------------------------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """A plant's system: it keeps what it can verify, and can be made to refuse."""

    def __init__(self, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.webhook = Webhook(secret)
        self.refuses = False
        self.refuses_lot: str | None = None
        """Messages of this lot are not understood, whenever they come."""
        self.refused = 0
        self.kept: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Answering(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuses:
            self.server.refused += 1
            self.send_response(503)
        else:
            try:
                verified = self.server.webhook.verify(body, dict(self.headers))
            except WebhookVerificationError:
                self.send_response(401)
            else:
                if self.server.refuses_lot is not None and verified["data"]["lot"] == self.server.refuses_lot:
                    self.server.refused += 1
                    self.send_response(422)
                else:
                    self.server.kept.append(verified)
                    self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *words: object) -> None:
        """Not onto the tests' output."""


@contextmanager
def receiver(secret: Path) -> Iterator[Receiver]:
    server = Receiver(secret.read_text().strip())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_a_webhook_is_told_everything_whoever_is_away(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    """Signed as the specification says, checked by its own library; after refusals and a kill, all and in order."""
    secret = tmp_path / "mes.secret"
    write_secret(secret)
    with receiver(secret) as mes:
        serving = serve(webhooks={"mes": {"url": mes.url, "secret": str(secret)}}, log="json")
        with serving.client() as client:
            client.inspect(pictures[0], lot="L5")
            wait_until(lambda: len(mes.kept) == 1)
            mes.refuses = True
            for path in pictures[1:4]:
                client.inspect(path)
            wait_until(lambda: mes.refused > 0)
            with serving.http("viewer") as http:
                assert 'defectflow_untold_inspections{channel="webhook mes"} 3.0' in http.get("/metrics").text
        serving.kill()
        mes.refuses = False
        with serving.store() as store, store.database.writing() as connection:  # as after a while
            connection.exec_driver_sql("UPDATE channels SET held_until = '2000'")
        again = serve()
        with again.client() as client:
            client.inspect(pictures[4])
        wait_until(lambda: len({one["id"] for one in mes.kept}) == 5)
        rows = sorted(rows_of(again), key=lambda row: row.id)
        seen = list(dict.fromkeys(one["id"] for one in mes.kept))
        assert seen == [f"inspection-{row.id}" for row in rows]
        first = mes.kept[0]["data"]
        assert (first["lot"], first["decision"], first["score"]) == ("L5", rows[0].decision, rows[0].score)
        with again.http("viewer") as http:
            metrics = http.get("/metrics").text
        assert 'defectflow_untold_inspections{channel="webhook mes"} 0.0' in metrics
        asked = set(re.findall(r"defectflow_\w+", (DEPLOY / "grafana.json").read_text()))
        assert len(asked) > 5 and all(name in metrics for name in asked), "the dashboard asks for what there is"
        lines = [json.loads(line) for line in (serving.folder / "log.txt").read_text().splitlines()]
        (failed,) = [line for line in lines if line["level"] == "error"]
        assert failed["message"].startswith("webhook mes: http") and "answers 503" in failed["message"]


def test_the_documented_receiver(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    """It takes what the service sends, and nothing that is altered, old or not signed."""
    code = next(block for block in PYTHON if "do_POST" in block)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "receiver.py").write_text(code.replace('"127.0.0.1", 9000', f'"127.0.0.1", {port}'))
    secret = tmp_path / "mes.secret"
    write_secret(secret)
    with subprocess.Popen(
        [sys.executable, "receiver.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}/hook"
            with serve(webhooks={"mes": {"url": url, "secret": str(secret)}}).client() as client:
                (made,) = client.inspect(pictures[0]).inspections
            assert process.stdout is not None
            assert process.stdout.readline() == f"inspection-{made.id} {made.decision}\n"
            body, key = b'{"id": "a", "data": {}}', read_secret(secret)
            good = signed(key, "a", body)
            old = str(int(time.time()) - 1000)
            digest = hmac.new(key, f"a.{old}.".encode() + body, hashlib.sha256).digest()
            replayed = {"webhook-timestamp": old, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
            for headers, sent, status in (
                (good, body, 204),
                (good, body.replace(b"a", b"b"), 401),
                (good | {"webhook-id": "b"}, body, 401),
                (good | replayed, body, 401),
                ({}, body, 401),
            ):
                assert httpx.post(url, content=sent, headers=headers, trust_env=False).status_code == status
        finally:
            process.kill()


def test_the_documented_messages_are_those_that_are_sent() -> None:
    """Field by field; values are of one real run."""
    inspection, alarm, *states = [json.loads(block) for block in JSON if "inspections" not in block]
    assert [state["online"] for state in states] == [True, False]
    when = datetime.fromisoformat(alarm["timestamp"])
    said = Alarm(**alarm["data"] | {"at": when, "by": "camera side"})
    assert json.loads(tell.event(said)) == alarm
    assert list(inspection["data"]) == [name for name in InspectionAnswer.model_fields if name != "images"]
    data = inspection["data"] | {"regions": []}
    assert InspectionAnswer(**data).model_dump(mode="json", exclude={"images"}) == data


def test_one_message_that_is_refused_holds_up_no_other(
    serve: Serve, pictures: list[Path], tmp_path: Path, cli: Cli
) -> None:
    """It is set aside, counted and listed, and told once the receiver takes it."""
    secret = tmp_path / "mes.secret"
    write_secret(secret)
    with receiver(secret) as mes:
        mes.refuses_lot = "L6"
        serving = serve(webhooks={"mes": {"url": mes.url, "secret": str(secret)}})
        store = ("--store", serving.folder / "inspections.db")
        with serving.client() as client:
            numbers = [client.inspect(pictures[0], lot=lot).inspections[0].id for lot in ("L5", "L6", "L7", "L8")]
        wait_until(lambda: {one["data"]["lot"] for one in mes.kept} == {"L5", "L7", "L8"})
        with serving.http("viewer") as http:
            wait_until(lambda: 'defectflow_refused_messages{channel="webhook mes"} 1.0' in http.get("/metrics").text)
            wait_until(lambda: 'defectflow_untold_inspections{channel="webhook mes"} 0.0' in http.get("/metrics").text)
            first, note = http.get("/readyz").text.splitlines()
            assert first == "ok" and note.startswith("webhook mes: messages refused and set aside: 1;")
            (listed,) = json.loads(cli("log", "refused", *store, "--json").out)
            assert (listed["channel"], listed["number"], listed["again"]) == ("webhook mes", numbers[1], False)
            assert f"answers 422 where 2xx would confirm inspection-{numbers[1]}" in listed["why"]
            assert "there are some of webhook mes" in cli("log", "refused", *store, "--channel", "mes").out
            refused = mes.refused
            cli("log", "refused", *store, "--again")
            wait_until(lambda: mes.refused == refused + 1)
            wait_until(lambda: not json.loads(cli("log", "refused", *store, "--json").out)[0]["again"])
            mes.refuses_lot = None
            assert "waits" in cli("log", "refused", *store, "--again", "--channel", "webhook mes").out
            wait_until(lambda: mes.kept[-1]["id"] == f"inspection-{numbers[1]}")
            wait_until(lambda: http.get("/readyz").text == "ok")
            assert "none" in cli("log", "refused", *store).out


def test_a_secret_is_made_once_and_checked(tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "mes.secret"
    assert cli("keys", "secret", file).code == 0
    assert len(read_secret(file)) == 32 and file.stat().st_mode & 0o077 == 0
    assert cli("keys", "secret", file).code == 2, "the one that is in use is kept"
    file.write_text("whsec_c2hvcnQ=")
    with pytest.raises(SettingsError, match=r"5 bytes; at least 24; make one: defectflow keys secret"):
        read_secret(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_secret(tmp_path / "none")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"folders": {"nowhere": {}}}, "no such folder to watch"),
        ({"webhooks": {"mes": {"url": "ftp://x", "secret": "s"}}}, "webhooks.mes.url"),
        ({"webhooks": {"mes": {"url": "http://x", "secret": "nosuch"}}}, "defectflow keys secret"),
        ({"mqtt": {"host": "x", "station": "a/b"}}, "mqtt.station"),
        ({"mqtt": {"host": "x", "station": "a", "username": "u", "password": "nosuch"}}, "mqtt.password"),
    ],
)
def test_settings_that_cannot_work(
    settings: dict[str, object], said: str, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:

    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, models, **settings)
    refused = cli("serve", "serve.yaml", "--check")
    assert refused.code == 2 and said in refused.err


# ---- MQTT -----------------------------------------------------------------------------------------------------------


@contextmanager
def broker(folder: Path, port: int) -> Iterator[None]:
    """Mosquitto, which keeps its clients' sessions over its end: a listener that is slower to return misses nothing."""
    folder.mkdir(exist_ok=True)
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n"
        f"persistence true\npersistence_location {folder}/\n"
    )
    process = subprocess.Popen(
        [str(MOSQUITTO), "-c", str(folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt-get install mosquitto")
def test_a_broker_is_told_everything_and_may_be_away(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: list[dict[str, Any]] = []
    state: list[dict[str, Any]] = []
    last: dict[str, Any] = {}

    def on_message(client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        said = json.loads(message.payload)
        if message.topic == "defectflow/line1/state":
            state.append(said)
        elif message.topic.endswith("/inspection"):
            seen.append(said)
        else:
            last[message.topic] = said["id"]

    def listener() -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        client.on_message = on_message
        client.on_connect = lambda client, *_: client.subscribe("defectflow/line1/#", qos=1)
        client.reconnect_delay_set(1, 1)
        client.connect_async("127.0.0.1", port)
        client.loop_start()
        return client

    listening = listener()
    try:
        with broker(tmp_path / "broker", port):
            serving = serve(mqtt={"host": "127.0.0.1", "port": port, "station": "line1"})
            wait_until(lambda: bool(state) and state[-1]["online"] and state[-1]["since"] is not None)
            with serving.client() as client:
                client.inspect(pictures[0], camera="top/#1")
                wait_until(lambda: len(seen) == 1)
        with serving.client() as client:
            for path in pictures[1:4]:
                client.inspect(path)
        with broker(tmp_path / "broker", port):
            wait_until(lambda: len({one["id"] for one in seen}) == 4)
            rows = sorted(rows_of(serving), key=lambda row: row.id)
            assert list(dict.fromkeys(one["id"] for one in seen)) == [f"inspection-{row.id}" for row in rows]
            assert seen[0]["data"]["camera"] == "top/#1"
            documented = next(one for one in map(json.loads, JSON) if one.get("type") == "inspection")
            assert list(seen[0]) == list(documented) and list(seen[0]["data"]) == list(documented["data"])
            wait_until(lambda: last.get("defectflow/line1/none/last") == f"inspection-{rows[-1].id}")
            assert "defectflow/line1/top__1/last" in last, "a camera's name makes no level of its own"
            serving.kill()
            wait_until(lambda: state[-1:] == [{"online": False, "since": None}])
    finally:
        listening.loop_stop()
