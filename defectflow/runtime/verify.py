"""Does this bundle, on this machine, still give what it gave where it was made? Files first, then verdicts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defectflow.errors import BundleError
from defectflow.runtime.bundle import CARD, EXPECTED, GOLDEN, Bundle, check_file
from defectflow.runtime.calibration import TOLERANCE
from defectflow.runtime.inspector import Inspector
from defectflow.runtime.verdict import Measurement, Verdict, decide

BATCHES = (1, 3)


@dataclass(frozen=True, slots=True)
class Verification:
    """The golden pictures on this machine against what was recorded when the bundle was made."""

    files: int
    """Files whose checksums were compared; all agree, or there is no Verification."""
    pictures: int
    largest_score_difference: float
    """In standard deviations of the good scores."""
    flips: int
    """Verdicts that differ although the recorded score is farther from each threshold than the tolerance."""
    borderline: int
    """Verdicts that could differ within the tolerance; counted apart."""

    @property
    def passed(self) -> bool:
        return self.flips == 0 and self.largest_score_difference <= TOLERANCE


def verify(bundle: Bundle) -> Verification:
    """Compare every file with the card, and golden pictures in several batch sizes and orders with the record.

    Raises BundleError for a file that is missing or not the one the card describes.
    """
    for name in bundle.card.checksums:
        if name != CARD:  # checked when it was opened
            check_file(bundle.path, name, bundle.card)
    expected = json.loads((bundle.path / EXPECTED).read_text(encoding="utf-8"))
    files = [bundle.path / GOLDEN / name for name in expected]
    calibration = None if bundle.card.calibration is None else bundle.card.judge()
    tolerance = TOLERANCE * bundle.card.good_spread
    largest, flips, borderline = 0.0, set[str](), set[str]()
    for batch in BATCHES:
        for order in (files, files[::-1]):
            for file, item in zip(order, _look(bundle, order, batch), strict=True):
                record = expected[file.name]
                if not item.gated:  # a foreign picture's score is huge, and means nothing but invalid
                    # np.maximum and not max, which would overlook a score that is not a number.
                    largest = float(np.maximum(largest, abs(item.score - record["score"]) / bundle.card.good_spread))
                if calibration is None or not isinstance(item, Verdict):
                    continue
                gated = not record["distance"] <= bundle.card.distance_limit  # what is not a number rejects
                was = decide(record["score"], gated, calibration.threshold.value, calibration.review.value)
                cuts = (calibration.threshold.value, calibration.review.value)
                if any(abs(record["score"] - cut) <= tolerance for cut in cuts):
                    borderline.add(file.name)
                elif was != item.decision:
                    flips.add(file.name)
    return Verification(len(bundle.card.checksums), len(files), largest, len(flips), len(borderline))


def _look(bundle: Bundle, files: list[Path], batch: int) -> list[Measurement]:
    """Through the graph's own verdict where it has one, so that its nodes are part of what is verified."""
    inspector = Inspector(bundle, batch=batch)
    items = inspector.measure(files) if bundle.card.calibration is None else inspector.inspect(files)
    measured = []
    for item in items:
        if not isinstance(item, Measurement):
            raise BundleError(f"golden picture: {item}")
        measured.append(item)
    return measured
