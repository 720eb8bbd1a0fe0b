"""YAML -> how the service listens, what it accepts, which models it judges by. Checked before anything is opened."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from defectflow.recipe import Settings, load
from defectflow.serve.camera_settings import CameraSettings
from defectflow.verdict import Word

MIB = 2**20
KIND = "service's settings file"
Name = Annotated[str, StringConstraints(pattern=r"^[\w .@-]{1,64}$")]


class TlsSettings(Settings):
    """Files to serve https with."""

    certificate: Path
    """Certificate chain (PEM)."""
    key: Path
    """The certificate's private key (PEM)."""


class LimitSettings(Settings):
    """What is refused, so that neither memory, disk nor waiting grows without bound."""

    picture_megabytes: float = Field(64, gt=0, le=512)
    """Largest picture, in MiB."""
    pictures: int = Field(16, ge=1, le=1000)
    """Pictures of one request."""
    waiting: int = Field(64, ge=1)
    """Pictures that are accepted and not answered yet; beyond it a request is refused (429) and told when to come."""
    wait_s: float = Field(10, gt=0)
    """A request that is still waiting for the model after so many seconds is refused (503), and not recorded."""
    receive_s: float = Field(30, gt=0)
    """A request must have arrived whole after so many seconds."""
    requests_per_s: float = Field(100, gt=0)
    """Requests of one client, on average; short bursts of as many are let through."""
    connections: int = Field(256, ge=1)
    """Open connections; beyond it, new requests are refused."""


class BatchSettings(Settings):
    """Pictures of waiting requests are judged together to save time; scores do not depend on it."""

    pictures: int = Field(8, ge=1, le=256)
    """Most pictures in one inference."""
    wait_ms: float = Field(2, ge=0, le=100)
    """How long the first waits for others that are arriving already; if none is, it does not wait."""


class FolderSettings(Settings):
    """A folder whose pictures are inspected as they come."""

    model: str | None = None
    """The bundle's name; null: the active one."""
    product: str | None = None
    """Of a bundle of several products: what all these pictures show; null: each the one that it resembles most."""
    camera: str | None = None
    """What the log calls the camera that writes here."""
    settled_s: float = Field(1.0, ge=0.1, le=3600)
    """A picture is taken once its file has not changed for so long; a half-written one is waited for."""
    pictures: Literal["move", "stay"] = "move"
    """move: to done/ok, done/defect, ... below the folder; stay: where they are."""
    verdicts: Literal["json", "csv"] = "json"
    """json: a file beside each picture; csv: a line for each picture in done/verdicts.csv."""


class WebhookSettings(Settings):
    """A URL that is told every inspection."""

    url: str = Field(pattern="^https?://")
    secret: Path
    """File with the secret that signs what is sent, as `defectflow keys secret` writes it."""
    decisions: tuple[Word, ...] = ()
    """Only these, e.g. [defect, invalid]; empty: all."""
    timeout_s: float = Field(10, gt=0, le=50)
    """An answer must have come after so many seconds."""
    at_once: int = Field(1, ge=1, le=32)
    """So many messages may be on their way; of more than one, a later one may come first."""


class MqttSettings(Settings):
    """A broker that is told every inspection."""

    host: str
    port: int = Field(1883, ge=1, le=65535)
    station: str = Field(pattern=r"^[^/+#$\x00-\x1f]{1,64}$")
    """This inspection's name in topics, e.g. line1."""
    root: str = Field("defectflow", pattern=r"^[^+#$\x00-\x1f]{1,200}$")
    """How topics begin."""
    username: str | None = None
    password: Path | None = None
    """File that holds it."""
    tls: bool = False
    ca: Path | None = None
    """Certificates to trust (PEM); null: those of the system."""


