"""OPC UA: what clients see, who may do what, and that nothing is lost, with a client in another process."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key, generate_self_signed_app_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from serving import Serve, Serving, prepare
from support import REPOSITORY, Cli, join_products
from test_plant import rows_of

from defectflow.bundle import open_bundle
from defectflow.errors import ImageError, SettingsError
from defectflow.recipe import validated
from defectflow.serve import ServeSettings, remove_key
from defectflow.serve.opcua.server import application_uri
from defectflow.serve.settings import OpcUaSettings
from defectflow.store import Seen

ROOT = "VisionSystem"
LAST = f"{ROOT}.ResultManagement.LastResult"
COUNTERS = f"{ROOT}.ResultManagement.Counters"
STATE = f"{ROOT}.VisionStateMachine.CurrentState"
AUTOMATIC = f"{ROOT}.VisionStateMachine.AutomaticModeStateMachine.CurrentState"


def certify(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own and its key, as PEM files."""
    key = generate_private_key()
    uri = x509.UniformResourceIdentifier(f"urn:test:{name}")
    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = generate_self_signed_app_certificate(key, name, {}, [uri, x509.DNSName("localhost")], both)
    files = folder / f"{name}.pem", folder / f"{name}-key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(dump_private_key_as_pem(key))
    return files


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Plc:
    """A client that has signed in."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def node(self, path: str) -> Any:
        return self.client.get_node(f"ns=2;s={path}")

    async def read(self, path: str) -> Any:
        value = await self.node(path).read_value()
        return value.Text if isinstance(value, ua.LocalizedText) else value

    async def call(self, method: str, *values: Any) -> dict[str, Any]:
        said = await self.node(ROOT).call_method(f"2:{method}", *values)
        names = ("id", "decision", "score", "p_value", "threshold", "part", "model", "calibration_id")
        return dict(zip((*names, "milliseconds", "error"), said, strict=True))

    async def until(self, path: str, wanted: Any) -> None:
        await until(lambda: self.has(path, wanted))

    async def has(self, path: str, wanted: Any) -> bool:
        return bool(await self.read(path) == wanted)


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def connected(
    port: int, serving: Serving, own: tuple[Path, Path] | None, role: str = "operator", key: str | None = None
) -> AsyncIterator[Plc]:
    # Its own look at the connection gives up after a second otherwise, which a busy machine may need.
    client = Client(f"opc.tcp://127.0.0.1:{port}/defectflow", timeout=30, watchdog_intervall=30)
    client.set_user(role)
    client.set_password(serving.keys[role] if key is None else key)
    if own is not None:
        client.application_uri = f"urn:test:{own[0].stem}"
        await client.set_security(SecurityPolicyBasic256Sha256, str(own[0]), str(own[1]))
    async with client:
        yield Plc(client)


class Heard:
    """What a subscription delivers."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.events: list[Any] = []

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.values.append(value)

    def event_notification(self, event: Any) -> None:
        self.events.append(event)


