"""A bundle, the pictures it was fitted on, and what people have answered since -> the manifest of the next fit.

Every part of the first fit stays on its side. Parts answered good join the training side only, never the calibration:
people were asked about them because of their scores. Parts of the audit sample stay out, so that they may calibrate.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from defectflow.dataset import find_pictures
from defectflow.errors import DataError
from defectflow.runtime.bundle import Bundle, fitted_parts
from defectflow.store import Store
from defectflow.store.recalibration import training_parts


@dataclass(frozen=True, slots=True)
class Refit:
    """What to fit again on."""

    rows: tuple[tuple[Path, str, str, str], ...]
    """(picture, its name, its part, its side)"""
    parts: int
    """Parts of the first fit that are still there."""
    joined: int
    """Parts answered good that join the training."""
    missing: tuple[str, ...]
    """Parts of the first fit that have no picture any more."""
    strangers: int
    """Good pictures that lie beside them and were not in the first fit; left out."""
    part_regex: str | None
    """To be given to `fit`, so that the new bundle finds parts by the names of pictures, too."""

    def write(self, manifest: Path) -> None:
        """A CSV file that appears whole or not at all."""
        partial = manifest.with_name(f"{manifest.name}.partial")
        with partial.open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            if self.part_regex is None:
                table.writerows([("path", "name", "part", "split"), *self.rows])
            else:  # a part that is written down would not need the expression, and the bundle would not learn it
                table.writerow(("path", "name", "split"))
                table.writerows((path, name, side) for path, name, _, side in self.rows)
        partial.replace(manifest)


def plan_refit(bundle: Bundle, good: Path, store: Store) -> Refit:
    """`good`: the pictures that the bundle was fitted on. Raises DataError where none of them is there any more."""
    sides, card = fitted_parts(bundle), bundle.card
    rows, strangers = list[tuple[Path, str, str, str]](), 0
    for picture in find_pictures(good, label="good", usual_part_regex=card.part_regex):
        if picture.label != "good" or picture.split == "test":
            continue
        if picture.part in sides:
            rows.append((picture.path.absolute(), picture.name, picture.part, sides[picture.part]))
        else:
            strangers += 1
    if not rows:
        raise DataError(
            f"{good}: none of the {len(sides)} parts that {card.name} was fitted on is here any more, the first is "
            f"{min(sides)}; give the folder that it was fitted on, or put the pictures back"
        )
    still = {part for _, _, part, _ in rows}
    joined = 0
    for part, pictures in training_parts(store, bundle):
        if part.pictures[0].part_known != card.parts_known:
            continue  # it may be another picture of a calibration part
        names = {store.picture(picture): picture.file for picture in part.pictures}
        rows += [(path.absolute(), names[path], part.part, "train") for path in pictures]
        joined += 1
    missing = tuple(sorted(set(sides) - still))
    return Refit(tuple(rows), len(still), joined, missing, strangers, card.part_regex)
