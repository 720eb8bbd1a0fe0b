"""The gallery of the page Inspect and the buttons above it."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from defectflow.store import Review
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
    tried = any(row.recorded is None for row in inspection.rows)
    return render(
        "inspect/counts.html",
        words=words,
        total=len(inspection.rows),
        found=[(one, found[one]) for one in DECISIONS if found[one] or inspection.only == one],
        flips=None if inspection.what_if is None else len(inspection.flips()),
        pressed=inspection.only,
        latest=inspection.rows[-1] if inspection.rows else None,
        clear_question=words.clear_trial_ask if tried else words.clear_ask,
    )


def gallery(inspection: Inspection, said: Mapping[int, Review]) -> Markup:
    """The first pictures of the chosen order and filter, and a button for more.

    `said`: the answers that stand, by the inspection's number in the store.
    """
    rows = inspection.shown()
    if not rows:
        return empty(words.nothing_shown, words.nothing_shown_do) if inspection.rows else nothing_yet()
    left, rows = len(rows) - inspection.tiles, rows[: inspection.tiles]
    return render(
        "inspect/gallery.html",
        words=words,
        tiles=[(row, row.decision(inspection.what_if), row.decision(), said.get(row.recorded or 0)) for row in rows],
        answers=words.answered,
        tell_product=inspection.inspector.is_open,
        chosen=inspection.chosen,
        more=words.more(min(left, TILES), inspection.tiles, left + inspection.tiles) if left > 0 else "",
    )
