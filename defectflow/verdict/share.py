"""Parts counted -> a share of them, with its exact interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from defectflow.verdict.beta import beta_quantile
from defectflow.verdict.calibration import CONFIDENCE


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of` parts; the rate behind it is unknown where there are none."""

    count: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95% interval of the rate; (0, 1) where nothing was seen.

        Source: Clopper, Pearson 1934, doi:10.1093/biomet/26.4.404.
        """
        tail = (1 - CONFIDENCE) / 2
        low = beta_quantile(tail, self.of, self.of - self.count + 1) if self.count else 0.0
        high = beta_quantile(1 - tail, self.of, self.of - self.count) if self.count < self.of else 1.0
        return low, high

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "of": self.of, "rate": self.rate, "interval": list(self.interval)}
