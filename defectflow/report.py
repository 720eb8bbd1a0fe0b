"""What `defectflow score` wrote -> one HTML file for people: counts, guarantee, charts, the parts to look at.

The file holds everything it shows and loads nothing. Figures come from the journal; the bundle and the pictures
are needed only to draw overlays, and where they are gone the report says so. Needs no SciPy and no torch.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import cv2
import jinja2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from defectflow.errors import DataError, DefectFlowError, NotCalibrated
from defectflow.runtime.card import Card
from defectflow.runtime.image import read_image
from defectflow.runtime.inspector import Inspector
from defectflow.runtime.overlay import overlay
from defectflow.runtime.verdict import Verdict

Word = Literal["ok", "review", "defect", "invalid", "error"]
PRECEDENCE: tuple[Word | None, ...] = ("error", None, "ok", "review", "defect", "invalid")
"""A part's worst picture decides. An unreadable picture decides only where there is no other."""
REJECTED = ("defect", "invalid")
PICTURE_SIDE_PX = 360
ESCAPES = OVERKILLS = 3
WORST = 8
BORDERLINE = 4
"""On each side of the threshold."""
INVALID = 2
"""The galleries above show at most 24 parts: a report of some MB that still opens from a mail."""
LISTED = 500
"""Rows of a table, at most; the journal has all."""
BINS = 48


class Row(BaseModel):
    """One picture, as `results.jsonl` holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    part: str
    decision: Word | None
    score: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    distance: float | None = None
    distance_limit: float | None = None
    regions: tuple[dict[str, Any], ...] = ()
    mask_is_top_fraction: bool = False
    milliseconds: float | None = None
    bundle_id: str | None = None
    calibration_id: str | None = None
    sha256: str | None = None
    error: str | None = None
    label: Literal["good", "defective"] | None = None
    kind: str | None = None


class Run(BaseModel):
    """What was scored with what, as `run.json` holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bundle: str
    card: Card
    source: str
    started: str
    finished: str | None = None
    pictures: int

    @property
    def seconds(self) -> float | None:
        if self.finished is None:
            return None
        return (datetime.fromisoformat(self.finished) - datetime.fromisoformat(self.started)).total_seconds()


@dataclass(frozen=True, slots=True)
class Part:
    """The pictures of one part and what they make of it."""

    name: str
    rows: tuple[Row, ...]

    @property
    def worst(self) -> Row:
        return max(self.rows, key=lambda row: (PRECEDENCE.index(row.decision), _score(row)))

    @property
    def decision(self) -> Word | None:
        return self.worst.decision

    @property
    def label(self) -> str | None:
        """Defective if any of its pictures is; None where nothing says what it is."""
        labels = {row.label for row in self.rows}
        return "defective" if "defective" in labels else "good" if "good" in labels else None


def write_report(results: Path, out: Path | None = None) -> Path:
    """Read `run.json` and `results.jsonl` in a folder; write `report.html` there, or to `out`.

    A last line cut short by a killed run is left out, and the report says so.
    Raises DataError where either file is missing or cannot be understood.
    """
    run = _read_run(results / "run.json")
    rows, truncated = read_journal(results / "results.jsonl")
    parts = _gather(rows)
    galleries = _galleries(parts, run.card)
    drawings = _Drawings(run, [part.worst for gallery in galleries for part in gallery.parts])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    judged = [part for part in parts if part.decision != "error"]
    html = environment.get_template("report.html.j2").render(
        run=run,
        card=run.card,
        notes=[*_notes(run, rows, truncated), *drawings.notes],
        guarantee=run.card.guarantee(),
        pictures=Counter(row.decision for row in rows),
        parts=Counter(part.decision for part in parts),
        picture_count=len(rows),
        part_count=len(judged),
        histogram=_histogram(rows, run.card),
        truth=_truth(rows, parts, run.card),
        galleries=galleries,
        drawings=drawings.shown,
        not_ok=sorted((part for part in judged if part.decision != "ok"), key=_badness, reverse=True),
        failed=[row for row in rows if row.decision == "error"],
        listed=LISTED,
        latency_ms=_latency(rows),
        recipe=yaml.safe_dump(run.card.recipe, sort_keys=False, allow_unicode=True),
    )
    out = results / "report.html" if out is None else out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8")
    return out


