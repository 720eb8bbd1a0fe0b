"""Bundle + labelled pictures -> how well it separates, and whether the promise held. Chooses nothing.

Everything runs through the bundle's graph and the Inspector, so the figures describe what is deployed. The
thresholds are the calibrated ones; the test pictures are only counted against them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from defectflow.dataset import Picture
from defectflow.errors import DataError, ImageError
from defectflow.metrics import (
    ImageFigures,
    Interval,
    auroc,
    image_figures,
    rejected_interval,
)
from defectflow.pixels import PixelFigures, PixelStore
from defectflow.runtime.bundle import Bundle, fitted_digests
from defectflow.runtime.card import Card
from defectflow.runtime.image import pixel_digest, read_raw
from defectflow.runtime.inspector import Inspector
from defectflow.runtime.progress import Progress, Watch, unwatched
from defectflow.runtime.tradeoff import Estimate
from defectflow.runtime.verdict import Decision, Measurement, Verdict

MAP_SIDE_PX = 512
"""Longer side of the maps that pixel figures are computed on, at most."""
PIXEL_BUDGET = 250_000_000
"""Map pixels kept in memory, 4 bytes each; with more pictures the maps are kept smaller."""
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
    escape: Estimate | None

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
    overkill: Estimate | None
    """Good parts that are not ok or review; a part's worst picture decides."""
    review: Estimate | None
    """Good parts that are review."""
    escape: Estimate | None
    """Defective parts called ok."""
    overkill_expected: tuple[int, int] | None
    """95% of calibrations and test sets of these sizes give a count in this range, ends included."""
    per_kind: tuple[KindFigures, ...]
    invalid_good: int
    """Good pictures that the gate refused."""
    invalid_defective: int
    unreadable: tuple[tuple[Path, str], ...]
    """Pictures that could not be read, and why; they count nowhere."""
    map_side_px: int
    without_mask: int
    """Defective pictures left out of the pixel figures: no mask, or one that marks nothing."""
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
            "map_side_px": self.map_side_px,
            "defective_without_mask": self.without_mask,
            "guarantee": list(self.guarantee),
            "notes": list(self.notes),
        }


def seen_in_fit(bundle: Bundle, pictures: Iterable[Picture]) -> list[Picture]:
    """Good pictures whose pixels were in the fit or in a later calibration: figures on them would flatter."""
    fitted = {*fitted_digests(bundle), *bundle.card.added_digests}
    seen = []
    for picture in pictures:
        with contextlib.suppress(ImageError):  # unreadable ones are the evaluation's to report
            if picture.label == "good" and pixel_digest(read_raw(picture.path)) in fitted:
                seen.append(picture)
    return seen


