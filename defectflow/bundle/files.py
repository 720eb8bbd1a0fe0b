"""Names of a bundle's files, and the checksums by which each is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from defectflow.errors import BundleError

MODEL, CARD, FLOW = "model.onnx", "card.json", "flow.safetensors"
CORE = "model_core.onnx"
"""The graph from the resized square on. It lies in bundles of earlier releases; now it is cut out where wanted."""
SIGNATURE = f"{CARD}.sig"
"""Beside the card, and without a checksum in it: 64 bytes that are written last of all."""
GOLDEN, REFERENCE = "golden", "reference"
EXPECTED, GOLDEN_MAPS, INDEX, EMBEDDINGS = (
    f"{GOLDEN}/expected.json",
    f"{GOLDEN}/maps.npy",
    f"{REFERENCE}/index.json",
    f"{REFERENCE}/embeddings.npy",
)

COPY_AGAIN = "copy the bundle again"


class Sealed(Protocol):
    """A card, of one product or of several: it holds the checksum of every file beside it."""

    @property
    def checksums(self) -> Mapping[str, str]: ...


def check_file(bundle: Path, name: str, card: Sealed) -> None:
    """Raises BundleError if a file is missing or not the one that the card describes."""
    file = bundle / name
    if not file.is_file():
        raise BundleError(f"{file}: is missing; {COPY_AGAIN}")
    _check_digest(file, name, card, file_digest(file))


def read_checked(bundle: Path, name: str, card: Sealed) -> bytes:
    """A file's content, as `check_file` wants it: nobody can change it after the check."""
    file = bundle / name
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{file}: is missing; {COPY_AGAIN}") from error
    _check_digest(file, name, card, hashlib.sha256(content).hexdigest())
    return content


def _check_digest(file: Path, name: str, card: Sealed, found: str) -> None:
    if found != card.checksums.get(name):
        raise BundleError(
            f"{file}: is damaged or was altered (SHA-256 {found[:12]}..., the card says "
            f"{card.checksums.get(name, 'nothing')[:12]}...); {COPY_AGAIN}"
        )


def file_digest(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a bundle's folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def seal(card_text: str) -> str:
    """SHA-256 of what a card says, its own checksum left out. Of the text's own keys, known here or not."""
    said = json.loads(card_text)
    said["checksums"].pop(CARD, None)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
