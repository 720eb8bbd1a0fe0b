"""On the page Inspect: how many millimetres a pixel shows, so that marked places have a size; kept with the model."""

from __future__ import annotations

import math

import gradio as gr

from defectflow.errors import DataError
from defectflow.store import Role
from defectflow_ui.markup.elements import block, notice
from defectflow_ui.pages.inspect_tab import chosen
from defectflow_ui.pages.page import QUIET, Updates
from defectflow_ui.station import Station, handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect_scale as words

LARGEST_MM = 1000.0


class InspectScale:
    """A number, and a button that keeps it. For engineers."""

    def __init__(self, station: Station) -> None:
        self.station = station
        with gr.Accordion(words.title, open=False, visible=False, elem_id="inspect-scale") as self.form:
            self.mm_per_px = gr.Number(None, label=words.label, info=words.about, minimum=0, elem_id="scale-mm")
            self.keep = gr.Button(words.keep, size="sm", elem_id="scale-keep")
            self.said = block(elem_id="scale-said")
        self.shown = [self.form, self.mm_per_px, self.said]

    def connect(self) -> None:
        self.station.on_open(self.open_form, outputs=self.shown)
        self.keep.click(self.keep_scale, inputs=self.mm_per_px, outputs=self.said, **QUIET)

    def of_product(self, visitor: Visitor) -> Updates:
        """The form for what this tab inspects with, by name; of several products each has a scale of its own."""
        bundle = chosen(self.station, visitor)
        if bundle is None or bundle.card.calibration is None or not visitor.may(Role.ENGINEER):
            return {self.form: gr.Accordion(visible=False)}
        label = words.title if bundle.family is None else words.title_of(bundle.name)
        return {
            self.form: gr.Accordion(label=label, visible=True),
            self.mm_per_px: bundle.card.mm_per_px,
            self.said: "",
        }

    @handler(Role.VIEWER)
    def open_form(self, visitor: Visitor) -> Updates:
        return self.of_product(visitor)

    @handler(Role.ENGINEER)
    def keep_scale(self, visitor: Visitor, mm_per_px: float | None) -> str:
        scale = mm_per_px or None
        if scale is not None and not (math.isfinite(scale) and 0 < scale <= LARGEST_MM):
            raise DataError(words.no_scale(scale, LARGEST_MM))
        bundle = chosen(self.station, visitor)
        if bundle is None:
            raise DataError(words.choose_first)
        self.station.bundles.set_scale(bundle.name, scale, by=visitor.user)
        return notice(words.kept(bundle.name, scale))
