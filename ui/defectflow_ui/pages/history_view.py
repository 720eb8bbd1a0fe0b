"""What the page History shows, as HTML. Every name that came from outside is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from defectflow.runtime.image import read_image
from defectflow.store import Inspection, YieldCount
from defectflow.store.drift import Drift
from defectflow.store.history import Story
from defectflow_ui.pages.answering import said
from defectflow_ui.pictures import jpeg, thumbnail
from defectflow_ui.station import Station
from defectflow_ui.theme import badge, empty, tip
from defectflow_ui.visitors import Visitor
from defectflow_ui.words import history as words

WIDTH, HEIGHT, MARGIN = 720, 150, 26
STACKED = ("ok", "review", "defect", "invalid", "error")
MOST_BARS = 60
MOST_POINTS = 720


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
        f"{item.at:%m-%d %H:%M:%S}" if item.at.year == datetime.now(UTC).year else f"{item.at:%Y-%m-%d %H:%M}",
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
            address = visitor.shelf.put(lambda file=file: jpeg(thumbnail(read_image(file))), "image/jpeg")  # type: ignore[misc]
            picture = f'<img src="{address}" alt="" loading="lazy">'
        reason = f"<br>{html.escape(item.error)}" if item.error else ""
        lines.append(
            f'<figure class="flip">{picture}<figcaption>{badge(item.decision, small=True)} {_number(item.score)}<br>'
            f"{item.at:%Y-%m-%d %H:%M} {html.escape(item.by)}<br>{html.escape(item.file)}<br>"
            f"{words.inspected} {html.escape(item.model)}, {words.calibration} "
            f"{html.escape(names.get(item.calibration_id, item.calibration_id))}{reason}</figcaption></figure>"
        )
    unnamed = bool(told.inspections) and not told.inspections[0].part_known
    name = told.inspections[0].file if unnamed else told.part  # its number tells a reader nothing
    return (
        f'<div class="part" data-story="{html.escape(told.part)}"><h3>{words.story} {html.escape(name)}</h3>'
        f'<div class="gallery">{"".join(lines)}</div>{said(told.reviews)}</div>'
    )


def chart(counts: Sequence[YieldCount]) -> str:
    """Stacked bars by verdict, and the yield as a line."""
    counts = counts[-MOST_BARS:]
    if not counts:
        return ""
    judged = sum(count.judged for count in counts)
    passed = sum(count.ok + count.review for count in counts)
    most = max(sum(getattr(count, word) for word in STACKED) for count in counts)
    step = (WIDTH - 2 * MARGIN) / len(counts)
    bars, line = [], []
    for place, count in enumerate(counts):
        left, top = MARGIN + place * step, float(HEIGHT - MARGIN)
        what = ", ".join(f"{getattr(count, word)} {word}" for word in STACKED if getattr(count, word))
        for word in STACKED:
            height = (HEIGHT - 2 * MARGIN) * getattr(count, word) / most
            top -= height
            bars.append(
                f'<rect class="{word}" x="{left + 1:.1f}" y="{top:.1f}" width="{min(step - 2, 60):.1f}" '
                f'height="{height:.1f}"><title>{count.start}: {what}</title></rect>'
            )
        if count.yield_share is not None:
            y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * count.yield_share
            line.append(f"{left + min(step, 62) / 2:.1f},{y:.1f}")
    ends = f'<text x="{MARGIN}" y="{HEIGHT - 8}">{counts[0].start}</text>'
    if len(counts) > 1:
        ends += f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 8}" text-anchor="end">{counts[-1].start}</text>'
    return (
        f'<p role="status">{words.tally(judged, passed / judged if judged else None)}</p>'
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words.chart}">'
        f'<title>{words.chart}</title>{"".join(bars)}<polyline class="yield" points="{" ".join(line)}"/>{ends}</svg>'
    )


def drift(course: Drift) -> str:
    """The evidence on a logarithmic scale, the alarm's line, and what it says in words."""
    title = f"<h4>{tip(words.drift, words.drift_tip)}</h4>"
    sentence = f'<p class="{"warn" if course.alarms else "said"}" role="status">{html.escape(course.sentence())}</p>'
    if not course.points:
        return title + sentence
    floor, top = -1.0, math.log10(course.run_length) + 0.4

    def y(evidence: float) -> float:
        share = (max(math.log10(max(evidence, 1e-9)), floor) - floor) / (top - floor)
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * min(share, 1.0)

    # Of each stretch the highest point, so that no peak is lost where parts are more than pixels.
    size = -(-len(course.points) // MOST_POINTS)
    stretches = [course.points[start : start + size] for start in range(0, len(course.points), size)]
    step = (WIDTH - 2 * MARGIN) / max(len(stretches) - 1, 1)
    tops = [max(stretch, key=lambda point: point.evidence) for stretch in stretches]
    points = " ".join(f"{MARGIN + place * step:.1f},{y(top.evidence):.1f}" for place, top in enumerate(tops))
    alarms = "".join(
        f'<circle class="alarm" cx="{MARGIN + place * step:.1f}" cy="{y(point.evidence):.1f}" r="5">'
        f"<title>{words.alarm}: {html.escape(point.part)}, {point.at:%Y-%m-%d %H:%M} UTC</title></circle>"
        for place, point in enumerate(tops)
        if point.alarm
    )
    line = y(course.run_length)
    return (
        f'{title}{sentence}<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{words.drift_chart}"><title>{words.drift_chart}</title>'
        f'<line class="limit" x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{line:.1f}" y2="{line:.1f}"/>'
        f'<polyline class="evidence" points="{points}"/>{alarms}</svg>'
    )
