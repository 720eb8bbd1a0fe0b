"""Live: what the line inspects, as it comes, to be read from three metres."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from defectflow.image import shrink
from defectflow.store import Inspection, Query, Role
from defectflow_ui.markup.elements import block, empty
from defectflow_ui.pages import live_view as view
from defectflow_ui.pages.history_view import products
from defectflow_ui.pages.page import QUIET, Page
from defectflow_ui.pictures import Pixels, file_picture
from defectflow_ui.station import handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import live as words

EVERY_S = 1.0
BEFORE = 10
"""Pictures that are shown beside the newest."""
LARGE_PX, SMALL_PX = 1000, 220
SEEN, SHOWN = "live.seen", "live.shown"
"""What the tab shows: the log's head and stretch, and the addresses of its pictures by (inspection, side)."""


class LivePage(Page):
    """The newest picture with its verdict, counters beside it, the pictures before it below."""

    tab = words.tab

    def lay_out(self) -> None:
        choices = [(text, key) for key, text in words.stretches.items()]
        self.stretch = gr.Radio(choices, value="8", label=words.stretch, elem_id="live-stretch")
        self.shown = block(empty(words.nothing, words.nothing_do), elem_id="live")
        self.timer = gr.Timer(EVERY_S, active=False)

    def connect(self) -> None:
        self.station.on_open(self.open_page, inputs=self.stretch, outputs=[self.shown, self.timer])
        self.timer.tick(self.look, inputs=self.stretch, outputs=self.shown, **QUIET)
        self.stretch.input(self.look, inputs=self.stretch, outputs=self.shown, **QUIET)

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor, hours: str) -> tuple[Any, gr.Timer]:
        """From now on, what comes is shown."""
        visitor.tab.pop(SEEN, None)
        return self._board(visitor, hours), gr.Timer(active=True)

    @handler(Role.VIEWER)
    def look(self, visitor: Visitor, hours: str) -> Any:
        return self._board(visitor, hours)

    def _board(self, visitor: Visitor, hours: str) -> Any:
        """Nothing new is sent unless something was written since."""
        store, courses = self.station.store, self.station.drift.courses()
        moved = [name for name, course in courses.items() if course.standing]
        seen = (store.head(), hours, moved)
        if visitor.tab.get(SEEN) == seen:
            return gr.skip()
        visitor.tab[SEEN] = seen
        span = timedelta(hours=int(hours) if hours in words.stretches else 8)
        latest = store.history.search(Query(limit=view.TIMED_PICTURES))
        if not latest:
            return empty(words.nothing, words.nothing_do)
        wanted = Query(since=datetime.now(UTC) - span)
        counts, apart = store.history.counts(wanted, every="day"), products(store.history.by_product(wanted))
        shown = latest[: BEFORE + 1]
        counted = view.figures(counts, latest)
        return view.board(shown, self._addresses(visitor, shown), counted, moved=moved, products=apart)

    def _addresses(self, visitor: Visitor, shown: list[Inspection]) -> dict[int, str | None]:
        """The addresses of these pictures; those of others are served no more."""
        known: dict[tuple[int, int], str] = visitor.tab.get(SHOWN, {})
        wanted = {(item.id, SMALL_PX if place else LARGE_PX): item for place, item in enumerate(shown)}
        made = dict[tuple[int, int], str]()
        for key, item in wanted.items():
            if key in known:
                made[key] = known[key]
            elif (file := self.station.store.picture(item)) is not None:
                made[key] = visitor.served.put(partial(_shrunk, file, key[1]), "image/jpeg")
        for key, address in known.items():
            if key not in made:
                visitor.served.remove(address)
        visitor.tab[SHOWN] = made
        return {number: made.get((number, side)) for number, side in wanted}


def _shrunk(file: Path, side_px: int) -> bytes:
    def small(pixels: Pixels) -> Pixels:
        return shrink(pixels, side_px)

    return file_picture(file, small)
