"""The charts of the page History as SVG: parts by verdict over time, and the evidence that production has moved.

Each verdict has a colour, a hatching and, in the legend, an icon and a word: none of them is needed to tell two apart.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from defectflow.store import Every, YieldCount
from defectflow.store.drift import Drift
from defectflow_ui.markup.theme import ICONS, tip
from defectflow_ui.words import history as words
from defectflow_ui.words.verdicts import VERDICTS

WIDTH, HEIGHT = 720, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 24, 12, 24
STRIP = 56
"""Above the bars, for the share that passed: in pixels of the drawing, as all of these."""
STACKED = ("ok", "review", "defect", "invalid", "error")
GAP = 10
MOST_BARS = 60
DRIFT_WIDTH = 420
"""Of the drawing beside a story, which is narrower."""
MOST_POINTS = 420
MOST_LABELS = 5
WIDEST_BAR = 60
HATCHINGS = {
    "ok": "",
    "review": '<path d="M-2 2 l4 -4 M0 8 l8 -8 M6 10 l4 -4"/>',
    "defect": '<path d="M-2 2 l4 -4 M0 8 l8 -8 M6 10 l4 -4 M-2 6 l4 4 M0 0 l8 8 M6 -2 l4 4"/>',
    "invalid": '<circle cx="2" cy="2" r="1.4"/><circle cx="6" cy="6" r="1.4"/>',
    "error": '<path d="M0 2 h8 M0 6 h8"/>',
}
"""What is drawn over a verdict's colour, in a tile of 8 x 8."""


