"""What must be the same on every node, or results would depend on where they were made."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from defectflow import __version__

SCORING = ("onnxruntime", "numpy", "Pillow", "opencv-python-headless")
"""Packages whose release may change a score's last digits, or a picture's pixels."""
TRAINING = ("torch", "timm", "onnx")


def versions(*, training: bool = False) -> dict[str, str]:
    """By package; "none" where it is not installed."""
    found = {"defectflow": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
    for name in (*SCORING, *(TRAINING if training else ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found
