"""What the page History shows, as HTML. Every name that came from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import partial

from defectflow.store import Inspection, Story, YieldCount
from defectflow.verdict import Word
from defectflow_ui.markup.theme import badge, empty, moment
from defectflow_ui.pages.answering import said
from defectflow_ui.pictures import file_thumbnail
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import history as words
from defectflow_ui.words.verdicts import VERDICTS


def table(rows: Sequence[Inspection], first: int, total: int) -> str:
    """One page of inspections, newest first; each row is a button to its part's story."""
    if not rows:
        return empty(words.nothing, words.nothing_do)
    head = "".join(f"<th>{name}</th>" for name in words.head)
    lines = "".join(_row(item) for item in rows)
    keys = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    newer = f'<button type="button" class="link-button" data-turn="-1" data-key="left">← {words.previous}</button>'
    older = f'<button type="button" class="link-button" data-turn="1" data-key="right">{words.following} →</button>'
    last = first + len(rows)
    return (
        f'<div class="chips"><span role="status">{words.found(first + 1, last, total)}</span>'
        f"{newer if first else ''}{older if last < total else ''}</div>"
        f'<div class="scroll"><table class="facts rows"><tr>{head}</tr>{lines}</table></div>'
        f"<div data-keys-help hidden>{keys}</div>"
    )


def _row(item: Inspection) -> str:
    cells = (
        moment(item.at, seconds=True),
        badge(item.decision, small=True),
        f'<button type="button" class="plain" data-inspection="{item.id}">{html.escape(item.file)}</button>',
        html.escape(item.part) if item.part_known else "",
        _number(item.score),
        _number(item.threshold),
        html.escape(item.model),
        html.escape(item.by),
    )
    inside = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr data-inspection="{item.id}">{inside}</tr>'


def dates() -> str:
    """Two days of the browser's own calendar."""
    return (
        f'<div class="dates"><label>{words.since} <input type="date" data-date="since" max="9998-12-31"></label>'
        f'<label>{words.until} <input type="date" data-date="until" max="9998-12-31"></label></div>'
    )


def tally(counts: Sequence[YieldCount], asked_for: Word | None) -> str:
    """How many parts, and which share of them passed; where only one verdict was asked for, no share means anything."""
    if not counts:
        return ""
    if asked_for is not None:
        said = words.tally_of(sum(getattr(count, asked_for) for count in counts), VERDICTS[asked_for][0])
    else:
        judged, passed = sum(count.judged for count in counts), sum(count.ok + count.review for count in counts)
        said = words.tally(judged, passed / judged if judged else None)
    return f'<p role="status">{said}</p>'


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def story(station: Station, visitor: Visitor, told: Story) -> str:
    """All that happened to a part, in order, with its pictures as far as they are kept."""
    names = {version.calibration_id: version.name for version in told.calibrations}
    lines = []
    for item in told.inspections:
        file = station.store.picture(item)
        picture = ""
        if file is not None:
            address = visitor.served.put(partial(file_thumbnail, file), "image/jpeg")
            picture = f'<img src="{address}" alt="" loading="lazy">'
        reason = f"<br>{html.escape(item.error)}" if item.error else ""
        lines.append(
            f'<figure class="flip">{picture}<figcaption>{badge(item.decision, small=True)} {_number(item.score)}<br>'
            f"{moment(item.at)} {html.escape(item.by)}<br>{html.escape(item.file)}<br>"
            f"{words.inspected} {html.escape(item.model)}, {words.calibration} "
            f'<button type="button" class="plain" data-thresholds="{item.bundle_id} {item.calibration_id}" '
            f'title="{words.same_thresholds}">'
            f"{html.escape(names.get(item.calibration_id, item.calibration_id))}</button>{reason}</figcaption></figure>"
        )
    unnamed = bool(told.inspections) and not told.inspections[0].part_known
    name = told.inspections[0].file if unnamed else told.part  # its number tells a reader nothing
    return (
        f'<div class="part" data-story="{html.escape(told.part)}"><h3>{words.story} {html.escape(name)}</h3>'
        f'<div class="gallery">{"".join(lines)}</div>{said(told.reviews)}</div>'
    )
