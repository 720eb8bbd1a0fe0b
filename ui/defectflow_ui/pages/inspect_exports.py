"""The exports of the page Inspect: its results as a table, and a ZIP of marked pictures."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from defectflow.errors import DataError
from defectflow.store import Role
from defectflow_ui.markup.elements import block, clicks, note, problem
from defectflow_ui.pages.inspect_tab import current
from defectflow_ui.pages.inspect_view import drawing
from defectflow_ui.pages.page import QUIET
from defectflow_ui.pages.viewer import download
from defectflow_ui.station import Station, handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect as words


class InspectExports:
    """Two buttons, and a place for what they make."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.as_table = gr.Button(words.export_csv, size="sm", min_width=80, elem_id="export-csv")
        self.as_pictures = gr.Button(words.export_zip, size="sm", min_width=80, elem_id="export-zip")

    def lay_out_download(self) -> None:
        self.download = block(elem_id="inspect-download", events=clicks("stop"))

    def connect(self) -> None:
        self.as_table.click(self.export_table, outputs=self.download, **QUIET)
        self.as_pictures.click(self.export_pictures, outputs=self.download, **QUIET)
        self.download.stop(self.stop_export, **QUIET)

    @handler(Role.OPERATOR)
    def export_table(self, visitor: Visitor) -> str:
        return download(current(visitor).export_csv(), words.export_csv)

    @handler(Role.OPERATOR)
    def export_pictures(self, visitor: Visitor) -> Iterator[str]:
        inspection = current(visitor)
        ready = False
        try:
            for drawn in inspection.export_zip():
                ready = drawn.address is not None
                yield drawing(drawn, len(inspection.rows))
        except DataError as error:
            yield problem(str(error))
            return
        if not ready:  # stopped
            yield note(words.export_stopped)

    @handler(Role.OPERATOR)
    def stop_export(self, visitor: Visitor) -> None:
        current(visitor).exporting = False
