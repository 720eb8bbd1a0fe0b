"""Review: one part at a time, one key per answer; then thresholds from the answers, looked at before they hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from defectflow.bundle import Bundle
from defectflow.errors import CalibrationError, DataError, DefectFlowError, StoreError
from defectflow.store import Inspection, PartInspection, Role, waiting_parts
from defectflow.store.recalibration import Proposal, apply, propose
from defectflow_ui.markup.theme import block, clicks, empty, notice, problem
from defectflow_ui.pages import answering
from defectflow_ui.pages import review_view as view
from defectflow_ui.pages.versions_view import pressed
from defectflow_ui.pages.versions_view import versions as versions_table
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import review as words

CHOSEN, SHOT, SINCE, PROPOSAL = "review.part", "review.shot", "review.since", "review.proposal"
QUEUED = 500
Updates = dict[Any, Any]


def build(station: Station) -> None:
    """The part and its answers above; new thresholds and their versions below."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=420):
            part = block(elem_id="review-part", events=clicks("shot"))
        with gr.Column(scale=5, min_width=340):
            answers = answering.answer_block("review-answers")
            skipped = gr.Checkbox(label=words.skipped, elem_id="review-skipped")
            waiting = block(elem_id="review-queue", events=clicks("part"))
    with gr.Accordion(words.thresholds, open=False, elem_id="review-thresholds"):
        gr.Markdown(words.thresholds_about)
        drawn = block(elem_id="review-drawn")
        with gr.Row():
            rate = gr.Number(label=words.rate, minimum=0.01, maximum=99, step=0.5, elem_id="review-rate")
            since = gr.Textbox(
                label=words.since, info=words.since_info, placeholder="2026-05-31", elem_id="review-since"
            )
            audit_only = gr.Checkbox(label=words.audit_only, info=words.audit_only_info, elem_id="review-audit-only")
            preview = gr.Button(words.preview, elem_id="review-preview")
        proposed = block(elem_id="review-proposal")
        with gr.Row(visible=False) as deciding:
            name = gr.Textbox(label=words.name, elem_id="review-name")
            reason = gr.Textbox(label=words.reason, elem_id="review-reason")
            use = gr.Button(words.apply, variant="primary", elem_id="review-apply")
            discard = gr.Button(words.discard, elem_id="review-discard")
        gr.Markdown(f"#### {words.versions}")
        versions = block(elem_id="review-versions", events=clicks("version"))

    def show(visitor: Visitor, also_skipped: bool, note: str = "", answered: Inspection | None = None) -> Updates:
        """What an answer changes; of the part just answered, also what was kept from the witness."""
        try:
            bundle = station.bundles.active()
            bundle.card.judge()
        except DefectFlowError as error:
            return {part: empty(words.no_bundle, str(error)), **dict.fromkeys((waiting, answers, drawn), "")}
        asked = station.store.reviews.asked(bundle.card.bundle_id)
        parts = waiting_parts(asked, skipped=also_skipped)[:QUEUED]
        current = _current(visitor, parts)
        about = current.worst if current else None
        note += view.revealed(asked, answered)
        return {
            part: view.part(station, visitor, current, visitor.tab.get(SHOT), skipped=also_skipped),
            waiting: view.queue(station, visitor, parts, current.part if current else None),
            answers: answering.queue_bar(station, visitor, about, note=note),
            drawn: tally(visitor, asked, bundle),
        }

    def tally(visitor: Visitor, asked: Sequence[PartInspection], bundle: Bundle) -> str:
        since = visitor.tab.get(SINCE)
        counted = [one for one in asked if since is None or one.pictures[0].at >= since]
        return view.drawn(counted, bundle, station.store.settings.review.unanswered)

    def listed(visitor: Visitor) -> Updates:
        """What an answer does not change."""
        bundle = view.active(station)
        may = visitor.may(Role.ENGINEER)
        found = [] if bundle is None else station.store.versions.all(bundle.card.bundle_id)
        table = "" if bundle is None else versions_table(found, bundle.card, may=may)
        return {versions: table, preview: gr.Button(interactive=may)}

    @station.handler(Role.VIEWER)
    def refresh(visitor: Visitor, also_skipped: bool) -> Updates:
        return show(visitor, also_skipped)

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor, also_skipped: bool) -> Updates:
        bundle = view.active(station)
        percent = None if bundle is None else 100 * bundle.card.rule[0]
        return show(visitor, also_skipped) | listed(visitor) | {rate: percent}

    @station.handler(Role.VIEWER)
    def choose(visitor: Visitor, also_skipped: bool) -> Updates:
        visitor.tab[CHOSEN] = str(visitor.event.get("part"))
        return show(visitor, also_skipped)

    @station.handler(Role.VIEWER)
    def look_at(visitor: Visitor, also_skipped: bool) -> Updates:
        visitor.tab[SHOT] = visitor.number("shot")
        return {part: show(visitor, also_skipped)[part]}

    @station.handler(Role.OPERATOR)
    def answer(visitor: Visitor, also_skipped: bool) -> Updates:
        about, note = answering.take(station, visitor)
        return show(visitor, also_skipped, note, about)

    @station.handler(Role.OPERATOR)
    def take_back(visitor: Visitor, also_skipped: bool) -> Updates:
        bundle_id, reviews = station.bundles.active().card.bundle_id, station.store.reviews
        asked = {one.part for one in reviews.asked(bundle_id)}  # not what was said on another page meanwhile
        mine = reviews.latest(bundle_id=bundle_id, by=visitor.user, limit=QUEUED)
        latest = next((one for one in mine if one.part in asked), None)
        if latest is None:
            raise StoreError(words.nothing_to_undo)
        reviews.undo(latest.id, by=visitor.user)
        visitor.tab[CHOSEN] = latest.part
        return show(visitor, also_skipped, notice(words.undone))

    @station.handler(Role.ENGINEER)
    def count_from(visitor: Visitor, day: str) -> Updates:
        try:
            visitor.tab[SINCE] = _moment(day)
        except DataError as error:
            return {drawn: problem(str(error))}
        bundle = station.bundles.active()
        return {drawn: tally(visitor, station.store.reviews.asked(bundle.card.bundle_id), bundle)}

    @station.handler(Role.ENGINEER)
    def look(visitor: Visitor, percent: float | None, day: str, alone: bool) -> Updates:
        visitor.tab.pop(PROPOSAL, None)
        usual = None if not percent else percent / 100
        try:
            made = propose(
                station.store, station.bundles.active(), rate=usual, keep_earlier=not alone, since=_moment(day)
            )
        except CalibrationError as error:  # a refusal belongs where the preview would be
            return {proposed: problem(str(error)), deciding: gr.Row(visible=False)}
        visitor.tab[PROPOSAL] = made
        return {proposed: view.proposal(station, visitor, made), deciding: gr.Row(visible=True)}

    @station.handler(Role.ENGINEER)
    def put_to_work(visitor: Visitor, also_skipped: bool, called: str, why: str) -> Updates:
        made = visitor.tab.get(PROPOSAL)
        if not isinstance(made, Proposal):
            raise StoreError(words.no_preview)
        apply(station.store, made, name=called.strip(), reason=why.strip(), by=visitor.user)
        del visitor.tab[PROPOSAL]
        closed = {proposed: notice(words.applied(called)), deciding: gr.Row(visible=False), name: "", reason: ""}
        return show(visitor, also_skipped) | listed(visitor) | closed

    @station.handler(Role.ENGINEER)
    def forget(visitor: Visitor) -> Updates:
        visitor.tab.pop(PROPOSAL, None)
        return {proposed: notice(words.discarded), deciding: gr.Row(visible=False)}

    @station.handler(Role.ENGINEER)
    def roll_back(visitor: Visitor, also_skipped: bool) -> Updates:
        bundle = station.bundles.active()
        version = pressed(station, visitor, bundle.card)
        why = words.rolled_back_here(version.name)
        station.store.versions.apply(bundle, version, by=visitor.user, reason=why)
        rolled_back = {proposed: notice(words.rolled_back(version.name))}
        return show(visitor, also_skipped) | listed(visitor) | rolled_back

    shown = [part, waiting, answers, drawn]
    whole = [*shown, versions, preview]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    station.on_open(open_page, inputs=skipped, outputs=[*whole, rate])
    skipped.input(refresh, inputs=skipped, outputs=shown, **quiet)
    part.shot(look_at, inputs=skipped, outputs=part, trigger_mode="multiple", **quiet)
    waiting.part(choose, inputs=skipped, outputs=shown, trigger_mode="multiple", **quiet)
    answers.answer(answer, inputs=skipped, outputs=shown, trigger_mode="multiple", **quiet)
    answers.undo(take_back, inputs=skipped, outputs=shown, **quiet)
    since.blur(count_from, inputs=since, outputs=drawn, **quiet)
    preview.click(look, inputs=[rate, since, audit_only], outputs=[proposed, deciding], api_visibility="private")
    applied = [*whole, proposed, deciding, name, reason]
    station.shown_above(
        use.click(put_to_work, inputs=[skipped, name, reason], outputs=applied, api_visibility="private")
    )
    discard.click(forget, outputs=[proposed, deciding], **quiet)
    back = versions.version(roll_back, inputs=skipped, outputs=[*whole, proposed], api_visibility="private")
    station.shown_above(back)


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
