"""A bundle of several products on disk, read only: one graph, and for each product a bundle that lacks its own.

model.onnx              raw pixels and the product in, verdict out
card.json               which products there are, in the order of the graph's input `product`, and all checksums
products/NAME/          a product's card.json (calibration and promise), flow.safetensors, golden/, reference/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from defectflow.bundle.files import CARD, COPY_AGAIN, MODEL, check_file, seal
from defectflow.common import Moment
from defectflow.errors import BundleError, SettingsError, UnknownProduct

PRODUCTS = "products"
AUTO = "auto"
"""In a product's place: the one that the picture resembles most, by the gates."""
FORMAT = 1
_NAME = re.compile(r"\w([\w .+-]{0,62}\w)?")


class FamilyCard(BaseModel):
    """What a bundle of several products says of itself; what each promises stands in the product's own card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: Literal["products"] = "products"
    name: str
    created: Moment
    """UTC, ISO 8601."""
    products: tuple[str, ...]
    """A product's place is its number in the graph."""
    checksums: dict[str, str]
    """Of the graph and of each product's card, which holds those of the product's own files."""


@dataclass(frozen=True, slots=True)
class Family:
    """A folder of several products, whose graph and cards have the checksums that its card states."""

    path: Path
    card: FamilyCard

    @property
    def model(self) -> Path:
        return self.path / MODEL

    @property
    def names(self) -> tuple[str, ...]:
        return self.card.products

    def folder(self, product: str) -> Path:
        """Where a product's own files lie. Raises UnknownProduct."""
        self.number(product)
        return self.path / PRODUCTS / product

    def number(self, product: str) -> int:
        """What the graph's input `product` calls it. Raises UnknownProduct with the known names."""
        if product not in self.names:
            raise UnknownProduct(
                f"product {product!r}: {self.path.name} has none of this name; it has {_listed(self.names)}"
            )
        return self.names.index(product)


def check_name(product: str) -> None:
    """Raises SettingsError for what cannot be a product's name: it becomes a folder, and `auto` means any product."""
    if not _NAME.fullmatch(product) or product.casefold() == AUTO:
        raise SettingsError(
            f"product {product!r}: cannot be a product's name; use up to 64 letters, digits, spaces, and . + - _ "
            f"between them, and not {AUTO!r}"
        )


def card_of(product: str) -> str:
    """A product's card, by its path below the bundle."""
    return f"{PRODUCTS}/{product}/{CARD}"


def home_of(product: Path) -> Path | None:
    """The bundle to which a product's folder belongs; None where it is no such folder."""
    home = product.absolute().parent.parent
    belongs = product.absolute().parent.name == PRODUCTS and (home / CARD).is_file() and (product / CARD).is_file()
    return home if belongs and not (product / MODEL).exists() else None


def read_family(path: Path) -> Family | None:
    """None where the folder's card is that of one product, or none. Raises BundleError where a checksum is wrong."""
    file = path / CARD
    try:
        text = file.read_text(encoding="utf-8")
        card = FamilyCard.model_validate_json(text)
    except (ValidationError, UnicodeDecodeError, OSError):
        return None
    if card.format != FORMAT:
        raise BundleError(f"{file}: has format {card.format}, this DefectFlow reads {FORMAT}; update one of them")
    if card.checksums.get(CARD) != seal(text):
        raise BundleError(f"{file}: is damaged or was altered, so nothing in it can be relied on; {COPY_AGAIN}")
    for name in (MODEL, *map(card_of, card.products)):
        check_file(path, name, card)
    return Family(path, card)


def sealed(card: dict[str, Any]) -> FamilyCard:
    """A card with its own checksum."""
    made = FamilyCard.model_validate(card)
    digests = {**made.checksums, CARD: seal(made.model_dump_json())}
    return made.model_copy(update={"checksums": digests})


def several(family: Family) -> BundleError:
    """What is said where one product is needed, and none is named."""
    return BundleError(
        f"{family.path}: judges several products ({_listed(family.names)}), and this is about one of them; give its "
        f"folder, as in {family.folder(family.names[0])}"
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
