"""The gallery of the page Inspect and the buttons above it."""

from __future__ import annotations

from markupsafe import Markup

from defectflow_ui.inspecting.inspection import TILES, Inspection
from defectflow_ui.inspecting.judged import DECISIONS
from defectflow_ui.markup.elements import empty
from defectflow_ui.markup.render import render
from defectflow_ui.words import inspect as words


def nothing_yet() -> Markup:
    return empty(words.nothing_yet, words.nothing_yet_do)


def counts(inspection: Inspection) -> Markup:
    """A button per decision with its count; pressed: only those are shown."""
    found = inspection.counts()
    return render(
        "inspect/counts.html",
        words=words,
        total=len(inspection.rows),
        found=[(one, found[one]) for one in DECISIONS if found[one] or inspection.only == one],
        flips=None if inspection.what_if is None else len(inspection.flips()),
        pressed=inspection.only,
    )


def gallery(inspection: Inspection) -> Markup:
    """The first pictures of the chosen order and filter, and a button for more of them."""
    rows = inspection.shown()
    if not rows:
        return empty(words.nothing_shown, words.nothing_shown_do) if inspection.rows else nothing_yet()
    left = len(rows) - inspection.tiles
    return render(
        "inspect/gallery.html",
        words=words,
        tiles=[(row, row.decision(inspection.what_if), row.decision()) for row in rows[: inspection.tiles]],
        chosen=inspection.chosen,
        more=words.more(min(left, TILES), inspection.tiles, len(rows)) if left > 0 else "",
    )
