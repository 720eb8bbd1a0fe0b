"""The inspection, measured like a gauge. Numpy only; never torch.

masters     master parts judged at the start of each shift: register, check; `control` draws their chart
    agreement       blind double reviews -> who agrees with whom; with kappa
    detectability   flaws drawn on good parts -> how small a flaw is found; with flaws, regions, logistic
    part_scores what is known of good and defective parts, by their scores: what thresholds are weighed with
"""

from defectflow.gauge.control import BASELINE, Chart, chart_of
from defectflow.gauge.draw_chart import DrawnChart, draw_chart
from defectflow.gauge.masters import EXPECTABLE, Standing, check_masters, register_masters, standing
from defectflow.gauge.part_scores import PartScores
from defectflow.gauge.render import TEMPLATES

__all__ = [
    "BASELINE",
    "EXPECTABLE",
    "TEMPLATES",
    "Chart",
    "DrawnChart",
    "PartScores",
    "Standing",
    "agreement",
    "agreement_report",
    "chart_of",
    "check_masters",
    "detectability",
    "detectability_report",
    "draw_chart",
    "master_report",
    "regions",
    "register_masters",
    "standing",
]
