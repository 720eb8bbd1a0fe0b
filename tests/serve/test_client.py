"""The Python client and the documented curl lines, over plain HTTP and TLS."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from PIL import Image
from pydantic import BaseModel
from serving import Serve, Serving
from support import REPOSITORY

from defectflow.client import Client
from defectflow.errors import ServiceError
from defectflow.serve import ServeSettings, load_settings

PAGE = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the documented pictures, as the working folder."""
    for name, picture in zip(("a.png", "b.png"), pictures, strict=False):
        shutil.copy(picture, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_documented_python(shared: Serving, here: Path) -> None:
    block, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)  # the others: test_plant.py, test_opcua.py
    block = block.replace("http://127.0.0.1:8100", shared.url).replace("df_...", shared.keys["operator"])
    world: dict[str, object] = {}
    exec(block, world)
    assert Image.open(BytesIO(world["overlay"])).format == "PNG"  # type: ignore[arg-type]


def test_the_documented_curl_lines(shared: Serving, here: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    lines = [line for line in re.findall(r"^ {4}(curl .+)$", PAGE, re.MULTILINE) if "/trigger" not in line]
    assert len(lines) > 5  # the service here has no camera to trigger; see test_cameras.py
    for line in lines:
        command = f"{line.replace('http://127.0.0.1:8100', shared.url)} --silent --show-error --fail-with-body"
        environment = {"KEY": shared.keys["operator"], "PATH": "/usr/local/bin:/usr/bin:/bin"}
        done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_documented_settings(here: Path) -> None:
    block, *more = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (here / "plant.yaml").write_text(block + "".join(more))
    plant = load_settings(here / "plant.yaml", [])
    assert len(plant.folders) == len(plant.webhooks) == 2 and plant.mqtt is not None
    assert len(plant.cameras) == 5 and plant.opcua is not None
    (here / "serve.yaml").write_text(block)
    (here / "tls.yaml").write_text(block.replace("# tls", "tls"))
    shown = load_settings(here / "serve.yaml", [])
    assert shown == load_settings(REPOSITORY / "deploy" / "serve.yaml", [])
    assert load_settings(here / "tls.yaml", []).tls is not None


def names(kind: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting below a class of settings, as the names that lead to it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from names(field.annotation, (*before, name))
        return
    inner = [one for one in get_args(kind) if any(len(found) > 1 for found in names(one, ("",)))]
    if not inner:
        yield before
    for one in inner:
        yield from names(one, (*before, "NAME") if get_origin(kind) is dict and before[0] == "webhooks" else before)


def test_every_setting_stands_in_a_table() -> None:
    """By its whole name; those of folders and cameras by their own, in the tables of their chapters."""
    rows = re.findall(r"^\|.*$", PAGE, re.MULTILINE)
    chapters = {
        name: re.findall(r"^\|.*$", PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0], re.MULTILINE)
        for name, title in (("folders", "Pictures from a folder"), ("cameras", "Pictures from cameras"))
    }
    found = list(names(ServeSettings))
    assert len(found) > 70 and ("mqtt", "ca") in found and ("cameras", "http", "auth") in found
    for words in found:
        match words:
            case ("folders" | "cameras" as chapter, name):
                there = any(f"`{name}`" in row for row in chapters[chapter])
            case ("cameras", kind, name):
                there = any(row.startswith(f"| `{kind}` |") and f"`{name}`" in row for row in chapters["cameras"])
            case _:
                there = any(f"`{'.'.join(words)}`" in row for row in rows)
        assert there, ".".join(words)


def test_what_a_client_is_told(shared: Serving, pictures: list[Path]) -> None:
    with shared.client() as client:
        with pytest.raises(ServiceError, match=r"404: model 'nut': there is none of this name") as refused:
            client.inspect(pictures[0], model="nut")
        assert refused.value.status == 404
        with pytest.raises(ServiceError, match="is not a PNG"):
            client.inspect(b"no picture")
        with pytest.raises(ServiceError, match=r"gone\.png: cannot be read"):
            client.inspect("gone.png")
        with pytest.raises(ServiceError, match="no picture was given"):
            client.inspect()
        answer = client.inspect(*pictures[:3], part="a/b c", lot="L1", camera="side", idempotency_key="k 1")
        assert client.part("a/b c") == answer.inspections
        assert client.inspection(answer.inspections[0].id) == answer.inspections[0]
        assert client.inspect(*pictures[:3], part="a/b c", lot="L1", camera="side", idempotency_key="k 1").repeated
        assert [model.name for model in client.models() if model.active] == ["bracket"]
    with (
        Client("http://127.0.0.1:9", attempts=2) as nobody,
        pytest.raises(ServiceError, match=r"127\.0\.0\.1:9") as lost,
    ):
        nobody.models()
    assert lost.value.status is None


def test_tls(serve: Serve, pictures: list[Path], tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "station")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "c.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    serving = serve("--set", "tls={certificate: c.pem, key: k.pem}")
    assert serving.url.startswith("https://")
    with serving.client(certificate=tmp_path / "c.pem") as client:
        assert client.inspect(pictures[0]).inspections
    with serving.client(attempts=1) as client, pytest.raises(ServiceError, match="certificate"):
        client.models()
    with pytest.raises(ServiceError, match=r"gone\.pem"):
        Client(serving.url, certificate="gone.pem")
