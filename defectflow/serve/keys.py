"""A client's key -> who it is and what it may do. The file holds digests: whoever reads it cannot use them.

Keys are 256 random bits, so a plain SHA-256 is enough, and guessing is hopeless.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated

import yaml
from pydantic import Field, StringConstraints

from defectflow.common import Moment, atomic_write, utc_now
from defectflow.errors import SettingsError
from defectflow.recipe import Settings, load, validated
from defectflow.store import Role

log = logging.getLogger(__name__)
KIND = "keys file"
PREFIX = "df_"
"""How a key begins, so that it is recognised where it should not be."""

Name = Annotated[str, StringConstraints(pattern=r"^[\w .@-]{1,64}$")]


class ClientKey(Settings):
    """One client's."""

    role: Role
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the key, in hex."""
    since: Moment


class KeysFile(Settings):
    """All clients', by name."""

    clients: dict[Name, ClientKey] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Client:
    """Who sends a request."""

    name: str
    role: Role


class ClientKeys:
    """The keys of a file, read again when it changes: a key that is removed is refused from then on. Thread-safe."""

    def __init__(self, file: Path) -> None:
        """Raises SettingsError if the file cannot be used, or knows nobody."""
        if not file.exists():
            raise SettingsError(f"{file}: no such file; a first key makes it: defectflow keys add NAME --keys {file}")
        self._file = file
        self._lock = Lock()
        self._state = _state(file)
        self._clients = _by_digest(read_keys(file))
        if not self._clients:
            raise SettingsError(f"{file}: holds no keys; add one: defectflow keys add NAME --keys {file}")

    def find(self, key: str) -> Client | None:
        """Whose key it is; None: nobody's."""
        self._refresh()
        return self._clients.get(_digest(key))

    def _refresh(self) -> None:
        with self._lock:
            state = _state(self._file)
            if state == self._state:
                return
            self._state = state
            try:
                self._clients = _by_digest(read_keys(self._file))
            except SettingsError as error:
                self._clients = {}  # nobody rather than somebody whose key was just removed
                log.error("nobody is let in until the keys can be read again: %s", error)


def read_keys(file: Path) -> KeysFile:
    """Raises SettingsError."""
    return load(KeysFile, str(file), {}, [], kind=KIND)


def add_key(file: Path, name: str, role: Role) -> str:
    """A new key for a new client, written to the file as a digest. The key itself is nowhere but in what is returned.

    Raises SettingsError: the name is taken or unusable, or the file cannot be used.
    """
    known = read_keys(file) if file.exists() else KeysFile()
    if name in known.clients:
        raise SettingsError(f"{file}: {name!r} has a key already; remove it first, or choose another name")
    key = PREFIX + secrets.token_urlsafe(32)
    fresh = {"role": role.value, "sha256": _digest(key), "since": utc_now()}
    _write(file, known.model_dump(mode="json")["clients"] | {name: fresh})
    return key


def remove_key(file: Path, name: str) -> None:
    """From now on the client is refused. Raises SettingsError: there is no such client."""
    known = read_keys(file).model_dump(mode="json")["clients"]
    if name not in known:
        raise SettingsError(f"{file}: no client is called {name!r}; there are {', '.join(known) or 'none'}")
    del known[name]
    _write(file, known)


def _write(file: Path, clients: dict[str, dict[str, str]]) -> None:
    validated(KeysFile, {"clients": clients}, str(file))
    with atomic_write(file) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yaml.safe_dump({"clients": clients}, stream, sort_keys=False, allow_unicode=True)


def _by_digest(file: KeysFile) -> dict[str, Client]:
    return {one.sha256: Client(name, one.role) for name, one in file.clients.items()}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _state(file: Path) -> object:
    """Changes whenever the file does."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
