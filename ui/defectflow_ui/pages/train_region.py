"""On the page Train: where to look, drawn on one of the pictures: a rectangle, outlines, and areas to be ignored."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np
from markupsafe import Markup

from defectflow.data import find_pictures
from defectflow.errors import DataError
from defectflow.image import read_raw, shrink
from defectflow.store import Role
from defectflow_ui.markup.elements import block
from defectflow_ui.markup.render import render
from defectflow_ui.pages.page import QUIET, Updates
from defectflow_ui.pictures import file_picture
from defectflow_ui.station import Station, handler
from defectflow_ui.tasks.recipe_changes import (
    DRAWN_ON,
    IGNORED,
    OUTLINES,
    RECTANGLE,
    areas_in,
    changed,
    read_changes,
    rectangle_in,
)
from defectflow_ui.tasks.training import Training
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import train_settings as words

SHOWN_PX = 700
SMALLEST = 0.02
"""Of the picture's width and height: a smaller rectangle or outline was not meant."""
BRUSHES = (0.01, 0.03, 0.08)
"""Widths, as shares of the picture's width."""
ON_SHOW = "train.region"


class TrainRegion:
    """A picture to draw on; what is drawn is written among the changes to the recipe."""

    def __init__(self, station: Station, training: Training, source: gr.Dropdown, text: gr.Textbox) -> None:
        """`source`: where the pictures are chosen, one of which is drawn on. `text`: the changes to the recipe."""
        self.station, self.training, self.source, self.text = station, training, source, text
        self.show = gr.Button(words.show, size="sm", elem_id="train-region-show")
        self.canvas = block(elem_id="train-region", events="station.region(element, trigger, 'drawn')")

    def connect(self) -> None:
        self.show.click(self.show_picture, [self.source, self.text], self.canvas, **QUIET)
        self.canvas.drawn(self.draw, [self.text], [self.text, self.canvas], trigger_mode="multiple", **QUIET)

    @handler(Role.ENGINEER)
    def show_picture(self, visitor: Visitor, source: str | None, text: str) -> Markup:
        """One of the pictures to draw on. Raises DataError if there is none."""
        pictures = find_pictures(self.training.sources.path(source), label="good") if source else []
        if not pictures:
            raise DataError(words.no_source)
        height, width = read_raw(pictures[0].path).shape[:2]
        address = visitor.served.put(partial(_small, pictures[0].path), "image/jpeg")
        visitor.tab[ON_SHOW] = address, (width, height)
        return _canvas(visitor, text, "rectangle")

    @handler(Role.ENGINEER)
    def draw(self, visitor: Visitor, text: str) -> Updates:
        """What was drawn, as fractions of the picture. Raises DataError, SettingsError."""
        if ON_SHOW not in visitor.tab:
            raise DataError(words.no_source)
        tool = str(visitor.event.get("tool"))
        text = _drawn(text, tool, visitor.event, visitor.tab[ON_SHOW][1])
        return {self.text: text, self.canvas: _canvas(visitor, text, tool)}


def _small(file: Path) -> bytes:
    return file_picture(file, partial(shrink, longer_side_px=SHOWN_PX))


def _drawn(text: str, tool: str, event: dict[str, Any], picture: tuple[int, int]) -> str:
    """The changes to the recipe with what a tool has drawn on a picture of this width and height."""
    if tool == "rectangle":
        left, top, right, bottom = (edge for point in _points(event, 2, 2) for edge in point)
        if right - left < SMALLEST or bottom - top < SMALLEST:
            raise DataError(words.too_small)
        return changed(text, RECTANGLE, json.dumps([left, top, round(right - left, 4), round(bottom - top, 4)]))
    if tool == "clear":
        for key in (RECTANGLE, OUTLINES, IGNORED, DRAWN_ON):
            text = changed(text, key, "")
        return text
    found = read_changes(text)
    areas = {key: areas_in(found.get(key, "")) for key in (OUTLINES, IGNORED)}
    if tool == "brush":
        width = min(max(_number(event.get("width")), BRUSHES[0]), BRUSHES[-1])
        course = cv2.approxPolyDP(np.array(_points(event, 1), np.float32), width / 20, closed=False)
        points = [[round(float(one), 4) for one in point] for point in course.reshape(-1, 2)]
        areas[IGNORED].append({"points": points, "width": width})
    elif tool in ("outline", "ignore"):
        corners = _points(event, 3)
        if min(np.ptp(corners, axis=0)) < SMALLEST:
            raise DataError(words.too_small)
        areas[OUTLINES if tool == "outline" else IGNORED].append({"points": corners})
    else:
        raise DataError(words.not_drawn)
    for key, drawn in areas.items():
        text = changed(text, key, json.dumps(drawn) if drawn else "")
    return changed(text, DRAWN_ON, json.dumps(picture))


def _points(event: dict[str, Any], least: int, most: int = 2000) -> list[list[float]]:
    """Where the pointer was, x and y within the picture. Raises DataError."""
    numbers = [round(min(max(_number(one), 0.0), 1.0), 4) for one in str(event.get("points") or "").split()]
    points = [list(point) for point in zip(numbers[::2], numbers[1::2], strict=False)]
    if not least <= len(points) <= most or len(numbers) % 2:
        raise DataError(words.not_drawn)
    return points


def _number(said: Any) -> float:
    try:
        return float(said)
    except (TypeError, ValueError) as error:
        raise DataError(words.not_drawn) from error


def _canvas(visitor: Visitor, text: str, tool: str) -> Markup:
    address, (width, height) = visitor.tab[ON_SHOW]
    found = read_changes(text)
    shapes = [
        {"kind": kind, "width": None, **one}
        for kind, key in (("outline", OUTLINES), ("ignored", IGNORED))
        for one in areas_in(found.get(key, ""))
    ]
    return render(
        "train_settings/region.html",
        words=words,
        address=address,
        width=width,
        height=height,
        rectangle=rectangle_in(found.get(RECTANGLE, "")),
        shapes=shapes,
        tool=tool,
        brushes=BRUSHES,
    )
