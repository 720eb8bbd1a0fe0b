"""What the page History shows, but for its charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from defectflow.store import Every, Inspection, KindCount, Review, Story, YieldCount, total
from defectflow.verdict import Word
from defectflow_ui.markup.elements import empty
from defectflow_ui.markup.render import render
from defectflow_ui.pages.answering import said
from defectflow_ui.pages.history_chart import stretches
from defectflow_ui.pages.kept_picture import enlarged
from defectflow_ui.pictures import file_thumbnail
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import history as words
from defectflow_ui.words.verdicts import VERDICTS

MOST_KINDS, MOST_STRETCHES, MOST_PRODUCTS = 12, 60, 20
COURSE_WIDTH = 120


def table(rows: Sequence[Inspection], answers: Mapping[int, Review], first: int, total: int) -> Markup:
    """One page of inspections, newest first; each row is a button to its part's story. `answers`: those that stand."""
    if not rows:
        return empty(words.nothing, words.nothing_do)
    return render(
        "history/list.html", words=words, rows=rows, answers=answers, first=first, last=first + len(rows), total=total
    )


def dates() -> Markup:
    """Two days of the browser's own calendar."""
    return render("history/dates.html", words=words)


def tally(counts: Sequence[YieldCount], asked_for: Word | None) -> Markup:
    """How many parts, and which share of them passed; where only one verdict was asked for, no share means anything."""
    if not counts:
        return Markup()
    whole = total(counts)
    if asked_for is not None:
        said = words.tally_of(getattr(whole, asked_for), VERDICTS[asked_for][0])
    else:
        said = words.tally(whole.judged, whole.yield_share)
    return render("history/tally.html", said=said)


def products(counts: Mapping[str, Mapping[str, int]]) -> Markup:
    """Parts and the share that passed of each product, where what was found is of several."""
    if len(counts) < 2:
        return Markup()
    listed = [(product, YieldCount(start="", **found)) for product, found in list(counts.items())[:MOST_PRODUCTS]]
    rows = [(product, words.tally(whole.judged, whole.yield_share)) for product, whole in listed]
    more = max(len(counts) - MOST_PRODUCTS, 0)
    return render("history/products.html", words=words, rows=rows, more=words.more_products(more) if more else "")


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of defect: how often, its share of all, and its course."""

    name: str
    parts: int
    share: float
    course: tuple[float, ...]
    """Of each stretch, as a share of the highest of all kinds."""
    told: str


def kinds(counts: Sequence[KindCount], every: Every) -> Markup:
    """A Pareto list of the kinds of defect that people named, each with its course over time."""
    if not counts:
        return Markup()
    starts = stretches(min(one.start for one in counts), max(one.start for one in counts), every)[-MOST_STRETCHES:]
    found: dict[str, Counter[str]] = {}
    for one in counts:
        found.setdefault(one.kind or words.no_kind, Counter())[one.start] += one.parts
    every_part = sum(one.parts for one in counts)
    highest = max(course[start] for course in found.values() for start in course)
    rows = list[KindRow]()
    for name, course in sorted(found.items(), key=lambda one: (-one[1].total(), one[0])):
        told = words.kind_trend(name, every, [(start, course[start]) for start in starts if course[start]])
        bars = tuple(course[start] / highest for start in starts)
        rows.append(KindRow(name, course.total(), course.total() / every_part, bars, told))
    return render(
        "history/kinds.html", words=words, rows=rows[:MOST_KINDS], width=min(COURSE_WIDTH / len(starts), 12.0)
    )


def story(station: Station, visitor: Visitor, told: Story, shown: Inspection) -> Markup:
    """All that happened to a part, in order, with its pictures as far as they are kept; one of them large."""
    names = {version.calibration_id: version.name for version in told.calibrations}
    unnamed = bool(told.inspections) and not told.inspections[0].part_known
    return render(
        "history/story.html",
        words=words,
        part=told.part,
        name=told.inspections[0].file if unnamed else told.part,  # its number tells a reader nothing
        pictures=[
            (item, _thumbnail(station, visitor, item), names.get(item.calibration_id, item.calibration_id))
            for item in told.inspections
        ],
        said=said(told.reviews),
        shown=shown.id,
        large=enlarged(station, visitor, shown, marked=True),
    )


def _thumbnail(station: Station, visitor: Visitor, item: Inspection) -> str | None:
    """Its address; None where the picture is not kept."""
    file = station.store.picture(item)
    return None if file is None else visitor.served.put(partial(file_thumbnail, file), "image/jpeg")
