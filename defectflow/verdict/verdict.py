"""What the line gets for one picture: a frozen Measurement, and once thresholds exist, a frozen Verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from io import BytesIO
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defectflow.errors import ImageError
from defectflow.image import Geometry, PictureFile, PictureForm, shrink
from defectflow.verdict.overlay import overlay

FLOOR = 1e-6
"""A mask of the top fraction starts above 0, which is what the map holds outside the region of interest."""
SHOWN_PX = 1024
"""Longer side of the picture that a verdict shows of itself, at most."""
ORDINARY = 1 / 3
"""A place looks like the part up to this share of the pixel threshold: most places of good parts lie around 0."""
RESEMBLING = 0.25
"""An invalid picture with at least this share of ordinary places shows the part, with something gross on it."""


Word = Literal["ok", "review", "defect", "invalid", "error"]
"""What becomes of a picture: a decision, or that it cannot be read."""


class Decision(IntEnum):
    """The numbers are those of the graph's `decision` output; a higher one takes precedence."""

    OK = 0
    REVIEW = 1
    DEFECT = 2
    INVALID = 3

    @property
    def word(self) -> Word:
        return WORDS[self]


WORDS: dict[Decision, Word] = {
    Decision.OK: "ok",
    Decision.REVIEW: "review",
    Decision.DEFECT: "defect",
    Decision.INVALID: "invalid",
}


class Reason(StrEnum):
    """Why a picture is invalid, that is, too unusual to judge."""

    GROSS_DEFECT = "gross defect"
    """It resembles the part but for some places, which are marked."""
    WRONG_PICTURE = "wrong picture"
    """It resembles the part nowhere, or almost: another product, view or light, a covered lens."""


def reason_of(decision: Word, *, marked: bool) -> Reason | None:
    """Of an invalid picture places are marked exactly where it resembles the part elsewhere."""
    if decision != "invalid":
        return None
    return Reason.GROSS_DEFECT if marked else Reason.WRONG_PICTURE


def is_gated(distance: float, limit: float) -> bool:
    """The gate's rule, in float32, as the graph compares. What is not a number is refused."""
    return not np.float32(distance) <= np.float32(limit)


def decide(score: float, threshold: float, review_threshold: float, *, gated: bool) -> Decision:
    """The rule of the graph's verdict nodes, in Python; in float32, as they compute. What is not a number rejects."""
    if gated:
        return Decision.INVALID
    if not np.float32(score) <= np.float32(threshold):
        return Decision.DEFECT
    return Decision.OK if np.float32(score) <= np.float32(review_threshold) else Decision.REVIEW


def marked_places(
    anomaly_map: NDArray[np.float32], decision: Decision, pixel_threshold: float, peak_share: float, top_places: int
) -> NDArray[np.bool_]:
    """What the same rule marks on a map (h, w): nothing on a picture that is ok or invalid; else the places above the
    pixel threshold and above this share of the map's peak, or if there are none, the `top_places` highest.
    """
    if decision in (Decision.OK, Decision.INVALID):
        return np.zeros(anomaly_map.shape, bool)
    limit = np.maximum(np.float32(peak_share) * anomaly_map.max(), np.float32(pixel_threshold))
    over: NDArray[np.bool_] = anomaly_map > limit
    if over.any():
        return over
    floor = np.partition(anomaly_map, -top_places, axis=None)[-top_places]
    return np.asarray(anomaly_map >= max(floor, np.float32(FLOOR)), bool)


def resembles_in_places(anomaly_map: NDArray[np.float32], pixel_threshold: float) -> bool:
    """Whether a map (h, w) is ordinary at RESEMBLING of the places that are looked at: those that are not 0."""
    looked_at = anomaly_map[anomaly_map != 0]
    return bool(looked_at.size and np.mean(looked_at <= ORDINARY * pixel_threshold) >= RESEMBLING)


