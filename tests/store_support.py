"""Cards and verdicts that need no model, for tests of what is kept about them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from defectflow.bundle.card import CalibrationPart, Card, ImageCard, PartCounts
from defectflow.image.geometry import Geometry
from defectflow.store import Seen, Store
from defectflow.verdict.verdict import Decision, Verdict, decide

LIMIT = 10.0
"""Largest distance of a picture that is not invalid."""


def card_of(scores: Sequence[float], *, bundle_id: str = "b" * 12, rate: float = 0.05, name: str = "bracket") -> Card:
    """A card calibrated on these scores, one per part, for `rate` and a review band of twice that."""
    empty = Card(
        name=name,
        created="2026-01-01T00:00:00+00:00",
        bundle_id=bundle_id,
        image=ImageCard(size_px=64, aspect="stretch", rectangle=None, full_scale=None),
        top_fraction=0.01,
        distance_limit=LIMIT,
        good_spread=1.0,
        parts=PartCounts(train=50, tune=9, calibration=len(scores)),
        part_regex=None,
        wanted_rate=rate,
        wanted_guarantee="expected",
        wanted_review_rate=2 * rate,
        parts_known=True,
        calibration_parts=(),
        calibration=None,
        recipe={},
        training={},
        export_parity={},
        versions={},
        checksums={},
    )
    rows = tuple(
        CalibrationPart(part=f"cal{number}", score=float(score), peak=float(score) + 1, pictures=1)
        for number, score in enumerate(scores)
    )
    return empty.calibrated(rows, rate, "expected", 2 * rate)


def verdict(card: Card, score: float, *, sha256: str | None = None, distance: float = 1.0) -> Verdict:
    """What the graph would say of a picture with this score."""
    calibration = card.judge()
    cuts = (calibration.threshold.value, calibration.review.value)
    decision = decide(score, *cuts, gated=distance > LIMIT)
    marked = np.zeros((8, 8), bool)
    marked[2:4, 2:4] = decision in (Decision.REVIEW, Decision.DEFECT)
    return Verdict(
        score=score,
        anomaly_map=np.full((8, 8), score, np.float32),
        distance=distance,
        distance_limit=LIMIT,
        embedding=np.zeros(4, np.float32),
        height_px=64,
        width_px=64,
        geometry=Geometry("stretch", None),
        sha256=sha256 or hashlib.sha256(repr((score, distance)).encode()).hexdigest(),
        milliseconds=12.5,
        decision=decision,
        p_value=calibration.p_value(score),
        threshold=cuts[0],
        review_threshold=cuts[1],
        pixel_threshold=calibration.pixel_threshold,
        mask=marked,
    )


def record_parts(store: Store, card: Card, scores: dict[str, float]) -> dict[str, int]:
    """One picture per part, each recorded by itself; part -> number of its inspection."""
    return {
        part: store.record(card, [Seen(f"{part}.png", verdict(card, score), part)], by="tester", source="test")[0]
        for part, score in scores.items()
    }


def python(program: str, *words: str) -> subprocess.Popen[str]:
    """A process of its own that runs a program with the tests' modules at hand."""
    preamble = f"import sys\nsys.path[:0] = {sys.path!r}\n"
    return subprocess.Popen(
        [sys.executable, "-c", preamble + program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
