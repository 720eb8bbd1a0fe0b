"""A bundle, the pictures it was fitted on, and what people have answered since -> the manifest of the next fit.

Every part of the first fit stays on its side. Parts answered good join the training side only, never the calibration:
people were asked about them because of their scores. Parts of the audit sample stay out, so that they may calibrate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from defectflow.bundle import Bundle, Card, fitted_parts
from defectflow.data.find import find_pictures
from defectflow.data.layouts import Split
from defectflow.data.manifest_pictures import write_manifest
from defectflow.data.pictures import Picture, meant_for_fitting, part_of
from defectflow.errors import DataError
from defectflow.store import PartInspection, Store
from defectflow.store.recalibration import training_parts


@dataclass(frozen=True, slots=True)
class Refit:
    """What to fit again on."""

    pictures: tuple[Picture, ...]
    """Each with its side, and an absolute path; no path twice."""
    parts: int
    """Parts of the first fit that are still there."""
    joined: int
    """Parts answered good that join the training."""
    missing: tuple[str, ...]
    """Parts of the first fit that have no picture any more."""
    strangers: int
    """Good pictures that lie beside them and were not in the first fit; left out."""
    unnamed: int
    """Parts answered good whose pictures' names do not name them by `part_regex`; left out."""
    part_regex: str | None
    """To be given to `fit`, so that the new bundle finds parts by the names of pictures, too."""
    parts_known: bool
    """Whether the first fit knew which pictures show one part: the next one then knows as much, and no more."""

    def write(self, manifest: Path) -> None:
        """A CSV file that appears whole or not at all."""
        # A part that is written down needs no expression, so a bundle would not learn it; and it is one that is known.
        columns = ["path", "name", "part", "split"]
        if self.part_regex is not None or not self.parts_known:
            columns.remove("part")
        write_manifest(self.pictures, manifest, columns)


def plan_refit(bundle: Bundle, good: Path, store: Store) -> Refit:
    """`good`: the pictures that the bundle was fitted on. Raises DataError if none of them is there any more."""
    sides, card = cast(dict[str, Split], fitted_parts(bundle)), bundle.card
    found = meant_for_fitting(find_pictures(good, label="good", usual_part_regex=card.part_regex))
    if bundle.product is not None:
        found = [picture for picture in found if picture.product in (None, bundle.product)]
    fitted = [replace(p, path=p.path.absolute(), split=sides[p.part]) for p in found if p.part in sides]
    if not fitted:
        raise DataError(
            f"{good}: none of the {len(sides)} parts that {card.name} was fitted on is here any more, the first is "
            f"{min(sides)}; give the folder that it was fitted on, or put the pictures back"
        )
    joining, joined, unnamed = list[Picture](), 0, 0
    taken = {picture.path.resolve() for picture in fitted}
    for part, shots in training_parts(store, bundle):
        if part.pictures[0].part_known != card.parts_known:
            continue  # it may be another picture of a calibration part
        if card.part_regex is not None and any(part_of(name, card.part_regex) != part.part for _, name in shots):
            unnamed += 1
            continue
        fresh = [shot for shot in shots if shot[0].resolve() not in taken]
        if not card.parts_known:
            fresh = fresh[:1]  # an unnamed part is one picture, wherever it lies
        taken.update(path.resolve() for path, _ in fresh)
        joining += [_training_picture(part, path, name, card) for path, name in fresh]
        joined += bool(fresh)
    still = {picture.part for picture in fitted}
    return Refit(
        pictures=(*fitted, *joining),
        parts=len(still),
        joined=joined,
        missing=tuple(sorted(set(sides) - still)),
        strangers=len(found) - len(fitted),
        unnamed=unnamed,
        part_regex=card.part_regex,
        parts_known=card.parts_known,
    )


def _training_picture(part: PartInspection, path: Path, name: str, card: Card) -> Picture:
    if not card.parts_known:  # then its name is its part's: another day's IMG_001.png is another part
        name = f"{part.part}/{name}"
    return Picture(path.absolute(), part.part, "good", "good", split="train", part_known=card.parts_known, name=name)
