"""The pages, in the order of their tabs. Each is a module with `words` (its module in words/) and `build(station)`."""

from __future__ import annotations

from typing import Protocol

from defectflow_ui.pages import calibrate, inspect, models, train
from defectflow_ui.station import Station


class Words(Protocol):
    tab: str


class Page(Protocol):
    """What a page's module has."""

    words: Words

    def build(self, station: Station) -> None: ...


PAGES: tuple[Page, ...] = (inspect, train, calibrate, models)
