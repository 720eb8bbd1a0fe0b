"""How a model stands by its master parts -> one HTML page: released or not, what each part was judged as, its chart."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from defectflow.bundle import Card
from defectflow.gauge.control import RUN
from defectflow.gauge.draw_chart import draw_chart
from defectflow.gauge.masters import Standing
from defectflow.gauge.render import write_page


def write_master_report(out: Path, card: Card, found: Standing) -> Path:
    """Raises OSError where it cannot be written."""
    moments = [run.at for run in found.runs]
    return write_page(
        out,
        "masters.html.j2",
        card=card,
        found=found,
        drawn=[draw_chart(chart, moments) for chart in found.charts],
        now=datetime.now(UTC),
        in_a_row=RUN,
    )
