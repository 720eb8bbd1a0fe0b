"""Train: choose good pictures, have them checked, fit a model in the background, and activate it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from defectflow.bundle import Bundle, Card
from defectflow.errors import BundleError, DataError, DefectFlowError
from defectflow.store import FOUND, Role
from defectflow_ui.markup.elements import block, clicks, problem
from defectflow_ui.pages import train_outcome as made
from defectflow_ui.pages import train_view as view
from defectflow_ui.pages.page import QUIET, Page, Updates, wanting
from defectflow_ui.pages.train_settings import TrainSettings
from defectflow_ui.pages.train_upload import FORM, LOOK_EVERY_S, TrainUpload
from defectflow_ui.station import Station, handler
from defectflow_ui.tasks.background import Task
from defectflow_ui.tasks.selection import names, toggled
from defectflow_ui.tasks.training import Training, Wish, checks, follow
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import train as words

SEEN = "train.seen"
SHOW_TASK = "() => document.getElementById('train-state').scrollIntoView({block: 'nearest'})"
"""The buttons stand at the end of a long form, and what they begin beside its start."""


class TrainPage(Page):
    """Choices on the left; the task, what it found and what it made on the right."""

    tab = words.tab

    def __init__(self, station: Station) -> None:
        self.training = Training(station.bundles, station.settings.data, station.store)
        shown = any(job.outlives for job in station.jobs.running())
        if (running := self.training.running()) is not None and not shown:  # from before the station was started
            _show_above_all_pages(station, running, str(running.notes["who"]))
        super().__init__(station)

    def lay_out(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=360) as self.form:
                self._lay_out_form()
            with gr.Column(scale=6, min_width=440):
                self._lay_out_task()
        self.timer = gr.Timer(LOOK_EVERY_S, active=False)

    def _lay_out_form(self) -> None:
        self.source = gr.Dropdown([], label=words.source, info=words.source_info, elem_id="train-source")
        self.upload = TrainUpload(self.station, self.training, self.source)
        self.joins = block(elem_id="train-joins")
        self.part_regex = gr.Textbox(label=words.part_regex, info=words.part_regex_info, elem_id="train-part-regex")
        with gr.Row():
            self.recipe = gr.Dropdown(
                self._recipes(),
                value="default",
                label=words.recipe,
                info=words.recipe_info,
                elem_id="train-recipe",
            )
            self.rate = gr.Number(
                5.0, label=words.rate, info=words.rate_info, minimum=0.01, maximum=50, elem_id="train-rate"
            )
        self.settings = TrainSettings(self.station, self.training, self.source)
        with gr.Accordion(words.left_out_title, open=False, elem_id="train-left-out-more"):
            self.left_out, self.defective = (
                gr.Textbox("", label=label, info=info, lines=2, max_lines=6, elem_id=elem_id)
                for label, info, elem_id in (
                    (words.left_out, words.left_out_info, "train-left-out"),
                    (words.defective, words.defective_info, "train-defective"),
                )
            )
        self.check = gr.Button(words.check, variant="primary", elem_id="train-check", elem_classes="key-c")
        self.name = gr.Textbox(label=words.name, info=words.name_info, elem_id="train-name")
        self.fit = gr.Button(
            words.train, variant="primary", interactive=False, elem_id="train-fit", elem_classes="key-t"
        )
        self.basis = block(elem_id="train-basis")

    def _lay_out_task(self) -> None:
        self.state = block(view.nothing_yet(), elem_id="train-state")
        self.stop = gr.Button(words.stop, visible=False, elem_id="train-stop")
        self.resume = gr.Button(words.resume, variant="primary", visible=False, elem_id="train-resume")
        with gr.Accordion(words.log, open=False, visible=False) as self.logging:
            self.log = block(elem_id="train-log")
        self.activate = gr.Button(words.activate, variant="primary", visible=False, elem_id="train-activate")
        self.said = block(elem_id="train-said")
        self.findings = block(elem_id="train-findings", events=clicks("siblings", "out", "bad"))

    def connect(self) -> None:
        aside = [self.left_out, self.defective]
        fields: list[Any] = [self.source, self.part_regex, self.recipe, self.rate, self.settings.text, *aside]
        task = [self.state, self.log, self.logging, self.stop, self.resume, self.activate, self.said, self.findings]
        shown, above = [*task, self.fit, self.basis, self.timer], self.station.shown_above
        self.station.on_open(self.open_page, outputs=[*shown, *fields, self.form])
        self.timer.tick(self.tick, outputs=shown, **QUIET)
        self.upload.connect()
        self.settings.connect()
        changes = [field.change for field in fields]
        gr.on(changes, self.changed, inputs=fields, outputs=[self.fit, self.basis], **QUIET)
        self.source.change(self.tell_joins, inputs=self.source, outputs=self.joins, **QUIET)
        above(self.check.click(self.start_check, inputs=fields, outputs=shown, **QUIET))
        above(self.fit.click(self.start_fit, inputs=[self.name, *fields], outputs=[*shown, self.name], **QUIET))
        self.stop.click(self.cancel, outputs=shown, **QUIET)
        above(self.resume.click(self.take_up, outputs=shown, **QUIET))
        self.findings.siblings(self.use_siblings, outputs=self.part_regex, **QUIET)
        marks: list[Any] = [*aside, self.findings]
        self.findings.out(self.leave_out, inputs=aside, outputs=marks, trigger_mode="multiple", **QUIET)
        self.findings.bad(self.call_defective, inputs=aside, outputs=marks, trigger_mode="multiple", **QUIET)
        above(self.activate.click(self.put_to_work, outputs=[self.said, self.activate], **QUIET))
        for begun in (self.check, self.fit):
            begun.click(None, js=SHOW_TASK, **QUIET)

    # ---- how the task stands ------------------------------------------------------------------------------------

    def _look(self, visitor: Visitor) -> Updates:
        """What has changed since this tab last looked."""
        task = self.training.shown()
        if task is None or not visitor.may(Role.ENGINEER):
            return {self.state: gr.skip()}
        status = task.status()
        seen = (task.name, status, tuple(task.progress()))
        if visitor.tab.get(SEEN) == seen:
            return {self.state: gr.skip()}
        before, visitor.tab[SEEN] = visitor.tab.get(SEEN), seen
        updates: Updates = {
            self.state: view.task_state(
                task, status, self.training.seconds_left(task) if status.state == "running" else None
            ),
            self.log: view.log(task),
        }
        if before is not None and before[0] == task.name and before[1] == status:
            return updates  # only its bars have moved
        return updates | self._outcome(visitor, task, status.state) | self._may_train(visitor)

    def _outcome(self, visitor: Visitor, task: Task, how: str) -> Updates:
        """Everything but the bars."""
        trained = task.notes["kind"] == "train"
        updates: Updates = {
            self.stop: gr.Button(visible=how == "running"),
            self.timer: gr.Timer(active=how == "running"),
            self.resume: gr.Button(visible=trained and task.resumable),
            self.logging: gr.Accordion(visible=True),
            self.activate: gr.Button(visible=False),
            self.said: "",
            self.findings: "",
        }
        if how != "done":
            return updates
        return updates | (self._trained(visitor, task) if trained else self._checked(visitor, task))

    def _checked(self, visitor: Visitor, task: Task) -> Updates:
        wish = visitor.tab.get(FORM) or Wish(**task.notes["wish"])
        return {self.findings: self._findings(visitor, task, wish.left_out, wish.defective)}

    def _findings(self, visitor: Visitor, task: Task, left_out: str, defective: str) -> Markup:
        aside = {**dict.fromkeys(names(left_out), "out"), **dict.fromkeys(names(defective), "bad")}
        return made.checks_found(checks(task), self.training.names_in(task), visitor.served, aside)

    def _trained(self, visitor: Visitor, task: Task) -> Updates:
        name = str(task.notes["name"])
        try:
            bundles = self.station.bundles.of_model(name)
        except BundleError as error:
            return {self.said: view.gone(name, str(error))}
        pictures, names = self.training.pictures_of(task), self.training.names_in(task)
        models = [
            made.model(bundle, self._as_trained(bundle.card), pictures, names, visitor.served) for bundle in bundles
        ]
        tested = any(step.name == "evaluate" for step in task.steps)
        return {
            self.findings: made.trained(models, tested=tested),
            self.activate: self._activate(bundles),
        }

    def _activate(self, bundles: Sequence[Bundle]) -> gr.Button:
        """For what has thresholds, and is not at work already."""
        ready = any(bundle.card.calibration is not None for bundle in bundles)
        activated = any(self.station.bundles.is_activated(bundle) for bundle in bundles)
        return gr.Button(visible=True, interactive=ready and not activated)

    def _as_trained(self, card: Card) -> Card:
        """With the thresholds that the training has found, whatever was set since."""
        found = [one for one in self.station.store.versions.all(card.bundle_id) if one.origin == FOUND]
        return found[-1].card(card) if found else card

    def _may_train(self, visitor: Visitor) -> Updates:
        """Training is for what was checked, and for nothing else that the form may say by now."""
        checked, running = self.training.checked(), self.training.running() is not None
        as_checked = checked is not None and checked[0] == visitor.tab.get(FORM)
        return {
            self.fit: gr.Button(interactive=as_checked and checked is not None and checked[2] and not running),
            self.basis: "" if checked is None or running else view.basis(*checked, as_checked=as_checked),
        }

    @handler(Role.VIEWER)
    def tick(self, visitor: Visitor) -> Updates:
        return self._look(visitor)

    # ---- the form -----------------------------------------------------------------------------------------------

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> Updates:
        if not visitor.may(Role.ENGINEER):
            return {self.state: view.engineers_only(), self.form: gr.Column(visible=False)}
        visitor.tab.pop(SEEN, None)
        offered, recipes, task = self.training.sources.all(), self.training.recipes(), self.training.shown()
        wish = before = visitor.tab.get(FORM)
        if wish is None:  # this tab has asked for nothing yet: as it was last
            wish = Wish("", "default", "", 0.05) if task is None else Wish(**task.notes["wish"])
        chosen = wish.source if wish.source in [value for _, value in offered] else None
        how = wish.recipe if wish.recipe in recipes else "default"
        visitor.tab[FORM] = replace(wish, source=chosen or "", recipe=how)
        typed = {self.part_regex: wish.part_regex, self.rate: 100 * wish.rate, self.settings.text: wish.settings}
        typed |= {self.left_out: wish.left_out, self.defective: wish.defective}
        typed = typed if before is None else {}
        choices = {
            self.source: gr.Dropdown(offered, value=chosen),
            self.recipe: gr.Dropdown(self._recipes(), value=how),
        }
        return self._look(visitor) | self._may_train(visitor) | choices | typed

    def _recipes(self) -> list[tuple[str, str]]:
        """Each with what it is for; whoever has written one of their own knows."""
        about = words.recipes
        return [(f"{name}: {about[name]}" if name in about else name, name) for name in self.training.recipes()]

    @handler(Role.ENGINEER)
    def changed(self, visitor: Visitor, *fields: Any) -> Updates:
        visitor.tab[FORM] = _wish(*fields)
        return self._may_train(visitor)

    @handler(Role.ENGINEER)
    def tell_joins(self, visitor: Visitor, wanted: str | None) -> str:
        """Which answers a model would be fitted again with, or why it cannot be."""
        try:
            return view.joins(wanted or "", self.training.sources.refit(wanted or ""))
        except DefectFlowError as error:
            return problem(view.sentence(str(error)))

    @handler(Role.ENGINEER)
    def use_siblings(self, visitor: Visitor) -> str:
        """The expression that the check has proposed; to be checked again."""
        task = self.training.latest("check")
        found = None if task is None else checks(task).get(str(visitor.event.get("siblings")))
        if found is None or found["siblings"] is None:
            raise DataError(words.check_first)
        return str(found["siblings"]["part_regex"])

    @handler(Role.ENGINEER)
    def leave_out(self, visitor: Visitor, left_out: str, defective: str) -> Updates:
        """A picture that the check shows, taken out of the fit, or put back."""
        return self._put_aside(visitor, toggled(left_out, str(visitor.event["out"])), defective, "out")

    @handler(Role.ENGINEER)
    def call_defective(self, visitor: Visitor, left_out: str, defective: str) -> Updates:
        """A picture that the check shows, called defective, or good again."""
        return self._put_aside(visitor, left_out, toggled(defective, str(visitor.event["bad"])), "bad")

    def _put_aside(self, visitor: Visitor, left_out: str, defective: str, how: str) -> Updates:
        """A picture is either left out or called defective: the later word counts."""
        name = str(visitor.event[how])
        if how == "out" and name in names(defective):
            defective = toggled(defective, name)
        elif how == "bad" and name in names(left_out):
            left_out = toggled(left_out, name)
        task = self._on_show(visitor, self.training.latest("check"))
        shown = self._findings(visitor, task, left_out, defective)
        return {self.left_out: left_out, self.defective: defective, self.findings: shown}

    # ---- tasks --------------------------------------------------------------------------------------------------

    def _on_show(self, visitor: Visitor, task: Task | None) -> Task:
        """This task, if the tab shows it: a button is about what stands beside it. Raises DataError."""
        seen = visitor.tab.get(SEEN)
        if task is None or seen is None or seen[0] != task.name:
            raise DataError(words.another_meanwhile)
        return task

    def _begun(self, visitor: Visitor, task: Task) -> Updates:
        _show_above_all_pages(self.station, task, visitor.user)
        return self._look(visitor) | {self.fit: gr.Button(interactive=False), self.basis: ""}

    @handler(Role.ENGINEER)
    def start_check(self, visitor: Visitor, *fields: Any) -> Updates:
        visitor.tab[FORM] = wish = _wish(*fields)
        return self._begun(visitor, self.training.check(wish, visitor.user))

    @handler(Role.ENGINEER)
    def start_fit(self, visitor: Visitor, called: str, *fields: Any) -> Updates:
        if missing := wanting({self.name: called}):
            return missing
        begun = self._begun(visitor, self.training.train(called.strip(), _wish(*fields), visitor.user))
        return begun | {self.name: gr.Textbox(info=words.name_info)}

    @handler(Role.ENGINEER)
    def take_up(self, visitor: Visitor) -> Updates:
        self._on_show(visitor, self.training.latest("train"))
        return self._begun(visitor, self.training.resume())

    @handler(Role.ENGINEER)
    def cancel(self, visitor: Visitor) -> Updates:
        if (task := self.training.running()) is not None:
            self._on_show(visitor, task).cancel()
        return self._look(visitor)

    @handler(Role.ENGINEER)
    def put_to_work(self, visitor: Visitor) -> Updates:
        """Of several products the first that can judge; on Inspect any of them can be chosen then."""
        task = self._on_show(visitor, self.training.latest("train"))
        bundles = self.station.bundles.of_model(str(task.notes["name"]))
        first = next((bundle for bundle in bundles if bundle.card.calibration is not None), bundles[0])
        self.station.bundles.activate(first.name, by=visitor.user, reason=words.activated_here)
        return {self.said: view.activated(first.name), self.activate: self._activate(bundles)}


def _wish(source: str | None, part_regex: str, recipe: str, percent: float, *lines: str) -> Wish:
    """The form's values. `lines`: the settings, and the pictures put aside."""
    rate = round(float(percent or 0) / 100, 6)
    return Wish(source or "", recipe, part_regex.strip(), rate, *(text.strip() for text in lines))


def _show_above_all_pages(station: Station, task: Task, who: str) -> None:
    station.jobs.start(task.title, lambda job: follow(task, job), who=who, outlives=True)
