"""A bundle and labelled pictures -> AUROC, AUPRO, overkill and escape with intervals. Chooses nothing."""

from defectflow.evaluation.evaluate import MAP_SIDE_PX, evaluate, find_test_pictures
from defectflow.evaluation.figures import Evaluation
from defectflow.evaluation.metrics import Interval
from defectflow.evaluation.pixels import PixelStore

__all__ = ["MAP_SIDE_PX", "Evaluation", "Interval", "PixelStore", "evaluate", "find_test_pictures"]
