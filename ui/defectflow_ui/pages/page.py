"""What every page is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import gradio as gr

from defectflow_ui.station import Station
from defectflow_ui.words import common as words

Updates = dict[Any, Any]
"""Component -> what it shows from now on."""
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""How every event is connected: Gradio's own progress would lay an error over all that the event may change."""


class Page(ABC):
    """One tab. It is made inside Gradio's tab: lays its components out, then connects them with its handlers.

    Handlers are methods with `@handler(role)`; what they share are methods without.
    """

    tab: ClassVar[str]
    """Its label, which also names it."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.lay_out()
        self.connect()

    @abstractmethod
    def lay_out(self) -> None:
        """Make the components, as attributes."""

    @abstractmethod
    def connect(self) -> None:
        """Say which event calls which handler."""


def choices(said: Mapping[str, str]) -> list[tuple[str, str]]:
    """Values with what they are called -> what a Dropdown or Radio takes; the value is the same in every language."""
    return [(text, value) for value, text in said.items()]


def wanting(values: dict[gr.Textbox, str]) -> Updates:
    """For a form that is sent: each field that must not be empty, with what was typed -> what is missing, said there.

    Empty if nothing is missing.
    """
    if all(value.strip() for value in values.values()):
        return {}
    return {field: gr.Textbox(info=None if value.strip() else words.to_be_typed) for field, value in values.items()}
