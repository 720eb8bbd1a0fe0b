"""Names of the graph's inputs, outputs and seams. In their own file, so that inspecting does not import onnx."""

from __future__ import annotations

SCORING_OUTPUTS = ("score", "anomaly_map", "embedding", "distance", "top_floor")
VERDICT_OUTPUTS = ("decision", "score", "p_value", "anomaly_map", "mask", "embedding", "distance")
RECTANGLE = "rectangle"
"""Input of a graph that judges tiles: where on the part each lies; by default, it is the whole part."""
TILE_OUTPUTS = ("gate_embedding",)
"""For a graph that judges tiles, beside the others: its mean over a picture's tiles gives the picture's distance."""
THRESHOLDS = ("threshold", "review_threshold", "pixel_threshold")
PRODUCT, PRODUCT_INDEX = "product", "product_index"
"""Of a graph of several products. In: each picture's number, or one for all; by default -1, the one that it resembles
most. Out: by which product's limits each was judged."""
ANY_PRODUCT = -1
SQUARE, ALIGNED, FEATURES = "square", "aligned", "features_"
"""Tensors at which a graph may be cut: resized pixels (N, 3, S, S), 0..255; where parts are aligned, the same as the
backbone meets them; each level's features, with its number."""
CARD_IN_MODEL = "defectflow.card"
"""Key of the card in the ONNX file's own metadata, where any language's ONNX Runtime finds it."""
PRODUCT_NAMES = "defectflow.products"
"""Key of the products' names there, one a line, in the order of their numbers."""
