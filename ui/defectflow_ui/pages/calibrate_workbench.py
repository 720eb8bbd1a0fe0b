"""What a tab of the page Calibrate is working on: thresholds that are tried, and saved or not. No Gradio here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from defectflow.bundle import Bundle, Card
from defectflow.gauge import PartScores
from defectflow.verdict import Cheapest, Costs, Guarantee, Point
from defectflow_ui.words import calibrate as words

STEPS = 7
"""Thresholds without grey band that the table shows."""
Asked = tuple[float, float, str]
"""Good parts that may be rejected, and that may be anything but ok, in per cent; how the promise is kept."""


@dataclass(eq=False)
class Workbench:
    """A model, the scores of its parts, and thresholds that are not saved yet."""

    bundle: Bundle
    scores: PartScores
    draft: Card | None = None
    origin: Literal["rate", "threshold"] = "rate"
    cheapest: Cheapest | None = None
    axis: tuple[float, float, float] | None = None
    """Lowest, highest and step of the axis on show; None: to be found anew. A drag leaves it where it is."""
    asked: Asked = (0.0, 0.0, "expected")
    """What was answered last: leaving a field without a change asks nothing."""

    @property
    def cuts(self) -> tuple[float, float]:
        """The thresholds on show: the draft's, the bundle's own, or somewhere among the scores."""
        for card in (self.draft, self.bundle.card):
            if card is not None and card.calibration is not None:
                return card.calibration.threshold.value, card.calibration.review.value
        low, high = self.scores.tradeoff.span
        return high, low + 0.8 * (high - low)

    def from_rate(self, asked: Asked) -> Card:
        """By the exact rule, from calibration parts alone: a promise if these rates were fixed before anybody saw
        scores, else an estimate. Raises CalibrationError, and leaves no draft then."""
        card, share = self.bundle.card, round(asked[0] / 100, 8)
        kept: Guarantee = "confident" if asked[2] == "confident" else "expected"
        rule = share, kept, max(round(asked[1] / 100, 8), share)
        self.asked, self.draft, self.axis = asked, None, None
        self.draft = card.calibrated(card.calibration_parts, *rule, beforehand=False)
        self.origin = "rate"
        return self.draft

    def drag(self, cut: float, band: float) -> Card:
        """Thresholds by hand, an estimate. Raises CalibrationError, and has no draft then."""
        self.draft = None
        self.draft = self.bundle.card.estimated(cut, min(cut, band))
        self.origin = "threshold"
        return self.draft

    def find_cheapest(self, costs: Costs) -> tuple[Cheapest, float, float]:
        """The cheapest threshold, and with it what to draft: (found, threshold, where the grey band begins)."""
        self.cheapest = self.scores.tradeoff.cheapest(costs)
        self.axis = None
        cut, (_, band) = self.cheapest.point.threshold, self.cuts
        return self.cheapest, cut, min(band, cut)  # a grey band that begins above the threshold is none

    def rows(self) -> list[tuple[str, Point]]:
        """(label, thresholds and what they would do): present and drafted ones, and some to compare with."""
        tradeoff, now = self.scores.tradeoff, self.bundle.card.calibration
        rows = list[tuple[str, Point]]()
        if now is not None:
            rows.append((words.present, tradeoff.at(now.threshold.value, now.review.value)))
        if self.draft is not None or now is None:  # after a refusal nothing is being chosen
            rows.append((words.draft, tradeoff.at(*self.cuts)))
        if self.cheapest is not None:
            rows.append((words.cheapest_row, self.cheapest.point))
        return rows + [("", tradeoff.at(float(one))) for one in np.linspace(*tradeoff.span, STEPS + 2)[1:-1]]