def counts_over_time(counts: Sequence[YieldCount], every: Every, *, passed: bool) -> str:
    """Stacked bars by verdict with a legend; with `passed`, above them the share that passed, as a line."""
    if not counts:
        return ""
    by_start = {count.start: count for count in counts}
    starts = stretches(counts[0].start, counts[-1].start, every)
    top = _round_up(max(sum(_stack(count)) for count in counts))
    step = (WIDTH - LEFT - RIGHT) / len(starts)
    width = min(max(step - 2, 1.0), WIDEST_BAR)
    bars, line = [], []
    for place, start in enumerate(starts):
        if (count := by_start.get(start)) is None:
            continue
        left, foot = LEFT + place * step + (step - width) / 2, 0
        said = html.escape(words.bar(start, [(VERDICTS[word][0], getattr(count, word)) for word in STACKED]))
        if passed and count.yield_share is not None:
            said += html.escape(words.bar_passed(count.yield_share))
            line.append((left + width / 2, -STRIP * count.yield_share - GAP))
        for word, parts in zip(STACKED, _stack(count), strict=True):
            if parts:
                bars.append(
                    f'<rect class="bar {word}" fill="url(#verdict-{word})" x="{left:.1f}" '
                    f'y="{_y((foot + parts) / top):.1f}" width="{width:.1f}" '
                    f'height="{_y(foot / top) - _y((foot + parts) / top):.1f}"><title>{said}</title></rect>'
                )
            foot += parts
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
    dots = "".join(f'<circle class="passed" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in line)
    share = f'<polyline class="passed" points="{joined}"/>{dots}' if line else ""
    scale = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(part):.1f}" y2="{_y(part):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{_y(part) + 4:.1f}" text-anchor="end">{part * top:g}</text>'
        for part in (0.0, 0.5, 1.0)
    )
    if line:
        scale += "".join(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{said}</text>'
            for y, said in ((-GAP, "0%"), (-STRIP - GAP, "100%"))
        )
    above = STRIP + GAP + 8 if line else 0
    every_nth = -(-len(starts) // MOST_LABELS)
    below = "".join(
        f'<text x="{LEFT + (place + 0.5) * step:.1f}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{_label(starts[place])}</text>"
        for place in range(every_nth // 2 if len(starts) > 1 else 0, len(starts), every_nth)
    )
    title = words.chart(every, passed=passed)
    return (
        f'<svg class="chart" viewBox="0 {-above} {WIDTH} {HEIGHT + above}" role="img" aria-label="{title}">'
        f"<title>{title}</title>{_hatchings()}{scale}{''.join(bars)}{share}{below}</svg>"
        f"{_legend(counts, title, bool(line))}"
    )


def stretches(first: str, last: str, every: Every) -> list[str]:
    """Every hour, day, week or month from the first to the last, those without parts as well."""
    if every == "month":
        (year, month), (until_year, until_month) = (map(int, start.split("-")) for start in (first, last))
        count = 12 * (until_year - year) + until_month - month + 1
        return [f"{year + (month - 1 + n) // 12}-{(month - 1 + n) % 12 + 1:02}" for n in range(count)]
    if every == "hour":
        begin = datetime.fromisoformat(f"{first}:00")
        hours = int((datetime.fromisoformat(f"{last}:00") - begin).total_seconds()) // 3600
        return [f"{begin + timedelta(hours=n):%Y-%m-%dT%H}" for n in range(hours + 1)]
    step = 7 if every == "week" else 1
    days = (date.fromisoformat(last) - date.fromisoformat(first)).days
    return [(date.fromisoformat(first) + timedelta(days=n)).isoformat() for n in range(0, days + 1, step)]


def drift(course: Drift) -> str:
    """The evidence on a logarithmic scale, the alarm's line, and what it says in words."""
    title = f"<h4>{tip(words.drift, words.drift_tip)}</h4>"
    kind = "warn" if course.standing else "said"
    sentence = f'<p class="{kind}" role="status">{html.escape(course.sentence())}</p>'
    if course.standing:
        sentence += f'<p class="quiet">{words.drift_do}</p>'
    if not course.points:
        return title + sentence
    floor, most = -1.0, math.log10(course.run_length) + 0.4

    def y(evidence: float) -> float:
        return _y((min(max(math.log10(max(evidence, 1e-9)), floor), most) - floor) / (most - floor))

    # Of each stretch the highest point, so that no peak is lost where parts are more than pixels.
    size = -(-len(course.points) // MOST_POINTS)
    parts = [course.points[start : start + size] for start in range(0, len(course.points), size)]
    step = (DRIFT_WIDTH - 2 * RIGHT) / max(len(parts) - 1, 1)
    tops = [max(stretch, key=lambda point: point.evidence) for stretch in parts]
    points = " ".join(f"{RIGHT + place * step:.1f},{y(point.evidence):.1f}" for place, point in enumerate(tops))
    alarms = "".join(
        f'<path class="alarm" d="M{RIGHT + place * step:.1f} {y(point.evidence) - 6:.1f} l6 11 h-12 z">'
        f"<title>{words.alarm}: {html.escape(point.words())}</title></path>"
        for place, point in enumerate(tops)
        if point.alarm
    )
    line = y(course.run_length)
    return (
        f'{title}{sentence}<svg class="chart" viewBox="0 0 {DRIFT_WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{words.drift_chart}"><title>{words.drift_chart}</title>'
        f'<line class="limit" x1="{RIGHT}" x2="{DRIFT_WIDTH - RIGHT}" y1="{line:.1f}" y2="{line:.1f}"/>'
        f'<text x="{RIGHT}" y="{line - 4:.1f}">{words.alarm}</text>'
        f'<text x="{RIGHT}" y="{HEIGHT - 6}">{words.part_number(1)}</text>'
        f'<text x="{DRIFT_WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">'
        f"{words.part_number(len(course.points))}</text>"
        f'<polyline class="evidence" points="{points}"/>{alarms}</svg>'
    )


def _stack(count: YieldCount) -> list[int]:
    return [getattr(count, word) for word in STACKED]


def _label(start: str) -> str:
    return f"{start[5:10]} {start[11:]}:00" if "T" in start else start


def _y(share: float) -> float:
    """Where a share of the chart's height lies, in its own pixels."""
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _round_up(most: int) -> int:
    """The next number whose half is a whole one, too, and easy to read."""
    scale = 10 ** max(len(str(most)) - 1, 0)
    return next(
        top for top in (int(one * scale) for one in (1, 2, 4, 6, 8, 10)) if top >= max(most, 2) and top % 2 == 0
    )


def _hatchings() -> str:
    patterns = "".join(
        f'<pattern id="verdict-{word}" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect class="{word}" width="8" height="8"/>{drawn}</pattern>'
        for word, drawn in HATCHINGS.items()
    )
    return f'<defs class="hatchings">{patterns}</defs>'


def _legend(counts: Sequence[YieldCount], title: str, passed: bool) -> str:
    totals = {word: sum(getattr(count, word) for count in counts) for word in STACKED}
    entries = "".join(
        f'<span><svg class="swatch" viewBox="0 0 16 16" aria-hidden="true"><rect width="16" height="16" rx="3" '
        f'fill="url(#verdict-{word})"/></svg>{ICONS[word]} {VERDICTS[word][0]} {total}</span>'
        for word, total in totals.items()
        if total
    )
    line = f'<span><i class="passed"></i>{words.passed}</span>' if passed else ""
    return f'<div class="legend"><b>{title}</b>{entries}{line}</div>'
