"""A bundle on disk: open, check, calibrate again. Writes are atomic, and nothing is trusted before it is checked.

model.onnx           raw pixels in, verdict out
card.json            what it is and what it promises
flow.safetensors     the density's weights, to continue training; factors of whitening by place are in model.onnx alone
golden/              pictures, and the outputs they must give
reference/           thumbnails and pooled embeddings of training parts
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from defectflow.bundle.card import FORMAT, Card
from defectflow.bundle.family import PRODUCTS, Family, FamilyCard, card_of, home_of, read_family, several
from defectflow.bundle.files import (
    CARD,
    COPY_AGAIN,
    CORE,
    MODEL,
    check_file,
    file_digest,
    read_checked,
    seal,
)
from defectflow.bundle.publish import finish_publishing
from defectflow.bundle.tensors import CARD_IN_MODEL, PRODUCT_NAMES
from defectflow.errors import BundleError

if TYPE_CHECKING:  # imported where a model is written or taken apart: a fifth of the line's start would go into it
    import onnx

READ_ATTEMPTS = 3
"""Times that a bundle is read before it counts as damaged: another process may be saving it at this very moment."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle whose model has the checksum that its card states."""

    path: Path
    card: Card
    family: Family | None = None
    """Where the graph judges several products: what holds it. None: the bundle has its own graph."""

    @property
    def home(self) -> Path:
        """The folder in which the graph lies."""
        return self.path if self.family is None else self.family.path

    @property
    def model(self) -> Path:
        return self.home / MODEL

    @property
    def product(self) -> str | None:
        """Its name among several products."""
        return None if self.family is None else self.path.name

    @property
    def name(self) -> str:
        """What people call it: its folder's name; of one of several products, line/ring."""
        return name_of(self.path)

    def name_of(self, product: str) -> str:
        """What another product of the same bundle is called."""
        return f"{self.home.resolve().name}/{product}"

    def read_model(self) -> bytes:
        """The graph, checked against the card that states its checksum. Raises BundleError."""
        return read_checked(self.home, MODEL, self.card if self.family is None else self.family.card)

    def check_alone(self, why: str) -> None:
        """Raises BundleError where other products are in the graph, too."""
        if self.family is not None:
            raise BundleError(
                f"{self.path}: shares its graph with other products, and {why} needs a graph of its own; fit the "
                "product alone for that"
            )

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


def name_of(path: Path) -> str:
    """What people call the bundle in a folder: see `Bundle.name`."""
    home = home_of(path)
    return path.resolve().name if home is None else f"{home.resolve().name}/{path.name}"


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
            finish_publishing(path.parent.parent if path.parent.name == PRODUCTS else path)
    home = home_of(path)
    with suppress(OSError):  # whoever is saving it was faster, or only they may: the checksums tell what is there now
        _finish_save(home or path)
    if (family := read_family(path)) is not None:
        raise several(family)
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
    if card.checksums.get(CARD) != seal(text):
        raise BundleError(f"{card_file}: is damaged or was altered, so nothing in it can be relied on; {COPY_AGAIN}")
    if home is not None:
        family = read_family(home)
        if family is None or path.name not in family.names:
            raise BundleError(f"{path}: is not among the products of {home}; {COPY_AGAIN}")
        return _product(family, path.name)
    check_file(path, MODEL, card)
    return Bundle(path, card)


def bundles_of(family: Family) -> list[Bundle]:
    """Each product's bundle, in the order of their numbers. Raises BundleError."""
    return [_product(family, name) for name in family.names]


def _product(family: Family, name: str) -> Bundle:
    """A product as the family's card knows it, whatever was saved since that was read."""
    text = read_checked(family.path, card_of(name), family.card)
    try:
        return Bundle(family.folder(name), Card.model_validate_json(text), family)
    except ValidationError as error:
        raise BundleError(
            f"{family.path / card_of(name)}: cannot be read ({str(error).splitlines()[0]}); {COPY_AGAIN}"
        ) from error


