"""Cards and verdicts that need no model, for tests of what is kept about them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
from cards import calibrated_card, measured

from defectflow.bundle.card import Card
from defectflow.store import Seen, Store
from defectflow.verdict.verdict import Decision, Verdict, decide

LIMIT = 10.0
"""Largest distance of a picture that is not invalid."""


def card_of(scores: Sequence[float], *, bundle_id: str = "b" * 12, rate: float = 0.05, name: str = "bracket") -> Card:
    """A card calibrated on these scores, one per part, for `rate` and a review band of twice that."""
    rates = {"wanted_rate": rate, "wanted_review_rate": 2 * rate}
    return calibrated_card(scores, bundle_id=bundle_id, name=name, distance_limit=LIMIT, **rates)


def verdict(card: Card, score: float, *, sha256: str | None = None, distance: float = 1.0) -> Verdict:
    """What the graph would say of a picture with this score."""
    calibration = card.require_calibration()
    cuts = (calibration.threshold.value, calibration.review.value)
    decision = decide(score, *cuts, gated=distance > LIMIT)
    marked = np.zeros((8, 8), bool)
    marked[2:4, 2:4] = decision in (Decision.REVIEW, Decision.DEFECT)
    values = measured(
        score=score,
        anomaly_map=np.full((8, 8), score, np.float32),
        distance=distance,
        distance_limit=LIMIT,
        sha256=sha256 or hashlib.sha256(repr((score, distance)).encode()).hexdigest(),
        milliseconds=12.5,
        decision=decision,
        p_value=calibration.p_value(score),
        threshold=cuts[0],
        review_threshold=cuts[1],
        pixel_threshold=calibration.pixel_threshold,
        mask=marked,
    )
    return Verdict(**values)


def record_parts(store: Store, card: Card, scores: dict[str, float]) -> dict[str, int]:
    """One picture per part, each recorded by itself; part -> number of its inspection."""
    return {
        part: store.record(card, [Seen(f"{part}.png", verdict(card, score), part)], by="tester", source="test")[0]
        for part, score in scores.items()
    }


def python(program: str, *words: str) -> subprocess.Popen[str]:
    """A separate process that runs a program with the tests' modules available."""
    preamble = f"import sys\nsys.path[:0] = {sys.path!r}\n"
    return subprocess.Popen(
        [sys.executable, "-c", preamble + program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
