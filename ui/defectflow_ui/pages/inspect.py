"""Inspect: drop pictures, see each verdict at a glance, look closer, ask what-if, export."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import gradio as gr
from markupsafe import Markup

from defectflow.errors import DataError, DefectFlowError
from defectflow.store import Role, standing_answers
from defectflow_ui.inspecting.inspection import TILES, Inspection, Order
from defectflow_ui.markup import elements
from defectflow_ui.markup.elements import block, clicks, problem
from defectflow_ui.pages import answering
from defectflow_ui.pages import inspect_gallery as pictures
from defectflow_ui.pages import inspect_view as view
from defectflow_ui.pages.first_steps import first_steps
from defectflow_ui.pages.inspect_exports import InspectExports
from defectflow_ui.pages.inspect_parts import InspectParts
from defectflow_ui.pages.inspect_scale import InspectScale
from defectflow_ui.pages.inspect_tab import PREFIX, begin, current, forget, found, is_at_work
from defectflow_ui.pages.inspect_zone import InspectZone
from defectflow_ui.pages.page import QUIET, Page, Updates, choices
from defectflow_ui.station import handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect as words

SHOWN_EVERY_S = 0.4


class InspectPage(Page):
    """Drop zone, verdicts, what-if and gallery on the left; the chosen part on the right."""

    tab = words.tab

    def lay_out(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=400):
                self.steps = block(elem_id="first-steps", events=clicks("hide"))
                self.entry = InspectZone(self.station)
                self.status = block(elem_id="inspect-status", events=clicks("stop"))
                self.counts = block(elem_id="inspect-counts", events=clicks("only"))
                with gr.Column(visible=False, elem_id="asking") as self.asking:
                    self._lay_out_asking()
                self.gallery = block(elem_id="gallery", events=clicks("number", "more"))
                self.parts = InspectParts(self.station)  # below, so that verdicts are in sight
            with gr.Column(scale=6, min_width=440):
                self.part = block(elem_id="part", events=clicks("step"))
                self.answers = answering.answer_block("inspect-answers")
                self.scale = InspectScale(self.station)

    def _lay_out_asking(self) -> None:
        """What can be asked once something was judged."""
        self.what_if = gr.Slider(0, 1, 0.5, label=words.what_if, info=words.what_if_info, elem_id="what-if", buttons=[])
        self.flips = block(elem_id="flips", events=clicks("reset"))
        with gr.Row():
            self.order = gr.Dropdown(
                choices(words.orders),
                value="worst",
                show_label=False,
                container=False,
                min_width=140,
                elem_id="inspect-order",
            )
            self.exports = InspectExports(self.station)
            self.clear = gr.Button(words.clear, size="sm", min_width=80, elem_id="inspect-clear")
        self.exports.lay_out_download()

    def connect(self) -> None:
        seen = [self.status, self.counts, self.gallery, self.flips, self.part, self.answers]
        opened = [self.steps, *self.entry.shown, self.status, self.gallery, self.part, self.answers]
        self.station.on_open(self.open_page, outputs=opened)
        self.steps.hide(self.hide_steps, outputs=self.steps, **QUIET)
        of_product = [*self.entry.shown, *self.parts.shown, *self.scale.shown]
        self.entry.product.input(self.choose_product, inputs=self.entry.product, outputs=of_product, **QUIET)
        # Several at a time: what is dropped while another drop is judged, and each of the camera's pictures.
        after = [self.steps, *seen, self.asking, self.what_if, self.exports.download]
        self.entry.zone.dropped(self.judge, outputs=after, trigger_mode="multiple", **QUIET)
        self.entry.zone.reloaded(self.take_over, outputs=[*after, *of_product], **QUIET)
        self.status.stop(self.stop, outputs=self.status, **QUIET)
        # "multiple": what is clicked or pressed before the last answer counts as well.
        chosen = [self.part, self.answers]
        self.gallery.number(self.choose, outputs=chosen, trigger_mode="multiple", **QUIET)
        self.gallery.more(self.show_more, outputs=self.gallery, **QUIET)
        self.part.step(self.step, outputs=[*chosen, self.gallery], trigger_mode="multiple", **QUIET)
        self.answers.answer(self.answer, outputs=[*chosen, self.gallery], trigger_mode="multiple", **QUIET)
        self.counts.only(self.filter_by, outputs=seen, **QUIET)
        self.order.input(self.sort_by, inputs=self.order, outputs=seen, **QUIET)
        self.what_if.input(self.ask, inputs=self.what_if, outputs=seen, trigger_mode="always_last", **QUIET)
        self.flips.reset(self.stop_asking, outputs=[*seen, self.what_if], **QUIET)
        self.entry.connect()
        self.exports.connect()
        self.parts.connect()
        self.scale.connect()
        self.clear.click(self.clear_all, outputs=[*seen, self.steps, self.asking, self.exports.download], **QUIET)

    # ---- what is shown ------------------------------------------------------------------------------------------

    def _overview(self, inspection: Inspection) -> Updates:
        return {
            self.status: view.status(inspection),
            self.counts: pictures.counts(inspection),
            self.gallery: self._gallery(inspection),
            self.flips: view.flips(inspection),
        }

    def _gallery(self, inspection: Inspection) -> str:
        recorded = {row.recorded for row in inspection.rows if row.recorded is not None}
        return pictures.gallery(inspection, self.station.store.reviews.standing_on(recorded))

    def _chosen(self, visitor: Visitor, inspection: Inspection, note: str = "") -> Updates:
        """The part and its answers, always together: a key must not fall on a part that is no longer shown."""
        row, station = inspection.find(inspection.chosen), self.station
        if row is None:
            return {self.part: view.part(inspection), self.answers: ""}
        if row.recorded is None:
            return {self.part: view.part(inspection) + elements.note(words.not_kept), self.answers: ""}
        about = answering.find(station, row.recorded)
        said, kind = Markup(), None
        if about is not None:
            reviews = station.store.reviews.of_part(about.bundle_id, about.part)
            standing = standing_answers(reviews).get(about.part)
            said, kind = answering.said(reviews), None if standing is None else standing.kind
        bar = answering.bar(station, visitor, about, page="inspect", note=note)
        return {self.part: view.part(inspection, kind) + said, self.answers: bar}

    def _whole(self, visitor: Visitor, inspection: Inspection) -> Updates:
        return self._overview(inspection) | self._chosen(visitor, inspection)

    def _nothing(self) -> Updates:
        return {self.gallery: pictures.nothing_yet(), self.part: view.nothing_chosen()}

    def _slider(self, inspection: Inspection) -> gr.Slider:
        if inspection.inspector.is_open:  # each picture's product has a threshold of its own
            return gr.Slider(visible=False)
        low, high = view.what_if_range(inspection)
        threshold = inspection.calibration.threshold.value if inspection.what_if is None else inspection.what_if
        return gr.Slider(low, high, round(threshold, 3), step=0.001, visible=True)

    def _ended(self, visitor: Visitor, inspection: Inspection) -> Updates:
        if found(visitor) is not inspection:  # cleared meanwhile
            return {self.status: gr.skip()}
        asking = {self.asking: gr.Column(visible=True), self.what_if: self._slider(inspection)}
        return self._whole(visitor, inspection) | asking

    def _of_product(self, visitor: Visitor) -> Updates:
        return self.entry.of_product(visitor) | self.parts.of_product(visitor) | self.scale.of_product(visitor)

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> Updates:
        obstacle, updates = view.obstacle(self.station, visitor), self.entry.of_product(visitor)
        inspection = found(visitor)
        if inspection is not None:  # what was said meanwhile on other pages, and by others
            updates |= {self.steps: "", self.gallery: self._gallery(inspection)}
            if not is_at_work(self.station, visitor, inspection):
                updates[self.status] = view.status(inspection) + elements.notice(words.others_at_work)
            return updates | self._chosen(visitor, inspection)
        updates[self.steps] = first_steps(self.station, visitor)
        return updates | (dict.fromkeys((self.gallery, self.part), "") if obstacle else self._nothing())

    @handler(Role.VIEWER)
    def hide_steps(self, visitor: Visitor) -> str:
        visitor.session.knows_its_way = True
        return ""

    @handler(Role.OPERATOR)
    def choose_product(self, visitor: Visitor, wanted: str) -> Updates:
        self.entry.choose(visitor, str(wanted))
        return self._of_product(visitor)

    @handler(Role.OPERATOR)
    def take_over(self, visitor: Visitor) -> Updates:
        """The page was loaded anew: go on with what it showed before."""
        if not visitor.session.take_over(str(visitor.event.get("was")), visitor.tab_name, PREFIX):
            return {self.status: gr.skip()}
        updates, inspection = self._of_product(visitor), found(visitor)
        return updates if inspection is None else updates | self._ended(visitor, inspection)

    # ---- judging ------------------------------------------------------------------------------------------------

    @handler(Role.OPERATOR)
    def judge(self, visitor: Visitor) -> Iterator[Updates]:
        drop = visitor.session.drops.get(str(visitor.event.get("drop")))
        if drop is None:
            raise DataError(words.no_longer)
        try:
            inspection = begin(self.station, visitor)
        except DefectFlowError as error:
            drop.close()  # nobody will judge it, so nothing more of it need be sent
            yield {self.status: problem(str(error))}
            return
        run = inspection.run(drop, visitor.number("expected") or 1)
        if run is None:
            return
        shown_at, shown = 0.0, None
        try:
            for fresh in run:
                if fresh and inspection.chosen != shown:
                    shown = inspection.chosen
                    # The verdict first: its details take a moment to draw.
                    yield self._overview(inspection) | {self.exports.download: "", self.steps: ""}
                    yield self._chosen(visitor, inspection)
                elif fresh and monotonic() - shown_at > SHOWN_EVERY_S:
                    shown_at = monotonic()
                    yield self._overview(inspection)
        except Exception:  # whatever it is, the page says how far it got before the message comes
            yield self._ended(visitor, inspection)
            raise
        yield self._ended(visitor, inspection)

    @handler(Role.OPERATOR)
    def stop(self, visitor: Visitor) -> str:
        inspection = current(visitor)
        inspection.stop()
        return view.status(inspection)

    @handler(Role.OPERATOR)
    def clear_all(self, visitor: Visitor) -> Updates:
        forget(visitor)
        emptied = (self.status, self.counts, self.flips, self.exports.download, self.answers)
        steps = {self.steps: first_steps(self.station, visitor), self.asking: gr.Column(visible=False)}
        return {**dict.fromkeys(emptied, ""), **self._nothing(), **steps}

    # ---- looking closer -----------------------------------------------------------------------------------------

    @handler(Role.OPERATOR)
    def choose(self, visitor: Visitor) -> Updates:
        inspection = current(visitor)
        inspection.choose(visitor.number("number"))
        return self._chosen(visitor, inspection)  # its tile is marked in the browser

    @handler(Role.OPERATOR)
    def step(self, visitor: Visitor) -> Updates:
        inspection = current(visitor)
        tiles = inspection.tiles
        inspection.step(1 if visitor.number("step") == 1 else -1)
        grown = {self.gallery: self._gallery(inspection)} if inspection.tiles > tiles else {}
        return self._chosen(visitor, inspection) | grown

    @handler(Role.OPERATOR)
    def answer(self, visitor: Visitor) -> Updates:
        inspection, (_, note) = current(visitor), answering.take(self.station, visitor)
        inspection.choose(inspection.chosen)  # whoever answers about a picture wants to see it
        return self._chosen(visitor, inspection, note) | {self.gallery: self._gallery(inspection)}

    @handler(Role.OPERATOR)
    def show_more(self, visitor: Visitor) -> str:
        inspection = current(visitor)
        inspection.tiles += TILES
        return self._gallery(inspection)

    @handler(Role.OPERATOR)
    def filter_by(self, visitor: Visitor) -> Updates:
        inspection, only = current(visitor), str(visitor.event.get("only"))
        inspection.only = None if only in ("all", inspection.only) else only
        inspection.tiles = TILES
        return self._overview(inspection)

    @handler(Role.OPERATOR)
    def sort_by(self, visitor: Visitor, wanted: Order) -> Updates:
        inspection = current(visitor)
        inspection.order, inspection.tiles = wanted, TILES
        return self._overview(inspection)

    # ---- asking what-if -----------------------------------------------------------------------------------------

    @handler(Role.OPERATOR)
    def ask(self, visitor: Visitor, threshold: float) -> Updates:
        inspection = current(visitor)
        inspection.what_if = float(threshold)
        return self._whole(visitor, inspection)

    @handler(Role.OPERATOR)
    def stop_asking(self, visitor: Visitor) -> Updates:
        inspection = current(visitor)
        inspection.what_if = None
        inspection.only = None if inspection.only == "flip" else inspection.only
        return self._whole(visitor, inspection) | {self.what_if: self._slider(inspection)}
