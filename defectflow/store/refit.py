"""Answers -> parts that a re-fit may train on. Those that calibrate come from `recalibration`; no part does both."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from defectflow.errors import ImageError
from defectflow.runtime.bundle import Bundle, fitted_digests, fitted_parts
from defectflow.runtime.image import pixel_digest, read_raw
from defectflow.store.records import Answer, PartInspection

if TYPE_CHECKING:
    from defectflow.store.store import Store


def training_parts(store: Store, bundle: Bundle) -> list[tuple[PartInspection, tuple[Path, ...]]]:
    """Parts that may join the training of a re-fit, with their pictures: answered good, and not of the audit sample.

    Why somebody answered does not matter: of the grey band, or to contradict a verdict. Parts that calibrate or tune
    the bundle stay on their side, under whatever name their pictures came back. Parts whose pictures are gone are left
    out.
    """
    sides = fitted_parts(bundle) | {row.part: "calibration" for row in bundle.card.calibration_parts}
    kept_apart = {digest for digest, side in fitted_digests(bundle).items() if side != "train"}
    kept_apart.update(bundle.card.added_digests)
    found = []
    for part in store.reviews.parts(bundle.card.bundle_id):
        if part.audit or part.answer is not Answer.GOOD or sides.get(part.part, "train") != "train":
            continue
        pictures = [store.picture(picture) for picture in part.judged]
        readable = tuple(dict.fromkeys(picture for picture in pictures if picture is not None))
        if not readable or len(readable) < len({picture.sha256 for picture in part.judged}):
            continue
        with suppress(ImageError):  # unreadable by now: as if it were gone
            if kept_apart.isdisjoint(pixel_digest(read_raw(picture)) for picture in readable):
                found.append((part, readable))
    return found
