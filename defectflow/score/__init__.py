"""Level maps -> anomaly map -> image score; the gate; the detector that composes all."""

from defectflow.score.detector import Detector, OnTiles, build_detector
from defectflow.score.gate import Gate
from defectflow.score.score import Score, Standardised

__all__ = ["Detector", "Gate", "OnTiles", "Score", "Standardised", "build_detector"]
