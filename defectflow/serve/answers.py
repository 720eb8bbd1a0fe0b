"""What the service answers, as typed JSON. An inspection looks the same when it is made, repeated and looked up."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from io import BytesIO
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, PlainSerializer, StringConstraints

from defectflow.bundle import Bundle, Family, bundles_of
from defectflow.serve.models import Found
from defectflow.store import Alarm, Inspection, Review, Story
from defectflow.verdict import FULL_HEAT, Reason, Verdict, Word, worst_word

Number = Annotated[
    float | None, PlainSerializer(lambda value: value if value is not None and math.isfinite(value) else None)
]
"""Null where JSON has no such number."""
Kind = Literal["map", "mask", "overlay"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class AskedOfCamera(BaseModel):
    """What may stand in the query of a trigger."""

    model_config = ConfigDict(extra="forbid")
    model: Text | None = None
    """The bundle's name; the active one if none is given."""
    product: Text | None = None
    """Of a bundle of several products: what all pictures of the request show; auto, or none: each the nearest one."""
    part: Text | None = None
    """What all pictures of the request show; else the bundle's part regex finds it in the file's name."""
    lot: Text | None = None
    images: list[Kind] = []
    """Which images to send back, as PNG in base64."""


class Asked(AskedOfCamera):
    """What may stand in the query or in the form, where pictures are sent."""

    camera: Text | None = None
    name: Text | None = None
    """The picture's file name, where the body is the picture itself."""


class RegionAnswer(BaseModel):
    """One connected marked area, in pixels of the picture."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    area_px: int
    peak: Number


class ImagesAnswer(BaseModel):
    """PNG files in base64, of the picture's size; the overlay has at most 1024 pixels on its longer side."""

    map: str | None = None
    """16-bit grey; `map_white` is white."""
    map_white: Number = None
    mask: str | None = None
    overlay: str | None = None


class InspectionAnswer(BaseModel):
    """One picture, inspected once."""

    id: int
    at: datetime
    client: str
    """Who sent it."""
    model: str
    product: str | None = None
    """By whose limits it was judged, where the model has several products."""
    bundle_id: str
    calibration_id: str
    file: str
    part: str
    part_known: bool
    lot: str | None
    camera: str | None
    sha256: str | None
    decision: Word
    reason: Reason | None
    """Why it is invalid: a gross defect, which is marked, or a wrong picture."""
    score: Number
    """Dimensionless; higher is worse."""
    p_value: Number
    threshold: Number
    review_threshold: Number
    pixel_threshold: Number
    regions: list[RegionAnswer]
    height_px: int | None
    width_px: int | None
    milliseconds: Number
    """Its share of the model's time."""
    error: str | None
    """Why it could not be read."""
    images: ImagesAnswer | None = None

    @classmethod
    def of(cls, row: Inspection) -> InspectionAnswer:
        own = {name: getattr(row, name) for name in cls.model_fields if hasattr(row, name) and name != "regions"}
        regions = [RegionAnswer(**asdict(region)) for region in row.regions]
        return cls(**own, client=row.by, regions=regions)


class InspectAnswer(BaseModel):
    """A request's pictures, in order."""

    decision: Word
    """Of the worst picture."""
    repeated: bool
    """Whether the request had been answered before, under the same Idempotency-Key."""
    inspections: list[InspectionAnswer]

    @classmethod
    def of(cls, rows: Iterable[Inspection], *, repeated: bool) -> InspectAnswer:
        inspections = [InspectionAnswer.of(row) for row in rows]
        return cls(
            decision=worst_word([one.decision for one in inspections]), repeated=repeated, inspections=inspections
        )


class AlarmAnswer(BaseModel):
    """Something that the service could not do, or can do again."""

    id: int
    at: datetime
    kind: str
    """Of what has failed, e.g. camera."""
    subject: str
    """Its name."""
    raised: bool
    """False: it works again."""
    message: str

    @classmethod
    def of(cls, alarm: Alarm) -> AlarmAnswer:
        return cls(**{name: getattr(alarm, name) for name in cls.model_fields})


class ReviewAnswer(BaseModel):
    """What a person said about the part."""

    id: int
    at: datetime
    by: str
    inspection_id: int
    answer: str | None
    kind: str | None
    comment: str | None
    undoes: int | None

    @classmethod
    def of(cls, review: Review) -> ReviewAnswer:
        return cls(**{name: getattr(review, name) for name in cls.model_fields})


class PartAnswer(BaseModel):
    """All that is known of a part, oldest first."""

    part: str
    inspections: list[InspectionAnswer]
    reviews: list[ReviewAnswer]

    @classmethod
    def of(cls, story: Story) -> PartAnswer:
        return cls(
            part=story.part,
            inspections=[InspectionAnswer.of(row) for row in story.inspections],
            reviews=[ReviewAnswer.of(review) for review in story.reviews],
        )


class ProductAnswer(BaseModel):
    """One of a model's products."""

    name: str
    bundle_id: str
    calibration_id: str | None
    """Null: not calibrated, so it cannot be judged."""
    guarantee: list[str]


class ModelAnswer(BaseModel):
    """A bundle of the folder."""

    name: str
    active: bool
    warm: bool
    bundle_id: str | None
    calibration_id: str | None
    """Null: not calibrated, so it cannot judge."""
    guarantee: list[str]
    products: list[ProductAnswer] = []
    """Of a bundle of several products; then each has its own ids and promise."""
    error: str | None
    """Why it cannot be used."""

    @classmethod
    def of(cls, found: Found) -> ModelAnswer:
        card = found.bundle.card if isinstance(found.bundle, Bundle) else None
        products = bundles_of(found.bundle) if isinstance(found.bundle, Family) else []
        return cls(
            name=found.name,
            active=found.active,
            warm=found.warm,
            bundle_id=None if card is None else card.bundle_id,
            calibration_id=None if card is None else card.calibration_id,
            guarantee=[] if card is None else card.guarantee(),
            products=[
                ProductAnswer(
                    name=str(each.product),
                    bundle_id=each.card.bundle_id,
                    calibration_id=each.card.calibration_id,
                    guarantee=each.card.guarantee(),
                )
                for each in products
            ],
            error=found.error,
        )


class CameraAnswer(BaseModel):
    """A camera of the service."""

    name: str
    works: bool
    error: str | None
    """Why it gives no pictures."""
    words: str
    """What it is, as it said when it was opened."""
    model: str | None
    """Null: the active one."""
    lot: str | None
    every_s: float | None
    pictures: int
    """Handed over since the start."""
    missed: int
    """Came or were due since the start, and could not be inspected."""
    last_at: datetime | None


def draw(verdict: Verdict, kinds: Iterable[Kind]) -> ImagesAnswer:
    """A verdict's images. Raises ImageError if its picture is gone."""
    drawn: dict[str, Any] = {}
    for kind in kinds:
        match kind:
            case "map":
                white = FULL_HEAT * verdict.pixel_threshold  # where the overlay's colour is strongest, too
                share = np.clip(verdict.map_at_full_size() / np.float32(max(white, 1e-6)), 0, 1)
                drawn |= {"map": _png(Image.fromarray((share * 65535).round().astype(np.uint16))), "map_white": white}
            case "mask":
                drawn["mask"] = _png(Image.fromarray(verdict.mask_at_full_size().astype(np.uint8) * 255))
            case "overlay":
                drawn["overlay"] = _png(verdict.show())
    return ImagesAnswer(**drawn)


def _png(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
