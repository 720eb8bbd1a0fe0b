"""History: everything that was inspected; counts and yield; a part's story; has production moved?"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from defectflow.common import whole
from defectflow.errors import DataError, StoreError
from defectflow.store import Every, Inspection, Query, Role, YieldCount
from defectflow.store.drift import Drift, look_into
from defectflow.verdict import Word
from defectflow_ui.disk_errors import writing
from defectflow_ui.markup.theme import block, clicks, empty
from defectflow_ui.pages import answering
from defectflow_ui.pages import history_chart as charts
from defectflow_ui.pages import history_view as view
from defectflow_ui.pages.inspect_view import download
from defectflow_ui.station import Station
from defectflow_ui.temporary_folders import prefix
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import history as words
from defectflow_ui.words.verdicts import VERDICTS

FIRST = "history.first"
"""The tab's place in the list: how many newer inspections are left out."""
DATES = "history.dates"
"""What the browser said of the two dates: moments as ISO 8601, UTC."""
TOLD = "history.told"
"""Number of the inspection whose story was asked for last."""
EXPORT = "history.export"
PAGE = 50
SPANS = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
HOURLY = timedelta(days=2)
"""Spans up to this one are counted by the hour."""
DRIFT_WAIT_S = 10.0
Updates = dict[Any, Any]


