"""A bundle on disk: open, check, calibrate again. Writes are atomic, and nothing is trusted before it is checked.

model.onnx           raw pixels in, verdict out
card.json            what it is and what it promises
flow.safetensors     the density's weights, to continue training; factors of whitening by place are in model.onnx alone
golden/              pictures, and the outputs they must give
reference/           thumbnails and pooled embeddings of training parts
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from defectflow.bundle.card import FORMAT, Card
from defectflow.bundle.publish import finish_publishing
from defectflow.bundle.tensors import CARD_IN_MODEL
from defectflow.errors import BundleError

if TYPE_CHECKING:  # imported where a model is written or taken apart: a fifth of the line's start would go into it
    import onnx

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
READ_ATTEMPTS = 3
"""Times that a bundle is read before it counts as damaged: another process may be saving it at this very moment."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle whose model has the checksum that its card states."""

    path: Path
    card: Card

    @property
    def model(self) -> Path:
        return self.path / MODEL

    def has_core(self) -> bool:
        """Whether the graph can be cut at its resized square; some early releases wrote none that can."""
        import onnx

        from defectflow.bundle.verdict_nodes import has_core

        try:
            return has_core(onnx.load(self.model))
        except Exception:  # protobuf raises its own types; whoever runs it says what is wrong
            return False

    def check_whole(self) -> None:
        """Raises BundleError if the graph alone cannot give a picture's verdict, since it judges tiles."""
        if self.card.image.tiling is not None:
            raise BundleError(
                f"{self.path}: judges tiles, of which only DefectFlow's runtime makes a picture's verdict; use it with "
                "that, or fit without image.tiling"
            )


def open_bundle(path: Path | str) -> Bundle:
    """Read the card and check the model against it. Raises BundleError naming the file and the remedy."""
    path = Path(path)
    for _ in range(READ_ATTEMPTS - 1):
        with suppress(BundleError):
            return _open(path)
    return _open(path)


def _open(path: Path) -> Bundle:
    if not path.exists():
        with suppress(OSError):  # only its owner may move it; then nothing is here
            finish_publishing(path)
    with suppress(OSError):  # whoever is saving it was faster, or only they may: the checksums tell what is there now
        _finish_save(path)
    card_file = path / CARD
    if not card_file.is_file():
        raise BundleError(f"{path}: no bundle here (it has no {CARD}); if it was copied, copy the whole folder again")
    try:
        text = card_file.read_text(encoding="utf-8")
        card = Card.model_validate_json(text)
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise BundleError(
            f"{card_file}: cannot be read as a card of format {FORMAT}; it is damaged or of another version of "
            f"DefectFlow. Copy the bundle again, or fit again. ({str(error).splitlines()[0]})"
        ) from error
    if card.format != FORMAT:
        raise BundleError(f"{card_file}: has format {card.format}, this DefectFlow reads {FORMAT}; update one of them")
    if card.checksums.get(CARD) != _seal(text):
        raise BundleError(f"{card_file}: is damaged or was altered, so nothing in it can be relied on; {COPY_AGAIN}")
    check_file(path, MODEL, card)
    return Bundle(path, card)


def check_file(bundle: Path, name: str, card: Card) -> None:
    """Raises BundleError if a file is missing or not the one that the card describes."""
    file = bundle / name
    if not file.is_file():
        raise BundleError(f"{file}: is missing; {COPY_AGAIN}")
    _check_digest(file, name, card, file_digest(file))


def read_checked(bundle: Path, name: str, card: Card) -> bytes:
    """A file's content, as `check_file` wants it: nobody can change it after the check."""
    file = bundle / name
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{file}: is missing; {COPY_AGAIN}") from error
    _check_digest(file, name, card, hashlib.sha256(content).hexdigest())
    return content


def read_core(bundle: Path, card: Card) -> bytes:
    """The model from the resized square on, as an ONNX file: for engines that cannot antialias. Raises BundleError."""
    import onnx

    from defectflow.bundle.verdict_nodes import core_of

    try:
        return bytes(core_of(onnx.load_from_string(read_checked(bundle, MODEL, card))).SerializeToString())
    except BundleError as error:
        raise BundleError(f"{bundle}: {error}") from error


