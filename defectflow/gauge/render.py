"""Templates of this package -> one HTML file in the report's style, which holds everything it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defectflow.common import write_whole
from defectflow.line.report import environment

TEMPLATES = Path(__file__).parent / "templates"
"""The station draws its charts by them, too."""


def write_page(out: Path, template: str, **values: Any) -> Path:
    """Raises OSError where it cannot be written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, environment(TEMPLATES).get_template(template).render(values))
    return out