class Export:
    """The tab's last table, on disk until the next one or the tab's end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=prefix("export"))

    @property
    def file(self) -> Path:
        return Path(self._folder.name) / "inspections.csv"

    def close(self) -> None:
        self._folder.cleanup()


def build(station: Station) -> None:
    """Search and chart above, the list on the left, a part's story on the right."""
    with gr.Row():
        periods = [(text, key) for key, text in words.periods.items()]
        period = gr.Dropdown(periods, value="all", label=words.period, elem_id="history-period")
        verdicts = [(word, decision) for decision, (word, _) in VERDICTS.items()]
        decision = gr.Dropdown(
            [(words.any_decision, ""), *verdicts], value="", label=words.decision, elem_id="history-decision"
        )
        file = gr.Textbox(label=words.file, elem_id="history-file")
        part = gr.Textbox(label=words.part, elem_id="history-part")
        model = gr.Dropdown([(words.any_model, "")], value="", label=words.model, elem_id="history-model")
        with gr.Column(min_width=110):
            search = gr.Button(words.search, variant="primary", elem_classes="key-r", elem_id="history-search")
            as_csv = gr.Button(words.export, size="sm", elem_id="history-csv")
    with gr.Row(visible=False) as between:
        dates = block(view.dates(), elem_id="history-dates", events="station.dates(element, trigger, 'dates')")
    csv_link = block(elem_id="history-download")
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=420):
            chart = block(elem_id="history-chart")
            listed = block(elem_id="history-list", events=clicks("inspection", "turn"))
        with gr.Column(scale=4, min_width=320):
            told = block(
                empty(words.nothing_chosen, words.nothing_chosen_do),
                elem_id="history-story",
                events=clicks("thresholds"),
            )
            answers = answering.answer_block("history-answers")
            drifting = block(elem_id="history-drift")
            with gr.Row(visible=False, equal_height=False) as seeing_to:
                found_out = gr.Textbox(label=words.found_out, elem_id="history-found-out", scale=2)
                close = gr.Button(words.looked_into, size="sm", elem_id="history-looked-into")
            check = gr.Button(words.drift_check, size="sm", elem_id="history-check-drift")
    asked = [period, decision, file, part, model]

    def query(visitor: Visitor, span: Any, word: Any, name: Any, of_part: Any, made_by: Any) -> Query:
        since, until = datetime.now(UTC) - SPANS[span] if span in SPANS else None, None
        if span == "dates":
            since, until = _between(visitor.tab.get(DATES, {}))
        bundle_id, _, calibration_id = str(made_by or "").partition(" ")
        return Query(
            since=since,
            until=until,
            decisions=(word,) if word in get_args(Word) else (),
            file=str(name or "").strip() or None,
            part=str(of_part or "").strip() or None,
            bundle_id=bundle_id or None,
            calibration_id=calibration_id or None,
            limit=PAGE,
        )

    def page(visitor: Visitor, wanted: Query) -> str:
        first = int(visitor.tab.get(FIRST, 0))
        total = station.store.history.count(wanted)
        first = visitor.tab[FIRST] = min(max(first, 0), max(total - 1, 0) // PAGE * PAGE)
        rows = station.store.history.search(replace(wanted, offset=first))
        return view.table(rows, first, total)

    def over_time(wanted: Query) -> tuple[list[YieldCount], Every]:
        """By the hour where the span is short; else by the finest of day, week and month that can be drawn."""
        if wanted.since is not None and (wanted.until or datetime.now(UTC)) - wanted.since <= HOURLY:
            return station.store.history.counts(wanted, every="hour"), "hour"
        every: Every
        for every in ("day", "week", "month"):
            counts = station.store.history.counts(wanted, every=every)
            if not counts or len(charts.stretches(counts[0].start, counts[-1].start, every)) <= charts.MOST_BARS:
                break
        return counts, every

    def found(visitor: Visitor, *values: Any) -> Updates:
        wanted = query(visitor, *values)
        counts, every = over_time(wanted)
        only: Word | None = wanted.decisions[0] if wanted.decisions else None
        drawn = charts.counts_over_time(counts, every, passed=only is None)
        return {listed: page(visitor, wanted), chart: view.tally(counts, only) + drawn}

    def models() -> list[tuple[str, str]]:
        """Every model that has inspected anything, each followed by its thresholds."""
        choices = [(words.any_model, "")]
        for bundle_id, name in station.store.history.models():
            choices.append((f"{name} ({bundle_id})", bundle_id))
            choices += [
                (words.thresholds(name, version.name), f"{bundle_id} {version.calibration_id}")
                for version in station.store.versions.all(bundle_id)
            ]
        return choices

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor, *values: Any) -> Updates:
        return found(visitor, *values) | {model: gr.Dropdown(models())}

    def anew(visitor: Visitor, *values: Any) -> Updates:
        visitor.tab[FIRST] = 0
        return found(visitor, *values) | {csv_link: ""}

    @station.handler(Role.VIEWER)
    def look(visitor: Visitor, *values: Any) -> Updates:
        return anew(visitor, *values)

    @station.handler(Role.VIEWER)
    def choose_period(visitor: Visitor, *values: Any) -> Updates:
        return {between: gr.Row(visible=values[0] == "dates")} | anew(visitor, *values)

    @station.handler(Role.VIEWER)
    def choose_dates(visitor: Visitor, *values: Any) -> Updates:
        visitor.tab[DATES] = dict(visitor.event)
        return anew(visitor, *values)

    @station.handler(Role.VIEWER)
    def choose_thresholds(visitor: Visitor, *values: Any) -> Updates:
        """Those of an inspection in the story."""
        choices = models()
        wanted = str(visitor.event.get("thresholds"))
        if wanted not in [value for _, value in choices]:
            raise StoreError(words.nothing)
        return anew(visitor, *values[:-1], wanted) | {model: gr.Dropdown(choices, value=wanted)}

    @station.handler(Role.VIEWER)
    def turn(visitor: Visitor, *values: Any) -> str:
        forwards = str(visitor.event.get("turn")) == "1"
        visitor.tab[FIRST] = int(visitor.tab.get(FIRST, 0)) + (PAGE if forwards else -PAGE)
        return page(visitor, query(visitor, *values))

    def story(visitor: Visitor, item: Inspection, note: str = "") -> Updates:
        """All about the part as the model of this inspection saw it, and the answer about that."""
        return {
            told: view.story(station, visitor, station.store.history.story(item.part, bundle_id=item.bundle_id)),
            answers: answering.bar(station, visitor, item, page="history", note=note),
        }

    @station.handler(Role.VIEWER)
    def tell(visitor: Visitor) -> Updates:
        item = answering.find(station, visitor.number("inspection"))
        if item is None:
            raise StoreError(words.nothing)
        visitor.tab[TOLD] = item.id
        updates = story(visitor, item)
        return updates if visitor.tab[TOLD] == item.id else {told: gr.skip()}  # another row was clicked meanwhile

    @station.handler(Role.OPERATOR)
    def answer(visitor: Visitor) -> Updates:
        return story(visitor, *answering.take(station, visitor))

    @station.handler(Role.VIEWER)
    def export(visitor: Visitor, *values: Any) -> str:
        wanted = query(visitor, *values)
        with writing(words.this_table):
            with visitor.tab.lock:
                if EXPORT not in visitor.tab:
                    visitor.tab[EXPORT] = Export()
                file = visitor.tab[EXPORT].file
            # Whoever is loading the last one down gets all of it.
            with whole(file) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
                station.store.history.export_csv(stream, wanted)
        return download(visitor.served.put(lambda: file, "text/csv", filename=file.name), words.export)

    def of_drift(visitor: Visitor, course: Drift | None) -> Updates:
        stands = course is not None and bool(course.standing)
        return {
            drifting: "" if course is None else charts.drift(course),
            seeing_to: gr.Row(visible=stands and visitor.may(Role.ENGINEER)),
        }

    @station.handler(Role.VIEWER)
    def show_drift(visitor: Visitor) -> Updates:
        return of_drift(visitor, station.drift.course(DRIFT_WAIT_S))

    @station.handler(Role.VIEWER)
    def check_drift(visitor: Visitor) -> Updates:
        return of_drift(visitor, station.drift.look())

    @station.handler(Role.ENGINEER)
    def close_alarm(visitor: Visitor, found: str) -> Updates:
        look_into(station.store, station.bundles.active().card, by=visitor.user, reason=found)
        return of_drift(visitor, station.drift.look()) | {found_out: ""}

    private: dict[str, Any] = {"api_visibility": "private"}
    quiet: dict[str, Any] = {"show_progress": "hidden", **private}
    shown = [listed, chart, csv_link]
    station.on_open(open_page, inputs=asked, outputs=[listed, chart, model])
    station.on_open(show_drift, outputs=[drifting, seeing_to])
    search.click(look, inputs=asked, outputs=shown, **quiet)
    for text in (file, part):
        text.submit(look, inputs=asked, outputs=shown, **quiet)
    for choice in (decision, model):
        choice.input(look, inputs=asked, outputs=shown, **quiet)
    period.input(choose_period, inputs=asked, outputs=[*shown, between], **quiet)
    dates.dates(choose_dates, inputs=asked, outputs=shown, trigger_mode="multiple", **quiet)
    # "multiple": what is clicked or pressed before the last answer counts as well.
    listed.turn(turn, inputs=asked, outputs=listed, trigger_mode="multiple", **quiet)
    listed.inspection(tell, outputs=[told, answers], trigger_mode="multiple", **quiet)
    answers.answer(answer, outputs=[told, answers], trigger_mode="multiple", **quiet)
    told.thresholds(choose_thresholds, inputs=asked, outputs=[*shown, model], **quiet)
    as_csv.click(export, inputs=asked, outputs=csv_link, show_progress="minimal", **private)
    station.shown_above(check.click(check_drift, outputs=[drifting, seeing_to], **private))
    for closing in (close.click, found_out.submit):
        station.shown_above(closing(close_alarm, inputs=found_out, outputs=[drifting, seeing_to, found_out], **private))


def _between(said: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
    """The moments that the browser made of the two dates; None where one was left empty. Raises DataError."""
    since, until = _moment(said.get("since")), _moment(said.get("until"))
    if since is not None and until is not None and since >= until:
        raise DataError(words.backwards)
    return since, until


def _moment(said: object) -> datetime | None:
    if said == "incomplete":
        raise DataError(words.incomplete)
    if not said:
        return None
    try:
        return datetime.fromisoformat(str(said)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DataError(words.no_date) from error
