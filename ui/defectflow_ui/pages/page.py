"""What every page is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from defectflow_ui.station import Station

Updates = dict[Any, Any]
"""Component -> what it shows from now on."""
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}


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
