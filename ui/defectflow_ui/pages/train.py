"""Train: choose good pictures, have them checked, fit a model that outlives the page, and put it to work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import gradio as gr

from defectflow.errors import BundleError, DataError, DefectFlowError
from defectflow.store import Role
from defectflow_ui.markup.theme import block, clicks, problem
from defectflow_ui.pages import train_view as view
from defectflow_ui.station import Station
from defectflow_ui.tasks.background import Task
from defectflow_ui.tasks.training import CHECK, EVALUATION, Training, Wish, follow, result
from defectflow_ui.visits.uploads import Arrived
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import train as words

SEEN, FORM, UPLOAD = "train.seen", "train.form", "train.upload"
LOOK_EVERY_S = 1.0
Updates = dict[Any, Any]


def build(station: Station) -> None:
    """Choices on the left; the task, what it found and what it made on the right."""
    training = Training(station.bundles, station.settings.data, station.store)
    if (running := training.running()) is not None:  # from before the station was started
        _show_above_all_pages(station, running, str(running.notes["who"]))
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=360):
            source = gr.Dropdown([], label=words.source, info=words.source_info, elem_id="train-source")
            zone = block(
                view.drop_zone(station.settings.data is not None),
                elem_id="train-drop",
                events="station.dropZone(element, trigger, 'dropped')",
            )
            arriving = block(elem_id="train-arriving")
            stop_upload = gr.Button(words.stop_upload, visible=False, elem_id="train-stop-upload")
            joins = block(elem_id="train-joins")
            part_regex = gr.Textbox(label=words.part_regex, info=words.part_regex_info, elem_id="train-part-regex")
            with gr.Row():
                recipe = gr.Dropdown(
                    training.recipes(),
                    value="default",
                    label=words.recipe,
                    info=words.recipe_info,
                    elem_id="train-recipe",
                )
                rate = gr.Number(
                    5.0, label=words.rate, info=words.rate_info, minimum=0.01, maximum=50, elem_id="train-rate"
                )
            check = gr.Button(words.check, variant="primary", elem_id="train-check", elem_classes="key-c")
            name = gr.Textbox(label=words.name, info=words.name_info, elem_id="train-name")
            fit = gr.Button(
                words.train, variant="primary", interactive=False, elem_id="train-fit", elem_classes="key-t"
            )
            basis = block(elem_id="train-basis")
        with gr.Column(scale=6, min_width=440):
            state = block(view.nothing_yet(), elem_id="train-state")
            stop = gr.Button(words.stop, visible=False, elem_id="train-stop")
            go_on = gr.Button(words.go_on, variant="primary", visible=False, elem_id="train-go-on")
            with gr.Accordion(words.log, open=False, visible=False) as logging:
                log = block(elem_id="train-log")
            activate = gr.Button(words.activate, variant="primary", visible=False, elem_id="train-activate")
            said = block(elem_id="train-said")
            findings = block(elem_id="train-findings", events=clicks("siblings"))
    timer = gr.Timer(LOOK_EVERY_S, active=False)

    def look(visitor: Visitor) -> Updates:
        """What has changed since this tab last looked."""
        task = training.shown()
        if task is None or not visitor.may(Role.ENGINEER):
            return {state: gr.skip()}
        status = task.status()
        seen = (task.name, status, tuple(task.progress()))
        if visitor.tab.get(SEEN) == seen:
            return {state: gr.skip()}
        before, visitor.tab[SEEN] = visitor.tab.get(SEEN), seen
        updates: Updates = {state: view.task_state(task, status), log: view.log(task)}
        if before is not None and before[0] == task.name and before[1] == status:
            return updates  # only its bars have moved
        return updates | outcome(visitor, task, status.state) | may_train(visitor)

    def outcome(visitor: Visitor, task: Task, how: str) -> Updates:
        """Everything but the bars."""
        trained = task.notes["kind"] == "train"
        done = how == "done"
        updates: Updates = {
            stop: gr.Button(visible=how == "running"),
            timer: gr.Timer(active=how == "running"),
            go_on: gr.Button(visible=trained and task.resumable),
            logging: gr.Accordion(visible=True),
            activate: gr.Button(visible=False),
            said: "",
            findings: "",
        }
        if done and not trained:
            found = result(task, CHECK)
            updates[findings] = view.check_found(found, training.names_in(task), visitor.served)
        elif done:
            try:
                bundle = station.bundles.find(str(task.notes["name"]))
            except BundleError as error:
                return updates | {said: view.gone(str(task.notes["name"]), str(error))}
            pictures = training.pictures_of(task)
            unsure = view.least_sure(bundle.card, pictures, training.names_in(task), visitor.served)
            tested = any(step.name == "evaluate" for step in task.steps)
            updates[findings] = view.trained(bundle, result(task, EVALUATION), tested, unsure)
            updates[activate] = gr.Button(visible=True, interactive=bundle.card.calibration is not None)
        return updates

    def may_train(visitor: Visitor) -> Updates:
        """Training is for what was checked, and for nothing else that the form may say by now."""
        checked, running = training.checked(), training.running() is not None
        as_checked = checked is not None and checked[0] == visitor.tab.get(FORM)
        return {
            fit: gr.Button(interactive=as_checked and checked is not None and checked[2] and not running),
            basis: "" if checked is None or running else view.basis(*checked, as_checked=as_checked),
        }

    def on_show(visitor: Visitor, task: Task | None) -> Task:
        """This task, if the tab shows it: a button is about what stands beside it. Raises DataError."""
        seen = visitor.tab.get(SEEN)
        if task is None or seen is None or seen[0] != task.name:
            raise DataError(words.another_meanwhile)
        return task

    def begun(visitor: Visitor, task: Task) -> Updates:
        _show_above_all_pages(station, task, visitor.user)
        return look(visitor) | {fit: gr.Button(interactive=False), basis: ""}

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor) -> Updates:
        if not visitor.may(Role.ENGINEER):
            return {state: view.engineers_only()}
        visitor.tab.pop(SEEN, None)
        offered, recipes, task = training.sources.all(), training.recipes(), training.shown()
        wish = before = visitor.tab.get(FORM)
        if wish is None:  # this tab has asked for nothing yet: as it was last
            wish = Wish("", "default", "", 0.05) if task is None else Wish(**task.notes["wish"])
        chosen = wish.source if wish.source in [value for _, value in offered] else None
        how = wish.recipe if wish.recipe in recipes else "default"
        visitor.tab[FORM] = Wish(chosen or "", how, wish.part_regex, wish.rate)
        typed = {part_regex: wish.part_regex, rate: 100 * wish.rate} if before is None else {}
        choices = {source: gr.Dropdown(offered, value=chosen), recipe: gr.Dropdown(recipes, value=how)}
        return look(visitor) | may_train(visitor) | choices | typed

    @station.handler(Role.VIEWER)
    def tick(visitor: Visitor) -> Updates:
        return look(visitor)

    @station.handler(Role.ENGINEER)
    def changed(visitor: Visitor, wanted: str | None, expression: str, how: str, percent: float) -> Updates:
        visitor.tab[FORM] = _wish(wanted, expression, how, percent)
        return may_train(visitor)

    @station.handler(Role.ENGINEER)
    def tell_joins(visitor: Visitor, wanted: str | None) -> str:
        """Which answers a model would be fitted again with, or why it cannot be."""
        try:
            return view.joins(wanted or "", training.sources.refit(wanted or ""))
        except DefectFlowError as error:
            return problem(view.sentence(str(error)))

    @station.handler(Role.ENGINEER)
    def take(visitor: Visitor) -> Iterator[Updates]:
        """Pictures as they arrive, until all have, or somebody stops it."""
        drops, key, files = visitor.session.drops, str(visitor.event.get("drop")), visitor.number("expected") or 1
        drop = drops.get(key)
        if drop is None:
            raise DataError(words.nothing_uploaded)
        visitor.tab[UPLOAD] = key
        here, ended, shown_at = list[Arrived](), False, 0.0
        told, updates = "", Updates()
        try:
            while not ended:
                more, ended = drop.take(len(here), LOOK_EVERY_S)
                here += more
                if monotonic() - shown_at >= LOOK_EVERY_S:
                    shown_at = monotonic()
                    yield {arriving: view.arriving(len(here), files, drop.size), stop_upload: gr.Button(visible=True)}
            if drop.closed:
                raise DataError(words.upload_stopped)
            if drop.abandoned:
                raise DataError(words.upload_abandoned(len(here), files))
            token = training.take_upload(here)
            if (form := visitor.tab.get(FORM)) is not None:
                visitor.tab[FORM] = replace(form, source=token)  # though the page may be out of sight just now
            updates = {source: gr.Dropdown(training.sources.all(), value=token)}
            told = view.refused([str(one.error) for one in here if one.error is not None])
        except DataError as error:
            told = problem(view.sentence(str(error)))
        finally:
            drops.pop(key, None)
            drop.close()
        yield updates | {arriving: told, stop_upload: gr.Button(visible=False)}

    @station.handler(Role.ENGINEER)
    def give_up_upload(visitor: Visitor) -> None:
        if drop := visitor.session.drops.pop(str(visitor.tab.get(UPLOAD)), None):
            drop.close()

    @station.handler(Role.ENGINEER)
    def start_check(visitor: Visitor, wanted: str | None, expression: str, how: str, percent: float) -> Updates:
        visitor.tab[FORM] = wish = _wish(wanted, expression, how, percent)
        return begun(visitor, training.check(wish, visitor.user))

    @station.handler(Role.ENGINEER)
    def start_fit(
        visitor: Visitor, called: str, wanted: str | None, expression: str, how: str, percent: float
    ) -> Updates:
        wish = _wish(wanted, expression, how, percent)
        return begun(visitor, training.train(called.strip(), wish, visitor.user))

    @station.handler(Role.ENGINEER)
    def take_up(visitor: Visitor) -> Updates:
        on_show(visitor, training.latest("train"))
        return begun(visitor, training.go_on())

    @station.handler(Role.ENGINEER)
    def cancel(visitor: Visitor) -> Updates:
        if (task := training.running()) is not None:
            on_show(visitor, task).cancel()
        return look(visitor)

    @station.handler(Role.ENGINEER)
    def use_siblings(visitor: Visitor) -> str:
        """The expression that the check has proposed; to be checked again."""
        task = training.latest("check")
        found = None if task is None else result(task, CHECK)
        if found is None or found["siblings"] is None:
            raise DataError(words.check_first)
        return str(found["siblings"]["part_regex"])

    @station.handler(Role.ENGINEER)
    def put_to_work(visitor: Visitor) -> str:
        name = str(on_show(visitor, training.latest("train")).notes["name"])
        station.bundles.activate(name, by=visitor.user, reason=words.activated_here)
        return view.activated(name)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    fields: list[Any] = [source, part_regex, recipe, rate]
    shown = [state, log, logging, stop, go_on, activate, said, findings, fit, basis, timer]
    station.on_open(open_page, outputs=[*shown, *fields])
    timer.tick(tick, outputs=shown, **quiet)
    zone.dropped(take, outputs=[source, arriving, stop_upload], trigger_mode="multiple", **quiet)
    stop_upload.click(give_up_upload, **quiet)
    gr.on([field.change for field in fields], changed, inputs=fields, outputs=[fit, basis], **quiet)
    source.change(tell_joins, inputs=source, outputs=joins, **quiet)
    station.shown_above(check.click(start_check, inputs=fields, outputs=shown, **quiet))
    station.shown_above(fit.click(start_fit, inputs=[name, *fields], outputs=shown, **quiet))
    stop.click(cancel, outputs=shown, **quiet)
    station.shown_above(go_on.click(take_up, outputs=shown, **quiet))
    findings.siblings(use_siblings, outputs=part_regex, **quiet)
    station.shown_above(activate.click(put_to_work, outputs=said, **quiet))


def _wish(source: str | None, part_regex: str, recipe: str, percent: float) -> Wish:
    """The form's values."""
    return Wish(source or "", recipe, part_regex.strip(), round(float(percent or 0) / 100, 6))


def _show_above_all_pages(station: Station, task: Task, who: str) -> None:
    station.jobs.start(task.title, lambda job: follow(task, job), who=who, outlives=True)
