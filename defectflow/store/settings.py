"""What a store keeps, for how long, and how many parts are reviewed. Recorded in the store itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from defectflow.recipe import Settings


class ReviewSettings(Settings):
    """The audit sample: parts that a person judges whatever the model says."""

    audit_rate: float = Field(0.05, ge=0, le=1)
    """Share of parts drawn, independently of their scores."""
    unanswered: float = Field(0.05, ge=0, le=0.5)
    """Largest share of the audit sample without an answer with which thresholds may still be set from it."""


class DriftSettings(Settings):
    """When production counts as moved."""

    run_length: int = Field(100_000, ge=100)
    """Good parts between false alarms, on average, at least."""
    since: AwareDatetime | None = None
    """When production began: parts first seen before, while the line was set up, are no reference; null: all count."""


class GoldenSettings(Settings):
    """When a model is released: only after its master parts were judged as they should be."""

    hours: float | None = Field(None, gt=0)
    """How long a check of the master parts holds; null: models judge without one."""
    in_control: bool = False
    """Whether a signal of the control chart holds the line up, too."""


class StoreSettings(Settings):
    """Everything that shapes a store. Every change is a row of it."""

    pictures: Literal["path", "copy", "none"] = "path"
    """`path`: remember where a picture lies; `copy`: keep a copy of it; `none`: neither, only its digest."""
    picture_folder: Path | None = None
    """Where copies go; null: beside the SQLite file. A PostgreSQL store needs one for copies."""
    keep_pictures_days: int | None = Field(None, ge=1)
    """Copies older than this are removed by `retain`; null: never."""
    keep_pictures_gigabytes: float | None = Field(None, gt=0)
    """Copies beyond this, those inspected longest ago, are removed by `retain`; null: never."""
    keep_rows_days: int | None = Field(None, ge=1)
    """What was inspected and answered longer ago than this, and told to all, is removed by `retain`; null: never."""
    review: ReviewSettings = ReviewSettings()
    drift: DriftSettings = DriftSettings()
    golden: GoldenSettings = GoldenSettings()
