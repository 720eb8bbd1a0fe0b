"""Several products in one bundle: a product joins, and thresholds are saved. Needs onnx, not torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import onnx

from defectflow.bundle.card import Card
from defectflow.bundle.family import Family, FamilyCard, card_of, read_family, sealed
from defectflow.bundle.files import CARD, MODEL, check_file, file_digest, seal
from defectflow.bundle.product_nodes import join
from defectflow.bundle.tensors import CARD_IN_MODEL, PRODUCT_NAMES
from defectflow.bundle.verdict_nodes import attach_verdicts, detach_verdict
from defectflow.common import utc_now
from defectflow.errors import BundleError


def add_product(path: Path, name: str, product: str) -> Family:
    """A product's whole bundle, which lies in its folder below `path`, gives its graph to that of all, as the last one.

    `name`: of the bundle, where this is its first product. Other products' files and numbers stay as they are.
    Raises BundleError where the new graph sees pictures in another way than the others.
    """
    family = read_family(path)
    own = path / Path(card_of(product)).parent
    card = Card.model_validate_json((own / CARD).read_bytes())
    check_file(own, MODEL, card)
    joint = None if family is None else onnx.load(path / MODEL)
    onnx.save(join(joint, onnx.load(own / MODEL), card.distance_limit), path / f"{MODEL}.joined")
    (path / f"{MODEL}.joined").replace(path / MODEL)
    (own / MODEL).unlink()
    known = FamilyCard(name=name, created=utc_now(), products=(), checksums={}) if family is None else family.card
    changed = known.model_copy(update={"products": (*known.products, product)})
    # By this name rows of the store, metrics and messages tell products apart.
    return _save(path, changed, {product: card.model_copy(update={"name": f"{known.name}/{product}"})})


def save_products(path: Path, cards: Mapping[str, Card]) -> Family:
    """Put the thresholds of these products' cards into the graph of all, and save both; other cards stay as they are.

    Raises BundleError where the bundle is damaged.
    """
    return _save(path, _opened(path).card, cards)


def rename_products(path: Path, name: str) -> Family:
    """Give the bundle another name, and with it each of its products. Raises BundleError where it is damaged."""
    family = _opened(path)
    cards = {each: Card.model_validate_json((path / card_of(each)).read_bytes()) for each in family.names}
    called = {each: card.model_copy(update={"name": f"{name}/{each}"}) for each, card in cards.items()}
    return _save(path, family.card.model_copy(update={"name": name}), called)


def _opened(path: Path) -> Family:
    family = read_family(path)
    if family is None:
        raise BundleError(f"{path}: is no bundle of several products; copy the bundle again")
    return family


def _save(path: Path, known: FamilyCard, changed: Mapping[str, Card]) -> Family:
    files = {name: path / card_of(name) for name in known.products}
    cards = {name: changed.get(name) or Card.model_validate_json(file.read_bytes()) for name, file in files.items()}
    model = detach_verdict(onnx.load(path / MODEL))
    if any(card.calibration is not None for card in cards.values()):
        calibrations = [card.require_calibration() if card.calibration else None for card in cards.values()]
        model = attach_verdicts(model, calibrations, [card.distance_limit for card in cards.values()])
    said = {name: card.model_copy(update={"checksums": {}}).model_dump(mode="json") for name, card in cards.items()}
    onnx.helper.set_model_props(
        model, {CARD_IN_MODEL: json.dumps(said, ensure_ascii=False), PRODUCT_NAMES: "\n".join(known.products)}
    )
    onnx.save(model, path / f"{MODEL}.partial")
    digests = {MODEL: file_digest(path / f"{MODEL}.partial")}
    for name, file in files.items():
        written = file
        if name in changed:
            written = file.with_name(f"{CARD}.partial")
            written.write_text(_sealed(changed[name]).to_json(), encoding="utf-8")
        digests[card_of(name)] = file_digest(written)
    card = sealed(known.model_dump() | {"checksums": digests})
    (path / f"{CARD}.partial").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for name in (MODEL, *map(card_of, changed), CARD):  # the card last: until then the old one says what is missing
        with suppress(FileNotFoundError):  # moved by somebody who has opened the bundle meanwhile
            (path / f"{name}.partial").replace(path / name)
    return Family(path, card)


def _sealed(card: Card) -> Card:
    """A product's card with its own checksum, and without that of the graph, which the bundle's card states."""
    digests = {name: digest for name, digest in card.checksums.items() if name not in (MODEL, CARD)}
    card = card.model_copy(update={"checksums": digests})
    return card.model_copy(update={"checksums": {**digests, CARD: seal(card.to_json())}})
