"""What the page History shows, but for its charts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from markupsafe import Markup

from defectflow.store import Inspection, Story, YieldCount
from defectflow.verdict import Word
from defectflow_ui.markup.elements import empty
from defectflow_ui.markup.render import render
from defectflow_ui.pages.answering import said
from defectflow_ui.pictures import file_thumbnail
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import history as words
from defectflow_ui.words.verdicts import VERDICTS


def table(rows: Sequence[Inspection], first: int, total: int) -> Markup:
    """One page of inspections, newest first; each row is a button to its part's story."""
    if not rows:
        return empty(words.nothing, words.nothing_do)
    return render("history/list.html", words=words, rows=rows, first=first, last=first + len(rows), total=total)


def dates() -> Markup:
    """Two days of the browser's own calendar."""
    return render("history/dates.html", words=words)


def tally(counts: Sequence[YieldCount], asked_for: Word | None) -> Markup:
    """How many parts, and which share of them passed; where only one verdict was asked for, no share means anything."""
    if not counts:
        return Markup()
    if asked_for is not None:
        said = words.tally_of(sum(getattr(count, asked_for) for count in counts), VERDICTS[asked_for][0])
    else:
        judged, passed = sum(count.judged for count in counts), sum(count.ok + count.review for count in counts)
        said = words.tally(judged, passed / judged if judged else None)
    return render("history/tally.html", said=said)


def story(station: Station, visitor: Visitor, told: Story) -> Markup:
    """All that happened to a part, in order, with its pictures as far as they are kept."""
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
    )


def _thumbnail(station: Station, visitor: Visitor, item: Inspection) -> str | None:
    """Its address; None where the picture is not kept."""
    file = station.store.picture(item)
    return None if file is None else visitor.served.put(partial(file_thumbnail, file), "image/jpeg")
