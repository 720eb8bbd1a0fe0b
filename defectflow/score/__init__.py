"""Level maps -> anomaly map -> image score; the gate; the detector that composes all."""

from defectflow.score.detector import Detector, OnTiles, build_detector
from defectflow.score.gate import Gate
from defectflow.score.score import Score, compressed

__all__ = ["Detector", "Gate", "OnTiles", "Score", "build_detector", "compressed"]
