"""A bundle and the store -> the scores that a threshold is weighed with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from defectflow.bundle import Bundle
from defectflow.store import Answer, Store
from defectflow.store.recalibration import tally_audit
from defectflow.verdict import Tradeoff


@dataclass(frozen=True, slots=True)
class PartScores:
    """Scores of one model's parts, one per part; +infinity where the gate refused it."""

    calibration: tuple[float, ...]
    audit_good: tuple[float, ...]
    """Answered good, of the audit sample, and new to the model: those that recalibration would count, each as good a
    witness as a calibration part."""
    other_good: tuple[float, ...]
    """Answered good, but chosen for their score: shown, never counted. Audit parts, too, while more of them lack an
    answer than recalibration allows: until then, those answered first may be the false alarms that somebody saw."""
    defective: tuple[float, ...]
    """Answered defective: those that somebody noticed, no fair sample."""
    highest_seen: float
    """The largest finite score of any part, answered or not; 0 if there is none."""

    @classmethod
    def of(cls, bundle: Bundle, store: Store) -> PartScores:
        card = bundle.card
        counted = {part.part for part in card.calibration_parts}
        calibration = tuple(part.calibrated_score for part in card.calibration_parts)
        parts = store.reviews.parts(card.bundle_id)
        known = [*calibration, *(part.score for part in parts if part.score is not None)]
        audit, other, defective = list[float](), list[float](), list[float]()
        tally, added = tally_audit([part for part in parts if part.audit], bundle)
        witnesses = set() if tally.wanting(store.settings.review.unanswered) else {part.part for part in added}
        for part in parts:
            if part.score is None or part.part in counted:
                continue
            match part.answer:
                case Answer.GOOD:
                    (audit if part.part in witnesses else other).append(part.score)
                case Answer.DEFECTIVE:
                    defective.append(part.score)
        highest = max((score for score in known if math.isfinite(score)), default=0.0)
        return cls(calibration, tuple(audit), tuple(other), tuple(defective), highest)

    @property
    def tradeoff(self) -> Tradeoff:
        return Tradeoff([*self.calibration, *self.audit_good], self.defective)

    @property
    def groups(self) -> dict[str, tuple[float, ...]]:
        """What a histogram shows."""
        good = (*self.calibration, *self.audit_good)
        return {"good": good, "other": self.other_good, "defective": self.defective}

    def limits(self, *cuts: float) -> tuple[float, float]:
        """Lowest and highest score of the axis that histogram and sliders share.

        Good parts and thresholds fill about half of it at least, however far away the grossest defect lies. Raises
        CalibrationError if there are no scores.
        """
        _, highest = self.tradeoff.span
        usual = [score for score in (*self.calibration, *self.audit_good) if math.isfinite(score)]
        inside = [*(usual or self.tradeoff.span), *cuts]
        low, top = min(inside), max(inside)
        room = (top - low) or 1.0
        return low - 0.05 * room, min(max(highest, self.highest_seen, top + 0.1 * room), top + room)
