"""Train: choose good pictures, have them checked, fit a model that outlives the page, and put it to work."""

from __future__ import annotations

from typing import Any

import gradio as gr

from defectflow.background import Task
from defectflow.errors import BundleError, DataError
from defectflow.store import Role
from defectflow_ui.pages import train_view as view
from defectflow_ui.station import Station
from defectflow_ui.theme import block, clicks
from defectflow_ui.training import CHECK, EVALUATION, Training, Wish, follow, result
from defectflow_ui.visitors import Visitor
from defectflow_ui.words import train as words

SEEN = "train.seen"
LOOK_EVERY_S = 1.0
ARRIVAL_S = 300.0
"""How long one more picture of an upload is waited for."""
Updates = dict[Any, Any]


def build(station: Station) -> None:
    """Choices on the left; the task, what it found and what it made on the right."""
    training = Training(station.settings.bundles, station.settings.data)
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
        with gr.Column(scale=6, min_width=440):
            state = block(view.nothing_yet(), elem_id="train-state")
            stop = gr.Button(words.stop, visible=False, elem_id="train-stop")
            with gr.Accordion(words.log, open=False, visible=False) as logging:
                log = block(elem_id="train-log")
            activate = gr.Button(words.activate, variant="primary", visible=False, elem_id="train-activate")
            said = block(elem_id="train-said")
            findings = block(elem_id="train-findings", events=clicks("siblings"))
    timer = gr.Timer(LOOK_EVERY_S, active=False)

    def latest() -> Task | None:
        tasks = [task for kind in ("check", "train") if (task := training.latest(kind)) is not None]
        return max(tasks, key=lambda task: task.name, default=None)

    def look(visitor: Visitor) -> Updates:
        """What has changed since this tab last looked."""
        task = latest()
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
        return updates | outcome(visitor, task, status.state)

    def outcome(visitor: Visitor, task: Task, how: str) -> Updates:
        """Everything but the bars."""
        trained = task.notes["kind"] == "train"
        done = how == "done"
        updates: Updates = {
            stop: gr.Button(visible=how == "running"),
            timer: gr.Timer(active=how == "running"),
            logging: gr.Accordion(visible=True),
            activate: gr.Button(visible=False),
            said: "",
            findings: "",
        }
        if done and not trained:
            found = result(task, CHECK)
            updates[findings] = view.check_found(found, training.name_of, visitor.shelf)
        elif done:
            try:
                bundle = station.bundles.find(str(task.notes["name"]))
            except BundleError as error:
                return updates | {said: view.gone(str(task.notes["name"]), str(error))}
            pictures = training.pictures_of(task)
            unsure = view.least_sure(bundle.card, pictures, training.name_of, visitor.shelf)
            tested = any(step.name == "evaluate" for step in task.steps)
            updates[findings] = view.trained(bundle, result(task, EVALUATION), tested, unsure)
            updates[activate] = gr.Button(visible=True, interactive=bundle.card.calibration is not None)
        return updates | {fit: gr.Button(interactive=how != "running" and may_train())}

    def may_train() -> bool:
        checked = training.latest("check")
        found = None if checked is None else result(checked, CHECK)
        return found is not None and not found["fit_fails"]

    def begun(visitor: Visitor, task: Task) -> Updates:
        _show_above_all_pages(station, task, visitor.user)
        return look(visitor) | {fit: gr.Button(interactive=False)}

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor) -> Updates:
        if not visitor.may(Role.ENGINEER):
            return {state: view.engineers_only()}
        visitor.tab.pop(SEEN, None)
        sources = training.sources()
        task = latest()
        wish = None if task is None else Wish(**task.notes["wish"])
        chosen = wish.source if wish is not None and wish.source in [value for _, value in sources] else None
        recipes = training.recipes()
        how = wish.recipe if wish is not None and wish.recipe in recipes else "default"
        updates = look(visitor) | {source: gr.Dropdown(sources, value=chosen), recipe: gr.Dropdown(recipes, value=how)}
        if wish is not None:
            updates |= {part_regex: wish.part_regex, rate: 100 * wish.rate}
        return updates

    @station.handler(Role.VIEWER)
    def tick(visitor: Visitor) -> Updates:
        return look(visitor)

    @station.handler(Role.ENGINEER)
    def take(visitor: Visitor) -> Updates:
        key = str(visitor.event.get("drop"))
        drop = visitor.session.drops.get(key)
        if drop is None:
            raise DataError(words.nothing_uploaded)
        arrived, ended = drop.take(0, ARRIVAL_S)
        while not ended:
            more, ended = drop.take(len(arrived), ARRIVAL_S)
            if not more and not ended:
                break
            arrived += more
        try:
            token = training.take_upload(arrived)
        finally:
            del visitor.session.drops[key]
            drop.close()
        refused = [str(one.error) for one in arrived if one.error is not None]
        return {source: gr.Dropdown(training.sources(), value=token), said: view.refused(refused)}

    @station.handler(Role.ENGINEER)
    def start_check(visitor: Visitor, wanted: str | None, expression: str, how: str, percent: float) -> Updates:
        wish = Wish(wanted or "", how, expression.strip(), round(float(percent or 0) / 100, 6))
        return begun(visitor, training.check(wish, visitor.user))

    @station.handler(Role.ENGINEER)
    def start_fit(visitor: Visitor, wanted: str) -> Updates:
        return begun(visitor, training.train(wanted.strip(), visitor.user))

    @station.handler(Role.ENGINEER)
    def cancel(visitor: Visitor) -> Updates:
        if (task := training.running()) is not None:
            task.cancel()
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
        task = training.latest("train")
        if task is None:
            raise DataError(words.check_first)
        name = str(task.notes["name"])
        station.bundles.activate(name, by=visitor.user, reason=words.activated_here)
        return view.activated(name)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [state, log, logging, stop, activate, said, findings, fit, timer]
    station.on_open(open_page, outputs=[*shown, source, part_regex, rate, recipe])
    timer.tick(tick, outputs=shown, **quiet)
    zone.dropped(take, outputs=[source, said], api_visibility="private")
    check.click(start_check, inputs=[source, part_regex, recipe, rate], outputs=shown, **quiet)
    fit.click(start_fit, inputs=name, outputs=shown, **quiet)
    stop.click(cancel, outputs=shown, **quiet)
    findings.siblings(use_siblings, outputs=part_regex, **quiet)
    station.shown_above(activate.click(put_to_work, outputs=said, **quiet))


def _show_above_all_pages(station: Station, task: Task, who: str) -> None:
    station.jobs.start(task.title, lambda job: follow(task, job), who=who, kind="train", outlives=True)
