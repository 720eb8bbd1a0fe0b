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

import numpy as np

from defectflow.bundle import Bundle, Card, fitted_digests
from defectflow.common import Progress, Watch, unwatched
from defectflow.data import Found, Picture, test_pictures
from defectflow.errors import DataError, ImageError
from defectflow.evaluation.figures import Evaluation, KindFigures, notes
from defectflow.evaluation.masks import check_masks
from defectflow.evaluation.metrics import image_figures, rejected_interval
from defectflow.evaluation.pixels import PixelFigures, PixelStore
from defectflow.image import pixel_digest, read_raw
from defectflow.line import Inspector
from defectflow.verdict import Measurement, Share, Verdict, Word, auroc, worst_score, worst_word

MAP_SIDE_PX = 512
"""Longer side of the maps that pixel figures are computed on, at most."""
PIXEL_BUDGET = 250_000_000
"""Map pixels kept in memory, 4 bytes each; with more pictures the maps are kept smaller."""


def seen_in_fit(bundle: Bundle, pictures: Iterable[Picture]) -> Iterator[Path]:
    """Good pictures whose pixels were in the fit or in a later calibration: figures on them would flatter."""
    fitted = {*fitted_digests(bundle), *bundle.card.added_digests}
    for picture in pictures:
        with contextlib.suppress(ImageError):  # unreadable ones are the evaluation's to report
            if picture.label == "good" and pixel_digest(read_raw(picture.path)) in fitted:
                yield picture.path


def find_test_pictures(found: Found, source: Path) -> list[Picture]:
    """The labelled pictures of a source that are meant for testing. Raises DataError if there are none."""
    pictures = test_pictures(found.pictures)
    if not pictures:
        raise DataError(
            f"{source}: none of its {len(found.pictures)} pictures is labelled good or defective and meant for "
            "testing; give folders that are called good and defective, a folder called test with good and the kinds "
            "of defects in it, or a manifest with a column 'label'"
        )
    return pictures


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

    Raises DataError for pictures without label, and before anything is judged for masks that cannot be read, or whose
    size is not their picture's.
    """
    unlabelled = [picture for picture in pictures if picture.label is None]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(pictures)} pictures have no label, the first is "
            f"{unlabelled[0].path}; evaluation needs good or defective for each"
        )
    warnings = check_masks(pictures)
    side = max(32, min(map_side_px, isqrt(PIXEL_BUDGET // max(1, len(pictures)))))
    pixels = PixelStore(side) if any(picture.mask for picture in pictures) else None
    seen: list[_Seen] = []
    unreadable: list[tuple[Path, str]] = []
    not_whole: set[str] = set()
    results = inspector.look([picture.path for picture in pictures])
    for done, (picture, result) in enumerate(zip(pictures, results, strict=True), start=1):
        if isinstance(result, ImageError):
            unreadable.append((picture.path, str(result)))
            not_whole.add(picture.part)
        else:
            seen.append(_Seen.of(picture, result))
            if pixels is not None:
                pixels.add(picture, result)
        watch(Progress("evaluate", done, len(pictures)))
    fitted = tuple(seen_in_fit(inspector.bundle, pictures))
    return _summarise(inspector.card, seen, unreadable, not_whole, fitted, pixels, side, draws, seed, warnings)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a picture: numbers, no map."""

    part: str
    defective: bool
    kind: str
    score: float
    gated: bool
    decision: Word | None

    @classmethod
    def of(cls, picture: Picture, result: Measurement) -> _Seen:
        decision = result.decision.word if isinstance(result, Verdict) else None
        defective = picture.label == "defective"
        return cls(picture.part, defective, picture.kind, result.score, result.gated, decision)


def _summarise(
    card: Card,
    seen: list[_Seen],
    unreadable: list[tuple[Path, str]],
    not_whole: set[str],
    fitted: tuple[Path, ...],
    pixels: PixelStore | None,
    side_px: int,
    draws: int,
    seed: int,
    warnings: list[str],
) -> Evaluation:
    defective = np.array([one.defective for one in seen], bool)
    scores = np.array([one.score for one in seen])
    whole_parts = [one for one in seen if one.part not in not_whole]
    parts = _Parts.of(whole_parts)
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
        overkill = parts.share(parts.good, {"defect", "invalid"})
        review = parts.share(parts.good, {"review"})
        escape = parts.share(parts.defective, {"ok"})
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
        parts_not_whole=len({one.part for one in seen} & not_whole),
        map_side_px=side_px,
        without_mask=pixels.without_mask if pixels is not None else int(defective.sum()),
        seen_in_fit=fitted,
        guarantee=tuple(card.guarantee()),
        notes=(
            *warnings,
            *notes(card, image, whole, pixels, unreadable, side_px, len(parts.score) < len(whole_parts)),
            *_told_not_whole(seen, not_whole),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Pictures gathered by part. A part is defective if any of its pictures is; its worst picture decides."""

    good: frozenset[str]
    defective: frozenset[str]
    score: dict[str, float]
    decision: dict[str, Word]
    """Empty while uncalibrated."""

    @classmethod
    def of(cls, seen: list[_Seen]) -> _Parts:
        pictures: dict[str, list[_Seen]] = {}
        for one in seen:
            pictures.setdefault(one.part, []).append(one)
        score = {part: worst_score(one.score for one in several) for part, several in pictures.items()}
        decision = {
            part: worst_word(one.decision for one in several if one.decision is not None)
            for part, several in pictures.items()
            if any(one.decision is not None for one in several)
        }
        defective = frozenset(one.part for one in seen if one.defective)
        return cls(frozenset(score) - defective, defective, score, decision)

    def share(self, among: frozenset[str], decisions: set[Word]) -> Share:
        return Share(sum(self.decision[part] in decisions for part in among), len(among))


def _told_not_whole(seen: list[_Seen], not_whole: set[str]) -> Iterator[str]:
    left_out = sorted({one.part for one in seen} & not_whole)
    if left_out:
        yield (
            f"{len(left_out)} parts are left out of the figures by part, the first is {left_out[0]!r}: another picture "
            "of theirs could not be read, so nobody has seen the whole part. On the line such a part is an error."
        )


def _per_kind(
    seen: list[_Seen], parts: _Parts, pixel: dict[str, PixelFigures], calibrated: bool
) -> Iterator[KindFigures]:
    good_scores = np.array([one.score for one in seen if not one.defective])
    for kind in sorted({one.kind for one in seen if one.defective}):
        pictures = [one for one in seen if one.defective and one.kind == kind]
        of_kind = frozenset(one.part for one in pictures) & parts.defective
        scores = np.array([one.score for one in pictures])
        yield KindFigures(
            kind=kind,
            pictures=len(pictures),
            parts=len(of_kind),
            image_auroc=auroc(good_scores, scores) if len(good_scores) else None,
            pixel=pixel.get(kind),
            escape=parts.share(of_kind, {"ok"}) if calibrated else None,
        )
