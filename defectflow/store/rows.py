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

from defectflow.bundle import Card
from defectflow.errors import ImageError
from defectflow.image import PICTURE_SUFFIXES
from defectflow.verdict import Reason, Region, Verdict, Word, rank, reason_of, worst_score

SERVICE = "serve"
"""The source of the service's inspections: what the plant's systems are told."""
_Record = TypeVar("_Record")


class Answer(StrEnum):
    """What a person says about a part."""

    GOOD = "good"
    DEFECTIVE = "defective"
    NOT_THIS_PART = "not this part"
    SKIP = "skip"


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
    lot: str | None = None
    camera: str | None = None
    unread_before: bool = False
    """It was recorded before, when it could not be read: unnamed, it goes on as the part that it was then."""
    card: Card | None = None
    """Of what judged it, where that is another than the others' of the request: one of several products."""


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
    lot: str | None
    camera: str | None

    @property
    def product(self) -> str | None:
        """Whose limits judged it, where the model has several products: it is in the model's name."""
        return product_in(self.model)

    @property
    def gated(self) -> bool:
        """Not a picture of this part: its calibrated score is +infinity."""
        return self.decision == "invalid"

    @property
    def reason(self) -> Reason | None:
        """Why it is invalid. Earlier releases marked nothing on such pictures, so theirs count as wrong pictures."""
        return reason_of(self.decision, marked=bool(self.regions))

    @property
    def unread(self) -> bool:
        """A picture by its name, but unreadable: nobody knows its score. A stray note or Thumbs.db is not a picture."""
        return self.decision == "error" and PurePath(self.file).suffix.lower() in PICTURE_SUFFIXES

    @property
    def calibrated_score(self) -> float | None:
        """The score that calibration ranks; None where the picture could not be read."""
        if self.decision == "error":
            return None
        return math.inf if self.gated or self.score is None else worst_score([self.score])

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts pictures from harmless to worst."""
        return rank(self.decision, self.score)


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
    """Kind of defect."""
    comment: str | None
    undoes: int | None
    """The review that this one takes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that a service could not do, or can do again."""

    id: int
    at: datetime
    by: str
    kind: str
    """Of what has failed, e.g. "camera"."""
    subject: str
    """Its name."""
    raised: bool
    """False: it works again."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An inspection or an alarm that a receiver has refused, while it accepted others."""

    channel: str
    number: int
    """Of the inspection or the alarm."""
    at: datetime
    """When it was refused last."""
    why: str
    again: bool
    """Whether it is about to be told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """How far one of the plant's systems has been told."""

    name: str
    behind: int
    """Inspections of the service that it has not been told."""
    since: datetime | None
    """When the first of them was inspected."""
    held: bool
    """Whether a running service tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInspection:
    """A part as one model saw it: its pictures, and the answer that stands."""

    bundle_id: str
    part: str
    pictures: tuple[Inspection, ...]
    review: Review | None

    @property
    def worst(self) -> Inspection:
        """The picture that decides. Of those that could not be read, only `unread` ones do, where there are others."""
        unread = self.unread
        counted = [one for one in self.pictures if one.decision != "error" or one.file in unread]
        return max(counted or self.pictures, key=lambda picture: picture.rank)

    @property
    def decision(self) -> Word:
        return self.worst.decision

    @property
    def score(self) -> float | None:
        """The largest over its pictures, as calibration ranks it; None where none could be read."""
        scores = [picture.calibrated_score for picture in self.pictures]
        known = [score for score in scores if score is not None]
        return worst_score(known) if known else None

    @property
    def judged(self) -> tuple[Inspection, ...]:
        """The pictures that have a verdict."""
        return tuple(picture for picture in self.pictures if picture.decision != "error")

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


def product_in(model: str) -> str | None:
    """The product in a model's name, as line/ring; None of a model that knows one only."""
    return model.partition("/")[2] or None


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
            case "since":
                values[name] = None if value is None else datetime.fromisoformat(value)
            case "part_known" | "audit" | "raised" | "again" | "held":
                values[name] = bool(value)
            case "regions":
                values[name] = tuple(Region(**region) for region in json.loads(value or "[]"))
            case "body":
                values[name] = json.loads(value)
            case "answer":
                values[name] = None if value is None else Answer(value)
    return kind(**values)
