"""Calibrate: a threshold from a rate, or by hand; a promise or an estimate; saved as a version with a reason."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from defectflow.bundle import Card
from defectflow.errors import CalibrationError, DataError
from defectflow.gauge import PartScores
from defectflow.store import Role
from defectflow.verdict import Costs
from defectflow_ui.markup.elements import block, clicks, notice, problem
from defectflow_ui.pages import calibrate_view as view
from defectflow_ui.pages.calibrate_workbench import Asked, Workbench
from defectflow_ui.pages.page import QUIET, Page, Updates, choices, wanting
from defectflow_ui.pages.versions_view import pressed
from defectflow_ui.pages.versions_view import versions as listed
from defectflow_ui.station import handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import calibrate as words

WORKBENCH = "calibrate.workbench"


class CalibratePage(Page):
    """Scores and table on the left; rate, threshold, costs and versions on the right."""

    tab = words.tab

    def lay_out(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=440):
                self.chosen = gr.Dropdown([], label=words.bundle, elem_id="calibrate-bundle")
                self.picture = block(view.no_bundle(), elem_id="calibrate-histogram")
                with gr.Group() as self.sliders:
                    self.threshold = _slider(words.threshold, words.threshold_info, "calibrate-threshold", key="t")
                    self.review = _slider(words.review, words.review_info, "calibrate-review", key="g")
                self.figures = block(elem_id="calibrate-table")
            with gr.Column(scale=5, min_width=400) as self.form:
                gr.Markdown(f"### {words.by_rate}\n{words.by_rate_note}")
                self._lay_out_promise()
                with gr.Accordion(words.costs, open=False, elem_id="calibrate-costs"):
                    self._lay_out_costs()
                gr.Markdown(f"### {words.save}")
                self._lay_out_saving()
                gr.Markdown(f"### {words.versions}")
                self.versions = block(elem_id="calibrate-versions", events=clicks("version"))

    def _lay_out_promise(self) -> None:
        with gr.Row():
            self.rate = gr.Number(
                5.0, label=words.rate, minimum=0.01, maximum=99, elem_id="calibrate-rate", elem_classes="key-r"
            )
            self.review_rate = gr.Number(
                10.0, label=words.review_rate, minimum=0.01, maximum=99, elem_id="calibrate-review-rate"
            )
            self.guarantee = gr.Radio(
                choices(words.guarantees),
                value="expected",
                label=words.guarantee,
                info=words.guarantee_info,
                elem_id="calibrate-guarantee",
            )
        self.promised = block(elem_id="calibrate-promise")

    def _lay_out_costs(self) -> None:
        with gr.Row():
            self.overkill_cost = gr.Number(1.0, label=words.cost_overkill, minimum=0, elem_id="cost-overkill")
            self.escape_cost = gr.Number(50.0, label=words.cost_escape, minimum=0, elem_id="cost-escape")
            self.defective_share = gr.Number(
                1.0, label=words.defective_share, minimum=0, maximum=100, elem_id="cost-share"
            )
        self.find = gr.Button(words.find, elem_id="calibrate-cheapest")
        self.cost = block(elem_id="calibrate-cost")

    def _lay_out_saving(self) -> None:
        with gr.Row():
            self.name = gr.Textbox(label=words.name, elem_id="calibrate-name", elem_classes="key-n")
            self.reason = gr.Textbox(label=words.reason, elem_id="calibrate-reason", scale=2)
        self.use = gr.Checkbox(True, label=words.use, elem_id="calibrate-use")
        self.save = gr.Button(words.save_button, variant="primary", elem_id="calibrate-save")
        self.said = block(elem_id="calibrate-said")

    def connect(self) -> None:
        seen, sliders = [self.picture, self.figures, self.promised, self.said], [self.threshold, self.review]
        asked = [self.rate, self.review_rate, self.guarantee]
        whole = [*seen, self.versions, self.chosen, *sliders, *asked, self.cost]
        self.station.on_open(self.open_page, outputs=[*whole, self.sliders, self.form])
        self.chosen.input(self.choose, inputs=self.chosen, outputs=whole, **QUIET)
        for typed in (self.rate.submit, self.review_rate.submit, self.guarantee.input):
            typed(self.by_rate, inputs=asked, outputs=[*seen, *sliders], **QUIET)
        for left in (self.rate.blur, self.review_rate.blur):
            left(self.by_leaving, inputs=asked, outputs=[*seen, *sliders], **QUIET)
        for slider in sliders:
            slider.input(
                self.by_hand, inputs=sliders, outputs=[*seen, self.review], trigger_mode="always_last", **QUIET
            )
        costs = [self.overkill_cost, self.escape_cost, self.defective_share]
        self.find.click(self.cheapest, inputs=costs, outputs=[*seen, *sliders, self.cost], **QUIET)
        called = [self.name, self.reason, self.use]
        for saving in (self.save.click, self.name.submit, self.reason.submit):
            self.station.shown_above(
                saving(self.keep, inputs=called, outputs=[*whole, self.name, self.reason], **QUIET)
            )
        self.station.shown_above(self.versions.version(self.put_back, outputs=whole, **QUIET))

    # ---- a model ------------------------------------------------------------------------------------------------

    def _offered(self) -> tuple[list[str], str | None]:
        """The usable models, and the one that is looked at first."""
        names = [found.name for found in self.station.bundles.all() if found.bundle is not None]
        return names, next((one for one in (self.station.bundles.active_name, *names) if one in names), None)

    def _open_bundle(self, visitor: Visitor, wanted: str | None) -> Updates:
        """A fresh workbench; the engineer's own rates and sliders start from what the bundle has."""
        names, first = self._offered()
        emptied = dict.fromkeys((self.figures, self.promised, self.cost, self.versions), "")
        visitor.tab.pop(WORKBENCH, None)
        wanted = wanted if wanted in names else first
        choices = {self.chosen: gr.Dropdown(names, value=wanted)}
        if wanted is None:
            return {self.picture: view.no_bundle(), **choices, **emptied}
        bundle = self.station.bundles.find(wanted)
        work = Workbench(bundle, PartScores.of(bundle, self.station.store))
        try:
            begun = self._begun(work)
        except CalibrationError as error:
            return {self.picture: problem(str(error)), **choices, **emptied}
        visitor.tab[WORKBENCH] = work
        return choices | begun | {self.cost: ""} | self._shown(work)

    def _begun(self, work: Workbench) -> Updates:
        """Fields and sliders of a fresh workbench. Raises CalibrationError if there are no scores."""
        card = work.bundle.card
        usual_rate, kept, usual_review_rate = card.rule
        work.asked = (round(100 * usual_rate, 4), round(100 * usual_review_rate, 4), kept)
        return self._sliders(work) | {
            self.guarantee: kept,
            self.rate: work.asked[0],
            self.review_rate: work.asked[1],
            self.promised: problem(words.uncalibrated) if card.calibration is None else "",
            self.versions: self._versions(card),
        }

    def _versions(self, card: Card) -> str:
        return listed(self.station.store.versions.all(card.bundle_id), card, may=True)

    def _shown(self, work: Workbench) -> Updates:
        """Histogram and table, as the workbench stands: what a drag changes."""
        cut, band = work.cuts
        return {
            self.picture: view.histogram(work.scores, [("review", band), ("cut", cut)], _axis(work)),
            self.figures: view.table(work.rows()),
        }

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> Updates:
        if not visitor.may(Role.ENGINEER):
            return {
                self.picture: view.engineers_only(),
                self.chosen: gr.Dropdown(visible=False),
                self.sliders: gr.Group(visible=False),
                self.form: gr.Column(visible=False),
            }
        work, (names, _) = visitor.tab.get(WORKBENCH), self._offered()
        if not isinstance(work, Workbench) or work.bundle.name not in names:
            return self._open_bundle(visitor, None)
        name, was = work.bundle.name, work.bundle.card
        bundle = self.station.bundles.find(name)
        card = bundle.card
        if (card.bundle_id, card.calibration_id) != (was.bundle_id, was.calibration_id):
            return self._open_bundle(visitor, name)
        work.scores = PartScores.of(bundle, self.station.store)  # what was typed or dragged meanwhile stays
        choices = {self.chosen: gr.Dropdown(names, value=name), self.versions: self._versions(card)}
        return choices | self._shown(work)

    @handler(Role.ENGINEER)
    def choose(self, visitor: Visitor, wanted: str | None) -> Updates:
        return self._open_bundle(visitor, wanted) | {self.said: ""}

    # ---- other thresholds ---------------------------------------------------------------------------------------

    def _drafted(self, work: Workbench, draft: Callable[[], Card]) -> Updates:
        """Draft thresholds; where that is refused, why."""
        try:
            told = {self.promised: view.promise(draft()), self.said: ""}
        except CalibrationError as error:
            return {self.promised: problem(str(error)), **self._shown(work)}
        return told | self._shown(work)

    def _promised(self, work: Workbench, asked: Asked) -> Updates:
        updates = self._drafted(work, lambda: work.from_rate(asked))
        return updates | self._sliders(work)

    def _sliders(self, work: Workbench) -> Updates:
        """At the thresholds on show, on the histogram's axis."""
        low, high, step = _axis(work)
        where = zip((self.threshold, self.review), work.cuts, strict=True)
        return {slider: gr.Slider(low, high, round(cut, 4), step=step) for slider, cut in where}

    @handler(Role.ENGINEER)
    def by_rate(self, visitor: Visitor, percent: float, review_percent: float, kept: str) -> Updates:
        """The exact rule, from calibration parts alone."""
        return self._promised(_bench(visitor), _asked(percent, review_percent, kept))

    @handler(Role.ENGINEER)
    def by_leaving(self, visitor: Visitor, percent: float, review_percent: float, kept: str) -> Updates:
        """The same, unless the field was only looked at: a threshold chosen by hand since stays."""
        work, asked = _bench(visitor), _asked(percent, review_percent, kept)
        return {self.picture: gr.skip()} if work.asked == asked else self._promised(work, asked)

    @handler(Role.ENGINEER)
    def by_hand(self, visitor: Visitor, cut: float, band: float) -> Updates:
        work = _bench(visitor)
        updates = self._drafted(work, lambda: work.drag(float(cut), float(band)))
        return updates | {self.review: round(float(cut), 4)} if band > cut else updates

    @handler(Role.ENGINEER)
    def cheapest(self, visitor: Visitor, overkill: float, escape: float, percent: float) -> Updates:
        work = _bench(visitor)
        costs = Costs(float(overkill or 0), float(escape or 0), float(percent or 0) / 100)
        found, cut, band = work.find_cheapest(costs)
        told = notice(words.cheapest(found.cost_per_part, cut, band))
        return self._drafted(work, lambda: work.drag(cut, band)) | self._sliders(work) | {self.cost: told}

    # ---- versions -----------------------------------------------------------------------------------------------

    @handler(Role.ENGINEER)
    def keep(self, visitor: Visitor, called: str, why: str, now: bool) -> Updates:
        work, versions = _bench(visitor), self.station.store.versions
        if work.draft is None:
            raise DataError(words.nothing_drafted)
        if missing := wanting({self.name: called, self.reason: why}):
            return missing
        before, name = work.bundle.card.calibration_id, work.bundle.name
        if self.station.bundles.find(name).card.calibration_id != before:
            raise DataError(words.changed_meanwhile)
        version = versions.add(
            work.draft, name=called.strip(), reason=why.strip(), by=visitor.user, origin=work.origin, parent=before
        )
        if now:
            versions.apply(work.bundle, version, by=visitor.user, reason=version.reason)
        said = notice(words.saved(version.name, now))
        emptied = {field: gr.Textbox("", info=None) for field in (self.name, self.reason)}
        return self._open_bundle(visitor, name) | {self.said: said} | emptied

    @handler(Role.ENGINEER)
    def put_back(self, visitor: Visitor) -> Updates:
        work = _bench(visitor)
        version = pressed(self.station, visitor, work.bundle.card)
        self.station.store.versions.apply(work.bundle, version, by=visitor.user, reason=words.reason_again)
        return self._open_bundle(visitor, work.bundle.name) | {self.said: notice(words.put_back(version.name))}


def _bench(visitor: Visitor) -> Workbench:
    work = visitor.tab.get(WORKBENCH)
    if not isinstance(work, Workbench):
        raise DataError(words.no_bundle)
    return work


def _axis(work: Workbench) -> tuple[float, float, float]:
    if work.axis is None:
        work.axis = view.axis(work.scores, *work.cuts)
    return work.axis


def _asked(percent: float | None, review_percent: float | None, kept: str) -> Asked:
    return float(percent or 0), float(review_percent or 0), kept


def _slider(label: str, info: str, name: str, *, key: str) -> gr.Slider:
    return gr.Slider(0, 1, 0.5, label=label, info=info, elem_id=name, elem_classes=f"key-{key}", buttons=[])
