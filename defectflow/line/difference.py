"""Two bundles on the same pictures: whose verdict changes? Between calibrations, precisions and fits.

Scores of two fits have no common unit, so each model's margins are in its own good scores' standard deviations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from defectflow.bundle import Card
from defectflow.common import Progress, Watch, unwatched
from defectflow.errors import ImageError
from defectflow.line.inspector import Inspector
from defectflow.verdict import Verdict

UNUSABLE = "unusable"
"""In a decision's place where a picture cannot be used."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Judged(_Part):
    """One model's view of one picture."""

    decision: str
    """ok, review, defect, invalid or unusable."""
    score: float | None
    """In the model's own unit; None where it cannot use the picture."""
    to_threshold: float | None
    """score - threshold, in standard deviations of the model's good scores; above 0 is a defect."""
    to_review: float | None
    """score - review threshold, in the same unit; above 0 is not ok."""
    to_gate: float | None
    """distance / its limit; above 1 is invalid."""


class Change(_Part):
    """A picture whose verdict differs."""

    picture: str
    old: Judged
    new: Judged


class Model(_Part):
    """Which bundle it was."""

    path: str
    bundle_id: str
    calibration_id: str | None


class Difference(_Part):
    """What changes from the old bundle to the new one."""

    old: Model
    new: Model
    pictures: int
    unusable: tuple[str, ...]
    """Pictures that neither can use: they are compared with nothing."""
    verdicts: dict[str, int]
    """'ok -> review' and the like, also of verdicts that stay: how many pictures."""
    changes: tuple[Change, ...]

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"


def difference(old: Inspector, new: Inspector, pictures: Sequence[Path], watch: Watch = unwatched) -> Difference:
    """Judge every picture with both. Raises NotCalibrated before the first one where either has no thresholds."""
    verdicts = Counter[str]()
    changes, unusable = [], []
    for done, (path, was, now) in enumerate(zip(pictures, old.inspect(pictures), new.inspect(pictures), strict=True)):
        first, second = _judged(was, old.card), _judged(now, new.card)
        if first.decision == second.decision == UNUSABLE:
            unusable.append(str(path))
        else:
            verdicts[f"{first.decision} -> {second.decision}"] += 1
        if first.decision != second.decision:
            changes.append(Change(picture=str(path), old=first, new=second))
        watch(Progress("compare", done + 1, len(pictures)))
    return Difference(
        old=_model(old),
        new=_model(new),
        pictures=len(pictures),
        unusable=tuple(unusable),
        verdicts=dict(sorted(verdicts.items())),
        changes=tuple(changes),
    )


def _judged(item: Verdict | ImageError, card: Card) -> Judged:
    if isinstance(item, ImageError):
        return Judged(decision=UNUSABLE, score=None, to_threshold=None, to_review=None, to_gate=None)
    return Judged(
        decision=item.decision.word,
        score=item.score,
        to_threshold=(item.score - item.threshold) / card.good_spread,
        to_review=(item.score - item.review_threshold) / card.good_spread,
        to_gate=item.distance / item.distance_limit,
    )


def _model(inspector: Inspector) -> Model:
    card = inspector.card
    return Model(path=str(inspector.bundle.path), bundle_id=card.bundle_id, calibration_id=card.calibration_id)
