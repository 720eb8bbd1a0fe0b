"""Pictures of several products -> each product's pictures, with what judges them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from defectflow.bundle import Bundle
from defectflow.data import Picture
from defectflow.errors import DataError
from defectflow.line.inspector import Inspector


def by_product(
    inspector: Inspector, pictures: Sequence[Picture], source: Path
) -> list[tuple[str | None, Inspector, list[Picture]]]:
    """(product, its inspector, its pictures) of each product; one entry, and no name, for a bundle of one.

    Raises DataError where the pictures of several products do not say which they show.
    """
    if inspector.family is None:
        return [(None, inspector, list(pictures))]
    names = [str(each.product) for each in inspector.bundles]
    if len(names) == 1:
        said = [picture for picture in pictures if picture.product in (None, names[0])]
        return [(names[0], inspector.of(names[0]), said)]
    check_products(inspector, pictures, source)
    unnamed = next((picture for picture in pictures if picture.product is None), None)
    if unnamed is not None:
        raise DataError(
            f"{unnamed.path}: does not say which product it shows; give a manifest with a column 'product', or "
            "--product"
        )
    shown = {name: [picture for picture in pictures if picture.product == name] for name in names}
    return [(name, inspector.of(name), own) for name, own in shown.items() if own]


def in_both(
    old: Inspector, new: Inspector, pictures: Sequence[Picture], source: Path
) -> list[tuple[str | None, Inspector, Inspector, list[Picture]]]:
    """(product, what judged it, what judges it now, its pictures) of each product that both bundles have.

    Raises DataError where the pictures do not say what they show, though there are several.
    """
    if not (old.is_open or new.is_open):
        return [(None, old, new, list(pictures))]
    names = {each.product for each in old.bundles} & {each.product for each in new.bundles}
    known = [picture for picture in pictures if picture.product is None or picture.product in names]
    both = by_product(old, known, source)
    return [(name, was, new.of(name), shown) for name, was, shown in both]


def check_products(inspector: Inspector, pictures: Sequence[Picture], source: Path) -> None:
    """Raises DataError where pictures show a product that is not judged here."""
    check_known(inspector.bundles, ((one.path.name, one.product) for one in pictures), str(source))


def check_known(bundles: Sequence[Bundle], shown: Iterable[tuple[str, str | None]], source: str) -> None:
    """The same of (picture's name, its product or None). Pictures judged by a bundle of one may show anything."""
    if bundles[0].family is None:
        return
    names = [str(each.product) for each in bundles]
    for picture, product in shown:
        if product is not None and product not in names:
            raise DataError(
                f"{source}: {picture} shows product {product!r}, and these are judged here: {', '.join(names)}"
            )
