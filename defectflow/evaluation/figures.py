"""What an evaluation has found, and how it was found: values, and the sentences beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defectflow.bundle import Card
from defectflow.evaluation.metrics import ImageFigures, Interval
from defectflow.evaluation.pixels import PixelFigures, PixelStore
from defectflow.verdict import Share

PIXEL_KEYS = ("pixel_auroc", "pixel_ap", "aupro_30", "aupro_05")
NOT_CALIBRATED = "The bundle is uncalibrated: it has no thresholds, so overkill, review and escape are not known."


@dataclass(frozen=True, slots=True)
class KindFigures:
    """One kind of defect against all good pictures."""

    kind: str
    pictures: int
    parts: int
    image_auroc: float | None
    pixel: PixelFigures | None
    escape: Share | None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "pictures": self.pictures,
            "parts": self.parts,
            "image_auroc": self.image_auroc,
            **(self.pixel.to_json() if self.pixel else dict.fromkeys(PIXEL_KEYS)),
            "escape": self.escape.to_json() if self.escape else None,
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of one bundle on one test set. None means unknown; `notes` say why."""

    bundle_id: str
    calibration_id: str | None
    pictures_good: int
    pictures_defective: int
    parts_good: int
    parts_defective: int
    image: ImageFigures | None
    """Per picture, on the raw score: a picture that the gate refuses is ranked by its score, too."""
    part_auroc: float | None
    """Per part, on the largest raw score over its pictures."""
    part_auroc_interval: Interval | None
    pixel: PixelFigures | None
    overkill: Share | None
    """Good parts that are not ok or review; a part's worst picture decides."""
    review: Share | None
    """Good parts that are review."""
    escape: Share | None
    """Defective parts called ok."""
    overkill_expected: tuple[int, int] | None
    """95% of calibrations and test sets of these sizes give a count in this range, ends included."""
    per_kind: tuple[KindFigures, ...]
    invalid_good: int
    """Good pictures that the gate refused."""
    invalid_defective: int
    unreadable: tuple[tuple[Path, str], ...]
    """Pictures that could not be read, and why; they count nowhere."""
    parts_not_whole: int
    """Parts that count nowhere, as another picture of theirs could not be read."""
    map_side_px: int
    without_mask: int
    """Defective pictures left out of the pixel figures: no mask, or one that marks nothing."""
    seen_in_fit: tuple[Path, ...]
    """Good pictures that were used in the fit or the calibration. If there are any, the figures are too optimistic."""
    guarantee: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def overkill_inside(self) -> bool | None:
        """Whether the overkill count is what the guarantee predicts."""
        if self.overkill is None or self.overkill_expected is None:
            return None
        return self.overkill_expected[0] <= self.overkill.count <= self.overkill_expected[1]

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; the keys are part of the product's interface."""
        figures: dict[str, Any] = {}
        for name in ("auroc", "ap", "f1_max"):
            figures[f"image_{name}"] = getattr(self.image, name) if self.image else None
            figures[f"image_{name}_interval"] = getattr(self.image, f"{name}_interval") if self.image else None
        shares = {name: getattr(self, name) for name in ("overkill", "review", "escape")}
        return {
            "bundle_id": self.bundle_id,
            "calibration_id": self.calibration_id,
            "pictures": {"good": self.pictures_good, "defective": self.pictures_defective},
            "parts": {"good": self.parts_good, "defective": self.parts_defective},
            **figures,
            "part_auroc": self.part_auroc,
            "part_auroc_interval": self.part_auroc_interval,
            **(self.pixel.to_json() if self.pixel else dict.fromkeys(PIXEL_KEYS)),
            **{name: share.to_json() if share else None for name, share in shares.items()},
            "overkill_expected_interval": self.overkill_expected,
            "overkill_inside": self.overkill_inside,
            "per_kind": [kind.to_json() for kind in self.per_kind],
            "invalid": {"good": self.invalid_good, "defective": self.invalid_defective},
            "unreadable": [{"file": str(path), "reason": reason} for path, reason in self.unreadable],
            "parts_not_whole": self.parts_not_whole,
            "map_side_px": self.map_side_px,
            "defective_without_mask": self.without_mask,
            "seen_in_fit": len(self.seen_in_fit),
            "guarantee": list(self.guarantee),
            "notes": list(self.notes),
        }


def notes(
    card: Card,
    image: ImageFigures | None,
    pixel: PixelFigures | None,
    pixels: PixelStore | None,
    unreadable: list[tuple[Path, str]],
    side_px: int,
    several: bool,
) -> Iterator[str]:
    """How the figures were made and why some are missing, in whole sentences."""
    yield "Image figures count pictures and rank them by the raw score, also those that are called invalid."
    yield "Overkill, review and escape count parts; a part's worst picture decides."
    if card.calibration is None:
        yield NOT_CALIBRATED
    elif not card.parts_known and several:
        yield (
            "The bundle was calibrated picture by picture, but these parts have several pictures, so its promise is "
            "not about them: fit again with --part-regex or a part column."
        )
    if image is None:
        yield "No image figures: they need good and defective pictures that can be read."
    elif image.auroc_interval is None:
        yield "No bootstrap intervals: they need at least two good and two defective parts."
    elif image.auroc_interval[0] == image.auroc_interval[1]:
        yield (
            "The scores separate these pictures perfectly, so the bootstrap intervals have no width; "
            "that does not mean that the figures are certain."
        )
    if pixels is None:
        yield "No pixel figures: no picture has a mask."
    elif pixel is None:
        yield "No pixel figures: no mask of a readable defective picture marks anything, or no pixel is good."
    else:
        yield (
            f"Pixel figures are computed on maps of at most {side_px} px on the longer side; in the masks, "
            "every touched pixel stays defective. They have no intervals: pixels of one part are not independent."
        )
    if pixels is not None and pixels.without_mask:
        yield (
            f"{pixels.without_mask} defective pictures are left out of the pixel figures: they have no "
            "mask, or one that is black all over."
        )
    if unreadable:
        yield f"{len(unreadable)} pictures could not be read and count nowhere."
