"""History: everything that was inspected; counts and yield; a part's story; has production moved?"""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import gradio as gr

from defectflow.errors import StoreError
from defectflow.store import Inspection, Query, Role
from defectflow.store.drift import drift
from defectflow.store.records import Word
from defectflow_ui.pages import answering
from defectflow_ui.pages import history_view as view
from defectflow_ui.pages.inspect_view import download
from defectflow_ui.station import Station
from defectflow_ui.theme import block, clicks, empty
from defectflow_ui.visitors import Visitor
from defectflow_ui.words import history as words

FIRST = "history.first"
"""The tab's place in the list: how many newer inspections are left out."""
PAGE = 50
SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
Updates = dict[Any, Any]


def build(station: Station) -> None:
    """Search and chart above, the list on the left, a part's story on the right."""
    with gr.Row():
        period = gr.Dropdown([(text, key) for key, text in words.periods.items()], value="all", label=words.period)
        decision = gr.Dropdown([words.any_decision, *get_args(Word)], value=words.any_decision, label=words.decision)
        file = gr.Textbox(label=words.file, elem_id="history-file")
        part = gr.Textbox(label=words.part, elem_id="history-part")
        model = gr.Dropdown([(words.any_model, "")], value="", label=words.model)
        with gr.Column(min_width=110):
            search = gr.Button(words.search, variant="primary", elem_classes="key-r", elem_id="history-search")
            as_csv = gr.Button(words.export, size="sm", elem_id="history-csv")
    csv_link = block(elem_id="history-download")
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=420):
            chart = block(elem_id="history-chart")
            listed = block(elem_id="history-list", events=clicks("inspection", "turn"))
        with gr.Column(scale=4, min_width=320):
            check = gr.Button(words.drift_check, elem_id="history-check-drift")
            drifting = block(elem_id="history-drift")
            told = block(empty(words.nothing_chosen, words.nothing_chosen_do), elem_id="history-story")
            answers = answering.answer_block("history-answers")
    asked = [period, decision, file, part, model]

    def query(*values: Any) -> Query:
        span, word, name, of_part, bundle_id = values
        return Query(
            since=datetime.now(UTC) - SPANS[span] if span in SPANS else None,
            decisions=(word,) if word in get_args(Word) else (),
            file=str(name or "").strip() or None,
            part=str(of_part or "").strip() or None,
            bundle_id=bundle_id or None,
            limit=PAGE,
        )

    def page(visitor: Visitor, wanted: Query) -> str:
        first = int(visitor.tab.get(FIRST, 0))
        total = station.store.history.count(wanted)
        first = visitor.tab[FIRST] = min(max(first, 0), max(total - 1, 0) // PAGE * PAGE)
        rows = station.store.history.search(replace(wanted, offset=first))
        return view.table(rows, first, total)

    def found(visitor: Visitor, *values: Any) -> Updates:
        wanted = query(*values)
        counts = station.store.history.counts(wanted, every="hour" if values[0] == "day" else "day")
        return {listed: page(visitor, wanted), chart: view.chart(counts)}

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor, *values: Any) -> Updates:
        models = [(f"{name} ({bundle_id})", bundle_id) for bundle_id, name in station.store.history.models()]
        return found(visitor, *values) | {model: gr.Dropdown([(words.any_model, ""), *models])}

    @station.handler(Role.VIEWER)
    def look(visitor: Visitor, *values: Any) -> Updates:
        visitor.tab[FIRST] = 0
        return found(visitor, *values) | {csv_link: ""}

    @station.handler(Role.VIEWER)
    def turn(visitor: Visitor, *values: Any) -> str:
        forwards = str(visitor.event.get("turn")) == "1"
        visitor.tab[FIRST] = int(visitor.tab.get(FIRST, 0)) + (PAGE if forwards else -PAGE)
        return page(visitor, query(*values))

    def story(visitor: Visitor, item: Inspection, note: str = "") -> Updates:
        """All about the part, and what is said about it as the model of this inspection saw it."""
        return {
            told: view.story(station, visitor, station.store.history.story(item.part)),
            answers: answering.bar(station, visitor, item, page="history", note=note),
        }

    @station.handler(Role.VIEWER)
    def tell(visitor: Visitor) -> Updates:
        item = answering.find(station, visitor.number("inspection"))
        if item is None:
            raise StoreError(words.nothing)
        return story(visitor, item)

    @station.handler(Role.OPERATOR)
    def answer(visitor: Visitor) -> Updates:
        return story(visitor, *answering.take(station, visitor))

    @station.handler(Role.VIEWER)
    def export(visitor: Visitor, *values: Any) -> str:
        wanted = query(*values)

        def write() -> bytes:
            stream = io.StringIO()
            station.store.history.export_csv(stream, wanted)
            return stream.getvalue().encode()

        return download(visitor.shelf.put(write, "text/csv", filename="inspections.csv"), words.export)

    @station.handler(Role.VIEWER)
    def check_drift(visitor: Visitor) -> str:
        return view.drift(drift(station.store, station.bundles.active().card))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    station.on_open(open_page, inputs=asked, outputs=[listed, chart, model])
    search.click(look, inputs=asked, outputs=[listed, chart, csv_link], **quiet)
    for text in (file, part):
        text.submit(look, inputs=asked, outputs=[listed, chart, csv_link], **quiet)
    for choice in (period, decision, model):
        choice.input(look, inputs=asked, outputs=[listed, chart, csv_link], **quiet)
    listed.turn(turn, inputs=asked, outputs=listed, **quiet)
    listed.inspection(tell, outputs=[told, answers], **quiet)
    answers.answer(answer, outputs=[told, answers], trigger_mode="multiple", **quiet)
    as_csv.click(export, inputs=asked, outputs=csv_link, **quiet)
    check.click(check_drift, outputs=drifting, api_visibility="private")
