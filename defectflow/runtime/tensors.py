"""The names of the graph's inputs and outputs. Apart from graph.py, so that judging a picture does not import onnx."""

from __future__ import annotations

SCORING_OUTPUTS = ("score", "anomaly_map", "embedding", "distance", "top_floor")
VERDICT_OUTPUTS = ("decision", "score", "p_value", "anomaly_map", "mask", "embedding", "distance")
THRESHOLDS = ("threshold", "review_threshold", "pixel_threshold")
