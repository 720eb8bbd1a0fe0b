"""What `defectflow score` wrote -> one HTML file for people: counts, guarantee, charts, the parts to look at.

The file holds everything it shows and loads nothing. Figures come from the journal; the bundle and the pictures
are needed only to draw overlays, and where they are gone the report says so. Needs no SciPy and no torch.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import yaml
from numpy.typing import NDArray

from defectflow.bundle import Card
from defectflow.errors import DataError, DefectFlowError, NotCalibrated
from defectflow.image import jpeg, read_image, shrink
from defectflow.line.inspector import Inspector
from defectflow.line.journal import RUN, Part, Row, Run, gather_parts, read_run
from defectflow.line.report_charts import REJECTED, cost_chart_of, histogram_of, truth_of
from defectflow.line.shards import read_results
from defectflow.verdict import Costs, Verdict, overlay

PICTURE_SIDE_PX = 360
ESCAPES = OVERKILLS = 3
WORST = 8
BORDERLINE = 4
"""On each side of the threshold."""
INVALID = 2
"""The galleries above show at most 24 parts: a report of some MB that still opens from a mail."""
TOO_UNUSUAL = (
    "Too unusual to judge. A gross defect: the picture resembles the part but for the marked places. A wrong picture: "
    "it resembles the part nowhere, or almost."
)
LISTED = 500
"""Rows of a table, at most; the journal has all."""


def write_report(results: Path, out: Path | None = None, costs: Costs | None = None) -> Path:
    """Read `run.json` and the rows in a folder, of one machine or of Ray; write `report.html` there, or to `out`.

    `costs`: of mistakes; then labelled parts also say which threshold would be the cheapest.
    A last line cut short by a killed run is left out, and the report says so.
    Raises DataError if either file is missing or cannot be understood.
    """
    run = read_run(results / RUN)
    rows, truncated = read_results(results)
    return _write(run, rows, truncated, results / "report.html" if out is None else out, costs)


def write_reports(results: Path, out: Path | None = None, costs: Costs | None = None) -> list[Path]:
    """As `write_report`; of a run over several products one page for each, `report-NAME.html`, with its own promise.

    Pictures that could not be read, and do not say what they show, are on every page.
    """
    run = read_run(results / RUN)
    if not run.products:
        return [write_report(results, out, costs)]
    rows, truncated = read_results(results)
    usual, pages = results / "report.html" if out is None else out, []
    shown = {row.product for row in rows if row.product is not None} or set(run.products)
    for product in (name for name in run.products if name in shown):
        own = [row for row in rows if row.product in (product, None)]
        about = run.of(product).model_copy(update={"pictures": run.pictures - len(rows) + len(own)})
        page = usual.with_name(f"{usual.stem}-{product}{usual.suffix}")
        pages.append(_write(about, own, truncated, page, costs))
    return pages


def _write(run: Run, rows: Sequence[Row], truncated: bool, out: Path, costs: Costs | None) -> Path:
    parts = gather_parts(rows)
    galleries = _galleries(parts, run.card)
    drawings = _Drawings(run, [part.worst for gallery in galleries for part in gallery.parts])
    judged = [part for part in parts if part.decision != "error"]
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            card=run.card,
            notes=[*_notes(run, rows, truncated), *drawings.notes],
            guarantee=run.card.guarantee(),
            pictures=Counter(row.decision for row in rows),
            parts=Counter(part.decision for part in parts),
            picture_count=len(rows),
            part_count=len(judged),
            histogram=histogram_of(rows, run.card),
            truth=truth_of(rows, parts, run.card),
            cost=None if costs is None else cost_chart_of(rows, costs, run.card),
            costs_asked=costs is not None,
            galleries=galleries,
            drawings=drawings.shown,
            not_ok=sorted((part for part in judged if part.decision != "ok"), key=lambda part: part.rank, reverse=True),
            failed=[row for row in rows if row.decision == "error"],
            listed=LISTED,
            latency_ms=_latency(rows),
            recipe=yaml.safe_dump(run.card.recipe, sort_keys=False, allow_unicode=True),
        )
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8")
    return out


def environment(*folders: Path) -> jinja2.Environment:
    """For self-contained pages in the report's style: templates of these folders, and `report_style.css.j2`."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _notes(run: Run, rows: Sequence[Row], truncated: bool) -> Iterator[str]:
    """What a reader must know before believing the numbers."""
    if truncated:
        yield "The journal's last line was cut short, as a killed run leaves it; that picture is left out."
    if run.finished is None or len(rows) < run.pictures:
        yield (
            f"This run is not complete: {len(rows)} of {run.pictures} pictures have a result. "
            "Run the same command with --resume to continue."
        )
    if run.card.calibration is None:
        yield "The bundle is uncalibrated: there are scores, but no verdicts."
    elif run.scores_only:
        yield "Only scores were asked for: there are no verdicts."
    yield from run.card.warnings[:LISTED]
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
    """Those that are shown."""
    of: int
    """So many there are."""


