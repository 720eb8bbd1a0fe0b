"""The store's rows as frozen values. Times are UTC; scores are dimensionless, higher is worse."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar

from sqlalchemy import RowMapping

from defectflow.errors import ImageError
from defectflow.runtime.card import CalibrationCard, Card
from defectflow.runtime.image import SUFFIXES
from defectflow.runtime.verdict import Region, Verdict

Word = Literal["ok", "review", "defect", "invalid", "error"]
PRECEDENCE: tuple[Word, ...] = ("error", "ok", "review", "defect", "invalid")
"""A part's worst picture decides. An unreadable picture decides only where there is no other."""

_Record = TypeVar("_Record")


class Answer(StrEnum):
    """What a person says about a part."""

    GOOD = "good"
    DEFECTIVE = "defective"
    NOT_THIS_PART = "not this part"
    SKIP = "skip"


class Role(StrEnum):
    """Who may do what; each may do what those before may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"

    def allows(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture and what the model made of it, to be recorded."""

    file: str
    """The picture's name as people know it."""
    item: Verdict | ImageError
    part: str | None = None
    """None where nothing names the part: then its pixels' file does, and every other picture is another part."""
    picture: Path | None = None
    """Where the picture lies now, if it does."""
    temporary: bool = False
    """The picture will be removed after use: where the store would remember its path, it keeps a copy if it has a
    folder for copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One picture, inspected once."""

    id: int
    at: datetime
    by: str
    source: str
    """What recorded it: "score", "ui", ..."""
    model: str
    bundle_id: str
    calibration_id: str
    file: str
    part: str
    part_known: bool
    sha256: str | None
    """Of the picture's file; None where it could not be read."""
    pixel_sha256: str | None
    """Of the picture's raw pixels, as the bundle's own lists have it; audit parts only."""
    kept: Literal["path", "copy"] | None
    picture: str | None
    """Path, or name of the copy; see `Store.picture`."""
    decision: Word
    score: float | None
    p_value: float | None
    distance: float | None
    distance_limit: float | None
    threshold: float | None
    review_threshold: float | None
    pixel_threshold: float | None
    peak: float | None
    """Largest value of the anomaly map."""
    regions: tuple[Region, ...]
    height_px: int | None
    width_px: int | None
    milliseconds: float | None
    audit: bool
    """Whether the part was drawn for the audit sample."""
    error: str | None

    @property
    def gated(self) -> bool:
        """Not a picture of this part: its calibrated score is +infinity."""
        return self.decision == "invalid"

    @property
    def unread(self) -> bool:
        """A picture by its name, but unreadable: nobody knows its score. A stray note or Thumbs.db is no picture."""
        return self.score is None and PurePath(self.file).suffix.lower() in SUFFIXES

    @property
    def calibrated_score(self) -> float | None:
        """The score that calibration ranks; None where the picture could not be read."""
        return math.inf if self.gated else self.score

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts pictures from harmless to worst."""
        return PRECEDENCE.index(self.decision), -math.inf if self.score is None else self.score


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One thing that a person said about a part, or took back."""

    id: int
    at: datetime
    by: str
    inspection_id: int
    bundle_id: str
    part: str
    answer: Answer | None
    """None: a comment, or an undo."""
    kind: str | None
    """Of a defect."""
    comment: str | None
    undoes: int | None
    """The review that this one takes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInspection:
    """A part as one model saw it: its pictures, and the answer that stands."""

    bundle_id: str
    part: str
    pictures: tuple[Inspection, ...]
    review: Review | None

    @property
    def worst(self) -> Inspection:
        return max(self.pictures, key=lambda picture: picture.rank)

    @property
    def decision(self) -> Word:
        return self.worst.decision

    @property
    def score(self) -> float | None:
        """The largest over its pictures, as calibration ranks it; None where none could be read."""
        scores = [picture.calibrated_score for picture in self.pictures]
        return max((score for score in scores if score is not None), default=None)

    @property
    def judged(self) -> tuple[Inspection, ...]:
        """The pictures that have a score."""
        return tuple(picture for picture in self.pictures if picture.score is not None)

    @property
    def unread(self) -> tuple[str, ...]:
        """Names of pictures that could not be read, and under which no picture of the part could be read either.

        Calibration ranks a part's largest score, so a part must not look better for its worst picture missing: while
        there are such names, its score is unknown. A picture of the same name settles it, since it shows the same
        view: which of two looks at one view could be read depends on files and cables, not on the score, so the look
        that was read stands for both. A picture of another name does not: it may show the part's better side.
        """
        read = {picture.file for picture in self.judged}
        return tuple(dict.fromkeys(one.file for one in self.pictures if one.unread and one.file not in read))

    @property
    def audit(self) -> bool:
        """Drawn when it was first judged. Mostly rejected parts come back, so another rate must not draw them then.

        A part of which nothing could be read had no verdict, so the promise is not about it: it is never drawn. That
        does not depend on its score, for it has none.
        """
        return next((picture.audit for picture in self.judged), False)

    @property
    def answer(self) -> Answer | None:
        return None if self.review is None else self.review.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationVersion:
    """Thresholds, the parts that they come from, and why they were set. Never overwritten."""

    id: int
    at: datetime
    by: str
    name: str
    reason: str
    origin: str
    """"found" (in the bundle, when it was first used), "rate", "threshold", "audit", ..."""
    model: str
    bundle_id: str
    calibration_id: str
    parent: str | None
    """The calibration_id that it was made from."""
    body: Mapping[str, Any]
    """The card's calibration part, whole: see `Card.calibrated`."""

    @property
    def calibration(self) -> CalibrationCard:
        """The thresholds, and what they promise."""
        return CalibrationCard.model_validate(self.body["calibration"])

    @property
    def parts(self) -> int:
        """How many good parts they rest on."""
        return len(self.body["calibration_parts"])

    def card(self, card: Card) -> Card:
        """The card with this version's calibration instead of its own."""
        fresh = Card.model_validate(card.model_dump(mode="json") | dict(self.body))
        return card.model_copy(update={name: getattr(fresh, name) for name in self.body})


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A model and calibration put to work."""

    id: int
    at: datetime
    by: str
    reason: str
    model: str
    bundle_id: str
    calibration_id: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may sign in."""

    name: str
    role: Role
    since: datetime
    key: int
    """Number of the row that set the password: another one after each change, so that sessions from before can end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldCount:
    """Parts of one stretch of time, by the decision of their worst picture."""

    start: str
    """UTC: an hour "2026-05-31T14", a day "2026-05-31", a week by its Monday, or a month "2026-05"."""
    ok: int
    review: int
    defect: int
    invalid: int
    error: int

    @property
    def judged(self) -> int:
        return self.ok + self.review + self.defect + self.invalid

    @property
    def yield_share(self) -> float | None:
        """Share of judged parts that are ok or review; None where none was judged."""
        return (self.ok + self.review) / self.judged if self.judged else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which inspections; every condition given must hold."""

    since: datetime | None = None
    until: datetime | None = None
    decisions: tuple[Word, ...] = ()
    file: str | None = None
    """Part of the file's name, case ignored."""
    part: str | None = None
    bundle_id: str | None = None
    calibration_id: str | None = None
    audit: bool | None = None
    limit: int = 100
    offset: int = 0


def stamped_now() -> str:
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """UTC with microseconds, as the store writes it: sorts as text like the moments do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read(kind: type[_Record], row: Mapping[str, Any] | RowMapping) -> _Record:
    """A table's row -> its record."""
    values = {field.name: row[field.name] for field in fields(kind)}  # type: ignore[arg-type]  # dataclasses all
    for name, value in values.items():
        match name:
            case "at":
                values[name] = datetime.fromisoformat(value)
            case "part_known" | "audit":
                values[name] = bool(value)
            case "regions":
                values[name] = tuple(Region(**region) for region in json.loads(value or "[]"))
            case "body":
                values[name] = json.loads(value)
            case "answer":
                values[name] = None if value is None else Answer(value)
    return kind(**values)
