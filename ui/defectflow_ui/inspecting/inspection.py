"""The pictures of one drop, judged as they arrive; then looked at, re-judged at another threshold, exported.

No Gradio here, and no judgement either: decisions come from the bundle's graph, what-ifs from `Verdict.what_if`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Literal

from defectflow.data import part_of
from defectflow.errors import DefectFlowError, ImageError
from defectflow.line import Inspector
from defectflow.store import Seen
from defectflow.verdict import Calibration, Verdict
from defectflow_ui.disk_errors import writing
from defectflow_ui.inspecting.exports import Drawn, as_table, draw_zip
from defectflow_ui.inspecting.judged import Judged
from defectflow_ui.inspecting.picture_views import PictureView, PictureViews
from defectflow_ui.temporary_folders import prefix
from defectflow_ui.visits.served import Served
from defectflow_ui.visits.uploads import Arrived, Drop
from defectflow_ui.words import inspect as words

Record = Callable[[list[Seen]], Sequence[int] | None]
"""Writes pictures to the store: their numbers in it, or None where nothing is kept."""
Order = Literal["worst", "best", "arrival", "name"]
TOGETHER = 16
"""Pictures that are handed to the model at once; the first one goes alone, so that its verdict comes at once."""
WAIT_S = 0.3
"""So long a run waits for the next picture before it looks whether there is another drop, or nothing left to do."""
TILES = 200
"""Pictures of the gallery that are sent at first; more are asked for."""


@dataclass(eq=False)
class _Judging:
    """A drop that is being judged."""

    drop: Drop
    expected: int
    found: list[Judged] = field(default_factory=list)


class Inspection:
    """What one browser tab has dropped since it was last cleared, and what has been found about it."""

    def __init__(self, inspector: Inspector, served: Served, record: Record) -> None:
        """`record` gets every picture once it is judged. Raises NotCalibrated if the bundle has no thresholds."""
        self.inspector = inspector
        for bundle in inspector.bundles:
            bundle.card.require_calibration()
        self.rows: list[Judged] = []
        self.what_if: float | None = None
        self.only: str | None = None
        """The decision that the gallery is filtered by; `flip`: what the what-if threshold changes."""
        self.order: Order = "worst"
        self.tiles = TILES
        """How many pictures of the gallery are shown."""
        self.chosen: int | None = None
        self.picked = False
        """Whether somebody has chosen it, since its drop began."""
        self.expected = 0
        """Files that browsers have announced; a ZIP counts as one until it is opened."""
        self.stopped = False
        self.problem: str | None = None
        """Why the last drop ended before all of it was judged, unless somebody stopped it."""
        self.notice: str | None = None
        """What somebody should know of how it began."""
        self.exporting = False
        self._closed = False
        self._drops: list[Drop] = []
        self._judging: list[_Judging] = []
        self._at_work = False
        self._served = served
        self._record = record
        self._views = PictureViews(inspector, served)
        self._exports = tempfile.TemporaryDirectory(prefix=prefix("export"))
        self._lock = Lock()

    def record_by(self, record: Record) -> None:
        """Who records from now on: the tab that shows it may be another one after a reload."""
        self._record = record

    @property
    def calibration(self) -> Calibration:
        """By which all pictures are judged. Raises BundleError where each is judged as the product that it shows."""
        return self.inspector.card.require_calibration()

    def calibration_of(self, verdict: Verdict) -> Calibration:
        """By which this picture was judged."""
        return self.inspector.card_of(verdict.product).require_calibration()

    @property
    def running(self) -> bool:
        return bool(self._judging)

    @property
    def skipped(self) -> list[str]:
        """What of dropped ZIPs is not looked at, and why."""
        return [line for drop in self._drops for line in drop.skipped]

    def run(self, drop: Drop, expected: int) -> Iterator[list[Judged]] | None:
        """Judge what arrives, a few at a time, until the browser has sent everything or somebody stops it.

        None where another run is at work, which judges this drop as well: one run alone speaks to the page. Chooses the
        first picture of a drop at once, and at its end the most unusual one unless somebody has chosen meanwhile.
        Iterating raises StoreError where a verdict cannot be recorded; what was judged before stays.
        """
        with self._lock:
            if drop in self._drops:  # the browser has asked twice
                return None
            self.expected = (self.expected if self._judging else len(self.rows)) + expected
            self.stopped, self.problem = False, None
            self._drops.append(drop)
            self._judging.append(_Judging(drop, expected))
            joins, self._at_work = self._at_work, True
        return None if joins else self._run()

    def _run(self) -> Iterator[list[Judged]]:
        try:
            while judging := self._left():
                for one in judging:
                    if one not in self._judging:  # stopped meanwhile
                        continue
                    arrived, ended = one.drop.take(len(one.found), WAIT_S / len(judging))
                    if not arrived and ended:
                        self._finish(one)
                        continue
                    fresh = self._judge(arrived[: TOGETHER if one.found else 1])
                    if self._closed:  # its pictures were removed while they were judged
                        return
                    self._keep(fresh)
                    if fresh and not one.found:
                        self.chosen, self.picked = fresh[0].number, False
                    one.found += fresh
                    yield fresh
        except BaseException as error:  # the browser's page may be gone as well
            with self._lock:
                cut = bool(self._judging)
                self._end_all()
                self._at_work = False
            if isinstance(error, DefectFlowError):
                self.problem = words.failed(str(error))
            elif cut:
                self.problem = words.abandoned(len(self.rows), self.expected)
            raise

    def _left(self) -> list[_Judging]:
        """Drops that are still to be judged. Where there are none, this run is over; the next drop begins another."""
        with self._lock:
            self._at_work = bool(self._judging)
            return list(self._judging)

    def _finish(self, one: _Judging) -> None:
        if one.drop.abandoned:
            self.problem = words.abandoned(len(one.found), one.expected)
        if len(one.found) > 1 and self.chosen == one.found[0].number and not self.picked:
            self.chosen = max(one.found, key=lambda row: (row.verdict is not None, row.rank)).number
        with self._lock:
            self._judging = [other for other in self._judging if other is not one]

    def stop(self) -> None:
        """Judge no more of what is being judged; what was judged stays."""
        with self._lock:
            self.stopped = True
            self._end_all()

    def _end_all(self) -> None:
        for one in self._judging:
            one.drop.end()  # the browser need not send the rest
        self._judging = []

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
                address = self._views.thumbnail(one.file)
            card = self.inspector.card_of(item.product if isinstance(item, Verdict) else None)
            fresh.append(Judged(-1, one.name, part_of(one.name, card.part_regex), one.file, item, address))
        return fresh

    def _keep(self, fresh: list[Judged]) -> None:
        """Record first: what is not in the store was not inspected."""
        numbers = self._record([self._seen(row) for row in fresh]) if fresh else None
        with self._lock:
            for place, row in enumerate(fresh):
                recorded = None if numbers is None else numbers[place]
                fresh[place] = replace(row, number=len(self.rows), recorded=recorded)
                self.rows.append(fresh[place])

    def _seen(self, row: Judged) -> Seen:
        card = self.inspector.recorded_as(row.product)
        return Seen(row.name, row.item, part=row.part, picture=row.file, temporary=True, card=card)

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

    def choose(self, number: int | None) -> None:
        """Somebody wants to see this picture."""
        self.chosen, self.picked = number, True

    def step(self, by: int) -> None:
        """Choose the next or the previous picture of the gallery, which grows where that one is not shown yet."""
        numbers = [row.number for row in self.shown()]
        if not numbers:
            return
        place = numbers.index(self.chosen) + by if self.chosen in numbers else 0
        place = min(max(place, 0), len(numbers) - 1)
        self.choose(numbers[place])
        if place >= self.tiles:
            self.tiles += TILES

    def view(self, row: Judged) -> PictureView | None:
        """What is shown of a picture; None where there is no verdict."""
        if row.file is None or row.verdict is None:
            return None
        return self._views.of(row.number, row.file, row.verdict)

    def export_csv(self) -> str:
        """Address of the results as a table, with the columns of `defectflow score`."""
        table = as_table(list(self.rows), self.inspector).encode()
        return self._served.put(lambda: table, "text/csv", filename="results.csv")

    def export_zip(self) -> Iterator[Drawn]:
        """Draw every picture into a ZIP with the table; yields how far it is, and at the end its address.

        Ends without an address once `exporting` is false. Raises DataError if there is no room for it.
        """
        self.exporting = True
        file, drawn = Path(self._exports.name) / "results.zip", Drawn(0, 0)
        try:
            with writing(words.export_zip):
                for drawn in draw_zip(file, list(self.rows), self.inspector, lambda: self.exporting):
                    yield drawn
            if self.exporting:
                yield replace(drawn, address=self._served.put(lambda: file, "application/zip", filename="results.zip"))
        finally:
            self.exporting = False

    def close(self) -> None:
        """Remove the pictures and the exports."""
        self._closed = True
        self.stop()
        self.exporting = False
        self._views.close()
        for row in self.rows:
            self._served.remove(row.thumbnail or "")
        for drop in self._drops:
            drop.close()
        self._exports.cleanup()
