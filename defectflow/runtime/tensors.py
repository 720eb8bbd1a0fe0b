"""The graph's names, for whoever runs one. Apart from graph.py, so that judging a picture does not import onnx."""

from __future__ import annotations

SCORING_OUTPUTS = ("score", "anomaly_map", "embedding", "distance", "top_floor")
VERDICT_OUTPUTS = ("decision", "score", "p_value", "anomaly_map", "mask", "embedding", "distance")
THRESHOLDS = ("threshold", "review_threshold", "pixel_threshold")
SQUARE, FEATURES = "square", "features_"
"""Tensors at which a graph may be cut: resized pixels (N, 3, S, S), 0..255; each level's features, with its number."""
CARD_IN_MODEL = "defectflow.card"
"""Key of the card in the ONNX file's own metadata, where any language's ONNX Runtime finds it."""
