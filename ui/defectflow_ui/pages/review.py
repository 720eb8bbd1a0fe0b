"""Review: one part at a time, one key per answer; then thresholds from the answers, looked at before they hold."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from defectflow.errors import CalibrationError, DefectFlowError, StoreError
from defectflow.store import Answer, PartInspection, Role
from defectflow.store.recalibration import Proposal, apply, propose
from defectflow_ui.pages import review_view as view
from defectflow_ui.station import Station
from defectflow_ui.theme import block, clicks, empty, notice
from defectflow_ui.visitors import Visitor
from defectflow_ui.words import review as words

CHOSEN, PROPOSAL = "review.part", "review.proposal"
QUEUED = 500
Updates = dict[Any, Any]


def build(station: Station) -> None:
    """The part and its answers above; new thresholds and their versions below."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=420):
            part = block(elem_id="review-part")
        with gr.Column(scale=5, min_width=340):
            answers = block(elem_id="review-answers", events=clicks("answer", "undo"))
            with gr.Row():
                kind = gr.Dropdown(
                    [], label=words.kind, info=words.kind_info, allow_custom_value=True, elem_id="review-kind"
                )
                comment = gr.Textbox(label=words.comment, info=words.comment_info, elem_id="review-comment")
            told = block(elem_id="review-told")
            skipped = gr.Checkbox(label=words.skipped, elem_id="review-skipped")
            waiting = block(elem_id="review-queue", events=clicks("part"))
    with gr.Accordion(words.thresholds, open=False, elem_id="review-thresholds"):
        gr.Markdown(words.thresholds_about)
        with gr.Row():
            rate = gr.Number(label=words.rate, minimum=0.01, maximum=99, step=0.5, elem_id="review-rate")
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

    def show(visitor: Visitor, also_skipped: bool) -> Updates:
        try:
            bundle = station.bundles.active()
            bundle.card.judge()
        except DefectFlowError as error:
            return {part: empty(words.no_bundle, str(error)), **dict.fromkeys((waiting, answers, versions), "")}
        parts = station.store.reviews.queue(bundle.card.bundle_id, limit=QUEUED, skipped=also_skipped)
        current = _current(visitor, parts)
        return {
            part: view.part(station, visitor, current, skipped=also_skipped),
            waiting: view.queue(station, visitor, parts, current.part if current else None),
            versions: view.versions(
                bundle, station.store.versions.all(bundle.card.bundle_id), may=visitor.may(Role.ENGINEER)
            ),
            answers: view.answers(current, may=visitor.may(Role.OPERATOR)),
            preview: gr.Button(interactive=visitor.may(Role.ENGINEER)),
        }

    @station.handler(Role.VIEWER)
    def refresh(visitor: Visitor, also_skipped: bool) -> Updates:
        return show(visitor, also_skipped) | {kind: gr.Dropdown(station.store.reviews.kinds())}

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor, also_skipped: bool) -> Updates:
        bundle = view.active(station)
        percent = None if bundle is None else 100 * bundle.card.rule[0]
        kinds = station.store.reviews.kinds()
        return show(visitor, also_skipped) | {rate: percent, kind: gr.Dropdown(kinds, value=None)}

    @station.handler(Role.VIEWER)
    def choose(visitor: Visitor, also_skipped: bool) -> Updates:
        visitor.tab[CHOSEN] = str(visitor.event.get("part"))
        return show(visitor, also_skipped)

    @station.handler(Role.OPERATOR)
    def answer(visitor: Visitor, also_skipped: bool, said: str, kind_of: str | None) -> Updates:
        # The browser says which part it showed when the key was pressed: nobody answers for a part they have not seen.
        shown_id, _, what = str(visitor.event.get("answer")).partition(" ")
        bundle_id = station.bundles.active().card.bundle_id
        parts = station.store.reviews.queue(bundle_id, limit=QUEUED, skipped=also_skipped)
        current = next((part for part in parts if str(part.worst.id) == shown_id), None)
        if current is None or what not in set(Answer):
            return show(visitor, also_skipped) | {told: notice(words.answered_already)}
        said, kind_of = said.strip(), (kind_of or "").strip() if what == Answer.DEFECTIVE else ""
        station.store.reviews.answer(
            current.worst.id, Answer(what), by=visitor.user, kind=kind_of or None, comment=said or None
        )
        visitor.tab.pop(CHOSEN, None)
        return show(visitor, also_skipped) | {
            told: notice(words.answered(current.worst.file, words.answers[what])),
            comment: "",
            kind: gr.Dropdown(station.store.reviews.kinds(), value=kind_of or None),
        }

    @station.handler(Role.OPERATOR)
    def take_back(visitor: Visitor, also_skipped: bool) -> Updates:
        bundle_id = station.bundles.active().card.bundle_id
        latest = station.store.reviews.latest(bundle_id=bundle_id, by=visitor.user, limit=1)
        if not latest:
            raise StoreError(words.nothing_to_undo)
        station.store.reviews.undo(latest[0].id, by=visitor.user)
        visitor.tab[CHOSEN] = latest[0].part
        return show(visitor, also_skipped) | {told: notice(words.undone)}

    @station.handler(Role.ENGINEER)
    def look(visitor: Visitor, percent: float | None, alone: bool) -> Updates:
        visitor.tab.pop(PROPOSAL, None)
        usual = None if not percent else percent / 100
        try:
            made = propose(station.store, station.bundles.active(), rate=usual, keep_earlier=not alone)
        except CalibrationError as error:  # a refusal belongs where the preview would be
            return {proposed: f'<p class="problem">{html.escape(str(error))}</p>', deciding: gr.Row(visible=False)}
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
        return show(visitor, also_skipped) | closed

    @station.handler(Role.ENGINEER)
    def forget(visitor: Visitor) -> Updates:
        visitor.tab.pop(PROPOSAL, None)
        return {proposed: notice(words.discarded), deciding: gr.Row(visible=False)}

    @station.handler(Role.ENGINEER)
    def roll_back(visitor: Visitor, also_skipped: bool) -> Updates:
        bundle = station.bundles.active()
        wanted = str(visitor.event.get("version"))
        found = station.store.versions.all(bundle.card.bundle_id)
        version = next((version for version in found if str(version.id) == wanted), None)
        if version is None:
            raise StoreError(words.no_version)
        why = words.rolled_back_here(version.name)
        station.store.versions.apply(bundle, version, by=visitor.user, reason=why)
        return show(visitor, also_skipped) | {proposed: notice(words.rolled_back(version.name))}

    shown = [part, waiting, versions, answers, preview]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    station.on_open(open_page, inputs=skipped, outputs=[*shown, rate, kind])
    skipped.input(refresh, inputs=skipped, outputs=[*shown, kind], **quiet)
    waiting.part(choose, inputs=skipped, outputs=shown, **quiet)
    answers.answer(
        answer, inputs=[skipped, comment, kind], outputs=[*shown, told, comment, kind], trigger_mode="multiple", **quiet
    )
    answers.undo(take_back, inputs=skipped, outputs=[*shown, told], **quiet)
    preview.click(look, inputs=[rate, audit_only], outputs=[proposed, deciding], api_visibility="private")
    use.click(
        put_to_work,
        inputs=[skipped, name, reason],
        outputs=[*shown, proposed, deciding, name, reason],
        api_visibility="private",
    )
    discard.click(forget, outputs=[proposed, deciding], **quiet)
    versions.version(roll_back, inputs=skipped, outputs=[*shown, proposed], api_visibility="private")


def _current(visitor: Visitor, parts: list[PartInspection]) -> PartInspection | None:
    """The chosen part if it still waits, else the first one."""
    chosen = visitor.tab.get(CHOSEN)
    return next((part for part in parts if part.part == chosen), parts[0] if parts else None)
