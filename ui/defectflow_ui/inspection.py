"""The pictures of one drop, judged as they arrive; then looked at, re-judged at another threshold, exported.

No Gradio here, and no judgement either: decisions come from the bundle's graph, what-ifs from `Verdict.what_if`.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Literal

import numpy as np

from defectflow.dataset import Picture, part_of
from defectflow.errors import ImageError
from defectflow.runtime import Inspector, Verdict
from defectflow.runtime.image import read_image
from defectflow.runtime.overlay import overlay
from defectflow.runtime.reference import References
from defectflow.scoring import as_csv, flatten, row_of
from defectflow.store import Seen
from defectflow_ui.pictures import Pixels, jpeg, large, shrink, thumbnail
from defectflow_ui.scratch import prefix
from defectflow_ui.shelf import Shelf
from defectflow_ui.uploads import Arrived, Drop

Record = Callable[[list[Seen]], object]
Order = Literal["worst", "best", "arrival", "name"]
DECISIONS = ("ok", "review", "defect", "invalid", "error")
TOGETHER = 16
"""Pictures that are handed to the model at once; the first one goes alone, so that its verdict comes at once."""
WAIT_S = 0.5
CROP_SHARE = 0.3
"""A place is cut out with at least this share of the picture's larger side, so that one sees where it is."""


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

    @property
    def verdict(self) -> Verdict | None:
        return self.item if isinstance(self.item, Verdict) else None

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


