"""golden/: pictures that travel with a bundle, and what they gave through its graph where it was made."""

from __future__ import annotations

import json

from defectflow.runtime.bundle import EXPECTED, GOLDEN, Bundle
from defectflow.runtime.inspector import Inspector


def record_golden(bundle: Bundle) -> None:
    """Run the pictures of golden/ through the bundle's graph, and write down what they give."""
    files = sorted((bundle.path / GOLDEN).glob("*.png"))
    seen = Inspector(bundle).measure_all(files)
    expected = {
        file.name: {"score": item.score, "distance": item.distance} for file, item in zip(files, seen, strict=True)
    }
    (bundle.path / EXPECTED).write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