def test_a_plc_triggers_and_listens(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    replayed, port = tmp_path / "replayed", free_port()
    incoming = tmp_path / "incoming"
    replayed.mkdir()
    incoming.mkdir()
    shutil.copy(pictures[0], replayed / "only.png")
    certificate, key = certify(tmp_path, "line1")
    own = certify(tmp_path, "plc")
    shutil.copy(pictures[1], tmp_path / "secret.png")
    serving = serve(
        opcua={
            "port": port,
            "station": "line 1",
            "certificate": str(certificate),
            "key": str(key),
            "folders": [str(replayed)],
        },
        cameras={
            "top": {"folder": {"path": str(replayed), "pictures": "replay"}, "lot": "L1"},
            "slow": {"folder": {"path": str(incoming)}, "timeout_s": 30},
        },
        limits={"picture_megabytes": 1},
    )

    async def documented() -> str:
        """As the documentation's client reads it."""
        page = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")
        block = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "asyncua" in block)
        assert "opcua.pem" in block and "client.pem,client-key.pem" in block and "urn:myclient" in block
        block = block.replace("client.pem,client-key.pem", f"{own[0]},{own[1]}").replace("opcua.pem", str(certificate))
        world: dict[str, Any] = {}
        exec(block.replace("urn:myclient", "urn:test:plc").rpartition("print(")[0], world)
        url = f"opc.tcp://127.0.0.1:{port}/defectflow"
        return str(await world["last_decision"](url, "operator", serving.keys["operator"]))

    async def work() -> None:
        async with connected(port, serving, own) as plc:
            await plc.until(AUTOMATIC, "Ready")
            assert await plc.read(STATE) == "Operational" and await plc.read(f"{ROOT}.Station") == "line 1"
            assert math.isnan(await plc.read(f"{LAST}.Score")) and await plc.read(f"{LAST}.Id") == 0
            seen = Heard()
            subscription = await plc.client.create_subscription(50, seen)
            await subscription.subscribe_data_change(plc.node(f"{LAST}.Id"))
            kinds = await plc.client.nodes.base_event_type.get_child("2:InspectionEventType")
            await subscription.subscribe_events(plc.node(ROOT), kinds)

            by_camera = await plc.call("Trigger", "top", "17", "", "")
            by_path = await plc.call("InspectFile", "only.png", "17", "L9", "bracket")
            by_bytes = await plc.call("InspectPicture", pictures[1].read_bytes(), "b.png", "", "", "strict")
            assert by_camera["score"] == by_path["score"] and by_camera["decision"] == by_path["decision"]
            assert by_bytes["calibration_id"] != by_path["calibration_id"]
            await plc.until(f"{LAST}.Id", by_bytes["id"])
            assert await documented() == by_bytes["decision"]
            rows = {row.id: row for row in rows_of(serving)}
            assert set(rows) == {one["id"] for one in (by_camera, by_path, by_bytes)}
            first = rows[by_camera["id"]]
            assert (first.score, first.p_value, first.threshold) == (
                by_camera["score"],
                by_camera["p_value"],
                by_camera["threshold"],
            )
            assert (first.camera, first.lot, first.by, first.part) == ("top", "L1", "operator", "17")
            assert rows[by_path["id"]].lot == "L9" and rows[by_bytes["id"]].file == "b.png"

            with serving.client() as http:  # what others send is told, too
                sent = await asyncio.to_thread(http.inspect, pictures[2], lot="L5")
            await plc.until(f"{LAST}.Id", sent.inspections[0].id)
            assert await plc.read(f"{LAST}.Lot") == "L5" and await plc.read(f"{COUNTERS}.Total") == 4
            counted = [await plc.read(f"{COUNTERS}.{word}") for word in ("Ok", "Review", "Defect", "Invalid", "Error")]
            assert sum(counted) == 4

            async def all_seen() -> bool:
                return len(seen.events) == 4 and seen.values[-1] == sent.inspections[0].id

            await until(all_seen)
            assert [event.Id for event in seen.events] == sorted([*rows, sent.inspections[0].id])
            assert seen.events[0].Decision == first.decision and seen.events[0].Score == first.score
            assert seen.events[3].Lot == "L5" and seen.events[3].SourceName == ROOT

            for said, method, *values in (
                ("lies below none", "InspectFile", "../secret.png", "", "", ""),
                ("lies below none", "InspectFile", str(tmp_path / "keys.yaml"), "", "", ""),
                ("no such file", "InspectFile", "none.png", "", "", ""),
                ("1 to 1,048,576", "InspectPicture", b"", "", "", "", ""),
            ):
                with pytest.raises(ua.uaerrors.BadInvalidArgument):
                    await plc.call(method, *values)
                assert said in await plc.read(f"{ROOT}.LastRefusal")
            for camera, model in (("back", ""), ("top", "none")):
                with pytest.raises(ua.uaerrors.BadNotFound):
                    await plc.call("Trigger", camera, "", "", model)
            broken = await plc.call("InspectPicture", b"no picture", "c.png", "", "", "")
            assert broken["decision"] == "error" and "c.png" in broken["error"] and math.isnan(broken["score"])

            waiting = asyncio.create_task(plc.call("Trigger", "slow", "18", "", ""))
            await plc.until(AUTOMATIC, "SingleExecution")
            await asyncio.sleep(0.5)  # other requests of the connection do not wait for the call
            assert await plc.read(f"{COUNTERS}.Error") == 1 and not waiting.done()
            shutil.copy(pictures[3], incoming)
            assert (await waiting)["part"] == "18"

            await plc.node(f"{ROOT}.Enabled").write_value(False)
            await plc.until(AUTOMATIC, "Initialized")
            with pytest.raises(ua.uaerrors.BadInvalidState):
                await plc.call("Trigger", "top", "", "", "")
            assert "switched off, by operator" in await plc.read(f"{ROOT}.LastRefusal")
            with serving.http() as http:
                assert http.post("/v1/cameras/top/trigger").status_code == 409
            await plc.node(f"{ROOT}.Enabled").write_value(True)
            await plc.call("Trigger", "top", "", "", "")
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await plc.node(f"{LAST}.Decision").write_value("ok")

            shutil.move(replayed, tmp_path / "away")  # the camera dies
            with pytest.raises(ua.uaerrors.BadResourceUnavailable):
                await plc.call("Trigger", "top", "", "", "")
            await plc.until(STATE, "Error")
            assert not await plc.read(f"{ROOT}.Cameras.top.Works") and await plc.read(f"{ROOT}.Cameras.top.Error")
            shutil.move(tmp_path / "away", replayed)
            await plc.until(AUTOMATIC, "Ready")

        async with connected(port, serving, own, "viewer") as looker:
            assert await looker.read(f"{COUNTERS}.Total") == 7
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await looker.call("Trigger", "top", "", "", "")
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await looker.node(f"{ROOT}.Enabled").write_value(False)
            assert await looker.read(f"{ROOT}.Enabled") is True
            remove_key(serving.folder / "keys.yaml", "viewer")
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await looker.read(f"{COUNTERS}.Total")

        for role, password in (("operator", serving.keys["engineer"]), ("operator", "df_wrong"), ("nobody", "")):
            with pytest.raises(ua.UaError):
                async with connected(port, serving, own, role, password):
                    pass
        with pytest.raises(ua.UaError):  # no encryption, no session
            async with connected(port, serving, None):
                pass
        nobody = Client(f"opc.tcp://127.0.0.1:{port}/defectflow", timeout=30)
        endpoints = await nobody.connect_and_get_server_endpoints()
        assert {one.SecurityMode for one in endpoints} == {ua.MessageSecurityMode.SignAndEncrypt}
        with pytest.raises(ua.UaError):
            async with nobody:
                pass

    asyncio.run(work())


