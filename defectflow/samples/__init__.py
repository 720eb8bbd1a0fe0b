"""A seed -> folders of sample pictures: three products, good and defective, to try DefectFlow on.

Reading order: common (surface) -> ring, fabric, board with its layout (what a part looks like), flaws (what
can go wrong with it) -> camera (one shot) -> this file (the folder).
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from defectflow.common import atomic_write
from defectflow.errors import DataError, SettingsError
from defectflow.samples import board, fabric, ring
from defectflow.samples.camera import Optics, photograph
from defectflow.samples.common import KINDS, ByteImage, Flaw, Surface, generator

__all__ = ["KINDS", "PRODUCTS", "SamplePart", "draw_part", "draw_product"]

PRODUCTS: tuple[str, ...] = ("ring", "fabric", "board")

# Part of the random key, so neither order nor value may change: every picture would.
ROLES: tuple[str, ...] = ("train", "test_good", "defective")
IDENTITY_STREAM, FLAW_STREAM, SHOT_STREAM = range(3)


@dataclass(frozen=True, slots=True)
class SamplePart:
    """One part to draw: its role, its index within the role, its number in the product, and its shots."""

    product: str
    role: str
    index: int
    number: int
    shots: int

    @property
    def name(self) -> str:
        """The part's id; file names contain it, so `(part\\d+)` finds it."""
        return f"part{self.number:04d}"

    @property
    def kind(self) -> str:
        """The kind of its defect, or `good`."""
        return KINDS[self.index % len(KINDS)] if self.role == "defective" else "good"

    @property
    def split(self) -> str:
        return "train" if self.role == "train" else "test"

    def picture_path(self, shot: int) -> str:
        """Path of a shot, counted from 1, below the product's folder."""
        return f"{self.split}/{self.kind}/{self.name}_shot{shot}.png"

    def mask_path(self, shot: int) -> str:
        """Path of a shot's mask; empty for a good part."""
        if self.kind == "good":
            return ""
        return f"ground_truth/{self.kind}/{self.name}_shot{shot}_mask.png"


def draw_product(
    product: str,
    folder: Path,
    *,
    seed: int = 0,
    good_parts: int = 200,
    test_good_parts: int = 60,
    defective_parts: int = 90,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw one product's pictures, masks and manifest.csv as an MVTec-style tree; returns the folder.

    The same seed gives the same bytes, and a part looks the same whatever else is drawn. `progress` is told
    how many pictures are done and how many there are. The manifest is written last, so a folder without one
    is not finished.
    Errors: SettingsError for an unknown product, a negative seed or a negative count; DataError if the folder
    holds other pictures.
    """
    _check_settings(product, seed, good_parts, test_good_parts, defective_parts)
    parts = _plan(product, good_parts, test_good_parts, defective_parts)
    total = sum(part.shots for part in parts)
    _refuse_other_pictures(folder, parts)
    manifest = folder / "manifest.csv"
    manifest.unlink(missing_ok=True)
    done = 0
    for part in parts:
        for shot, (picture, mask) in enumerate(draw_part(part, seed=seed), start=1):
            _write_png(folder / part.picture_path(shot), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            if part.kind != "good":
                _write_png(folder / part.mask_path(shot), mask)
            done += 1
            if progress is not None:
                progress(done, total)
    _write_manifest(manifest, parts)
    return folder


def draw_part(part: SamplePart, *, seed: int, with_defect: bool = True) -> Iterator[tuple[ByteImage, ByteImage]]:
    """Each shot of a part: picture (256, 256, 3) RGB and mask (256, 256), 255 on the defect.

    `with_defect=False` shows a defective part as it would have been without its defect.
    """
    key = (PRODUCTS.index(part.product), ROLES.index(part.role), part.index)
    flaw = None
    if with_defect and part.kind != "good":
        flaw_rng = generator(seed, *key, FLAW_STREAM)
        flaw = Flaw(part.kind, float(flaw_rng.random()), flaw_rng)
    surface, optics = _drawn(part.product, generator(seed, *key, IDENTITY_STREAM), flaw)
    for shot in range(part.shots):
        yield photograph(surface, generator(seed, *key, SHOT_STREAM, shot), optics)


def _drawn(product: str, rng: np.random.Generator, flaw: Flaw | None) -> tuple[Surface, Optics]:
    match product:
        case "ring":
            return ring.draw(rng, flaw), ring.OPTICS
        case "fabric":
            return fabric.draw(rng, flaw), fabric.OPTICS
        case "board":
            return board.draw(rng, flaw), board.OPTICS
        case _:
            raise _unknown(product)


def _unknown(product: str) -> SettingsError:
    return SettingsError(f"There is no sample product {product!r}; choose one of {', '.join(PRODUCTS)}.")


def _check_settings(product: str, seed: int, *counts: int) -> None:
    if product not in PRODUCTS:
        raise _unknown(product)
    if seed < 0:
        raise SettingsError(f"The seed is {seed}; it must be 0 or more.")
    for count in counts:
        if count < 0:
            raise SettingsError(f"{count} sample parts were asked for; ask for 0 or more.")


def _plan(product: str, good_parts: int, test_good_parts: int, defective_parts: int) -> list[SamplePart]:
    """Every part of the product; numbers run on over the roles, so no id occurs twice."""
    counts = {"train": good_parts, "test_good": test_good_parts, "defective": defective_parts}
    roles = [(role, index) for role in ROLES for index in range(counts[role])]
    return [
        SamplePart(product, role, index, number, _shots(role, index))
        for number, (role, index) in enumerate(roles, start=1)
    ]


def _shots(role: str, index: int) -> int:
    """A fifth of the good parts is shot again, as happens when an operator is not sure."""
    if role == "defective" or index % 5 != 4:
        return 1
    return 3 if role == "train" and index % 10 == 9 else 2


def _refuse_other_pictures(folder: Path, parts: list[SamplePart]) -> None:
    """Leftovers of another draw would be read as parts of this one."""
    ours = {path for part in parts for shot in range(1, part.shots + 1) for path in _paths(part, shot)}
    for picture in sorted(folder.rglob("*.png")):
        if picture.relative_to(folder).as_posix() not in ours:
            raise DataError(f"{folder} already holds other pictures ({picture.name}); choose an empty folder.")


def _paths(part: SamplePart, shot: int) -> tuple[str, str]:
    return part.picture_path(shot), part.mask_path(shot)


def _write_png(path: Path, pixels: MatLike) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # imwrite cannot take every Unicode path on Windows.
    _, encoded = cv2.imencode(".png", pixels)
    path.write_bytes(encoded.tobytes())


def _write_manifest(manifest: Path, parts: list[SamplePart]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "label", "kind", "mask", "part", "split"))
    for part in parts:
        label = "good" if part.kind == "good" else "defective"
        for shot in range(1, part.shots + 1):
            picture, mask = _paths(part, shot)
            table.writerow((picture, label, part.kind, mask, part.name, part.split))
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(manifest) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="")
