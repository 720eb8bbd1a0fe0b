"""Review: one part at a time, one key per answer; then thresholds from the answers, looked at before they hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import gradio as gr

from defectflow.bundle import Bundle
from defectflow.errors import CalibrationError, DataError, DefectFlowError, StoreError
from defectflow.store import Inspection, PartInspection, Role, waiting_parts
from defectflow.store.recalibration import Proposal, apply, propose
from defectflow_ui.markup.elements import block, clicks, empty, notice, problem
from defectflow_ui.pages import answering
from defectflow_ui.pages import review_view as view
from defectflow_ui.pages.page import QUIET, Page, Updates, wanting
from defectflow_ui.pages.versions_view import pressed
from defectflow_ui.pages.versions_view import versions as versions_table
from defectflow_ui.station import handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import review as words

CHOSEN, SHOT, SINCE, PROPOSAL = "review.part", "review.shot", "review.since", "review.proposal"
QUEUED = 500


class ReviewPage(Page):
    """The part and its answers above; new thresholds and their versions below."""

    tab = words.tab

    def lay_out(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=420):
                self.part = block(elem_id="review-part", events=clicks("shot"))
            with gr.Column(scale=5, min_width=340):
                self.answers = answering.answer_block("review-answers")
                self.skipped = gr.Checkbox(label=words.skipped, elem_id="review-skipped")
                self.waiting = block(elem_id="review-queue", events=clicks("part"))
        with gr.Accordion(words.thresholds, open=False, elem_id="review-thresholds"):
            gr.Markdown(words.thresholds_about)
            with gr.Row(visible=False, elem_id="review-sampling") as self.sampling:
                self.sampled = gr.Number(
                    label=words.sampled, info=words.sampled_info, minimum=0, maximum=100, elem_id="review-sampled"
                )
                self.sample = gr.Button(words.sample, elem_id="review-sample")
            self.drawn = block(elem_id="review-drawn")
            self._lay_out_preview()
            gr.Markdown(f"#### {words.versions}")
            self.versions = block(elem_id="review-versions", events=clicks("version"))

    def _lay_out_preview(self) -> None:
        """What thresholds are asked for, and whether to use them."""
        with gr.Row():
            self.rate = gr.Number(label=words.rate, minimum=0.01, maximum=99, step=0.5, elem_id="review-rate")
            self.since = gr.Textbox(
                label=words.since, info=words.since_info, placeholder="2026-05-31", elem_id="review-since"
            )
            self.audit_only = gr.Checkbox(
                label=words.audit_only, info=words.audit_only_info, elem_id="review-audit-only"
            )
            self.preview = gr.Button(words.preview, elem_id="review-preview")
        self.proposed = block(elem_id="review-proposal")
        with gr.Row(visible=False) as self.deciding:
            self.name = gr.Textbox(label=words.name, elem_id="review-name")
            self.reason = gr.Textbox(label=words.reason, elem_id="review-reason")
            self.use = gr.Button(words.apply, variant="primary", elem_id="review-apply")
            self.discard = gr.Button(words.discard, elem_id="review-discard")

    def connect(self) -> None:
        skipped, shown = self.skipped, [self.part, self.waiting, self.answers, self.drawn]
        whole = [*shown, self.versions, self.preview]
        self.station.on_open(self.open_page, inputs=skipped, outputs=[*whole, self.rate, self.sampling, self.sampled])
        skipped.input(self.refresh, inputs=skipped, outputs=shown, **QUIET)
        self.part.shot(self.look_at, inputs=skipped, outputs=self.part, trigger_mode="multiple", **QUIET)
        self.waiting.part(self.choose, inputs=skipped, outputs=shown, trigger_mode="multiple", **QUIET)
        self.answers.answer(self.answer, inputs=skipped, outputs=shown, trigger_mode="multiple", **QUIET)
        self.answers.undo(self.take_back, inputs=skipped, outputs=shown, **QUIET)
        self.sample.click(self.sample_from_now_on, inputs=[self.sampled, skipped], outputs=shown, **QUIET)
        self.since.blur(self.count_from, inputs=self.since, outputs=self.drawn, **QUIET)
        wanted, decided = [self.rate, self.since, self.audit_only], [self.proposed, self.deciding]
        self.preview.click(self.look, inputs=wanted, outputs=decided, **QUIET)
        called = [self.name, self.reason]
        self.station.shown_above(
            self.use.click(self.put_to_work, inputs=[skipped, *called], outputs=[*whole, *decided, *called], **QUIET)
        )
        self.discard.click(self.forget, outputs=[*decided, *called], **QUIET)
        self.station.shown_above(
            self.versions.version(self.roll_back, inputs=skipped, outputs=[*whole, self.proposed], **QUIET)
        )

    # ---- the queue ----------------------------------------------------------------------------------------------

    def _shown(
        self, visitor: Visitor, also_skipped: bool, note: str = "", answered: Inspection | None = None
    ) -> Updates:
        """What an answer changes; of the part just answered, also what was kept from the witness."""
        station = self.station
        try:
            bundle = station.bundles.active()
            bundle.card.require_calibration()
        except DefectFlowError as error:
            emptied = dict.fromkeys((self.waiting, self.answers, self.drawn), "")
            return {self.part: empty(words.no_bundle, str(error)), **emptied}
        asked = station.store.reviews.asked(bundle.card.bundle_id)
        parts = waiting_parts(asked, skipped=also_skipped)[:QUEUED]
        current = _current(visitor, parts)
        about = current.worst if current else None
        note += view.revealed(asked, answered)
        return {
            self.part: view.part(station, visitor, current, visitor.tab.get(SHOT), skipped=also_skipped),
            self.waiting: view.queue(station, visitor, parts, current.part if current else None),
            self.answers: answering.queue_bar(station, visitor, about, note=note),
            self.drawn: self._tally(visitor, asked, bundle),
        }

    def _tally(self, visitor: Visitor, asked: Sequence[PartInspection], bundle: Bundle) -> str:
        since = visitor.tab.get(SINCE)
        counted = [one for one in asked if since is None or one.pictures[0].at >= since]
        return view.drawn(counted, bundle, self.station.store.settings.review)

    def _listed(self, visitor: Visitor) -> Updates:
        """What an answer does not change."""
        bundle = self.station.bundles.active_or_none()
        may = visitor.may(Role.ENGINEER)
        table = ""
        if bundle is not None:
            found = self.station.store.versions.all(bundle.card.bundle_id)
            table = versions_table(found, bundle.card, may=may)
        return {self.versions: table, self.preview: gr.Button(interactive=may)}

    @handler(Role.VIEWER)
    def refresh(self, visitor: Visitor, also_skipped: bool) -> Updates:
        return self._shown(visitor, also_skipped)

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor, also_skipped: bool) -> Updates:
        bundle = self.station.bundles.active_or_none()
        percent = None if bundle is None else 100 * bundle.card.rule[0]
        sampling = {
            self.sampling: gr.Row(visible=visitor.may(Role.ENGINEER)),
            self.sampled: 100 * self.station.store.settings.review.audit_rate,
        }
        return self._shown(visitor, also_skipped) | self._listed(visitor) | {self.rate: percent} | sampling

    @handler(Role.VIEWER)
    def choose(self, visitor: Visitor, also_skipped: bool) -> Updates:
        visitor.tab[CHOSEN] = str(visitor.event.get("part"))
        return self._shown(visitor, also_skipped)

    @handler(Role.VIEWER)
    def look_at(self, visitor: Visitor, also_skipped: bool) -> Updates:
        visitor.tab[SHOT] = visitor.number("shot")
        return {self.part: self._shown(visitor, also_skipped)[self.part]}

    @handler(Role.OPERATOR)
    def answer(self, visitor: Visitor, also_skipped: bool) -> Updates:
        about, note = answering.take(self.station, visitor)
        return self._shown(visitor, also_skipped, note, about)

    @handler(Role.OPERATOR)
    def take_back(self, visitor: Visitor, also_skipped: bool) -> Updates:
        bundle_id, reviews = self.station.bundles.active().card.bundle_id, self.station.store.reviews
        asked = {one.part for one in reviews.asked(bundle_id)}  # not what was said on another page meanwhile
        mine = reviews.latest(bundle_id=bundle_id, by=visitor.user, limit=QUEUED)
        latest = next((one for one in mine if one.part in asked), None)
        if latest is None:
            raise StoreError(words.nothing_to_undo)
        reviews.undo(latest.id, by=visitor.user)
        visitor.tab[CHOSEN] = latest.part
        return self._shown(visitor, also_skipped, notice(words.undone))

    # ---- new thresholds -----------------------------------------------------------------------------------------

    @handler(Role.ENGINEER)
    def sample_from_now_on(self, visitor: Visitor, percent: float | None, also_skipped: bool) -> Updates:
        if percent is None:
            raise StoreError(words.no_share)
        settings = self.station.store.settings
        review = settings.review.model_copy(update={"audit_rate": round(percent / 100, 8)})
        self.station.store.configure(settings.model_copy(update={"review": review}), by=visitor.user)
        shown = self._shown(visitor, also_skipped)
        return shown | {self.drawn: notice(words.sampled_now(review.audit_rate)) + shown[self.drawn]}

    @handler(Role.ENGINEER)
    def count_from(self, visitor: Visitor, day: str) -> Updates:
        try:
            visitor.tab[SINCE] = _moment(day)
        except DataError as error:
            return {self.drawn: problem(str(error))}
        bundle = self.station.bundles.active()
        asked = self.station.store.reviews.asked(bundle.card.bundle_id)
        return {self.drawn: self._tally(visitor, asked, bundle)}

    @handler(Role.ENGINEER)
    def look(self, visitor: Visitor, percent: float | None, day: str, alone: bool) -> Updates:
        visitor.tab.pop(PROPOSAL, None)
        rate, bundle = None if not percent else round(percent / 100, 8), self.station.bundles.active()
        try:
            made = propose(self.station.store, bundle, rate=rate, keep_earlier=not alone, since=_moment(day))
        except CalibrationError as error:  # a refusal belongs where the preview would be
            return {self.proposed: problem(str(error)), self.deciding: gr.Row(visible=False)}
        visitor.tab[PROPOSAL] = made
        return {self.proposed: view.proposal(self.station, visitor, made), self.deciding: gr.Row(visible=True)}

    @handler(Role.ENGINEER)
    def put_to_work(self, visitor: Visitor, also_skipped: bool, called: str, why: str) -> Updates:
        made = visitor.tab.get(PROPOSAL)
        if not isinstance(made, Proposal):
            raise StoreError(words.no_preview)
        if missing := wanting({self.name: called, self.reason: why}):
            return missing
        apply(self.station.store, made, name=called.strip(), reason=why.strip(), by=visitor.user)
        del visitor.tab[PROPOSAL]
        closed = self._closed(words.applied(called)) | self._emptied()
        return self._shown(visitor, also_skipped) | self._listed(visitor) | closed

    @handler(Role.ENGINEER)
    def forget(self, visitor: Visitor) -> Updates:
        visitor.tab.pop(PROPOSAL, None)
        return self._closed(words.discarded) | self._emptied()

    def _closed(self, said: str) -> Updates:
        return {self.proposed: notice(said), self.deciding: gr.Row(visible=False)}

    def _emptied(self) -> Updates:
        return {field: gr.Textbox("", info=None) for field in (self.name, self.reason)}

    @handler(Role.ENGINEER)
    def roll_back(self, visitor: Visitor, also_skipped: bool) -> Updates:
        bundle = self.station.bundles.active()
        version = pressed(self.station, visitor, bundle.card)
        why = words.rolled_back_here(version.name)
        self.station.store.versions.apply(bundle, version, by=visitor.user, reason=why)
        rolled_back = {self.proposed: notice(words.rolled_back(version.name))}
        return self._shown(visitor, also_skipped) | self._listed(visitor) | rolled_back


def _current(visitor: Visitor, parts: list[PartInspection]) -> PartInspection | None:
    """The chosen part if it still waits, else the first one."""
    chosen = visitor.tab.get(CHOSEN)
    return next((part for part in parts if part.part == chosen), parts[0] if parts else None)


def _moment(day: str | None) -> datetime | None:
    """The beginning of a day that somebody has typed, UTC; None for none. Raises DataError."""
    text = (day or "").strip()
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(words.bad_day(text)) from error
