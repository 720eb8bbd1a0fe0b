"""One judged picture of a drop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from defectflow.errors import ImageError
from defectflow.verdict import Verdict

DECISIONS = ("ok", "review", "defect", "invalid", "error")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One picture of the drop: its verdict, or why there is none."""

    number: int
    name: str
    part: str | None
    """None where the bundle's expression does not tell."""
    file: Path | None
    item: Verdict | ImageError
    thumbnail: str | None
    """Address of a small picture."""
    recorded: int | None = None
    """The inspection's number in the store; None where it was judged on trial, so that nobody can answer about it."""

    @property
    def verdict(self) -> Verdict | None:
        return self.item if isinstance(self.item, Verdict) else None

    @property
    def product(self) -> str | None:
        """By whose limits it was judged, where the model has several products."""
        return None if self.verdict is None else self.verdict.product

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts from harmless to worst: by score, then what is no such part, then what somebody has to see to."""
        if not isinstance(self.item, Verdict):
            return 2, 0.0
        return int(self.item.gated), self.item.score

    def decision(self, threshold: float | None = None) -> str:
        """The recorded decision's word, or what it would be at another threshold."""
        if not isinstance(self.item, Verdict):
            return "error"
        return self.item.decision.word if threshold is None else self.item.what_if(threshold).word
