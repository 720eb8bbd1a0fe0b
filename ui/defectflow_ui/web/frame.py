"""The page around the pages: who and what at the top, one tab per page, background jobs, keys."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from defectflow.errors import AccessError, DefectFlowError
from defectflow.store import Role
from defectflow_ui.markup.theme import block, clicks, moment
from defectflow_ui.pages import PAGES
from defectflow_ui.station import LOCAL_USER, Station
from defectflow_ui.tasks.jobs import Job
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import common as words
from defectflow_ui.words.history import tab as history

BUSY_EVERY_S, IDLE_EVERY_S = 2.0, 10.0
"""How often the header is looked at again: while jobs run or drift is looked at, and otherwise."""
BUSY = "frame.busy"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def build_frame(station: Station) -> gr.Blocks:
    """All pages in one Gradio app."""
    blocks = gr.Blocks(title=words.title, analytics_enabled=False, fill_width=True)
    with blocks:
        header = block(elem_id="station-header", events=clicks("hush"))
        jobs = block(elem_id="station-jobs", events=clicks("stop"))
        with gr.Tabs(elem_id="station-tabs"):
            for page in PAGES:
                before = len(station.opening)
                with gr.Tab(page.words.tab, id=page.words.tab, elem_id=f"page-{page.words.tab.lower()}") as tab:
                    page.build(station)
                for opening in station.opening[before:]:
                    tab.select(**opening, **QUIET)
                    if page is PAGES[0]:  # already in front: nobody selects it
                        blocks.load(**opening, **QUIET)
        timer = gr.Timer(IDLE_EVERY_S)

        @station.handler(Role.VIEWER)
        def show(visitor: Visitor) -> tuple[str, str, Any]:
            above = header_html(station, visitor)
            busy = bool(station.jobs.running()) or station.drift.looking
            changed = visitor.tab.get(BUSY) != busy
            visitor.tab[BUSY] = busy
            pace = gr.Timer(BUSY_EVERY_S if busy else IDLE_EVERY_S) if changed else gr.skip()
            return above, jobs_html(station), pace

        @station.handler(Role.VIEWER)
        def hush(visitor: Visitor) -> str:
            """Hide the alarm in this browser, until it rings again."""
            visitor.session.hushed = str(visitor.event.get("hush"))
            return header_html(station, visitor)

        @station.handler(Role.OPERATOR)
        def stop_job(visitor: Visitor) -> str:
            job = station.jobs.find(str(visitor.event.get("stop", "")))
            if job is not None:
                if job.who != visitor.user and not visitor.may(Role.ENGINEER):
                    raise AccessError(words.not_your_job(job.who))
                job.cancel()
            return jobs_html(station)

        @station.handler(Role.VIEWER)
        def leave(visitor: Visitor) -> None:
            visitor.session.close_tab(visitor.tab_name)

        blocks.load(show, outputs=[header, jobs, timer], **QUIET)
        timer.tick(show, outputs=[header, jobs, timer], **QUIET)
        for done in station.changing:
            done.then(show, outputs=[header, jobs, timer], **QUIET)
        header.hush(hush, outputs=header, **QUIET)
        blocks.unload(leave)
        jobs.stop(stop_job, outputs=jobs, **QUIET)
    return blocks


def header_html(station: Station, visitor: Visitor) -> str:
    """Product, active bundle with its promise, user, and the buttons that station.js serves."""
    try:
        card = station.bundles.active().card
        name = station.bundles.active_name or card.name
        said = words.by_hand if card.calibration else words.uncalibrated
        if card.promised is not None:
            said = words.promise(card.promised.expected_rate)
        bundle = f'<b id="active-bundle">{html.escape(name)}</b> <span class="quiet">{html.escape(said)}</span>'
    except DefectFlowError as error:
        bundle = f'<b id="active-bundle" class="warn" title="{html.escape(str(error))}">{words.no_bundle}</b>'
    who = html.escape(words.signed_in(visitor.user, visitor.role))
    leave = ""
    if visitor.user != LOCAL_USER:
        leave = f'<form method="post" action="/sign-out"><button type="submit">{words.sign_out}</button></form>'
    return (
        f'<div class="station-bar" data-again="{words.sign_in_link}"><span class="brand">{words.title}</span>'
        f'<span class="quiet wide">{words.subtitle}</span><span class="active">{bundle}</span>'
        f'<span class="who">{who}</span>{leave}'
        f'<button type="button" data-do="keys" title="{words.keys_title} (?)">{words.keys_button}</button>'
        f'<button type="button" data-do="theme" title="{words.theme_switch} (Shift+D)">◐</button></div>'
        f"{_alarm(station, visitor)}"
    )


def _alarm(station: Station, visitor: Visitor) -> str:
    """Production has moved: said on every page, until it is seen to or hidden in this browser."""
    course = station.drift.course()
    if course is None or not course.standing:
        return ""
    last = course.standing[-1]
    key = f"{last.at.isoformat()} {course.calibration_id}"
    if visitor.session.hushed == key:
        return ""
    return (
        f'<div class="alarm-bar" role="status"><b>⚠ {words.moved}</b>'
        f"<span>{words.moved_since} {moment(last.at)}</span>"
        f'<button type="button" class="link-button" data-do="page" data-page="{history}">{words.moved_look}</button>'
        f'<button type="button" class="link-button" data-hush="{key}">{words.moved_hide}</button></div>'
    )


def jobs_html(station: Station) -> str:
    return "".join(job_html(job) for job in station.jobs.running())


def job_html(job: Job) -> str:
    """One line: title, bar, note, stop."""
    progress = job.progress
    note = f"{progress.stage} {progress.done}/{progress.total} {progress.note}" if progress else ""
    value = f' value="{job.share:.4f}"' if job.share is not None else ""
    return (
        f'<div class="job"><b>{html.escape(job.title)}</b><progress max="1"{value}></progress>'
        f'<span class="quiet">{html.escape(note)}</span>'
        f'<button type="button" data-stop="{job.token}">{words.stop}</button></div>'
    )