def evaluate(
    inspector: Inspector,
    pictures: Sequence[Picture],
    *,
    map_side_px: int = MAP_SIDE_PX,
    draws: int = 1000,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Evaluation:
    """Run labelled pictures through a bundle, once and in order, and count.

    Pixel figures are computed on maps whose longer side is at most `map_side_px`, and masks shrunk so that
    every touched pixel stays defective. That keeps 1 MiB per 512 px picture; above PIXEL_BUDGET map pixels in
    all, the side is lowered, and the result says to what. A defective picture without mask is left out of the
    pixel figures; every pixel of a good picture is good. `draws` and `seed` are those of the bootstrap.

    Raises DataError for pictures without label, or a mask whose size is not its picture's.
    """
    unlabelled = [picture for picture in pictures if picture.label is None]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(pictures)} pictures have no label, the first is "
            f"{unlabelled[0].path}; evaluation needs good or defective for each"
        )
    side = max(32, min(map_side_px, isqrt(PIXEL_BUDGET // max(1, len(pictures)))))
    pixels = PixelStore(side) if any(picture.mask for picture in pictures) else None
    seen: list[_Seen] = []
    unreadable: list[tuple[Path, str]] = []
    results = inspector.look([picture.path for picture in pictures])
    for done, (picture, result) in enumerate(zip(pictures, results, strict=True), start=1):
        if isinstance(result, ImageError):
            unreadable.append((picture.path, str(result)))
        else:
            seen.append(_Seen.of(picture, result))
            if pixels is not None:
                pixels.add(picture, result)
        watch(Progress("evaluate", done, len(pictures)))
    return _summarise(inspector.card, seen, unreadable, pixels, side, draws, seed)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a picture: numbers, no map."""

    part: str
    defective: bool
    kind: str
    score: float
    gated: bool
    decision: Decision | None

    @classmethod
    def of(cls, picture: Picture, result: Measurement) -> _Seen:
        decision = result.decision if isinstance(result, Verdict) else None
        defective = picture.label == "defective"
        return cls(picture.part, defective, picture.kind, result.score, result.gated, decision)


def _summarise(
    card: Card,
    seen: list[_Seen],
    unreadable: list[tuple[Path, str]],
    pixels: PixelStore | None,
    side_px: int,
    draws: int,
    seed: int,
) -> Evaluation:
    defective = np.array([one.defective for one in seen], bool)
    scores = np.array([one.score for one in seen])
    parts = _Parts.of(seen)
    image = part_figures = None
    if defective.any() and not defective.all():
        image = image_figures(defective, scores, [one.part for one in seen], draws=draws, seed=seed)
    if parts.defective and parts.good:
        names = [*parts.good, *parts.defective]
        is_defective = np.array([name in parts.defective for name in names])
        worst = np.array([parts.score[name] for name in names])
        part_figures = image_figures(is_defective, worst, names, draws=draws, seed=seed)
    whole, pixel_by_kind = pixels.figures() if pixels is not None else (None, {})
    overkill = review = escape = expected = None
    if card.calibration is not None:
        overkill = parts.share(parts.good, {Decision.DEFECT, Decision.INVALID})
        review = parts.share(parts.good, {Decision.REVIEW})
        escape = parts.share(parts.defective, {Decision.OK})
        if card.calibration.guarantee != "estimate":
            expected = rejected_interval(len(card.calibration_parts), card.calibration.threshold.rank, len(parts.good))
    return Evaluation(
        bundle_id=card.bundle_id,
        calibration_id=card.calibration_id,
        pictures_good=int((~defective).sum()),
        pictures_defective=int(defective.sum()),
        parts_good=len(parts.good),
        parts_defective=len(parts.defective),
        image=image,
        part_auroc=part_figures.auroc if part_figures else None,
        part_auroc_interval=part_figures.auroc_interval if part_figures else None,
        pixel=whole,
        overkill=overkill,
        review=review,
        escape=escape,
        overkill_expected=expected,
        per_kind=tuple(_per_kind(seen, parts, pixel_by_kind, card.calibration is not None)),
        invalid_good=sum(one.gated and not one.defective for one in seen),
        invalid_defective=sum(one.gated and one.defective for one in seen),
        unreadable=tuple(unreadable),
        map_side_px=side_px,
        without_mask=pixels.without_mask if pixels is not None else int(defective.sum()),
        guarantee=tuple(card.guarantee()),
        notes=tuple(_notes(card, image, whole, pixels, unreadable, side_px, len(parts.score) < len(seen))),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Pictures gathered by part. A part is defective if any of its pictures is; its worst picture decides."""

    good: frozenset[str]
    defective: frozenset[str]
    score: dict[str, float]
    decision: dict[str, Decision]
    """Empty while uncalibrated."""

    @classmethod
    def of(cls, seen: list[_Seen]) -> _Parts:
        score: dict[str, float] = {}
        decision: dict[str, Decision] = {}
        for one in seen:
            score[one.part] = max(score.get(one.part, one.score), one.score)
            if one.decision is not None:
                decision[one.part] = max(decision.get(one.part, one.decision), one.decision)
        defective = frozenset(one.part for one in seen if one.defective)
        return cls(frozenset(score) - defective, defective, score, decision)

    def share(self, among: frozenset[str], decisions: set[Decision]) -> Estimate:
        return Estimate(sum(self.decision[part] in decisions for part in among), len(among))


def _per_kind(
    seen: list[_Seen], parts: _Parts, pixel: dict[str, PixelFigures], calibrated: bool
) -> Iterator[KindFigures]:
    good_scores = [one.score for one in seen if not one.defective]
    for kind in sorted({one.kind for one in seen if one.defective}):
        pictures = [one for one in seen if one.defective and one.kind == kind]
        of_kind = frozenset(one.part for one in pictures)
        labels = np.repeat([True, False], [len(pictures), len(good_scores)])
        scores = np.array([one.score for one in pictures] + good_scores)
        yield KindFigures(
            kind=kind,
            pictures=len(pictures),
            parts=len(of_kind),
            image_auroc=auroc(labels, scores) if good_scores else None,
            pixel=pixel.get(kind),
            escape=parts.share(of_kind, {Decision.OK}) if calibrated else None,
        )


def _notes(
    card: Card,
    image: ImageFigures | None,
    pixel: PixelFigures | None,
    pixels: PixelStore | None,
    unreadable: list[tuple[Path, str]],
    side_px: int,
    several: bool,
) -> Iterator[str]:
    """How the figures were made and why some are missing, in whole sentences."""
    yield "Image figures count pictures and rank them by the raw score, the gate left aside."
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
            "mask, or one in which no value is above 127."
        )
    if unreadable:
        yield f"{len(unreadable)} pictures could not be read and count nowhere."
