"""History: everything that was inspected; counts and yield; a part's story; has production moved?"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from defectflow.common import atomic_write
from defectflow.errors import StoreError
from defectflow.store import Inspection, Query, Role
from defectflow.verdict import Word
from defectflow_ui.disk_errors import writing
from defectflow_ui.markup.elements import block, clicks, empty
from defectflow_ui.pages import answering
from defectflow_ui.pages import history_chart as charts
from defectflow_ui.pages import history_view as view
from defectflow_ui.pages.history_drift import HistoryDrift
from defectflow_ui.pages.history_report import shift_report
from defectflow_ui.pages.history_search import PAGE, counts_over_time, models, products, query
from defectflow_ui.pages.page import QUIET, Page, Updates
from defectflow_ui.pages.viewer import download
from defectflow_ui.station import handler
from defectflow_ui.temporary_folders import prefix
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import history as words
from defectflow_ui.words import history_report as report_words
from defectflow_ui.words.verdicts import VERDICTS

FIRST = "history.first"
"""The tab's place in the list: how many newer inspections are left out."""
DATES = "history.dates"
"""What the browser said of the two dates: moments as ISO 8601, UTC."""
TOLD = "history.told"
"""Number of the inspection whose story was asked for last."""
EXPORT = "history.export"


class Export:
    """The tab's last table, on disk until the next one or the tab's end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=prefix("export"))

    @property
    def file(self) -> Path:
        return Path(self._folder.name) / "inspections.csv"

    def close(self) -> None:
        self._folder.cleanup()


class HistoryPage(Page):
    """Search and chart above, the list on the left, a part's story on the right."""

    tab = words.tab

    def lay_out(self) -> None:
        with gr.Row():
            self._lay_out_search()
        with gr.Row(visible=False) as self.between:
            self.dates = block(view.dates(), elem_id="history-dates", events="station.dates(element, trigger, 'dates')")
        self.csv_link = block(elem_id="history-download")
        with gr.Row(equal_height=False):
            with gr.Column(scale=7, min_width=420):
                self.chart = block(elem_id="history-chart")
                self.listed = block(elem_id="history-list", events=clicks("inspection", "turn"))
            with gr.Column(scale=4, min_width=320):
                nothing = empty(words.nothing_chosen, words.nothing_chosen_do)
                self.told = block(nothing, elem_id="history-story", events=clicks("thresholds", "shot"))
                self.answers = answering.answer_block("history-answers")
                self.drift = HistoryDrift(self.station)

    def _lay_out_search(self) -> None:
        periods = [(text, key) for key, text in words.periods.items()]
        self.period = gr.Dropdown(periods, value="all", label=words.period, elem_id="history-period")
        verdicts = [(words.any_decision, ""), *((word, decision) for decision, (word, _) in VERDICTS.items())]
        self.decision = gr.Dropdown(verdicts, value="", label=words.decision, elem_id="history-decision")
        answers = [(words.any_decision, ""), *((text, answer) for answer, text in words.answered.items())]
        self.answered = gr.Dropdown(answers, value="", label=words.answer, elem_id="history-answered")
        self.file = gr.Textbox(label=words.file, elem_id="history-file")
        self.part = gr.Textbox(label=words.part, elem_id="history-part")
        self.product = gr.Dropdown(
            [(words.any_product, "")], value="", label=words.product, visible=False, elem_id="history-product"
        )
        self.model = gr.Dropdown([(words.any_model, "")], value="", label=words.model, elem_id="history-model")
        with gr.Column(min_width=110):
            self.search = gr.Button(words.search, variant="primary", elem_classes="key-r", elem_id="history-search")
            self.as_csv = gr.Button(words.export, size="sm", elem_id="history-csv")
            self.as_report = gr.Button(report_words.make, size="sm", elem_id="history-report")

    def connect(self) -> None:
        asked = [self.period, self.decision, self.answered, self.file, self.part, self.product, self.model]
        shown = [self.listed, self.chart, self.csv_link]
        self.station.on_open(self.open_page, inputs=asked, outputs=[self.listed, self.chart, self.product, self.model])
        self.drift.connect()
        self.search.click(self.look, inputs=asked, outputs=shown, **QUIET)
        for text in (self.file, self.part):
            text.submit(self.look, inputs=asked, outputs=shown, **QUIET)
        for choice in (self.decision, self.answered, self.product, self.model):
            choice.input(self.look, inputs=asked, outputs=shown, **QUIET)
        self.period.input(self.choose_period, inputs=asked, outputs=[*shown, self.between], **QUIET)
        self.dates.dates(self.choose_dates, inputs=asked, outputs=shown, trigger_mode="multiple", **QUIET)
        # "multiple": what is clicked or pressed before the last answer counts as well.
        story = [self.told, self.answers]
        self.listed.turn(self.turn, inputs=asked, outputs=self.listed, trigger_mode="multiple", **QUIET)
        self.listed.inspection(self.tell, outputs=story, trigger_mode="multiple", **QUIET)
        self.told.shot(self.enlarge, outputs=story, trigger_mode="multiple", **QUIET)
        self.answers.answer(self.answer, outputs=story, trigger_mode="multiple", **QUIET)
        self.told.thresholds(self.choose_thresholds, inputs=asked, outputs=[*shown, self.product, self.model], **QUIET)
        self.as_report.click(self.report, inputs=asked, outputs=self.csv_link, **QUIET)
        self.as_csv.click(self.export, inputs=asked, outputs=self.csv_link, **QUIET)

    # ---- the search ---------------------------------------------------------------------------------------------

    def _query(self, visitor: Visitor, *values: Any) -> Query:
        return query(visitor.tab.get(DATES, {}), *values)

    def _page(self, visitor: Visitor, wanted: Query) -> str:
        history, first = self.station.store.history, int(visitor.tab.get(FIRST, 0))
        total = history.count(wanted)
        first = visitor.tab[FIRST] = min(max(first, 0), max(total - 1, 0) // PAGE * PAGE)
        rows = history.search(replace(wanted, offset=first))
        answers = self.station.store.reviews.standing_on({row.id for row in rows})
        return view.table(rows, answers, first, total)

    def _found(self, visitor: Visitor, *values: Any) -> Updates:
        wanted = self._query(visitor, *values)
        counts, every = counts_over_time(self.station.store, wanted)
        only: Word | None = wanted.decisions[0] if wanted.decisions else None
        drawn = charts.counts_over_time(counts, every, passed=only is None)
        kinds = view.kinds(self.station.store.history.kinds(wanted, every=every), every)
        apart = view.products(self.station.store.history.by_product(wanted))
        return {self.listed: self._page(visitor, wanted), self.chart: view.tally(counts, only) + apart + drawn + kinds}

    def _from_the_start(self, visitor: Visitor, *values: Any) -> Updates:
        visitor.tab[FIRST] = 0
        return self._found(visitor, *values) | {self.csv_link: ""}

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor, *values: Any) -> Updates:
        offered = products(self.station.store)
        choices = {
            self.product: gr.Dropdown(offered, visible=len(offered) > 1),
            self.model: gr.Dropdown(models(self.station.store)),
        }
        return self._found(visitor, *values) | choices

    @handler(Role.VIEWER)
    def look(self, visitor: Visitor, *values: Any) -> Updates:
        return self._from_the_start(visitor, *values)

    @handler(Role.VIEWER)
    def choose_period(self, visitor: Visitor, *values: Any) -> Updates:
        return {self.between: gr.Row(visible=values[0] == "dates")} | self._from_the_start(visitor, *values)

    @handler(Role.VIEWER)
    def choose_dates(self, visitor: Visitor, *values: Any) -> Updates:
        visitor.tab[DATES] = dict(visitor.event)
        return self._from_the_start(visitor, *values)

    @handler(Role.VIEWER)
    def choose_thresholds(self, visitor: Visitor, *values: Any) -> Updates:
        """Those of an inspection in the story."""
        choices = models(self.station.store)
        wanted = str(visitor.event.get("thresholds"))
        if wanted not in [value for _, value in choices]:
            raise StoreError(words.nothing)
        found = self._from_the_start(visitor, *values[:-2], "", wanted)
        return found | {self.product: "", self.model: gr.Dropdown(choices, value=wanted)}

    @handler(Role.VIEWER)
    def turn(self, visitor: Visitor, *values: Any) -> str:
        forwards = str(visitor.event.get("turn")) == "1"
        visitor.tab[FIRST] = int(visitor.tab.get(FIRST, 0)) + (PAGE if forwards else -PAGE)
        return self._page(visitor, self._query(visitor, *values))

    @handler(Role.VIEWER)
    def export(self, visitor: Visitor, *values: Any) -> str:
        wanted = self._query(visitor, *values)
        with writing(words.this_table):
            with visitor.tab.lock:
                if EXPORT not in visitor.tab:
                    visitor.tab[EXPORT] = Export()
                file = visitor.tab[EXPORT].file
            # Whoever is loading the last one down gets all of it.
            with atomic_write(file) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
                self.station.store.history.export_csv(stream, wanted)
        return download(visitor.served.put(lambda: file, "text/csv", filename=file.name), words.export)

    @handler(Role.VIEWER)
    def report(self, visitor: Visitor, *values: Any) -> str:
        made = shift_report(self.station, self._query(visitor, *values), by=visitor.user)
        address = visitor.served.put(lambda: made, "text/html", filename=report_words.file_name)
        return download(address, report_words.make)

    # ---- a part's story -----------------------------------------------------------------------------------------

    def _story(self, visitor: Visitor, item: Inspection, note: str = "") -> Updates:
        """All about the part as the model of this inspection saw it, and the answer about that."""
        told = self.station.store.history.story(item.part, bundle_id=item.bundle_id)
        return {
            self.told: view.story(self.station, visitor, told, item),
            self.answers: answering.bar(self.station, visitor, item, page="history", note=note),
        }

    @handler(Role.VIEWER)
    def tell(self, visitor: Visitor) -> Updates:
        return self._tell(visitor, visitor.number("inspection"))

    @handler(Role.VIEWER)
    def enlarge(self, visitor: Visitor) -> Updates:
        """Another picture of the story, large."""
        return self._tell(visitor, visitor.number("shot"))

    def _tell(self, visitor: Visitor, number: int | None) -> Updates:
        item = answering.find(self.station, number)
        if item is None:
            raise StoreError(words.nothing)
        visitor.tab[TOLD] = item.id
        updates = self._story(visitor, item)
        # Another row may have been clicked meanwhile.
        return updates if visitor.tab[TOLD] == item.id else {self.told: gr.skip()}

    @handler(Role.OPERATOR)
    def answer(self, visitor: Visitor) -> Updates:
        return self._story(visitor, *answering.take(self.station, visitor))
