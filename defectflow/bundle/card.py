"""card.json: what a bundle is, what it promises and what it was made from. Plain data, validated on reading."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from defectflow.common import Moment
from defectflow.errors import NotCalibrated
from defectflow.image import Aspect, Geometry, PictureForm, Tiling
from defectflow.verdict import (
    TOLERANCE,
    Basis,
    Calibration,
    Guarantee,
    Threshold,
    advised_rate,
    calibrate,
    calibrate_by_hand,
    meant,
    told_rate,
)

FORMAT = 1
"""Raised whenever a bundle written now could not be read by an older release."""
BUNDLE_ID = r"^[0-9a-f]{12}$"
"""What a bundle's id looks like: it goes into pages, rows and names of files."""
MOST_UNUSUAL = 3
"""Calibration parts that are named as those to look at."""
NARROW = 0.1
"""Of a review band, in standard deviations of the good scores."""
INT8_TOLERANCE = 0.02
"""Where values are rounded to whole steps, the last bit of one that lies between two steps becomes a step."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageCard(_Part):
    """How a picture on disk becomes the graph's input, and where the graph's square lies on it."""

    size_px: int
    aspect: Aspect
    rectangle: tuple[int, int, int, int] | None
    full_scale: int | None
    """The 16-bit value that means white; null: the model was fitted on 8-bit pictures."""
    tiling: Tiling | None = None
    """Where set, model.onnx judges one tile of a picture, and the tiles make the picture's verdict."""

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.aspect, self.rectangle)

    def check(self, height: int, width: int, name: str) -> None:
        """Raises ImageError if a picture of this size is too small to look at."""
        self.geometry.check(height, width, name)
        if self.tiling is not None:
            cut = self.geometry.cut(height, width)
            self.tiling.check(cut.bottom - cut.top, cut.right - cut.left, name)


class WeightsCard(_Part):
    """Which weights the backbone started from; the recipe says where they were taken from."""

    name: str
    """Package and version, file, or the hub's name."""
    sha256: str
    """Of the file; of weights from the hub, of their tensors."""


class PartCounts(_Part):
    """How many good parts stood on each side."""

    train: int
    tune: int
    calibration: int


class ThresholdCard(_Part):
    value: float
    rank: int
    expected_rate: float
    confident_rate: float


class CalibrationPart(_Part):
    """One good part's place in the calibration table: its worst picture."""

    part: str
    score: float | None
    """None where the gate refused a picture of it: +infinity, which JSON does not have."""
    peak: float
    """Largest value of its anomaly maps."""
    pictures: int

    @property
    def calibrated_score(self) -> float:
        return math.inf if self.score is None else self.score


class FormCard(_Part):
    """So many calibration pictures of one size, colour and depth."""

    width_px: int
    height_px: int
    grey: bool
    bits: int
    pictures: int

    @property
    def form(self) -> PictureForm:
        return PictureForm(self.width_px, self.height_px, self.grey, self.bits)


class CalibrationCard(_Part):
    """The thresholds, what they promise, and the rule that made them."""

    rate: float
    guarantee: Basis
    review_rate: float
    threshold: ThresholdCard
    review: ThresholdCard
    pixel_threshold: float
    peak_share: float = 0.0
    """0 in calibrations of releases that marked every place above the pixel threshold."""
    review_guarantee: Literal["estimate"] | None = None
    """None: as `guarantee`. `estimate`: the review rate alone was chosen after looking at scores."""


