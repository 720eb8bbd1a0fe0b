"""A station, and one person's browser at it, without server and browser. Shared by the tests of the pages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
from defectflow_ui.pages.inspect_tab import TRIAL
from defectflow_ui.settings import LOCAL_USER, Settings
from defectflow_ui.start import open_station
from defectflow_ui.visits.uploads import Arrived
from defectflow_ui.web.frame import build_frame


class Desk:
    """A station, and one person's browser at it."""

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self.station = open_station(Settings(folder, data=data))
        self.blocks = build_frame(self.station)
        self.session = self.station.sessions.begin(LOCAL_USER)
        self.headers: dict[str, str] = {}
        """Of each request."""

    def request(self, tab: str = "tab") -> Any:
        """What Gradio says of who asks, from a tab of this browser."""
        cookies = {self.station.sessions.cookie: self.session.token}
        return SimpleNamespace(cookies=cookies, headers=self.headers, session_hash=tab)

    def call(self, elem_id: str, event: str, *values: Any, said: dict[str, Any] | None = None, tab: str = "tab") -> Any:
        """What the handler of this event gives; a dictionary's keys are the names of what it changes."""
        names = {number: one.elem_id for number, one in self.blocks.blocks.items()}
        functions = [
            one.fn
            for one in self.blocks.fns.values()
            if any(names.get(number) == elem_id and on == event for number, on in one.targets)
            and len(one.inputs) == len(values)
        ]
        assert functions, f"{elem_id} has no {event} with {len(values)} inputs"
        request = self.request(tab)
        given = [function(request, gr.EventData(None, said), *values) for function in functions if function is not None]
        if not all(isinstance(each, dict) for each in given):
            (single,) = given
            return single
        return {one.elem_id: value for each in given for one, value in each.items()}

    def drop(self, *files: Path, folder: Path | None = None) -> dict[str, Any]:
        """Files that have arrived -> what the browser says of them. What is judged of them is kept.

        `folder`: was dropped as a whole, so that names tell where in it a file lies.
        """
        self.session.tab("tab")[TRIAL] = False
        drop = self.session.drops.open(self.station.settings.limits)
        for file in files:
            drop._add(Arrived(file.name if folder is None else file.relative_to(folder).as_posix(), file))
        drop.end()
        return {"drop": drop.token, "expected": str(len(files))}
