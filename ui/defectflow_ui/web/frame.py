"""The page around the pages: who and what at the top, one tab per page, background jobs, keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import gradio as gr
from gradio.context import Context
from markupsafe import Markup

from defectflow.errors import AccessError, DefectFlowError
from defectflow.store import Role, product_in
from defectflow_ui.language import LANGUAGES, SOURCE, say, speaking, spoken
from defectflow_ui.markup.elements import block, clicks
from defectflow_ui.markup.render import render
from defectflow_ui.pages import PAGES
from defectflow_ui.pages.page import QUIET
from defectflow_ui.settings import LOCAL_USER
from defectflow_ui.station import Station, handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import common as words
from defectflow_ui.words import history, models

BUSY_EVERY_S, IDLE_EVERY_S = 2.0, 10.0
"""How often the header is looked at again: while jobs run or drift is looked at, and otherwise."""
BUSY = "frame.busy"


def build_frame(station: Station) -> Spoken:
    """All pages in one Gradio app, which comes to each visitor in their language."""
    return Frame(station).blocks


class Spoken(gr.Blocks):
    """One app for all languages: what it is made of is laid out once in each, and handlers are those of the first.

    So state, queue and events exist once. What Gradio sends at the start of a page, its `config`, is the one of the
    language of the request. `gr.I18n` would translate labels, but not what templates write, and by the browser's
    language alone.
    """

    def __init__(self, station: Station, **options: Any) -> None:
        self._station = station
        self._first_id = Context.id
        self._laid_out: dict[str, Any] = {}
        super().__init__(**options)

    @property
    def config(self) -> Any:
        source = self._laid_out.get(SOURCE)
        return source if source is None or spoken() == SOURCE else source | self._laid_out[spoken()]

    @config.setter
    def config(self, made: Any) -> None:
        self._laid_out[SOURCE] = made

    def lay_out_all(self) -> None:
        """Before anybody is served: Gradio numbers components by one counter for all threads, and handlers make some.

        Raises RuntimeError where a page has other components in another language.
        """
        for code in LANGUAGES:
            if code != SOURCE:
                with speaking(code):
                    self._laid_out[code] = self._again(self._laid_out[SOURCE])

    def _again(self, source: Any) -> dict[str, Any]:
        """The same pages in the language of this call: every component has the number that it has in the first one."""
        here, Context.id = Context.id, self._first_id
        station, first = self._station, (self._station.opening, self._station.changing)
        station.opening, station.changing = [], []
        try:
            made = Frame(station).blocks.get_config_file()
        finally:
            station.opening, station.changing = first
            Context.id = max(here, Context.id)
        if _numbers(made) != _numbers(source):
            raise RuntimeError(
                "the pages are laid out differently in another language; a page depends on what words say"
            )
        return {"components": made["components"], "title": made["title"]}


def _numbers(config: Any) -> list[tuple[int, str]]:
    return [(one["id"], one["type"]) for one in config["components"]]


class Frame:
    """Header and jobs above, and below them a tab for each page."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.blocks = Spoken(station, title=words.title, analytics_enabled=False, fill_width=True)
        with self.blocks:
            self.header = block(elem_id="station-header", events=clicks("hush"))
            self.jobs = block(elem_id="station-jobs", events=clicks("stop"))
            with gr.Tabs(elem_id="station-tabs"):
                self._lay_out_pages()
            self.timer = gr.Timer(IDLE_EVERY_S)
            self._connect()

    def _lay_out_pages(self) -> None:
        opening = self.station.opening
        for page in PAGES:
            before = len(opening)
            with gr.Tab(say(page.tab), id=page.tab, elem_id=f"page-{page.tab.lower()}") as tab:
                page(self.station)
            for one in opening[before:]:
                tab.select(**one, **QUIET)
                if page is PAGES[0]:  # already in front: nobody selects it
                    self.blocks.load(**one, **QUIET)

    def _connect(self) -> None:
        shown = [self.header, self.jobs, self.timer]
        self.blocks.load(self.show, outputs=shown, **QUIET)
        self.timer.tick(self.show, outputs=shown, **QUIET)
        for done in self.station.changing:
            done.then(self.show, outputs=shown, **QUIET)
        self.header.hush(self.hush, outputs=self.header, **QUIET)
        self.blocks.unload(self.leave)
        self.jobs.stop(self.stop_job, outputs=self.jobs, **QUIET)

    @handler(Role.VIEWER)
    def show(self, visitor: Visitor) -> tuple[str, str, Any]:
        above = header_html(self.station, visitor)
        busy = bool(self.station.jobs.running()) or self.station.drift.looking
        changed = visitor.tab.get(BUSY) != busy
        visitor.tab[BUSY] = busy
        pace = gr.Timer(BUSY_EVERY_S if busy else IDLE_EVERY_S) if changed else gr.skip()
        return above, jobs_html(self.station), pace

    @handler(Role.VIEWER)
    def hush(self, visitor: Visitor) -> str:
        """Hide the alarm in this browser, until it rings again."""
        visitor.session.hushed = str(visitor.event.get("hush"))
        return header_html(self.station, visitor)

    @handler(Role.OPERATOR)
    def stop_job(self, visitor: Visitor) -> str:
        job = self.station.jobs.find(str(visitor.event.get("stop", "")))
        if job is not None:
            if job.who != visitor.user and not visitor.may(Role.ENGINEER):
                raise AccessError(words.not_your_job(job.who))
            job.cancel()
        return jobs_html(self.station)

    @handler(Role.VIEWER)
    def leave(self, visitor: Visitor) -> None:
        visitor.session.leave_tab(visitor.tab_name)


def header_html(station: Station, visitor: Visitor) -> Markup:
    """Product, active bundle with its promise, user, and the buttons that station.js serves."""
    name = promise = by_itself = ""
    obstacle = None
    try:
        card = station.bundles.active().card
        name = station.bundles.active_name or card.name
        by_itself = "" if station.bundles.activated_name else models.by_itself
        promise = words.estimate if card.calibration else words.uncalibrated
        if card.promised is not None:
            promise = words.promise(card.promised.expected_rate)
    except DefectFlowError as error:
        obstacle = str(error)
    return render(
        "frame/header.html",
        words=words,
        history=history.tab,
        pages={page.tab.lower(): say(page.tab) for page in PAGES},
        languages=LANGUAGES,
        name=name,
        promise=promise,
        by_itself=by_itself,
        obstacle=obstacle,
        who=words.signed_in(visitor.user, visitor.role),
        may_leave=visitor.user != LOCAL_USER,
        alarm=_alarm(station, visitor),
    )


@dataclass(frozen=True, slots=True)
class Alarm:
    """Production has moved: said on every page, until it is seen to or hidden in this browser."""

    at: datetime
    products: str
    """Which of several products; empty where the model knows one only."""
    key: str
    """By which a browser says that it has seen this one."""


def _alarm(station: Station, visitor: Visitor) -> Alarm | None:
    moved = {name: course for name, course in station.drift.courses().items() if course.standing}
    if not moved:
        return None
    last = max(moved.values(), key=lambda course: course.standing[-1].at)
    at = last.standing[-1].at
    products = ", ".join(product for name in moved if (product := product_in(name)))
    alarm = Alarm(at, products, f"{at.isoformat()} {last.calibration_id}")
    return None if visitor.session.hushed == alarm.key else alarm


def jobs_html(station: Station) -> Markup:
    return render("frame/jobs.html", words=words, jobs=station.jobs.running())
