"""Good pictures of a source -> read once, repeats left out, divided by part: what a fit and a data check share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from defectflow.data import (
    Checked,
    Distinct,
    Found,
    Splits,
    check_readable,
    distinct,
    look_through,
    meant_for_fitting,
    split_parts,
)
from defectflow.embedding import geometry_of
from defectflow.errors import DataError
from defectflow.recipe import Recipe
from defectflow.verdict import parts_needed

LISTED = 20
"""Unusable pictures that an error names, at most."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a source has to learn from."""

    found: Found
    checked: Checked
    distinct: Distinct

    def divide(self, recipe: Recipe) -> Splits:
        """Raises DataError where there are too few parts, with the reasons."""
        others = set(self.found.pictures).difference(meant_for_fitting(self.found.pictures))
        try:
            return split_parts(
                [*self.distinct.pictures, *others],
                calibration_parts=parts_needed(recipe.verdict.rate, recipe.verdict.guarantee),
                tune_share=recipe.splits.tune,
                seed=recipe.splits.seed,
            )
        except DataError as error:
            raise DataError("\n".join([str(error), *self._reasons()])) from error

    def _reasons(self) -> list[str]:
        said = []
        if self.distinct.repeats:
            said.append(f"{len(self.checked.whole)} pictures, {len(self.distinct.pictures)} distinct")
            said += self.distinct.notes()
        said += self.checked.left_out_notes()
        if self.checked.rejected:
            said.append(f"{len(self.checked.rejected)} picture(s) could not be used:")
            said += [f"  {rejected.path}: {rejected.reason}" for rejected in self.checked.rejected[:LISTED]]
        return said


def look_at(recipe: Recipe, source: Path, part_regex: str | None, product: str | None = None) -> Material:
    """Find the good pictures of a source, or of one of its products, and decode each once.

    Raises DataError, also where the source names several products and `product` is None; SettingsError.
    """
    found = of_product(look_through(source, label="good", part_regex=part_regex), source, product)
    checked = check_readable(meant_for_fitting(found.pictures), geometry=geometry_of(recipe.image))
    return Material(found, checked, distinct(checked.whole, checked.pixel_digests))


def of_product(found: Found, source: Path, product: str | None) -> Found:
    """Of what was found, the pictures of one product; all, where the source names no products. Raises DataError."""
    names = found.products
    if not names:
        return found
    unnamed = [picture for picture in meant_for_fitting(found.pictures) if picture.product is None]
    if unnamed:
        raise DataError(
            f"{source}: {len(unnamed)} good pictures have an empty cell in the column 'product', the first is "
            f"{unnamed[0].path}; fill it in for every picture, or leave the column out"
        )
    if product is None:
        raise DataError(
            f"{source}: names {len(names)} products ({', '.join(names)}), but this looks at one; choose it with "
            "--product, fit them all with defectflow fit, or leave the column 'product' out"
        )
    if product not in names:
        raise DataError(f"{source}: has no product {product!r}; the column 'product' has {', '.join(names)}")
    return replace(found, pictures=tuple(picture for picture in found.pictures if picture.product == product))