def test_what_was_inspected_while_nobody_could_be_told_is_told_later(
    serve: Serve, pictures: list[Path], tmp_path: Path
) -> None:
    """The server's end loses nothing: what it had not shown is counted and shown by the next one."""
    port = free_port()
    settings = {"port": port, "insecure": True}
    serving = serve(opcua=settings)
    with serving.client() as client:
        client.inspect(pictures[0])
    serving.process.terminate()
    serving.process.wait(60)
    card = open_bundle(serving.folder / "models" / "bracket").card
    with serving.store() as store:  # as another service over the same store would write it
        unread = [Seen(f"{name}.png", ImageError(f"{name}.png: damaged")) for name in ("a", "b")]
        last = store.record(card, unread, by="line2", source="serve")[-1]
    again = serve()

    async def work() -> None:
        async with connected(port, again, None) as plc:
            await plc.until(f"{LAST}.Id", last)
            assert await plc.read(f"{COUNTERS}.Error") == 2

    asyncio.run(work())


NODE_MODULES = REPOSITORY / "build" / "node" / "node_modules"


@pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_MODULES / "node-opcua-client").is_dir(),
    reason="node-opcua is not installed: make node-opcua",
)
def test_a_client_that_is_not_ours_gets_on_with_it(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    """node-opcua, which shares no code with the server."""
    port = free_port()
    certificate, key = certify(tmp_path, "line1")
    folder = {"path": str(pictures[0].parent), "pictures": "replay"}
    serving = serve(
        opcua={"port": port, "certificate": str(certificate), "key": str(key)}, cameras={"top": {"folder": folder}}
    )
    command = ["node", str(Path(__file__).with_name("plc.js")), f"opc.tcp://127.0.0.1:{port}/defectflow"]
    done = subprocess.run(
        [*command, "operator", serving.keys["operator"]],
        env=os.environ | {"NODE_PATH": str(NODE_MODULES), "HOME": str(tmp_path)},  # it writes its certificate there
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("said "))[5:])
    (row,) = rows_of(serving)
    status, (_, decision, score, *_) = said["done"]
    assert (status, decision, score) == ("Good", row.decision, row.score) and said["seen"][-1] == row.decision
    assert (row.part, row.lot, row.camera, row.by) == ("17", "L7", "top", "operator")
    assert (said["unknown"][0], said["off"][0]) == ("BadNotFound", "BadInvalidState")
    assert (said["denied"], said["written"]) == ("BadUserAccessDenied", "Good")
    assert "switched off, by operator" in said["refusal"] and {"Enabled", "Trigger", "Cameras"} <= set(said["nodes"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "nothing could be encrypted"),
        ({"insecure": True, "host": "0.0.0.0"}, "can be reached from other machines"),
        ({"insecure": True, "key": "k.pem"}, "exclude each other"),
        ({"insecure": True, "prt": 4841}, "did you mean 'port'"),
        ({"certificate": "a.pem", "key": "b.pem", "host": "10.0.0.1"}, "without_keys: opcua.host"),
    ],
)
def test_settings_that_would_leave_the_door_open(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        validated(ServeSettings, {"without_keys": True, "opcua": settings}, "serve.yaml")


def test_check_reads_certificate_and_key_and_opens_no_port(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    certificate, key = certify(tmp_path, "line1")
    _, other = certify(tmp_path, "line2")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"port": taken.getsockname()[1], "certificate": str(certificate), "key": str(key)}
        prepare(tmp_path, models, opcua=settings)
        assert cli("serve", "serve.yaml", "--check").code == 0, "also while the service runs"
    refused = cli("serve", "serve.yaml", "--check", "--set", f"opcua.key={other}")
    assert refused.code == 2 and f"opcua.key: {other} is not the key of {certificate}" in refused.err
    refused = cli("serve", "serve.yaml", "--check", "--set", "opcua.key=none.pem")
    assert refused.code == 2 and "opcua.key: none.pem cannot be read" in refused.err
    now, uri = datetime.now(UTC), x509.UniformResourceIdentifier("urn:test:line1")
    for kind, names, days, said in (
        (generate_private_key(), [x509.DNSName("line1")], 1, "names no ApplicationUri"),
        (ec.generate_private_key(ec.SECP256R1()), [uri], 1, "has no RSA key"),
        (generate_private_key(), [uri], -1, "expired on"),
    ):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "line1")])
        build = x509.CertificateBuilder(name, name, kind.public_key(), 1, now - timedelta(2), now + timedelta(days))
        build = build.add_extension(x509.SubjectAlternativeName(names), critical=False)
        Path("c.pem").write_bytes(build.sign(kind, SHA256()).public_bytes(Encoding.PEM))
        refused = cli("serve", "serve.yaml", "--check", "--set", "opcua.certificate=c.pem")
        assert refused.code == 2 and f"opcua.certificate: c.pem {said}" in refused.err, refused.err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_documented_certificate(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """The line of the documentation makes one that the server takes, and names itself by."""
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")
    line = page[page.index("    openssl req") :].split("\n\n")[0].replace("\\\n", " ")
    subprocess.run(shlex.split(line), check=True, capture_output=True)
    prepare(tmp_path, models, opcua={"certificate": "opcua.pem", "key": "opcua-key.pem"})
    assert cli("serve", "serve.yaml", "--check").code == 0
    settings = validated(OpcUaSettings, {"certificate": "opcua.pem", "key": "opcua-key.pem"}, "serve.yaml")
    assert application_uri(settings) == "urn:line1:defectflow"


def test_the_product_may_be_named(serve: Serve, models: Path, pictures: list[Path], tmp_path: Path) -> None:
    """Of a model of several; a client that leaves it out is answered as before: the nearest one, or the camera's."""
    port, replayed = free_port(), tmp_path / "replayed"
    replayed.mkdir()
    shutil.copy(pictures[0], replayed / "only.png")
    camera = {"folder": {"path": str(replayed), "pictures": "replay"}, "model": "line", "product": "right"}
    serving = serve(opcua={"port": port, "insecure": True, "folders": [str(replayed)]}, cameras={"top": camera})
    join_products(serving.folder / "models" / "line", {"left": models / "bracket", "right": models / "strict"})

    async def work() -> None:
        async with connected(port, serving, None) as plc:
            await plc.until(AUTOMATIC, "Ready")
            for wanted, *call in (
                ("left", "InspectFile", "only.png", "", "", "line"),
                ("right", "InspectFile", "only.png", "", "", "line", "right"),
                ("right", "InspectPicture", pictures[0].read_bytes(), "", "", "", "line", "right"),
                ("left", "InspectPicture", pictures[0].read_bytes(), "", "", "", "line", "auto"),
                ("right", "Trigger", "top", "", "", ""),
                ("left", "Trigger", "top", "", "", "", "left"),
                ("left", "Trigger", "top", "", "", "", "auto"),
            ):
                answer = await plc.call(*call)
                assert answer["model"] == f"line/{wanted}", call
            await plc.until(f"{LAST}.Product", "left")
            with pytest.raises(ua.uaerrors.BadInvalidArgument):
                await plc.call("InspectFile", "only.png", "", "", "line", "middle")
            assert "it has left, right" in await plc.read(f"{ROOT}.LastRefusal")
            for refused, *call in (
                (ua.uaerrors.BadArgumentsMissing, "InspectFile", "only.png", "", ""),
                (ua.uaerrors.BadTooManyArguments, "InspectFile", "only.png", "", "", "line", "right", "more"),
                (ua.uaerrors.BadInvalidArgument, "InspectFile", "only.png", "", "", "line", 7),
            ):
                with pytest.raises(refused):
                    await plc.call(*call)

    asyncio.run(work())
    with serving.http() as http:
        answer = http.post("/v1/cameras/top/trigger", params={"product": "left"})
        assert answer.json()["inspections"][0]["product"] == "left"
