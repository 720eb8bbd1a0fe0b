"""The charts of the page History as SVG: parts by verdict over time, and the evidence that production has moved.

Each verdict has a colour, a hatching and, in the legend, an icon and a word: none of them is needed to tell two apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from markupsafe import Markup

from defectflow.store import Every, YieldCount
from defectflow.store.drift import Drift
from defectflow_ui.markup.render import render
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


@dataclass(frozen=True, slots=True)
class Bar:
    """The parts of one verdict in one stretch of time."""

    word: str
    x: float
    y: float
    width: float
    height: float
    told: str


def counts_over_time(counts: Sequence[YieldCount], every: Every, *, passed: bool) -> Markup:
    """Stacked bars by verdict with a legend; with `passed`, above them the share that passed, as a line."""
    if not counts:
        return Markup()
    starts = stretches(counts[0].start, counts[-1].start, every)
    top = _round_up(max(sum(_stack(count)) for count in counts))
    step = (WIDTH - LEFT - RIGHT) / len(starts)
    places = {start: place for place, start in enumerate(starts)}
    bars, line = list[Bar](), list[tuple[float, float]]()
    for count in counts:
        centre = LEFT + (places[count.start] + 0.5) * step
        bars += _bars(count, centre, step, top, passed=passed)
        if passed and count.yield_share is not None:
            line.append((centre, -STRIP * count.yield_share - GAP))
    scale = [(_y(part), f"{part * top:g}") for part in (0.0, 0.5, 1.0)]
    if line:
        scale += [(-GAP, "0%"), (-STRIP - GAP, "100%")]
    every_nth = -(-len(starts) // MOST_LABELS)
    labelled = range(every_nth // 2 if len(starts) > 1 else 0, len(starts), every_nth)
    return render(
        "history/yield.html",
        words=words,
        title=words.chart(every, passed=passed),
        width=WIDTH,
        height=HEIGHT,
        above=STRIP + GAP + 8 if line else 0,
        left=LEFT,
        right=WIDTH - RIGHT,
        stacked=STACKED,
        scale=scale,
        bars=bars,
        line=line,
        labels=[(LEFT + (place + 0.5) * step, _label(starts[place])) for place in labelled],
        totals={word: sum(getattr(count, word) for count in counts) for word in STACKED},
    )


def _bars(count: YieldCount, centre: float, step: float, top: int, *, passed: bool) -> list[Bar]:
    """One upon the other."""
    width = min(max(step - 2, 1.0), WIDEST_BAR)
    told = words.bar(count.start, [(VERDICTS[word][0], getattr(count, word)) for word in STACKED])
    if passed and count.yield_share is not None:
        told += words.bar_passed(count.yield_share)
    made, foot = list[Bar](), 0
    for word, parts in zip(STACKED, _stack(count), strict=True):
        if parts:
            y = _y((foot + parts) / top)
            made.append(Bar(word, centre - width / 2, y, width, _y(foot / top) - y, told))
        foot += parts
    return made


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


def drift(course: Drift, since: datetime | None = None) -> Markup:
    """The evidence on a logarithmic scale, the alarm's line, and what it says in words."""
    floor, most = -1.0, math.log10(course.run_length) + 0.4

    def y(evidence: float) -> float:
        return _y((min(max(math.log10(max(evidence, 1e-9)), floor), most) - floor) / (most - floor))

    # Of each stretch the highest point, so that no peak is lost where parts are more than pixels.
    size = max(-(-len(course.points) // MOST_POINTS), 1)
    parts = [course.points[start : start + size] for start in range(0, len(course.points), size)]
    tops = [max(stretch, key=lambda point: point.evidence) for stretch in parts]
    step = (DRIFT_WIDTH - 2 * RIGHT) / max(len(parts) - 1, 1)
    drawn = [(RIGHT + place * step, y(point.evidence), point) for place, point in enumerate(tops)]
    return render(
        "history/drift.html",
        words=words,
        sentence=course.sentence(),
        since=since,
        stands=bool(course.standing),
        width=DRIFT_WIDTH,
        height=HEIGHT,
        left=RIGHT,
        right=DRIFT_WIDTH - RIGHT,
        limit=y(course.run_length),
        parts=len(course.points),
        points=[(left, height) for left, height, _ in drawn],
        alarms=[(left, height, point.words()) for left, height, point in drawn if point.alarm],
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
