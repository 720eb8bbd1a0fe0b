"""On the page Train: a recipe's settings for this product."""

from __future__ import annotations

import gradio as gr

from defectflow.store import Role
from defectflow_ui.pages.page import QUIET, choices
from defectflow_ui.pages.train_region import TrainRegion
from defectflow_ui.station import Station, handler
from defectflow_ui.tasks.recipe_changes import changed
from defectflow_ui.tasks.training import Training
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import train_settings as words


class TrainSettings:
    """A text with one setting a line; what is chosen or drawn below is written into it."""

    def __init__(self, station: Station, training: Training, source: gr.Dropdown) -> None:
        """`source`: where the pictures are chosen, one of which is drawn on."""
        self.station = station
        with gr.Accordion(words.title, open=False, elem_id="train-settings-more"):
            self.text = gr.Textbox(
                "", label=words.text, info=words.text_info, lines=3, max_lines=3, elem_id="train-settings"
            )
            with gr.Row():
                self.size = gr.Dropdown(choices(words.sizes), value="", label=words.size, elem_id="train-size")
                self.promise = gr.Dropdown(
                    choices(words.promises), value="", label=words.promise, elem_id="train-promise"
                )
                self.scale = gr.Dropdown(choices(words.scales), value="", label=words.scale, elem_id="train-scale")
                self.align = gr.Dropdown(choices(words.aligns), value="", label=words.align, elem_id="train-align")
            self.region = TrainRegion(station, training, source, self.text)

    def connect(self) -> None:
        self.size.input(self.set_size, [self.text, self.size], self.text, **QUIET)
        self.promise.input(self.set_promise, [self.text, self.promise], self.text, **QUIET)
        self.scale.input(self.set_scale, [self.text, self.scale], self.text, **QUIET)
        self.align.input(self.set_align, [self.text, self.align], self.text, **QUIET)
        self.region.connect()

    @handler(Role.ENGINEER)
    def set_size(self, visitor: Visitor, text: str, value: str) -> str:
        return changed(text, "image.size", value)

    @handler(Role.ENGINEER)
    def set_promise(self, visitor: Visitor, text: str, value: str) -> str:
        return changed(text, "verdict.guarantee", value)

    @handler(Role.ENGINEER)
    def set_scale(self, visitor: Visitor, text: str, value: str) -> str:
        return changed(text, "image.full_scale", value)

    @handler(Role.ENGINEER)
    def set_align(self, visitor: Visitor, text: str, value: str) -> str:
        return changed(text, "image.align", value)