def _check_digest(file: Path, name: str, card: Card, found: str) -> None:
    if found != card.checksums.get(name):
        raise BundleError(
            f"{file}: is damaged or was altered (SHA-256 {found[:12]}..., the card says "
            f"{card.checksums.get(name, 'nothing')[:12]}...); {COPY_AGAIN}"
        )


def file_digest(file: Path) -> str:
    """SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_state(path: Path) -> object:
    """Changes whenever a bundle's model or card does: their files' time and size, without reading them."""
    files = [path / CARD, path / MODEL]
    return path, *((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a bundle's folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def _seal(card_text: str) -> str:
    """SHA-256 of what a card says, its own checksum left out. Of the text's own keys, known here or not."""
    said = json.loads(card_text)
    said["checksums"].pop(CARD, None)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _finish_save(path: Path) -> None:
    """A kill between the moves of `save_bundle` leaves new graphs with the old card: complete it.

    It may also be still at work, in another thread or process. Both then move the same files, each of them once.
    """
    waiting = path / f"{CARD}.partial"
    if not waiting.is_file():
        return
    try:
        wanted = Card.model_validate_json(waiting.read_bytes()).checksums
    except ValidationError:  # cut short: then nothing has been moved either
        return
    ready = [file for file in (path / MODEL, path / f"{MODEL}.partial") if file.is_file()]
    made = next((file for file in ready if file_digest(file) == wanted[MODEL]), None)
    if made is None:
        return
    made.replace(path / MODEL)
    waiting.replace(path / CARD)


def save_bundle(path: Path, card: Card) -> Bundle:
    """Put the card's thresholds, if it has any, into the graph, and save both. Returns the bundle as it is now.

    The other files' checksums stay as the card has them, so damage to them is not covered up.
    """
    import onnx

    from defectflow.bundle.verdict_nodes import attach_verdict

    model = onnx.load(path / MODEL)
    if card.calibration is not None:
        # The gate judges whole pictures, so the graph of a tiled bundle cannot.
        limit = card.distance_limit if card.image.tiling is None else math.inf
        model = attach_verdict(model, card.require_calibration(), limit)
    _put_card(model, card)
    onnx.save(model, path / f"{MODEL}.partial")
    digests = {name: digest for name, digest in card.checksums.items() if name != CORE}
    digests[MODEL] = file_digest(path / f"{MODEL}.partial")
    card = card.model_copy(update={"checksums": digests})
    card = card.model_copy(update={"checksums": {**digests, CARD: _seal(card.to_json())}})
    (path / f"{CARD}.partial").write_text(card.to_json(), encoding="utf-8")
    for name in (MODEL, CARD):  # the card last: until then the old one says what is missing
        with suppress(FileNotFoundError):  # moved by somebody who has opened the bundle meanwhile: see _finish_save
            (path / f"{name}.partial").replace(path / name)
    (path / CORE).unlink(missing_ok=True)  # of an earlier release, with thresholds that hold no more
    return Bundle(path, card)


def _put_card(model: onnx.ModelProto, card: Card) -> None:
    """The card into the model's metadata, but for the checksums: the model's own cannot stand in the model."""
    import onnx

    said = card.model_copy(update={"checksums": {}})
    others = [entry for entry in model.metadata_props if entry.key != CARD_IN_MODEL]
    onnx.helper.set_model_props(
        model, {**{entry.key: entry.value for entry in others}, CARD_IN_MODEL: said.model_dump_json()}
    )


def read_card(model: Path) -> Card:
    """The card in an ONNX file's metadata; it has no checksums. Raises BundleError."""
    import onnx

    if not model.is_file():
        raise BundleError(f"{model}: no such file")
    try:
        entries = onnx.load(model, load_external_data=False).metadata_props
    except Exception as error:  # protobuf raises its own types
        raise BundleError(f"{model}: is damaged, or not an ONNX file ({error})") from error
    text = next((entry.value for entry in entries if entry.key == CARD_IN_MODEL), None)
    if text is None:
        raise BundleError(
            f"{model}: has no card in its metadata; only models that DefectFlow has written can be described"
        )
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{model}: its card is damaged or of another version of DefectFlow ({error})") from error
