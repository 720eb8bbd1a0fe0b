"""The inspection, measured like a gauge. Numpy only; never torch.

    masters         master parts judged at the start of each shift: register, check; `control` is their chart
    part_scores     what is known of good and defective parts, by their scores: what thresholds are weighed with
    study_detectability   flaws drawn on good parts -> how small a flaw is found; flaws, regions, logistic
    choose_parts    parts for blind double reviews; analyse_agreement: who agrees with whom, with kappa, agreement

Each has a page of its own: `master_report`, `detectability_report`, `agreement_report`.
"""

from defectflow.gauge.agreement import USUAL_PARTS, AgreementResult
from defectflow.gauge.agreement_report import write_agreement
from defectflow.gauge.analyse_agreement import analyse
from defectflow.gauge.choose_parts import choose_parts, known_by_answers
from defectflow.gauge.control import BASELINE, Chart, chart_of
from defectflow.gauge.detectability import Detectability, Group, Plan
from defectflow.gauge.detectability_report import detectability_json, write_detectability
from defectflow.gauge.draw_chart import DrawnChart, draw_chart
from defectflow.gauge.kappa import Kappa
from defectflow.gauge.master_report import write_master_report
from defectflow.gauge.masters import EXPECTABLE, Standing, check_masters, register_masters, standing
from defectflow.gauge.part_scores import PartScores
from defectflow.gauge.regions import Regions
from defectflow.gauge.render import TEMPLATES
from defectflow.gauge.study_detectability import study_detectability

__all__ = [
    "BASELINE",
    "EXPECTABLE",
    "TEMPLATES",
    "USUAL_PARTS",
    "AgreementResult",
    "Chart",
    "Detectability",
    "DrawnChart",
    "Group",
    "Kappa",
    "PartScores",
    "Plan",
    "Regions",
    "Standing",
    "analyse",
    "chart_of",
    "check_masters",
    "choose_parts",
    "detectability_json",
    "draw_chart",
    "known_by_answers",
    "register_masters",
    "standing",
    "study_detectability",
    "write_agreement",
    "write_detectability",
    "write_master_report",
]
