"""Inspect: drop pictures, see each verdict at a glance, look closer, ask what-if, export."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import gradio as gr

from defectflow.errors import DataError, DefectFlowError
from defectflow.store import Role, Seen
from defectflow_ui.inspecting.inspection import TILES, Inspection, Order
from defectflow_ui.markup.theme import block, clicks, problem
from defectflow_ui.pages import answering
from defectflow_ui.pages import inspect_gallery as pictures
from defectflow_ui.pages import inspect_view as view
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect as words

INSPECTION = "inspect.inspection"
SOURCE = "ui"
SHOWN_EVERY_S = 0.4
MOST_ROWS = 5000
"""Pictures of one tab; beyond them it has to be cleared."""
Updates = dict[Any, Any]


def build(station: Station) -> None:
    """Drop zone, verdicts, what-if and gallery on the left; the chosen part on the right."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=400):
            zone = block(elem_id="drop-zone", events="station.dropZone(element, trigger, 'dropped')")
            status = block(elem_id="inspect-status", events=clicks("stop"))
            counts = block(elem_id="inspect-counts", events=clicks("only"))
            with gr.Column(visible=False, elem_id="asking") as asking:
                what_if = gr.Slider(
                    0, 1, 0.5, label=words.what_if, info=words.what_if_info, elem_id="what-if", buttons=[]
                )
                flips = block(elem_id="flips", events=clicks("reset"))
                with gr.Row():
                    order = gr.Dropdown(
                        list(words.orders),
                        value="worst",
                        show_label=False,
                        container=False,
                        min_width=140,
                        elem_id="inspect-order",
                    )
                    as_table = gr.Button(words.export_csv, size="sm", min_width=80, elem_id="export-csv")
                    as_pictures = gr.Button(words.export_zip, size="sm", min_width=80, elem_id="export-zip")
                    clear = gr.Button(words.clear, size="sm", min_width=80, elem_id="inspect-clear")
                download = block(elem_id="inspect-download", events=clicks("stop"))
            gallery = block(elem_id="gallery", events=clicks("number", "more"))
        with gr.Column(scale=6, min_width=440):
            part = block(elem_id="part", events=clicks("step"))
            answers = answering.answer_block("inspect-answers")

    def overview(inspection: Inspection) -> Updates:
        return {
            status: view.status(inspection),
            counts: pictures.counts(inspection),
            gallery: pictures.gallery(inspection),
            flips: view.flips(inspection),
        }

    def chosen(visitor: Visitor, inspection: Inspection, note: str = "") -> Updates:
        """The part and its answers, always together: a key must not fall on a part that is no longer shown."""
        row = inspection.find(inspection.chosen)
        if row is None:
            return {part: view.part(inspection), answers: ""}
        about = answering.find(station, row.recorded)
        said = "" if about is None else answering.said(station.store.reviews.of_part(about.bundle_id, about.part))
        bar = answering.bar(station, visitor, about, page="inspect", note=note)
        return {part: view.part(inspection) + said, answers: bar}

    def whole(visitor: Visitor, inspection: Inspection) -> Updates:
        return overview(inspection) | chosen(visitor, inspection)

    def nothing() -> Updates:
        return {gallery: pictures.nothing_yet(), part: view.nothing_chosen()}

    def slider(inspection: Inspection) -> gr.Slider:
        low, high = view.what_if_range(inspection)
        threshold = inspection.calibration.threshold.value if inspection.what_if is None else inspection.what_if
        return gr.Slider(low, high, round(threshold, 3), step=0.001)

    def current(visitor: Visitor) -> Inspection:
        inspection = visitor.tab.get(INSPECTION)
        if not isinstance(inspection, Inspection):
            raise DataError(words.no_longer)
        return inspection

    def begin(visitor: Visitor) -> Inspection:
        """The tab's inspection, or a new one where there is none or another calibration is active by now."""
        inspector = station.bundles.inspector()

        def record(seen: list[Seen]) -> list[int]:
            return station.store.record(inspector.card, seen, by=visitor.user, source=SOURCE)

        with visitor.tab.lock:  # two drops at once are one inspection
            before, notice = visitor.tab.get(INSPECTION), None
            if isinstance(before, Inspection):
                if before.inspector is inspector:
                    if len(before.rows) >= MOST_ROWS:
                        raise DataError(words.clear_first(MOST_ROWS))
                    return before
                before.close()
                notice = words.other_calibration(len(before.rows)) if before.rows else None
            visitor.tab[INSPECTION] = inspection = Inspection(inspector, visitor.served, record)
        inspection.notice = notice
        return inspection

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor) -> Updates:
        obstacle = view.obstacle(station, visitor)
        updates: Updates = {zone: obstacle or view.drop_zone(station)}
        if isinstance(visitor.tab.get(INSPECTION), Inspection):
            return updates
        return updates | (dict.fromkeys((gallery, part), "") if obstacle else nothing())

    @station.handler(Role.OPERATOR)
    def judge(visitor: Visitor) -> Iterator[Updates]:
        drop = visitor.session.drops.get(str(visitor.event.get("drop")))
        if drop is None:
            raise DataError(words.no_longer)
        try:
            inspection = begin(visitor)
        except DefectFlowError:
            drop.close()  # nobody will judge it, so nothing more of it need be sent
            raise
        run = inspection.run(drop, visitor.number("expected") or 1)
        if run is None:
            return
        shown_at, shown = 0.0, None
        try:
            for fresh in run:
                if fresh and inspection.chosen != shown:
                    shown = inspection.chosen
                    yield overview(inspection) | {download: ""}  # the verdict first: its details take a moment to draw
                    yield chosen(visitor, inspection)
                elif fresh and monotonic() - shown_at > SHOWN_EVERY_S:
                    shown_at = monotonic()
                    yield overview(inspection)
        except Exception:  # whatever it is, the page says how far it got before the message comes
            yield ended(visitor, inspection)
            raise
        yield ended(visitor, inspection)

    def ended(visitor: Visitor, inspection: Inspection) -> Updates:
        if visitor.tab.get(INSPECTION) is not inspection:  # cleared meanwhile
            return {status: gr.skip()}
        return whole(visitor, inspection) | {asking: gr.Column(visible=True), what_if: slider(inspection)}

    @station.handler(Role.OPERATOR)
    def stop(visitor: Visitor) -> str:
        inspection = current(visitor)
        inspection.stop()
        return view.status(inspection)

    @station.handler(Role.OPERATOR)
    def choose(visitor: Visitor) -> Updates:
        inspection = current(visitor)
        inspection.choose(visitor.number("number"))
        return chosen(visitor, inspection)  # its tile is marked in the browser

    @station.handler(Role.OPERATOR)
    def step(visitor: Visitor) -> Updates:
        inspection = current(visitor)
        tiles = inspection.tiles
        inspection.step(1 if visitor.number("step") == 1 else -1)
        grown = {gallery: pictures.gallery(inspection)} if inspection.tiles > tiles else {}
        return chosen(visitor, inspection) | grown

    @station.handler(Role.OPERATOR)
    def answer(visitor: Visitor) -> Updates:
        inspection, (_, note) = current(visitor), answering.take(station, visitor)
        inspection.choose(inspection.chosen)  # whoever answers about a picture wants to see it
        return chosen(visitor, inspection, note)

    @station.handler(Role.OPERATOR)
    def show_more(visitor: Visitor) -> str:
        inspection = current(visitor)
        inspection.tiles += TILES
        return pictures.gallery(inspection)

    @station.handler(Role.OPERATOR)
    def filter_by(visitor: Visitor) -> Updates:
        inspection, only = current(visitor), str(visitor.event.get("only"))
        inspection.only = None if only in ("all", inspection.only) else only
        inspection.tiles = TILES
        return overview(inspection)

    @station.handler(Role.OPERATOR)
    def sort_by(visitor: Visitor, wanted: Order) -> Updates:
        inspection = current(visitor)
        inspection.order, inspection.tiles = wanted, TILES
        return overview(inspection)

    @station.handler(Role.OPERATOR)
    def ask(visitor: Visitor, threshold: float) -> Updates:
        inspection = current(visitor)
        inspection.what_if = float(threshold)
        return whole(visitor, inspection)

    @station.handler(Role.OPERATOR)
    def stop_asking(visitor: Visitor) -> Updates:
        inspection = current(visitor)
        inspection.what_if = None
        inspection.only = None if inspection.only == "flip" else inspection.only
        return whole(visitor, inspection) | {what_if: slider(inspection)}

    @station.handler(Role.OPERATOR)
    def export_table(visitor: Visitor) -> str:
        return view.download(current(visitor).export_csv(), words.export_csv)

    @station.handler(Role.OPERATOR)
    def export_pictures(visitor: Visitor) -> Iterator[str]:
        inspection = current(visitor)
        ready = False
        try:
            for drawn in inspection.export_zip():
                ready = drawn.address is not None
                yield view.drawing(drawn, len(inspection.rows))
        except DataError as error:
            yield problem(str(error))
            return
        if not ready:  # stopped
            yield view.note(words.export_stopped)

    @station.handler(Role.OPERATOR)
    def stop_export(visitor: Visitor) -> None:
        current(visitor).exporting = False

    @station.handler(Role.OPERATOR)
    def forget(visitor: Visitor) -> Updates:
        current(visitor).close()
        del visitor.tab[INSPECTION]
        return {
            **dict.fromkeys((status, counts, flips, download, answers), ""),
            **nothing(),
            asking: gr.Column(visible=False),
        }

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    seen = [status, counts, gallery, flips, part, answers]
    station.on_open(open_page, outputs=[zone, gallery, part])
    # Several at a time: what is dropped while another drop is judged, and each of the camera's pictures.
    zone.dropped(judge, outputs=[*seen, asking, what_if, download], trigger_mode="multiple", **quiet)
    status.stop(stop, outputs=status, **quiet)
    # "multiple": what is clicked or pressed before the last answer counts as well.
    gallery.number(choose, outputs=[part, answers], trigger_mode="multiple", **quiet)
    gallery.more(show_more, outputs=gallery, **quiet)
    part.step(step, outputs=[part, answers, gallery], trigger_mode="multiple", **quiet)
    answers.answer(answer, outputs=[part, answers], trigger_mode="multiple", **quiet)
    counts.only(filter_by, outputs=seen, **quiet)
    order.input(sort_by, inputs=order, outputs=seen, **quiet)
    what_if.input(ask, inputs=what_if, outputs=seen, trigger_mode="always_last", **quiet)
    flips.reset(stop_asking, outputs=[*seen, what_if], **quiet)
    as_table.click(export_table, outputs=download, **quiet)
    download.stop(stop_export, **quiet)
    as_pictures.click(export_pictures, outputs=download, **quiet)
    clear.click(forget, outputs=[*seen, asking, download], **quiet)