def _first(title: str, why: str, parts: Sequence[Part], most: int) -> Gallery:
    return Gallery(title, why, tuple(parts[:most]), len(parts))


def _galleries(parts: Sequence[Part], card: Card) -> list[Gallery]:
    """Mistakes first where labels tell them, then worst, borderline and invalid parts. Empty ones are left out."""
    scored = sorted((part for part in parts if part.worst.score is not None), key=lambda part: part.rank, reverse=True)
    valid = [part for part in scored if part.decision != "invalid"]
    by_score = sorted(valid, key=lambda part: part.worst.score_or_lowest, reverse=True)
    escapes = [part for part in by_score if part.label == "defective" and part.decision == "ok"]
    overkill = [part for part in scored if part.label == "good" and part.decision in REJECTED]
    invalid = [part for part in scored if part.decision == "invalid"]
    above: list[Part] = []
    below: list[Part] = []
    if card.calibration is not None:
        value = card.calibration.threshold.value
        above = [part for part in by_score if part.worst.score_or_lowest > value][-BORDERLINE:]
        below = [part for part in by_score if part.worst.score_or_lowest <= value][:BORDERLINE]
    galleries = [
        _first("Escapes", "Defective parts called ok, the lowest scores first.", escapes[::-1], ESCAPES),
        _first("Overkill", "Good parts rejected, the worst first.", overkill, OVERKILLS),
        _first("Worst parts", "The highest scores; invalid parts have their own section.", by_score, WORST),
        _first("Borderline parts", "The closest to the threshold on both sides.", above + below, 2 * BORDERLINE),
        _first("Invalid", TOO_UNUSUAL, invalid, INVALID),
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
                raise DataError("the bundle there has changed since these pictures were scored; score again for them")
            verdicts = inspector.inspect(paths)
        except DefectFlowError as error:
            self.notes.append(f"No overlays from {run.bundle}: {error}")
            verdicts = [DataError("no overlay, see the note at the top")] * len(unique)
        for row, path, verdict in zip(unique, paths, verdicts, strict=True):
            self.shown[row.file] = _draw(row, path, verdict, run.card.image.full_scale)


def _draw(row: Row, path: Path, verdict: Verdict | DefectFlowError, full_scale: int | None) -> Drawing:
    try:
        picture = shrink(read_image(path, full_scale=full_scale), PICTURE_SIDE_PX)
    except DefectFlowError as error:
        return Drawing(None, None, str(error))
    if isinstance(verdict, DefectFlowError):
        return Drawing(_data_uri(picture), None, str(verdict))
    if row.sha256 is not None and verdict.sha256 != row.sha256:
        return Drawing(_data_uri(picture), None, "no overlay: the file has changed since it was scored")
    return Drawing(_data_uri(picture), _data_uri(overlay(picture, verdict)), None)


def _data_uri(picture: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture)).decode()