def open_family(path: Path | str) -> Family | None:
    """As `open_bundle`, of a bundle of several products; None where the folder holds another bundle, or none."""
    path = Path(path)
    for _ in range(READ_ATTEMPTS - 1):
        with suppress(BundleError):
            return _open_family(path)
    return _open_family(path)


def _open_family(path: Path) -> Family | None:
    if not path.exists():
        with suppress(OSError):
            finish_publishing(path)
    with suppress(OSError):
        _finish_save(path)
    return read_family(path)


def read_core(bundle: Bundle) -> bytes:
    """The model from the resized square on, as an ONNX file: for engines that cannot antialias. Raises BundleError."""
    import onnx

    from defectflow.bundle.verdict_nodes import core_of

    try:
        return bytes(core_of(onnx.load_from_string(bundle.read_model())).SerializeToString())
    except BundleError as error:
        raise BundleError(f"{bundle.path}: {error}") from error


def files_state(path: Path) -> object:
    """Changes whenever a bundle's model or card does: their files' time and size, without reading them."""
    home = home_of(path)
    files = [path / CARD, *([path / MODEL] if home is None else [home / CARD, home / MODEL])]
    return path, *((file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


def _finish_save(path: Path) -> None:
    """A kill between the moves of `save_bundle` leaves new graphs with the old card: complete it.

    It may also be still at work, in another thread or process. Both then move the same files, each of them once.
    """
    waiting = path / f"{CARD}.partial"
    if not waiting.is_file():
        return
    wanted = _checksums_in(waiting.read_bytes())
    made: dict[str, Path] = {}
    for name in (name for name in wanted if name == MODEL or name.endswith(f"/{CARD}")):
        ready = [file for file in (path / name, path / f"{name}.partial") if file.is_file()]
        found = next((file for file in ready if file_digest(file) == wanted[name]), None)
        if found is None:
            return
        made[name] = found
    if not made:
        return
    for name, file in made.items():
        file.replace(path / name)
    waiting.replace(path / CARD)


def _checksums_in(card: bytes) -> dict[str, str]:
    """Of a card of one product or of several; none where it is cut short: then nothing has been moved either."""
    for kind in (Card, FamilyCard):
        with suppress(ValidationError):
            return kind.model_validate_json(card).checksums
    return {}


def save_bundle(path: Path, card: Card) -> Bundle:
    """Put the card's thresholds, if it has any, into the graph, and save both. Returns the bundle as it is now.

    The other files' checksums stay as the card has them, so damage to them is not covered up.
    """
    if (home := home_of(path)) is not None:
        from defectflow.bundle.products import save_products

        save_products(home, {path.name: card})
        return open_bundle(path)
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
    card = card.model_copy(update={"checksums": {**digests, CARD: seal(card.to_json())}})
    (path / f"{CARD}.partial").write_text(card.to_json(), encoding="utf-8")
    for name in (MODEL, CARD):  # the card last: until then the old one says what is missing
        with suppress(FileNotFoundError):  # moved by somebody who has opened the bundle meanwhile: see _finish_save
            (path / f"{name}.partial").replace(path / name)
    (path / CORE).unlink(missing_ok=True)  # of an earlier release, with thresholds that hold no more
    return Bundle(path, card)


def write_name(path: Path, name: str) -> None:
    """Write into a bundle what it is called from now on; into one of several products, each product's name, too."""
    if read_family(path) is not None:
        from defectflow.bundle.products import rename_products

        rename_products(path, name)
    else:
        save_bundle(path, open_bundle(path).card.model_copy(update={"name": name}))


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
    if any(entry.key == PRODUCT_NAMES for entry in entries):
        raise BundleError(f"{model}: judges several products, whose cards lie in the bundle; give the bundle's folder")
    text = next((entry.value for entry in entries if entry.key == CARD_IN_MODEL), None)
    if text is None:
        raise BundleError(
            f"{model}: has no card in its metadata; only models that DefectFlow has written can be described"
        )
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{model}: its card is damaged or of another version of DefectFlow ({error})") from error