class Inspection:
    """What one browser tab has dropped since it was last cleared, and what has been found about it."""

    def __init__(self, inspector: Inspector, shelf: Shelf, record: Record) -> None:
        """`record` gets every picture once it is judged. Raises NotCalibrated where the bundle has no thresholds."""
        self.inspector = inspector
        self.calibration = inspector.card.judge()
        self.rows: list[Judged] = []
        self.what_if: float | None = None
        self.only: str | None = None
        """The decision that the gallery is filtered by; `flip`: what the what-if threshold changes."""
        self.order: Order = "worst"
        self.chosen: int | None = None
        self.expected = 0
        """Files that browsers have announced; a ZIP counts as one until it is opened."""
        self.stopped = False
        self.exporting = False
        self._running = 0
        self._closed = False
        self._drops: list[Drop] = []
        self._shelf = shelf
        self._record = record
        self._references: References | None = None
        self._exports = tempfile.TemporaryDirectory(prefix=prefix("export"))
        self._lock = Lock()

    @property
    def running(self) -> bool:
        return self._running > 0

    def run(self, drop: Drop, expected: int) -> Iterator[list[Judged]]:
        """Judge what arrives, a few at a time, until the browser has sent everything or somebody stops it.

        Chooses the first picture at once, and at the end the most unusual one unless somebody has chosen meanwhile.
        """
        self._drops.append(drop)
        self.expected += expected
        self.stopped = False
        taken, together, found = 0, 1, list[Judged]()
        self._running += 1
        try:
            while not self.stopped:
                arrived, ended = drop.take(taken, WAIT_S)
                if not arrived and ended:
                    break
                fresh = self._judge(arrived[:together])
                taken += len(fresh)
                together = TOGETHER if taken else 1
                if self._closed:  # its pictures were removed while they were judged
                    return
                self._keep(fresh)
                if fresh and not found:
                    self.chosen = fresh[0].number
                found += fresh
                yield fresh
        finally:
            self._running -= 1
        if len(found) > 1 and self.chosen == found[0].number:
            self.chosen = max(found, key=lambda row: (row.verdict is not None, row.rank)).number

    def stop(self) -> None:
        """Judge no more of what is being judged; what was judged stays."""
        self.stopped = True

    def _judge(self, arrived: list[Arrived]) -> list[Judged]:
        verdicts = self.inspector.inspect([one.file for one in arrived if one.file is not None])
        fresh = []
        for one in arrived:
            item: Verdict | ImageError = next(verdicts) if one.error is None else one.error
            if isinstance(item, ImageError):  # said of the picture's own name, not of the file that we made of it
                reason = str(item).removeprefix(f"{one.file}: ").removeprefix(f"{one.name}: ")
                item = ImageError(f"{one.name}: {reason}")
            address = None
            if one.file is not None and isinstance(item, Verdict):
                address = self._shelf.put(self._maker(one.file, thumbnail), "image/jpeg")
            part = part_of(one.name, self.inspector.card.part_regex)
            fresh.append(Judged(-1, one.name, part, one.file, item, address))
        return fresh

    def _keep(self, fresh: list[Judged]) -> None:
        """Record first: what is not in the store was not inspected."""
        if fresh:
            self._record([_seen(row) for row in fresh])
        with self._lock:
            for place, row in enumerate(fresh):
                fresh[place] = replace(row, number=len(self.rows))
                self.rows.append(fresh[place])

    def counts(self) -> Counter[str]:
        """Pictures by decision, at the what-if threshold if there is one."""
        return Counter(row.decision(self.what_if) for row in self.rows)

    def flips(self) -> list[Judged]:
        """Pictures whose decision the what-if threshold changes."""
        return [row for row in self.rows if row.decision(self.what_if) != row.decision()]

    def shown(self) -> list[Judged]:
        """The gallery's pictures, filtered and sorted."""
        rows = self.rows
        if self.only == "flip":
            rows = self.flips()
        elif self.only is not None:
            rows = [row for row in rows if row.decision(self.what_if) == self.only]
        match self.order:
            case "worst":
                return sorted(rows, key=lambda row: row.rank, reverse=True)
            case "best":
                return sorted(rows, key=lambda row: row.rank)
            case "name":
                return sorted(rows, key=lambda row: row.name)
            case "arrival":
                return list(rows)

    def find(self, number: int | None) -> Judged | None:
        return self.rows[number] if number is not None and 0 <= number < len(self.rows) else None

    def step(self, by: int) -> None:
        """Choose the next or the previous picture of the gallery."""
        numbers = [row.number for row in self.shown()]
        if not numbers:
            return
        place = numbers.index(self.chosen) + by if self.chosen in numbers else 0
        self.chosen = numbers[min(max(place, 0), len(numbers) - 1)]

    def layers(self, row: Judged) -> tuple[str, str] | None:
        """Addresses of the original and of the picture with heat and outlines, at one size."""
        file, verdict = row.file, row.verdict
        if file is None or verdict is None:
            return None
        original = self._shelf.put(self._maker(file, large), "image/jpeg")
        drawn = self._shelf.put(self._maker(file, lambda pixels: overlay(large(pixels), verdict)), "image/jpeg")
        return original, drawn

    def beside(self, row: Judged) -> tuple[str, str, str] | None:
        """Addresses of the worst place and of the same place on the most similar good part, and that part's name."""
        file, verdict = row.file, row.verdict
        if file is None or verdict is None or not (regions := verdict.regions()):
            return None
        if self._references is None:
            self._references = References(self.inspector.bundle)
        similar = self._references.most_similar(verdict.embedding)
        worst = regions[0]
        centre = (
            (worst.left_px + worst.width_px / 2) / verdict.width_px,
            (worst.top_px + worst.height_px / 2) / verdict.height_px,
        )
        side = max(worst.width_px * 1.6, worst.height_px * 1.6, CROP_SHARE * max(verdict.height_px, verdict.width_px))
        share = side / verdict.width_px, side / verdict.height_px
        here = self._shelf.put(self._maker(file, lambda pixels: _cut(pixels, centre, share)), "image/jpeg")
        there = self._shelf.put(
            self._maker(similar.thumbnail, lambda pixels: _cut(pixels, centre, share)), "image/jpeg"
        )
        return here, there, similar.part

    def export_csv(self) -> str:
        """Address of the results as a table, with the columns of `defectflow score`."""
        return self._shelf.put(lambda: self._csv().encode(), "text/csv", filename="results.csv")

    def export_zip(self) -> Iterator[tuple[int, str | None]]:
        """Draw every picture into a ZIP with the table; yields how many are done, and at the end its address.

        Ends without an address once `exporting` is false.
        """
        self.exporting = True
        file = Path(self._exports.name) / "results.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # JPEG does not get any smaller
            archive.writestr("results.csv", self._csv())
            for done, row in enumerate(list(self.rows), start=1):
                if not self.exporting:
                    return
                if row.file is not None and row.verdict is not None:
                    pixels = read_image(row.file, full_scale=self.inspector.card.image.full_scale)
                    stem = re.sub(r"[^\w.-]", "_", PurePosixPath(row.name).stem)  # Windows does not take every name
                    name = f"{row.decision()}/{row.number + 1:04}-{stem}.jpg"
                    archive.writestr(name, jpeg(overlay(pixels, row.verdict)))
                yield done, None
        yield len(self.rows), self._shelf.put(lambda: file, "application/zip", filename="results.zip")

    def close(self) -> None:
        """Remove the pictures and the exports."""
        self._closed = self.stopped = True
        self.exporting = False
        for drop in self._drops:
            drop.close()
        self._exports.cleanup()

    def _csv(self) -> str:
        card = self.inspector.card
        rows = [
            row_of(row.name, Picture(row.file or Path(row.name), row.part or row.name, None, ""), row.item, card)
            for row in self.rows
        ]
        return as_csv(flatten(rows))

    def _maker(self, file: Path, change: Callable[[Pixels], Pixels]) -> Callable[[], bytes]:
        """A picture file as JPEG bytes, made when somebody looks at it."""
        full_scale = self.inspector.card.image.full_scale
        return lambda: jpeg(change(read_image(file, full_scale=full_scale)))


def _seen(row: Judged) -> Seen:
    return Seen(row.name, row.item, part=row.part, picture=row.file, temporary=True)


def _cut(pixels: Pixels, centre: tuple[float, float], share: tuple[float, float]) -> Pixels:
    """A window around a place, both in shares of width and height, moved inside where it would leave the picture."""
    height, width = pixels.shape[:2]
    w, h = min(width, round(share[0] * width)), min(height, round(share[1] * height))
    left = min(max(round(centre[0] * width - w / 2), 0), width - w)
    top = min(max(round(centre[1] * height - h / 2), 0), height - h)
    return shrink(np.ascontiguousarray(pixels[top : top + h, left : left + w]), 600)
