"""Good scores -> threshold and guarantee; a score -> p-value and verdict; regions, overlay."""

from defectflow.verdict.auroc import auroc
from defectflow.verdict.calibration import (
    TOLERANCE,
    Basis,
    Calibration,
    Guarantee,
    Threshold,
    advised_rate,
    calibrate,
    calibrate_by_hand,
    parts_needed,
)
from defectflow.verdict.intervals import CONFIDENCE, Share, beta_cdf
from defectflow.verdict.overlay import FULL_HEAT, heat, outlines, overlay
from defectflow.verdict.tradeoff import Cheapest, Costs, Point, Tradeoff, Uncertainty
from defectflow.verdict.verdict import (
    FLOOR,
    Decision,
    Measurement,
    Reason,
    Region,
    Verdict,
    Word,
    decide,
    is_gated,
    marked_places,
    reason_of,
    resembles_in_places,
)
from defectflow.verdict.worst import PRECEDENCE, rank, worst_score, worst_word

__all__ = [
    "CONFIDENCE",
    "FLOOR",
    "FULL_HEAT",
    "PRECEDENCE",
    "TOLERANCE",
    "Basis",
    "Calibration",
    "Cheapest",
    "Costs",
    "Decision",
    "Guarantee",
    "Measurement",
    "Point",
    "Reason",
    "Region",
    "Share",
    "Threshold",
    "Tradeoff",
    "Uncertainty",
    "Verdict",
    "Word",
    "advised_rate",
    "auroc",
    "beta_cdf",
    "calibrate",
    "calibrate_by_hand",
    "decide",
    "heat",
    "is_gated",
    "marked_places",
    "outlines",
    "overlay",
    "parts_needed",
    "rank",
    "reason_of",
    "resembles_in_places",
    "worst_score",
    "worst_word",
]