@dataclass(frozen=True, slots=True)
class Region:
    """One connected marked area, in pixels of the original picture."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    area_px: int
    peak: float
    """Largest map value inside; dimensionless, the unit of the thresholds."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measurement:
    """One picture, measured but not judged. Score and map are dimensionless; higher is worse."""

    score: float
    anomaly_map: NDArray[np.float32] = field(repr=False)
    """(h, w): over the model's square; 0 is an average good place."""
    distance: float
    """How far the pooled embedding lies from the training parts', in shrunk standard deviations."""
    distance_limit: float
    """Beyond it the picture is invalid: not a picture of this part."""
    embedding: NDArray[np.float32] = field(repr=False)
    """(D,): the pooled embedding, for the most similar good part."""
    height_px: int
    width_px: int
    geometry: Geometry = field(repr=False)
    sha256: str | None
    """Of the picture's file, in hex; None for pixels that came from no file."""
    form: PictureForm | None = field(default=None, repr=False)
    """Size, colour and depth as stored."""
    milliseconds: float
    """This picture's share of its batch in the graph."""
    picture: PictureFile | NDArray[np.uint8] | None = field(default=None, repr=False)
    """Where its pixels can be had again: its file; or they themselves, (H, W, 3), where somebody has kept them."""
    product: str | None = None
    """By whose limits it is measured, where the bundle has several products."""

    @property
    def gated(self) -> bool:
        return is_gated(self.distance, self.distance_limit)

    @property
    def calibrated_score(self) -> float:
        """The score that calibration ranks: +infinity if the gate refuses the picture or it is not a number."""
        return math.inf if self.gated or math.isnan(self.score) else self.score

    def map_at_full_size(self) -> NDArray[np.float32]:
        """(height_px, width_px): the anomaly map over the original picture."""
        return self.geometry.place(self.anomaly_map, self.height_px, self.width_px)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Verdict(Measurement):
    """One picture, judged. The thresholds share the unit of score and map."""

    decision: Decision
    p_value: float
    """(1 + number of calibration parts at least this unusual) / (n + 1)."""
    threshold: float
    review_threshold: float
    pixel_threshold: float
    mask: NDArray[np.bool_] = field(repr=False)
    """(h, w): the marked places of the model's square; empty for ok, and where an invalid picture resembles no part."""

    def what_if(self, threshold: float) -> Decision:
        """The decision at another threshold, without running the model; the grey band keeps its lower end, if below."""
        return decide(self.score, threshold, min(self.review_threshold, threshold), gated=self.gated)

    @property
    def reason(self) -> Reason | None:
        """Why it is invalid; None for any other decision."""
        return reason_of(self.decision.word, marked=bool(self.mask.any()))

    @property
    def mask_is_top_fraction(self) -> bool:
        """True where no place passed the pixel threshold, so the map's highest places are shown instead."""
        return bool(self.mask.any() and not (self.anomaly_map > self.pixel_threshold).any())

    def mask_at_full_size(self) -> NDArray[np.bool_]:
        """(height_px, width_px): the marked places on the original picture."""
        return self.geometry.place(self.mask.astype(np.float32), self.height_px, self.width_px) > 0.5

    def regions(self) -> list[Region]:
        """The marked places as connected areas on the original picture, highest peak first."""
        if not self.mask.any():
            return []
        values = self.map_at_full_size()
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            self.mask_at_full_size().astype(np.uint8), connectivity=8
        )
        regions = []
        for index in range(1, count):
            left, top, width, height, area = (int(number) for number in stats[index])
            window = (slice(top, top + height), slice(left, left + width))
            peak = float(np.max(values[window][labels[window] == index]))
            regions.append(Region(left, top, width, height, area, peak))
        return sorted(regions, key=lambda region: -region.peak)

    def show(self, longer_side_px: int = SHOWN_PX) -> Image.Image:
        """The picture with its anomaly map and outlines (`overlay`), shrunk to at most `longer_side_px`.

        The picture is read from its file again. Raises ImageError if that is gone or has changed, and for pixels
        that came from no file and were not kept.
        """
        match self.picture:
            case None:
                raise ImageError("picture: its pixels were not kept; draw them with defectflow.verdict.overlay")
            case PictureFile():
                pixels = self.picture.read()
            case _:
                pixels = self.picture
        return Image.fromarray(overlay(shrink(pixels, longer_side_px), self))

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows; where the picture cannot be had, it falls back to the text."""
        try:
            shown = self.show()
        except ImageError:
            return None
        buffer = BytesIO()
        shown.save(buffer, "PNG")
        return buffer.getvalue()
