"""A bundle -> other precisions, and other engines' forms. Never torch."""

__all__ = ["core", "openvino", "precision", "quantising", "triton"]