def read_journal(path: Path) -> tuple[list[Row], bool]:
    """The rows, one per file, in order; and whether the last line was cut short and left out.

    A file that appears twice was scored again after a restart: the later row counts.
    Raises DataError naming the line that cannot be understood.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run defectflow score first") from error
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = Row.model_validate(json.loads(line))
        except ValueError as error:  # broken JSON, broken UTF-8 or a missing field
            if number == len(lines) and not isinstance(error, ValidationError):
                return list(rows.values()), True
            raise DataError(f"{path}, line {number}: is not a result row: {error}") from error
        rows[row.file] = row
    return list(rows.values()), False


def _read_run(path: Path) -> Run:
    try:
        return Run.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run defectflow score first") from error
    except ValidationError as error:
        raise DataError(f"{path}: does not describe a run of this version: {error}") from error


def _gather(rows: Iterable[Row]) -> list[Part]:
    by_part: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_part[row.part].append(row)
    return [Part(name, tuple(of_part)) for name, of_part in by_part.items()]


def _score(row: Row) -> float:
    return -math.inf if row.score is None else row.score


def _badness(part: Part) -> tuple[int, float]:
    return PRECEDENCE.index(part.decision), _score(part.worst)


def _notes(run: Run, rows: Sequence[Row], truncated: bool) -> Iterator[str]:
    """What a reader must know before believing the numbers."""
    if truncated:
        yield "The journal's last line was cut short, as a killed run leaves it; that picture is left out."
    if run.finished is None or len(rows) < run.pictures:
        yield (
            f"This run is not complete: {len(rows)} of {run.pictures} pictures have a result. "
            "The same command goes on where it stopped."
        )
    if run.card.calibration is None:
        yield "The bundle is uncalibrated: there are scores, but no verdicts."
    judged = [row for row in rows if row.decision != "error"]
    if {(row.bundle_id, row.calibration_id) for row in judged} - {(run.card.bundle_id, run.card.calibration_id)}:
        yield "Some pictures were judged by another bundle or calibration than the one described here."


def _latency(rows: Iterable[Row]) -> tuple[float, float] | None:
    """Median and 95th percentile in milliseconds per picture."""
    values = [row.milliseconds for row in rows if row.milliseconds is not None]
    return (float(np.median(values)), float(np.quantile(values, 0.95))) if values else None


# --- the parts to look at ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gallery:
    title: str
    why: str
    parts: tuple[Part, ...]


def _galleries(parts: Sequence[Part], card: Card) -> list[Gallery]:
    """Mistakes first where labels tell them, then worst, borderline and invalid parts. Empty ones are left out."""
    scored = sorted((part for part in parts if part.worst.score is not None), key=_badness, reverse=True)
    valid = [part for part in scored if part.decision != "invalid"]
    by_score = sorted(valid, key=lambda part: _score(part.worst), reverse=True)
    escapes = [part for part in by_score if part.label == "defective" and part.decision == "ok"]
    overkill = [part for part in scored if part.label == "good" and part.decision in REJECTED]
    invalid = [part for part in scored if part.decision == "invalid"]
    above: list[Part] = []
    below: list[Part] = []
    if card.calibration is not None:
        value = card.calibration.threshold.value
        above = [part for part in by_score if _score(part.worst) > value][-BORDERLINE:]
        below = [part for part in by_score if _score(part.worst) <= value][:BORDERLINE]
    galleries = [
        Gallery("Escapes", "Defective parts called ok, the lowest scores first.", tuple(escapes[::-1][:ESCAPES])),
        Gallery("Overkill", "Good parts rejected, the worst first.", tuple(overkill[:OVERKILLS])),
        Gallery("Worst parts", "The highest scores; invalid parts have their own section.", tuple(by_score[:WORST])),
        Gallery("Borderline parts", "The closest to the threshold on both sides.", tuple(above + below)),
        Gallery("Invalid", "Not a picture of this part, says the gate.", tuple(invalid[:INVALID])),
    ]
    return [gallery for gallery in galleries if gallery.parts]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture and its overlay as data URIs; what is missing is None and explained."""

    picture: str | None
    overlay: str | None
    why_not: str | None


