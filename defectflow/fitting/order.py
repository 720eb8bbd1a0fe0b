"""Good parts in the order of their names -> what would be rejected of a stretch of them that no density has seen.

The promise holds for production that looks like the calibration parts, and nothing in the pictures tells what
production will look like. But names often follow time, and then good parts tell how much their look changes: each fifth
of them in a row is judged by densities of the others, at the threshold that a few parts exceed when they are kept out
at random. Where the order tells nothing, no more of them exceed it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectflow.embedding import Levels
from defectflow.fitting.suspects import Numbers, Surprise, held_out_maps
from defectflow.score import Detector

STRETCHES = 5
FEWEST_PARTS = 20
"""Of fewer, chance alone rejects too many in a row."""
DEVIATIONS = 3.0
"""Standard deviations, of as many independent parts, by which the share must exceed the usual one to count."""


@dataclass(frozen=True, slots=True)
class Order:
    """Shares of parts that would be rejected while their stretch is kept out."""

    rate: float
    """That is promised."""
    parts: int
    usual: float
    """The same of parts that are kept out at random: the promised share, rounded up to whole parts."""
    rejected: float
    """On average over the stretches."""
    worst: float
    """Of the stretch of which most are."""
    worst_first: str
    """Name of its first part."""
    worst_last: str
    matters: bool
    """Whether more are rejected than chance explains."""


def follow_order(
    detector: Detector, levels: Levels, parts: Sequence[str], surprise: Surprise, rate: float
) -> Order | None:
    """None for too few parts.

    levels: (N, h_l, w_l, D_l) of N pictures. parts: which part each shows. surprise: of the same pictures, by
    `cross_fit`, which has set the detector's constants. rate: the share of good parts that may be rejected.
    """
    names = sorted(set(parts), key=_as_counted)
    if len(names) < FEWEST_PARTS:
        return None
    stretch = np.arange(len(names)) * STRETCHES // len(names)
    place_of = {name: place for place, name in enumerate(names)}
    places = np.array([place_of[part] for part in parts])
    maps = detector.score.anomaly_map(held_out_maps(detector, levels, stretch[places]))
    scores = detector.score.image_score(maps)[0].double().numpy()
    known = _of_parts(surprise.scores, places)
    limit = np.quantile(known, 1 - rate)
    over, usual = _of_parts(scores, places) > limit, float((known > limit).mean())
    rejected, chance = float(over.mean()), DEVIATIONS * math.sqrt(usual * (1 - usual) / len(names))
    shares = [float(over[stretch == number].mean()) for number in range(STRETCHES)]
    worst = int(np.argmax(shares))
    first, *_, last = np.flatnonzero(stretch == worst)
    return Order(
        rate=rate,
        parts=len(names),
        usual=usual,
        rejected=rejected,
        worst=shares[worst],
        worst_first=names[first],
        worst_last=names[last],
        matters=rejected > usual + chance,
    )


def _of_parts(scores: Numbers, places: NDArray[np.int64]) -> Numbers:
    """A part's score is the largest of its pictures': (N,) -> (parts,)."""
    largest = np.full(places.max() + 1, -np.inf)
    np.maximum.at(largest, places, scores)
    return largest


def _as_counted(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key by which part 9 comes before part 10."""
    pieces = [piece.lstrip("0") if piece.isdecimal() else piece for piece in re.split(r"([0-9]+)", name)]
    return [(len(piece) if place % 2 else 0, piece) for place, piece in enumerate(pieces)], name
