"""Good parts through the deployed graph -> new thresholds in the same bundle. No training, no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from defectflow.bundle import Bundle, CalibrationPart, Card, fitted_digests, fitted_parts, save_bundle
from defectflow.common import Progress, Watch, unwatched
from defectflow.data import Picture
from defectflow.errors import CalibrationError
from defectflow.image import pixel_digest, read_raw
from defectflow.line.inspector import Inspector
from defectflow.verdict import Guarantee, Measurement, worst_score

LISTED = 20
"""Pictures that an error names, at most."""


def measure_parts(
    inspector: Inspector, paths: Sequence[Path], parts: Sequence[str], watch: Watch = unwatched
) -> tuple[tuple[CalibrationPart, ...], list[Measurement]]:
    """One row per part, its worst picture's, in order of first appearance; and the measurements themselves.

    Raises ImageError if a picture cannot be read: a part must not look better for its worst picture missing.
    """
    measured: list[Measurement] = []
    for item in inspector.measure_all(paths):
        measured.append(item)
        watch(Progress("calibrate", len(measured), len(paths)))
    pictures: dict[str, list[Measurement]] = {}
    for part, item in zip(parts, measured, strict=True):
        pictures.setdefault(part, []).append(item)
    return tuple(_worst(part, items) for part, items in pictures.items()), measured


def recalibrate(
    bundle: Bundle,
    *,
    rate: float,
    guarantee: Guarantee,
    review_rate: float,
    more_good: Iterable[Picture] = (),
    beforehand: bool = True,
    watch: Watch = unwatched,
) -> Bundle:
    """New thresholds from the parts already measured and `more_good`, saved in the bundle.

    `beforehand`: whether the rates were fixed before anybody saw scores of these parts. If not, those of the recipe and
    those promised now are promised, and others are marked as an estimate, see `Card.calibrated`.
    Raises CalibrationError if the parts do not suffice, if a new picture was already used, in the fit or for
    calibration, or if it is not counted as the others, by part or by picture: then it would be no evidence. Nothing
    is changed in that case.
    """
    card = bundle.card
    new = list(more_good)
    _check_counted_alike(card, new)
    used = {digest: f"in the fit ({side})" for digest, side in fitted_digests(bundle).items()}
    used |= dict.fromkeys(card.added_digests, "in an earlier calibration")
    digests, repeated = list[str](), list[str]()
    for picture in new:
        digest = pixel_digest(read_raw(picture.path))
        if digest in used:
            repeated.append(
                f"{picture.path}: this picture was used {used[digest]}, so it is no new evidence; leave it out"
            )
        used.setdefault(digest, f"already, as {picture.path}")
        digests.append(digest)
    if repeated:
        more = [f"and {len(repeated) - LISTED} more like it"] if len(repeated) > LISTED else []
        raise CalibrationError("\n".join([*repeated[:LISTED], *more]))
    rows = card.calibration_parts
    if new:
        taken = fitted_parts(bundle) | {row.part: "calibration" for row in rows}
        twice = next((picture.part for picture in new if picture.part in taken), None)
        if twice is not None and card.parts_known:
            raise CalibrationError(
                f"part {twice!r} is already used ({taken[twice]}); leave its pictures out, or rename the part if it is "
                "another one"
            )
        added, measured = measure_parts(Inspector(bundle), [one.path for one in new], [one.part for one in new], watch)
        rows = (*rows, *added)
        if card.calibration_forms or not card.calibration_parts:  # else those of the earlier pictures are not known
            card = card.with_forms(item.form for item in measured if item.form is not None)
    card = card.calibrated(rows, rate, guarantee, review_rate, beforehand=beforehand)
    return save_bundle(bundle.path, card.model_copy(update={"added_digests": (*card.added_digests, *digests)}))


def _check_counted_alike(card: Card, new: Sequence[Picture]) -> None:
    """Raises CalibrationError where pictures would count as parts among parts of several, or the other way round."""
    unnamed = [picture for picture in new if not picture.part_known]
    if card.parts_known and unnamed:
        raise CalibrationError(
            f"{len(unnamed)} of {len(new)} pictures name no part, the first is {unnamed[0].path}, but this bundle "
            "counts by part: without names, several pictures of one part would count as several parts. Name the parts "
            "with --part-regex or with a manifest's column 'part'"
        )
    if not card.parts_known and card.calibration_parts and len(unnamed) < len(new):
        raise CalibrationError(
            f"{len(new) - len(unnamed)} of {len(new)} pictures name their part, but this bundle was calibrated picture "
            "by picture, which named parts cannot join; leave the names out, or fit again with them"
        )


def _worst(part: str, pictures: Sequence[Measurement]) -> CalibrationPart:
    score = worst_score(picture.calibrated_score for picture in pictures)
    return CalibrationPart(
        part=part,
        score=score if math.isfinite(score) else None,
        peak=worst_score(float(picture.anomaly_map.max()) for picture in pictures),
        pictures=len(pictures),
    )
