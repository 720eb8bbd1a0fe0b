"""Has production moved? On the page History: the course of the evidence, and the end of an alarm."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import gradio as gr

from defectflow.store import Role
from defectflow.store.drift import Drift, look_into
from defectflow_ui.markup.elements import block
from defectflow_ui.pages import history_chart as charts
from defectflow_ui.pages.page import QUIET, Updates, wanting
from defectflow_ui.station import Station, handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import history as words

DRIFT_WAIT_S = 10.0
PRODUCT = "history.drift"
"""Whose course the tab shows, by the bundle's name."""


class HistoryDrift:
    """A chart; where an alarm stands, what was found out about it; and a button to look now."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.product = gr.Dropdown([], label=words.drift_product, visible=False, elem_id="history-drift-product")
        self.chart = block(elem_id="history-drift")
        with gr.Row(visible=False, equal_height=False) as self.seeing_to:
            self.found_out = gr.Textbox(label=words.found_out, elem_id="history-found-out", scale=2)
            self.close = gr.Button(words.looked_into, size="sm", elem_id="history-looked-into")
        self.check = gr.Button(words.drift_check, size="sm", elem_id="history-check-drift")
        self.begin = gr.Button(words.begins, size="sm", visible=False, elem_id="history-begins")

    def connect(self) -> None:
        shown, above = [self.product, self.chart, self.seeing_to, self.begin], self.station.shown_above
        self.product.input(self.choose_product, inputs=self.product, outputs=shown, **QUIET)
        self.station.on_open(self.show_drift, outputs=shown)
        above(self.check.click(self.check_drift, outputs=shown, **QUIET))
        above(self.begin.click(self.begin_production, outputs=shown, **QUIET))
        for closing in (self.close.click, self.found_out.submit):
            above(closing(self.close_alarm, inputs=self.found_out, outputs=[*shown, self.found_out], **QUIET))

    def _shown(self, visitor: Visitor, courses: Mapping[str, Drift]) -> Updates:
        name = self._chosen(visitor, courses)
        course = courses.get(name)
        stands = course is not None and bool(course.standing)
        since = self.station.store.settings.drift.since
        return {
            self.product: self._products(name, courses),
            self.chart: "" if course is None else charts.drift(course, since),
            self.seeing_to: gr.Row(visible=stands and visitor.may(Role.ENGINEER)),
            self.begin: gr.Button(visible=course is not None and visitor.may(Role.ENGINEER)),
        }

    def _products(self, name: str, courses: Mapping[str, Drift]) -> gr.Dropdown:
        offered = [(words.moved(one) if course.standing else one, one) for one, course in courses.items()]
        return gr.Dropdown(offered, value=name or None, visible=len(offered) > 1)

    def _chosen(self, visitor: Visitor, courses: Mapping[str, Drift]) -> str:
        """Of several products the one that was chosen; before that one that has moved, or else the active one."""
        if (chosen := visitor.tab.get(PRODUCT)) in courses:
            return str(chosen)
        moved = next((name for name, course in courses.items() if course.standing), None)
        return moved or self.station.bundles.active_name or ""

    @handler(Role.VIEWER)
    def choose_product(self, visitor: Visitor, name: str) -> Updates:
        visitor.tab[PRODUCT] = str(name)
        return self._shown(visitor, self.station.drift.courses(DRIFT_WAIT_S))

    @handler(Role.VIEWER)
    def show_drift(self, visitor: Visitor) -> Updates:
        return self._shown(visitor, self.station.drift.courses(DRIFT_WAIT_S))

    @handler(Role.VIEWER)
    def check_drift(self, visitor: Visitor) -> Updates:
        return self._shown(visitor, self.station.drift.look())

    @handler(Role.ENGINEER)
    def begin_production(self, visitor: Visitor) -> Updates:
        store = self.station.store
        settings = store.settings
        drift = settings.drift.model_copy(update={"since": datetime.now(UTC)})
        store.configure(settings.model_copy(update={"drift": drift}), by=visitor.user)
        return self._shown(visitor, self.station.drift.look())

    @handler(Role.ENGINEER)
    def close_alarm(self, visitor: Visitor, found: str) -> Updates:
        if missing := wanting({self.found_out: found}):
            return missing
        card = self.station.bundles.find(self._chosen(visitor, self.station.drift.look())).card
        look_into(self.station.store, card, by=visitor.user, reason=found)
        return self._shown(visitor, self.station.drift.look()) | {self.found_out: gr.Textbox("", info=None)}
