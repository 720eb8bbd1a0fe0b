"""What a scored folder holds on disk: run.json and the journal results.jsonl, read and gathered by part."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from defectflow.bundle import PRODUCTS, Card
from defectflow.common import Moment, write_whole
from defectflow.errors import DataError
from defectflow.image import PictureForm
from defectflow.verdict import Reason, Word, rank

RUN, JOURNAL, LOCK = "run.json", "results.jsonl", "run.lock"
UNJUDGED = "not judged"
"""What counts say of pictures of which only scores were asked for."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a file's change shows, in all but odd cases, without reading it."""

    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """None where there is no such file, or it cannot be looked at."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns)


class Row(BaseModel):
    """One picture, as `results.jsonl` holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    part: str
    decision: Word | None
    """None where only scores were asked for."""
    score: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    review_threshold: float | None = None
    distance: float | None = None
    distance_limit: float | None = None
    reason: Reason | None = None
    """Why it is invalid; None also in results of a release that did not tell."""
    regions: tuple[dict[str, Any], ...] = ()
    mask_is_top_fraction: bool = False
    milliseconds: float | None = None
    bundle_id: str | None = None
    calibration_id: str | None = None
    sha256: str | None = None
    error: str | None = None
    output_error: str | None = None
    """Why its overlay or mask is missing; the verdict stands."""
    size_bytes: int | None = None
    modified_ns: int | None = None
    """Of the file, just before it was read; None in results of a release that did not keep it."""
    width_px: int | None = None
    height_px: int | None = None
    grey: bool | None = None
    bits: int | None = None
    """Of the picture as stored, with the three above."""
    label: Literal["good", "defective"] | None = None
    kind: str | None = None
    product: str | None = None
    """What judged it, where a bundle has several; else what a manifest says."""
    product_auto: bool = False
    """Whether nobody named the product, and it is the one that the picture resembles most."""
    more: dict[str, str] = {}
    """The manifest's other columns."""

    @property
    def form(self) -> PictureForm | None:
        if self.width_px is None or self.height_px is None or self.grey is None or self.bits is None:
            return None
        return PictureForm(self.width_px, self.height_px, self.grey, self.bits)

    @property
    def stamp(self) -> Stamp | None:
        if self.size_bytes is None or self.modified_ns is None:
            return None
        return Stamp(self.size_bytes, self.modified_ns)

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts pictures from harmless to worst: by decision, then by score."""
        return rank(self.decision, self.score)

    @property
    def score_or_lowest(self) -> float:
        """-infinity where there is no score, so that such pictures sort first."""
        return -math.inf if self.score is None else self.score


class Run(BaseModel):
    """What was scored with what, as `run.json` holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bundle: str
    runs_on: str = "CPU"
    """The execution provider, and whether it ran the graph's core alone."""
    card: Card
    """Of a run over several products, the first one's."""
    products: dict[str, Card] = {}
    """Of a run over several products, each one's."""
    source: str
    started: Moment
    finished: Moment | None = None
    pictures: int
    scores_only: bool = False
    overlays: bool = False
    masks: bool = False
    unlike: int | None = None
    """Pictures that differ in size, colour or depth from all calibration pictures; None: not finished, or not known."""
    recorded: bool | None = None
    """Whether a store has the verdicts, too; None: begun by a release that did not say."""
    shards: int | None = None
    """Into how many shards its pictures are divided, where Ray scores them; None: on one machine, without Ray."""
    key: str = ""
    """Of a run on Ray: tells its verdicts from those of other runs, so that the store takes each of them once."""
    part_regex: str | None = None
    columns: tuple[str, ...] = ()
    """Of a run on Ray: the manifest's other columns."""

    @property
    def judged(self) -> bool:
        """Whether there are verdicts, and not only scores."""
        return self.card.calibration is not None and not self.scores_only

    def of(self, product: str) -> Run:
        """The run as far as it is about one product."""
        bundle = str(Path(self.bundle) / PRODUCTS / product)
        return self.model_copy(update={"card": self.products[product], "products": {}, "bundle": bundle})

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
        return max(self.rows, key=lambda row: row.rank)

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts parts from harmless to worst."""
        return self.worst.rank

    @property
    def decision(self) -> Word | None:
        return self.worst.decision

    @property
    def label(self) -> str | None:
        """Defective if any of its pictures is; None where nothing says what it is."""
        labels = {row.label for row in self.rows}
        return "defective" if "defective" in labels else "good" if "good" in labels else None


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
        except (ValueError, RecursionError) as error:  # broken JSON, broken UTF-8 or a missing field
            if number == len(lines) and not isinstance(error, ValidationError):
                return list(rows.values()), True
            raise DataError(f"{path}, line {number}: is not a result row: {error}") from error
        rows[row.file] = row
    return list(rows.values()), False


def write_journal(path: Path, rows: Iterable[Row]) -> None:
    """All rows anew, whole or not at all."""
    write_whole(path, "".join(row.model_dump_json() + "\n" for row in rows))


def read_run(path: Path) -> Run:
    try:
        return Run.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); run defectflow score first") from error
    except ValidationError as error:
        raise DataError(f"{path}: does not describe a run of this version: {error}") from error


def count_by_product(parts: Iterable[Part]) -> dict[str, dict[str, int]]:
    """How many parts of each product got each decision; empty where rows name no products."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        if part.worst.product is not None:
            counts[part.worst.product][part.decision or UNJUDGED] += 1
    return {product: dict(counts[product]) for product in sorted(counts)}


def gather_parts(rows: Iterable[Row]) -> list[Part]:
    by_part: defaultdict[tuple[str | None, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_part[row.product, row.part].append(row)
    return [Part(name, tuple(of_part)) for (_, name), of_part in by_part.items()]
