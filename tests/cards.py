"""Cards and measurements that need no model, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from defectflow.bundle.card import CalibrationPart, Card, ImageCard, PartCounts
from defectflow.image.geometry import Geometry


def uncalibrated_card(**values: Any) -> Card:
    """A card without calibration; what a test depends on, it gives."""
    usual: dict[str, Any] = {
        "name": "bracket",
        "created": "2026-01-01T00:00:00+00:00",
        "bundle_id": "0123456789ab",
        "image": ImageCard(size_px=64, aspect="stretch", rectangle=None, full_scale=None),
        "top_fraction": 0.01,
        "distance_limit": 10.0,
        "good_spread": 1.0,
        "parts": PartCounts(train=50, tune=9, calibration=20),
        "part_regex": None,
        "wanted_rate": 0.05,
        "wanted_guarantee": "expected",
        "wanted_review_rate": 0.10,
        "parts_known": True,
        "calibration_parts": (),
        "calibration": None,
    }
    empty = {key: dict[str, Any]() for key in ("recipe", "training", "export_parity", "versions", "checksums")}
    return Card(**(usual | empty | values))


def calibrated_card(scores: Iterable[float], **values: Any) -> Card:
    """Calibrated on these scores, one per part, by the rule that the card wants; maps peak 1 above the score."""
    card = uncalibrated_card(**values)
    parts = tuple(
        CalibrationPart(part=f"cal{number}", score=float(score), peak=float(score) + 1, pictures=1)
        for number, score in enumerate(scores)
    )
    return card.calibrated(parts, card.wanted_rate, card.wanted_guarantee, card.wanted_review_rate)


def measured(**values: Any) -> dict[str, Any]:
    """The fields of a measurement, for a `Measurement` or, with more, a `Verdict`."""
    usual = {
        "score": 1.0,
        "anomaly_map": np.zeros((8, 8), np.float32),
        "distance": 1.0,
        "distance_limit": 10.0,
        "embedding": np.zeros(2, np.float32),
        "height_px": 64,
        "width_px": 64,
        "geometry": Geometry(),
        "sha256": None,
        "milliseconds": 1.0,
    }
    return usual | values