class _Drawings:
    """Inspects the pictures to be shown once more, because the journal holds no maps."""

    def __init__(self, run: Run, rows: Sequence[Row]) -> None:
        self.notes: list[str] = []
        self.shown: dict[str, Drawing] = {}
        unique = list({row.file: row for row in rows}.values())
        paths = [Path(run.source) / row.file for row in unique]
        verdicts: Iterable[Verdict | DefectFlowError]
        if not unique:
            return
        try:
            if run.card.calibration is None:
                raise NotCalibrated("without thresholds there is no scale to draw on")
            inspector = Inspector(Path(run.bundle))
            if (inspector.card.bundle_id, inspector.card.calibration_id) != (
                run.card.bundle_id,
                run.card.calibration_id,
            ):
                raise DataError("the bundle there has changed since these pictures were scored")
            verdicts = inspector.inspect(paths)
        except DefectFlowError as error:
            self.notes.append(f"No overlays from {run.bundle}: {error}")
            verdicts = [DataError("no overlay, see the note at the top")] * len(unique)
        for row, path, verdict in zip(unique, paths, verdicts, strict=True):
            self.shown[row.file] = _draw(row, path, verdict, run.card.image.full_scale)


def _draw(row: Row, path: Path, verdict: Verdict | DefectFlowError, full_scale: int | None) -> Drawing:
    try:
        picture = _shrink(read_image(path, full_scale=full_scale))
    except DefectFlowError as error:
        return Drawing(None, None, str(error))
    if isinstance(verdict, DefectFlowError):
        return Drawing(_data_uri(picture), None, str(verdict))
    if row.sha256 is not None and verdict.sha256 != row.sha256:
        return Drawing(_data_uri(picture), None, "no overlay: the file has changed since it was scored")
    return Drawing(_data_uri(picture), _data_uri(overlay(picture, verdict)), None)


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    factor = min(1.0, PICTURE_SIDE_PX / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _data_uri(picture: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


# --- charts: numbers here, marks in the template ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Panel:
    name: str
    count: int
    bars: tuple[int, ...]
    """Pictures per bin, of BINS."""


@dataclass(frozen=True, slots=True)
class Histogram:
    low: float
    high: float
    clipped_low: int
    """Pictures with a lower score, counted in the first bin."""
    clipped_high: int
    """Pictures with a higher score, counted in the last bin."""
    logarithmic: bool
    tallest: int
    ticks: tuple[float, ...]
    lines: tuple[tuple[str, float], ...]
    panels: tuple[Panel, ...]

    def across(self, score: float) -> float:
        """Score -> 0 (left) to 1 (right)."""
        return (score - self.low) / (self.high - self.low)

    def up(self, count: int) -> float:
        """Count -> 0 (bottom) to 1 (top)."""
        if self.logarithmic:
            return math.log1p(count) / math.log1p(self.tallest)
        return count / self.tallest


def _histogram(rows: Sequence[Row], card: Card) -> Histogram | None:
    """Scores of all readable pictures, good and defective apart where labels tell."""
    scored = [row for row in rows if row.score is not None]
    if not scored:
        return None
    scores = np.array([_score(row) for row in scored])
    lines: list[tuple[str, float]] = []
    if card.calibration is not None:
        lines = [("review", card.calibration.review.value), ("threshold", card.calibration.threshold.value)]
    low, high = _score_range(scores, lines)
    edges = np.linspace(low, high, BINS + 1)
    panels: list[Panel] = []
    for label, name in (("good", "good"), ("defective", "defective"), (None, "all pictures")):
        values = np.array([_score(row) for row in scored if row.label == label])
        if len(values):
            bars = np.histogram(np.clip(values, low, high), edges)[0]
            shown = "without label" if label is None and panels else name
            panels.append(Panel(shown, len(values), tuple(int(bar) for bar in bars)))
    tallest = max(max(panel.bars) for panel in panels)
    smallest = min(bar for panel in panels for bar in panel.bars if bar)
    return Histogram(
        low=low,
        high=high,
        clipped_low=int((scores < low).sum()),
        clipped_high=int((scores > high).sum()),
        logarithmic=tallest >= 20 * smallest,
        tallest=tallest,
        ticks=tuple(_ticks(low, high)),
        lines=tuple(lines),
        panels=tuple(panels),
    )


def _score_range(scores: NDArray[np.float64], lines: Sequence[tuple[str, float]]) -> tuple[float, float]:
    """Ends of the score axis: wide enough for threshold and bulk, deaf to outliers."""
    quarter, middle, three_quarters = np.quantile(scores, [0.25, 0.5, 0.75])
    values = [value for _, value in lines]
    reach = 5 * max(three_quarters - quarter, *(abs(value - middle) for value in values), 1e-6)
    low = max(float(scores.min()), middle - reach)
    high = min(float(scores.max()), middle + reach)
    low, high = min([low, *values]), max([high, *values])
    width = 1.06 * max(high - low, 1e-6) / (BINS - 1)
    # The last line, the threshold, lies between two bars, so that no bar is on both sides of it.
    middle = values[-1] if values else low
    low = middle - math.ceil((middle - low) / width) * width
    return low, low + BINS * width


def _ticks(low: float, high: float) -> Iterator[float]:
    """Round numbers between the ends, about ten."""
    rough = (high - low) / 10
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    tick = math.ceil(low / step)
    while tick * step <= high:
        yield tick * step
        tick += 1


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    pictures: int
    parts: int
    auroc: float | None
    escapes: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What the labels say about scores and verdicts."""

    auroc: float | None
    curve: tuple[tuple[float, float], ...]
    """(false-positive rate, hit rate) of pictures over falling thresholds."""
    at_threshold: tuple[float, float] | None
    good_parts: int
    overkill: int
    good_review: int
    defective_parts: int
    escapes: int
    kinds: tuple[Kind, ...]


def _truth(rows: Sequence[Row], parts: Sequence[Part], card: Card) -> Truth | None:
    """None where no readable picture has a label."""
    labelled = [row for row in rows if row.label is not None and row.score is not None]
    if not labelled:
        return None
    good = np.sort([_score(row) for row in labelled if row.label == "good"])
    bad = [row for row in labelled if row.label == "defective"]
    defective = np.sort([_score(row) for row in bad])
    judged = [part for part in parts if part.decision != "error"]
    good_parts = [part for part in judged if part.label == "good"]
    bad_parts = [part for part in judged if part.label == "defective"]
    kinds = []
    for name in sorted({row.kind or "" for row in bad}):
        of_kind = [row for row in bad if (row.kind or "") == name]
        names = {row.part for row in of_kind}
        escapes = sum(part.name in names and part.decision == "ok" for part in bad_parts)
        value = _auroc(good, np.array([_score(row) for row in of_kind]))
        kinds.append(Kind(name or "unknown", len(of_kind), len(names), value, escapes))
    at_threshold = None
    if card.calibration is not None and len(good) and len(defective):
        value = card.calibration.threshold.value
        at_threshold = float((good > value).mean()), float((defective > value).mean())
    return Truth(
        auroc=_auroc(good, defective),
        curve=_roc(good, defective),
        at_threshold=at_threshold,
        good_parts=len(good_parts),
        overkill=sum(part.decision in REJECTED for part in good_parts),
        good_review=sum(part.decision == "review" for part in good_parts),
        defective_parts=len(bad_parts),
        escapes=sum(part.decision == "ok" for part in bad_parts),
        kinds=tuple(kinds),
    )


def _auroc(good: NDArray[np.float64], defective: NDArray[np.float64]) -> float | None:
    """P(defective > good) + P(equal) / 2; `good` ascending. None where a side is empty."""
    if not len(good) or not len(defective):
        return None
    below = np.searchsorted(good, defective, side="left") + np.searchsorted(good, defective, side="right")
    return float(below.mean() / 2 / len(good))


def _roc(good: NDArray[np.float64], defective: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Corners of the ROC curve from (0, 0) to (1, 1); both sorted ascending. Empty where a side is empty."""
    if not len(good) or not len(defective):
        return ()
    thresholds = np.unique(np.concatenate([good, defective]))[::-1]
    x = 1 - np.searchsorted(good, thresholds, side="left") / len(good)
    y = 1 - np.searchsorted(defective, thresholds, side="left") / len(defective)
    corners = [(0.0, 0.0), *zip(x.tolist(), y.tolist(), strict=True)]
    # A point in the middle of a level or upright run draws nothing.
    kept = [
        here
        for before, here, after in zip(corners, corners[1:], corners[2:], strict=False)
        if not (before[0] == here[0] == after[0] or before[1] == here[1] == after[1])
    ]
    return (corners[0], *kept, corners[-1])
