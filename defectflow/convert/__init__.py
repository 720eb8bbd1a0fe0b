"""A bundle -> other precisions, and other engines' forms. Never torch."""

__all__ = ["openvino", "precision", "quantising", "triton"]
