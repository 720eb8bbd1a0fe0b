"""Inspect: drop pictures, see each verdict at a glance, look closer, ask what-if, export."""

from __future__ import annotations

import html
from collections.abc import Iterator
from time import monotonic
from typing import Any

import gradio as gr

from defectflow.errors import DataError
from defectflow.store import Role, Seen
from defectflow_ui.inspection import Inspection
from defectflow_ui.pages import inspect_view as view
from defectflow_ui.station import Station
from defectflow_ui.theme import block, clicks
from defectflow_ui.visitors import Visitor
from defectflow_ui.words import inspect as words

INSPECTION = "inspect.inspection"
SOURCE = "ui"
SHOWN_EVERY_S = 0.4
Updates = dict[Any, Any]


def build(station: Station) -> None:
    """Drop zone, verdicts and gallery on the left; the chosen part, what-if and exports on the right."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=400):
            zone = block(
                view.drop_zone(station.store.settings.pictures != "none"),
                elem_id="drop-zone",
                events="station.dropZone(element, trigger, 'dropped')",
            )
            with gr.Row():
                status = block(elem_id="inspect-status")
                stop = gr.Button(words.stop, visible=False, size="sm", elem_id="inspect-stop")
            counts = block(elem_id="inspect-counts", events=clicks("only"))
            order = gr.Dropdown(
                list(words.orders), value="worst", label=words.order, elem_id="inspect-order", container=False
            )
            gallery = block(view.nothing_yet(), elem_id="gallery", events=clicks("number"))
        with gr.Column(scale=6, min_width=440):
            part = block(view.nothing_chosen(), elem_id="part", events=clicks("step"))
            with gr.Group(visible=False) as asking:
                what_if = gr.Slider(
                    0, 1, 0.5, label=words.what_if, info=words.what_if_info, elem_id="what-if", buttons=[]
                )
                flips = block(elem_id="flips")
                reset = gr.Button(words.what_if_reset, size="sm", elem_id="what-if-reset")
            with gr.Row(visible=False) as exporting:
                as_table = gr.Button(words.export_csv, size="sm", elem_id="export-csv")
                as_pictures = gr.Button(words.export_zip, size="sm", elem_id="export-zip")
                clear = gr.Button(words.clear, size="sm", elem_id="inspect-clear")
            download = block(elem_id="inspect-download")

    def overview(inspection: Inspection) -> Updates:
        return {counts: view.counts(inspection), gallery: view.gallery(inspection), flips: view.flips(inspection)}

    def whole(inspection: Inspection) -> Updates:
        return overview(inspection) | {part: view.part(inspection)}

    def current(visitor: Visitor) -> Inspection:
        inspection = visitor.tab.get(INSPECTION)
        if not isinstance(inspection, Inspection):
            raise DataError(words.nothing_yet)
        return inspection

    @station.handler(Role.OPERATOR)
    def judge(visitor: Visitor) -> Iterator[Updates]:
        drop = visitor.session.drops.get(str(visitor.event.get("drop")))
        if drop is None:
            raise DataError(words.nothing_yet)
        inspector = station.bundles.inspector()

        def record(seen: list[Seen]) -> None:
            station.store.record(inspector.card, seen, by=visitor.user, source=SOURCE)

        inspection = Inspection(inspector, drop, visitor.shelf, record)
        if isinstance(before := visitor.tab.get(INSPECTION), Inspection):
            before.close()
        visitor.tab[INSPECTION] = inspection
        inspection.expected = int(visitor.event.get("expected", 0))
        shown_at = -SHOWN_EVERY_S
        yield {stop: gr.Button(visible=True), download: "", asking: gr.Group(visible=False)}
        for fresh in inspection.run():
            if inspection.chosen is None and fresh:
                inspection.chosen = fresh[0].number
                yield whole(inspection) | {status: view.status(inspection)}
            elif fresh and monotonic() - shown_at > SHOWN_EVERY_S + len(inspection.rows) / 500:
                shown_at = monotonic()
                yield overview(inspection) | {status: view.status(inspection)}
        if inspection.chosen == 0 and (worst := inspection.shown()):
            inspection.chosen = worst[0].number
        low, high = view.what_if_range(inspection)
        threshold = inspection.calibration.threshold.value
        yield whole(inspection) | {
            status: view.status(inspection),
            stop: gr.Button(visible=False),
            asking: gr.Group(visible=True),
            exporting: gr.Row(visible=True),
            what_if: gr.Slider(low, high, threshold, step=(high - low) / 1000),
        }

    @station.handler(Role.OPERATOR)
    def stop_judging(visitor: Visitor) -> None:
        current(visitor).stopping.set()

    @station.handler(Role.OPERATOR)
    def choose(visitor: Visitor) -> Updates:
        inspection = current(visitor)
        inspection.chosen = int(visitor.event.get("number", -1))
        return {part: view.part(inspection), gallery: view.gallery(inspection)}

    @station.handler(Role.OPERATOR)
    def step(visitor: Visitor) -> Updates:
        inspection = current(visitor)
        inspection.step(1 if str(visitor.event.get("step")) == "1" else -1)
        return {part: view.part(inspection), gallery: view.gallery(inspection)}

    @station.handler(Role.OPERATOR)
    def filter_by(visitor: Visitor) -> Updates:
        inspection, only = current(visitor), str(visitor.event.get("only"))
        inspection.only = None if only in ("all", inspection.only) else only
        return overview(inspection)

    @station.handler(Role.OPERATOR)
    def sort_by(visitor: Visitor, wanted: str) -> Updates:
        inspection = current(visitor)
        inspection.order = next((value for _, value in words.orders if value == wanted), "worst")
        return overview(inspection)

    @station.handler(Role.OPERATOR)
    def ask(visitor: Visitor, threshold: float) -> Updates:
        inspection = current(visitor)
        inspection.what_if = float(threshold)
        return whole(inspection)

    @station.handler(Role.OPERATOR)
    def stop_asking(visitor: Visitor) -> Updates:
        inspection = current(visitor)
        inspection.what_if = None
        inspection.only = None if inspection.only == "flip" else inspection.only
        return whole(inspection) | {what_if: inspection.calibration.threshold.value}

    @station.handler(Role.OPERATOR)
    def export_table(visitor: Visitor) -> str:
        return view.download(current(visitor).export_csv())

    @station.handler(Role.OPERATOR)
    def export_pictures(visitor: Visitor) -> Iterator[str]:
        inspection = current(visitor)
        for done, address in inspection.export_zip():
            said = words.drawing(done, len(inspection.rows))
            yield f"<p>{html.escape(said)}</p>" if address is None else view.download(address)

    @station.handler(Role.OPERATOR)
    def forget(visitor: Visitor) -> Updates:
        current(visitor).close()
        del visitor.tab[INSPECTION]
        return {
            **dict.fromkeys((status, counts, flips, download), ""),
            gallery: view.nothing_yet(),
            part: view.nothing_chosen(),
            asking: gr.Group(visible=False),
            exporting: gr.Row(visible=False),
        }

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    seen = [counts, gallery, flips, part]
    zone.dropped(judge, outputs=[*seen, status, stop, asking, exporting, what_if, download], **quiet)
    stop.click(stop_judging, **quiet)
    gallery.number(choose, outputs=[part, gallery], **quiet)
    part.step(step, outputs=[part, gallery], **quiet)
    counts.only(filter_by, outputs=seen, **quiet)
    order.input(sort_by, inputs=order, outputs=seen, **quiet)
    what_if.input(ask, inputs=what_if, outputs=seen, trigger_mode="always_last", **quiet)
    reset.click(stop_asking, outputs=[*seen, what_if], **quiet)
    as_table.click(export_table, outputs=download, **quiet)
    as_pictures.click(export_pictures, outputs=download, **quiet)
    clear.click(forget, outputs=[*seen, status, asking, exporting, download], **quiet)