class Card(_Part):
    """The whole bundle in one page."""

    format: int = FORMAT
    name: str
    created: Moment
    """UTC, ISO 8601."""
    bundle_id: Annotated[str, StringConstraints(pattern=BUNDLE_ID)]
    """Twelve hex digits of the scoring graph: equal ids give equal scores."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """How the backbone computes; all that follows it computes in fp32."""
    image: ImageCard
    weights: WeightsCard | None = None
    """None: made by a release that did not record them."""
    top_fraction: float
    distance_limit: float
    good_spread: float
    """Standard deviation of good scores: over calibration parts, or over tune pictures while uncalibrated."""
    parts: PartCounts
    part_regex: str | None
    mm_per_px: Annotated[float, Field(gt=0)] | None = None
    """Millimetres that one pixel of the camera's picture shows; None: nobody has said. No verdict uses it."""
    wanted_rate: float
    wanted_guarantee: Literal["expected", "confident"]
    wanted_review_rate: float
    parts_known: bool
    """False where every picture was counted as a separate part."""
    calibration_parts: tuple[CalibrationPart, ...]
    calibration_forms: tuple[FormCard, ...] = ()
    """The calibration pictures' sizes and colours, the most frequent first; empty in bundles that did not keep them."""
    calibration: CalibrationCard | None
    """None: uncalibrated; there are scores, but no verdicts."""
    added_digests: tuple[str, ...] = ()
    """Digests of the raw pixels of calibration pictures added after the fit: none counts twice."""
    warnings: tuple[str, ...] = ()
    """What may weaken the guarantee: duplicates across the split, parts in the fit and in the test set."""
    recipe: dict[str, Any]
    """The resolved recipe. Opaque here: the line never reads it."""
    training: dict[str, Any]
    """Per level: steps taken, nats per dimension on tune parts. Opaque here."""
    export_parity: dict[str, float]
    """ONNX Runtime against torch on tune pictures, in standard deviations of the good scores; for a precision other
    than fp32, this graph against the fp32 one."""
    versions: dict[str, str]
    checksums: dict[str, str]
    """File in the bundle -> SHA-256."""

    @property
    def tolerance(self) -> float:
        """Differences of scores up to this, in standard deviations of the good ones, are numerical on any machine."""
        return INT8_TOLERANCE if self.precision == "int8" else TOLERANCE

    def with_forms(self, forms: Iterable[PictureForm]) -> Card:
        """A card that knows the forms of these calibration pictures, too."""
        counts = Counter({one.form: one.pictures for one in self.calibration_forms})
        counts.update(forms)
        found = [FormCard(**asdict(form), pictures=count) for form, count in counts.most_common()]
        return self.model_copy(update={"calibration_forms": tuple(found)})

    def is_unlike(self, form: PictureForm) -> bool:
        """Whether no calibration picture was of this form, as far as they are known."""
        return bool(self.calibration_forms) and all(one.form != form for one in self.calibration_forms)

    @property
    def calibration_id(self) -> str | None:
        """Twelve hex digits that change whenever any calibrated number does."""
        if self.calibration is None:
            return None
        numbers = [part.model_dump_json() for part in self.calibration_parts]
        numbers.append(self.calibration.model_dump_json(exclude_none=True))
        return hashlib.sha256("\n".join(numbers).encode()).hexdigest()[:12]

    @property
    def promised(self) -> ThresholdCard | None:
        """The threshold with what it promises; None where nothing is: uncalibrated, or chosen by a person."""
        if self.calibration is None or self.calibration.guarantee == "estimate":
            return None
        return self.calibration.threshold

    @property
    def rule(self) -> tuple[float, Guarantee, float]:
        """Rate, guarantee and review rate of the calibration; those once wanted if there is none that promises."""
        calibration = self.calibration
        if calibration is None or calibration.guarantee == "estimate":
            return self.wanted_rate, self.wanted_guarantee, self.wanted_review_rate
        return calibration.rate, calibration.guarantee, calibration.review_rate

    def require_calibration(self) -> Calibration:
        """The calibration as numbers to judge with. Raises NotCalibrated."""
        if self.calibration is None:
            raise NotCalibrated("\n".join([f"{self.name} is uncalibrated.", *self.guarantee()]))
        finite = sorted(part.score for part in self.calibration_parts if part.score is not None)
        return Calibration(
            scores=tuple(finite),
            gated=len(self.calibration_parts) - len(finite),
            rate=self.calibration.rate,
            guarantee=self.calibration.guarantee,
            review_rate=self.calibration.review_rate,
            threshold=Threshold(**self.calibration.threshold.model_dump()),
            review=Threshold(**self.calibration.review.model_dump()),
            pixel_threshold=self.calibration.pixel_threshold,
            peak_share=self.calibration.peak_share,
            parts_known=self.parts_known,
            pictures=sum(part.pictures for part in self.calibration_parts),
            review_guarantee=self.calibration.review_guarantee,
        )

    def calibrated(
        self,
        parts: tuple[CalibrationPart, ...],
        rate: float,
        guarantee: Guarantee,
        review_rate: float,
        *,
        beforehand: bool = True,
    ) -> Card:
        """A card with thresholds from these parts. Raises CalibrationError if they are too few.

        Without `beforehand`, rates other than those of `fixed_beforehand` were chosen after looking at scores: they
        are an estimate, and no promise. A review rate that was chosen so leaves the other rate's promise as it is.
        """
        result = calibrate(
            [part.calibrated_score for part in parts],
            rate=rate,
            guarantee=guarantee,
            review_rate=review_rate,
        )
        if not (beforehand or self.fixed_beforehand(rate, guarantee)):
            result = replace(result, guarantee="estimate")
        elif not (beforehand or self.review_fixed_beforehand(review_rate, rate)):
            result = replace(result, review_guarantee="estimate")
        return self._with(parts, result)

    def estimated(self, threshold: float, review_threshold: float) -> Card:
        """A card with thresholds that a person has chosen, and no promise. Raises CalibrationError."""
        result = calibrate_by_hand(
            [part.calibrated_score for part in self.calibration_parts],
            threshold=threshold,
            review_threshold=review_threshold,
        )
        return self._with(self.calibration_parts, result)

    def _with(self, parts: tuple[CalibrationPart, ...], result: Calibration) -> Card:
        calibration = CalibrationCard(
            rate=result.rate,
            guarantee=result.guarantee,
            review_rate=result.review_rate,
            threshold=ThresholdCard(**asdict(result.threshold)),
            review=ThresholdCard(**asdict(result.review)),
            pixel_threshold=result.pixel_threshold,
            peak_share=result.peak_share,
            review_guarantee=result.review_guarantee,
        )
        return self.model_copy(
            update={
                "calibration_parts": parts,
                "calibration": calibration,
                "good_spread": result.spread or self.good_spread,  # a single finite score has no spread
            }
        )

    def hints(self) -> list[str]:
        """What deserves a look once thresholds are set: the parts that set them, and a review band that is narrow."""
        if self.calibration is None:
            return []
        calibration = self.require_calibration()
        worst = sorted(self.calibration_parts, key=lambda part: -part.calibrated_score)[:MOST_UNUSUAL]
        named = ", ".join(f"{part.part} ({part.calibrated_score:.2f})" for part in worst)
        unit = "parts" if self.parts_known else "pictures"
        said = [
            f"the most unusual of {calibration.parts} calibration {unit} are {named}; the threshold is "
            f"{calibration.threshold.value:.2f}. Look at them. A defective one among them lets defects pass: put it "
            "aside and fit again. A good one stays, however odd it looks."
        ]
        wider = min(0.5, 2 * calibration.review_rate)
        narrow = calibration.threshold.value - calibration.review.value < NARROW * calibration.spread
        if narrow and wider > calibration.review_rate:
            other = calibration.guarantee not in (self.wanted_guarantee, "estimate")
            kept = f" --guarantee {calibration.guarantee}" if other else ""
            said.append(
                f"the review band is narrow, from {calibration.review.value:.4f} to {calibration.threshold.value:.4f}: "
                "hardly any part will go to review. To have more parts looked at, and fewer defects called ok: "
                f"defectflow calibrate BUNDLE --false-reject-rate {calibration.rate} --review-rate {wider:g}{kept}"
            )
        return said

    def fixed_beforehand(self, rate: float, guarantee: Guarantee) -> bool:
        """Whether a rate follows from what was fixed before any score was seen: the recipe's, that promised now, or the
        lowest that so many parts support, whatever they score."""
        parts = len(self.calibration_parts)
        rates = {(self.wanted_rate, self.wanted_guarantee), self.rule[:2]}
        if self.calibration is None and parts:
            rates.add((advised_rate(parts, guarantee), guarantee))
        return (rate, guarantee) in rates

    def review_fixed_beforehand(self, review_rate: float, rate: float) -> bool:
        """The same of a review rate: the recipe's or that promised now, raised to the rate where it is lower."""
        usual = {self.wanted_review_rate}
        if self.calibration is not None and self.calibration.review_guarantee is None:
            usual.add(self.rule[2])
        return review_rate in {max(each, rate) for each in usual}

    def guarantee(self) -> list[str]:
        """What the bundle promises, in words; for an uncalibrated one, what is missing and how to finish."""
        if self.calibration is not None:
            return self.require_calibration().sentences()
        parts = len(self.calibration_parts)
        gated = sum(part.score is None for part in self.calibration_parts)
        lowest = advised_rate(parts, self.wanted_guarantee, gated=gated)
        refused = f", of which the gate refuses {gated}," if gated else ""
        said = [
            f"Uncalibrated: {parts} calibration parts{refused} cannot support a false-reject rate of "
            f"{told_rate(self.wanted_rate)} {meant(self.wanted_guarantee)}. There are scores, but no verdicts.",
            f"The lowest rate that these parts support is {100 * lowest:.4g}%: "
            f"defectflow calibrate BUNDLE --false-reject-rate {lowest:g}",
            "Or add pictures of further good parts: "
            f"defectflow calibrate BUNDLE --good DIR --false-reject-rate {self.wanted_rate:g}",
        ]
        return said if lowest < 1 else [said[0], *said[2:]]

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