class OpcUaSettings(Settings):
    """An OPC UA server in the service."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(4840, ge=1, le=65535)
    station: str = Field("DefectFlow", min_length=1, max_length=64)
    """What clients show the vision system as."""
    certificate: Path | None = None
    """This server's (PEM), with an RSA key. Channels are signed and encrypted."""
    key: Path | None = None
    """The certificate's private key (PEM)."""
    insecure: bool = False
    """Neither signed nor encrypted. Only where `host` is this machine's own address."""
    folders: tuple[Path, ...] = ()
    """Files below them may be inspected by their path."""

    @model_validator(mode="after")
    def _secured(self) -> OpcUaSettings:
        if self.insecure and (self.certificate is not None or self.key is not None):
            raise ValueError("insecure: true and certificate, key exclude each other; leave one of them out")
        if not self.insecure and (self.certificate is None or self.key is None):
            raise ValueError(
                "certificate and key are not both given, so nothing could be encrypted; give them, or on this machine "
                "alone set insecure: true"
            )
        if self.insecure and not is_local(self.host):
            raise ValueError(
                f"insecure: host {self.host} can be reached from other machines; use 127.0.0.1, or give certificate "
                "and key"
            )
        return self


class ServeSettings(Settings):
    """All of a service."""

    models: Path = Path("models")
    """The folder that holds the bundles, or one bundle."""
    store: str = "inspections.db"
    """File or URL of the store."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8100, ge=0, le=65535)
    """Port to listen on; 0: any free one."""
    keys: Path | None = None
    """The clients' keys, as `defectflow keys add` writes them."""
    without_keys: bool = False
    """Let every program of this machine in. Only where `host` is this machine's own address."""
    tls: TlsSettings | None = None
    """Null: plain HTTP."""
    provider: str = "cpu"
    """Execution provider that runs the models: cpu, cuda, openvino, ..."""
    threads: int = Field(0, ge=0)
    """Threads of one inference; 0: all cores."""
    warm_models: int = Field(4, ge=1)
    """Models kept in memory; of more, the one used longest ago is put away."""
    drain_s: int = Field(30, ge=1)
    """On a stop, requests that were accepted are answered within so many seconds."""
    drift_s: float = Field(60, ge=1)
    """How often /metrics looks for drift anew, in seconds."""
    cameras: dict[Name, CameraSettings] = Field(default_factory=dict)
    """Cameras that pictures are taken with, by a name of yours."""
    folders: dict[Path, FolderSettings] = Field(default_factory=dict)
    """Folders to watch."""
    webhooks: dict[Name, WebhookSettings] = Field(default_factory=dict)
    """URLs to tell, by a name of yours."""
    mqtt: MqttSettings | None = None
    """Broker to tell."""
    opcua: OpcUaSettings | None = None
    """OPC UA server to open; null: none."""
    log: Literal["text", "json"] = "text"
    """Lines on standard error: for people, or JSON."""
    limits: LimitSettings = LimitSettings()
    batch: BatchSettings = BatchSettings()

    @model_validator(mode="after")
    def _guarded(self) -> ServeSettings:
        if self.keys is None and not self.without_keys:
            raise ValueError(
                "keys: is not given, so nobody could be told apart; make a file with `defectflow keys add`, or on this "
                "machine alone set without_keys: true"
            )
        if self.keys is not None and self.without_keys:
            raise ValueError("keys and without_keys: true exclude each other; leave one of them out")
        if self.without_keys and not self.local:
            raise ValueError(
                f"without_keys: host {self.host} can be reached from other machines; use 127.0.0.1, or give keys"
            )
        if self.without_keys and self.opcua is not None and not is_local(self.opcua.host):
            raise ValueError(
                f"without_keys: opcua.host {self.opcua.host} can be reached from other machines; use 127.0.0.1, or "
                "give keys"
            )
        return self

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_local(self.host)


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(file: Path, overrides: list[str]) -> ServeSettings:
    """Settings from a YAML file, with overrides such as `port=8200`. Raises SettingsError."""
    return load(ServeSettings, str(file), {}, overrides, kind=KIND)
