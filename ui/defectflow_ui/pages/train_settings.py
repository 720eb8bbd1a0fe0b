"""On the page Train: a recipe's settings for this product, and its region of interest, drawn on one of its pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from defectflow.data import find_pictures
from defectflow.errors import DataError
from defectflow.image import shrink
from defectflow.store import Role
from defectflow_ui.markup.elements import block
from defectflow_ui.markup.render import render
from defectflow_ui.pages.page import QUIET, Updates, choices
from defectflow_ui.pictures import file_picture
from defectflow_ui.station import Station, handler
from defectflow_ui.tasks.recipe_changes import ROI, changed, read_changes
from defectflow_ui.tasks.training import Training
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import train_settings as words

SHOWN_PX = 700


class TrainSettings:
    """A text with one setting a line; what is chosen or drawn below is written into it."""

    def __init__(self, station: Station, training: Training, source: gr.Dropdown) -> None:
        """`source`: where the pictures are chosen, one of which is drawn on."""
        self.station, self.training, self.source = station, training, source
        with gr.Accordion(words.title, open=False, elem_id="train-settings-more"):
            self.text = gr.Textbox("", label=words.text, info=words.text_info, lines=2, elem_id="train-settings")
            with gr.Row():
                self.size = gr.Dropdown(choices(words.sizes), value="", label=words.size, elem_id="train-size")
                self.promise = gr.Dropdown(
                    choices(words.promises), value="", label=words.promise, elem_id="train-promise"
                )
                self.scale = gr.Dropdown(choices(words.scales), value="", label=words.scale, elem_id="train-scale")
            self.show = gr.Button(words.show, size="sm", elem_id="train-roi-show")
            self.region = block(elem_id="train-roi", events="station.region(element, trigger, 'drawn')")

    def connect(self) -> None:
        self.size.input(self.set_size, [self.text, self.size], self.text, **QUIET)
        self.promise.input(self.set_promise, [self.text, self.promise], self.text, **QUIET)
        self.scale.input(self.set_scale, [self.text, self.scale], self.text, **QUIET)
        self.show.click(self.show_picture, [self.source, self.text], self.region, **QUIET)
        self.region.drawn(self.draw, [self.text], [self.text, self.region], trigger_mode="always_last", **QUIET)

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
    def show_picture(self, visitor: Visitor, source: str | None, text: str) -> Markup:
        """One of the pictures to draw on. Raises DataError if there is none."""
        if not source:
            raise DataError(words.no_source)
        pictures = find_pictures(self.training.sources.path(source), label="good")
        if not pictures:
            raise DataError(words.no_source)
        address = visitor.served.put(partial(_small, pictures[0].path), "image/jpeg")
        visitor.tab["train.roi"] = address
        return _drawing(address, text)

    @handler(Role.ENGINEER)
    def draw(self, visitor: Visitor, text: str) -> Updates:
        """What was drawn, as shares of the picture; nothing: the whole picture again."""
        said = str(visitor.event.get("roi") or "")
        if said:
            try:
                left, top, width, height = (min(max(float(one), 0.0), 1.0) for one in said.split())
            except ValueError as error:
                raise DataError(words.no_rectangle) from error
            if width < 0.02 or height < 0.02:
                raise DataError(words.too_small)
            width, height = min(width, 1 - left), min(height, 1 - top)
            said = "[" + ", ".join(f"{one:.4f}" for one in (left, top, width, height)) + "]"
        text = changed(text, ROI, said)
        return {self.text: text, self.region: _drawing(str(visitor.tab.get("train.roi", "")), text)}


def _small(file: Path) -> bytes:
    return file_picture(file, partial(shrink, longer_side_px=SHOWN_PX))


def _drawing(address: str, text: str) -> Markup:
    found = read_changes(text).get(ROI, "").strip("[] ")
    rectangle = [float(one) for one in found.split(",")] if found else None
    return render("train_settings/region.html", words=words, address=address, rectangle=rectangle)
