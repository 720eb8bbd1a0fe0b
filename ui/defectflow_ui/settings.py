"""Where the station listens and what it accepts. Checked before anything is opened."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20
STORE = "inspections.db"
LOCAL_USER = "local"
"""Who works at a station without users: somebody at this machine, who may do everything."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one drop of pictures may hold. Refused parts of a drop become rows that say why."""

    file_bytes: int = 200 * MIB
    """One picture, or one ZIP."""
    drop_bytes: int = 4096 * MIB
    """All pictures of a drop together, as they lie in a ZIP after unpacking."""
    session_bytes: int = 16384 * MIB
    """All drops that one browser's tabs still hold; beyond it no further one is opened."""
    open_drops: int = 16
    """Drops that one browser may be sending at the same time."""
    files: int = 2000
    """Pictures of one drop."""
    pixels: int = 60_000_000
    """Width x height of one picture, read from its header before anything is decoded."""
    zip_ratio: int = 200
    """Largest unpacked size of a ZIP entry, in multiples of its packed size."""
    request_bytes: int = MIB // 4
    """Any other request: names, numbers and comments."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the station was started."""

    bundles: Path
    """The folder whose subfolders are bundles."""
    host: str = "127.0.0.1"
    port: int = 7860
    store_url: str | None = None
    """Path of an SQLite file, or postgresql://...; by default a file in the bundles' folder."""
    limits: Limits = field(default_factory=Limits)
    data: Path | None = None
    """The folder below which pictures on this machine may be learned from; None: only uploads."""
    provider: str = "cpu"
    """What runs the model, see `defectflow.line.providers`."""
    core: bool = False
    """Whether it runs only the graph's core, behind the resize."""

    @property
    def store(self) -> str:
        """Where inspections, users and activations are kept."""
        return self.store_url or str(self.bundles / STORE)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
