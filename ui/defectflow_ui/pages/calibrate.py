"""Calibrate: a rate, kept as a promise, or a threshold by hand, an estimate; saved as a version with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
import numpy as np

from defectflow.bundle import Bundle, Card
from defectflow.errors import CalibrationError, DataError
from defectflow.store import Role
from defectflow.verdict import Cheapest, Costs
from defectflow_ui.markup.theme import block, clicks, notice, problem
from defectflow_ui.models.part_scores import PartScores
from defectflow_ui.pages import calibrate_view as view
from defectflow_ui.pages.versions_view import pressed
from defectflow_ui.pages.versions_view import versions as listed
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import calibrate as words

WORKBENCH = "calibrate.workbench"
STEPS = 7
"""Thresholds without grey band that the table shows."""
Updates = dict[Any, Any]
Asked = tuple[float, float, str]
"""Good parts that may be rejected, and that may be anything but ok, in per cent; how the promise is kept."""


@dataclass(eq=False)
class Workbench:
    """What one tab is working on: a model, its scores, and thresholds that are not saved yet."""

    bundle: Bundle
    scores: PartScores
    draft: Card | None = None
    origin: Literal["rate", "threshold"] = "rate"
    cheapest: Cheapest | None = None
    asked: Asked = (0.0, 0.0, "expected")
    """What was answered last: leaving a field without a change asks nothing."""

    @property
    def cuts(self) -> tuple[float, float]:
        """The thresholds on show: the draft's, the bundle's own, or somewhere among the scores."""
        for card in (self.draft, self.bundle.card):
            if card is not None and card.calibration is not None:
                return card.calibration.threshold.value, card.calibration.review.value
        low, high = self.scores.tradeoff.span
        return high, low + 0.8 * (high - low)


def build(station: Station) -> None:
    """Scores and table on the left; rate, threshold, costs and versions on the right."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=440):
            chosen = gr.Dropdown([], label=words.bundle, elem_id="calibrate-bundle")
            picture = block(view.no_bundle(), elem_id="calibrate-histogram")
            with gr.Group():
                threshold = _slider(words.threshold, words.threshold_info, "calibrate-threshold", key="t")
                review = _slider(words.review, words.review_info, "calibrate-review", key="g")
            figures = block(elem_id="calibrate-table")
        with gr.Column(scale=5, min_width=400):
            gr.Markdown(f"### {words.by_rate}\n{words.by_rate_note}")
            with gr.Row():
                rate = gr.Number(
                    5.0, label=words.rate, minimum=0.01, maximum=99, elem_id="calibrate-rate", elem_classes="key-r"
                )
                review_rate = gr.Number(
                    10.0, label=words.review_rate, minimum=0.01, maximum=99, elem_id="calibrate-review-rate"
                )
                guarantee = gr.Radio(
                    list(words.guarantees),
                    value="expected",
                    label=words.guarantee,
                    info=words.guarantee_info,
                    elem_id="calibrate-guarantee",
                )
            promised = block(elem_id="calibrate-promise")
            with gr.Accordion(words.costs, open=False, elem_id="calibrate-costs"):
                with gr.Row():
                    overkill_cost = gr.Number(1.0, label=words.cost_overkill, minimum=0, elem_id="cost-overkill")
                    escape_cost = gr.Number(50.0, label=words.cost_escape, minimum=0, elem_id="cost-escape")
                    defective_share = gr.Number(
                        1.0, label=words.defective_share, minimum=0, maximum=100, elem_id="cost-share"
                    )
                find = gr.Button(words.find, elem_id="calibrate-cheapest")
                cost = block(elem_id="calibrate-cost")
            gr.Markdown(f"### {words.save}")
            with gr.Row():
                name = gr.Textbox(label=words.name, elem_id="calibrate-name", elem_classes="key-n")
                reason = gr.Textbox(label=words.reason, elem_id="calibrate-reason", scale=2)
            use = gr.Checkbox(True, label=words.use, elem_id="calibrate-use")
            save = gr.Button(words.save_button, variant="primary", elem_id="calibrate-save")
            said = block(elem_id="calibrate-said")
            gr.Markdown(f"### {words.versions}")
            versions = block(elem_id="calibrate-versions", events=clicks("version"))

    def bench(visitor: Visitor) -> Workbench:
        work = visitor.tab.get(WORKBENCH)
        if not isinstance(work, Workbench):
            raise DataError(words.no_bundle)
        return work

    def offered() -> tuple[list[str], str | None]:
        """The usable models, and the one that is looked at first."""
        names = [found.name for found in station.bundles.all() if found.bundle is not None]
        return names, next((one for one in (station.bundles.active_name, *names) if one in names), None)

    def open_bundle(visitor: Visitor, wanted: str | None) -> Updates:
        """A fresh workbench; the engineer's own rates and sliders start from what the bundle has."""
        names, first = offered()
        emptied = dict.fromkeys((figures, promised, cost, versions), "")
        visitor.tab.pop(WORKBENCH, None)
        wanted = wanted if wanted in names else first
        if wanted is None:
            return {picture: view.no_bundle(), chosen: gr.Dropdown(names, value=None), **emptied}
        bundle = station.bundles.find(wanted)
        work = Workbench(bundle, PartScores.of(bundle, station.store))
        try:
            span = work.scores.tradeoff.span
        except CalibrationError as error:
            return {picture: problem(str(error)), chosen: gr.Dropdown(names, value=wanted), **emptied}
        visitor.tab[WORKBENCH] = work
        usual_rate, kept, usual_review_rate = bundle.card.rule
        work.asked = (round(100 * usual_rate, 4), round(100 * usual_review_rate, 4), kept)
        cut, band = work.cuts
        low, high, step = view.slider_range([*span, cut, band], work.scores.highest_seen)
        return {
            chosen: gr.Dropdown(names, value=wanted),
            threshold: gr.Slider(low, high, round(cut, 4), step=step),
            review: gr.Slider(low, high, round(band, 4), step=step),
            guarantee: kept,
            rate: work.asked[0],
            review_rate: work.asked[1],
            promised: problem(words.uncalibrated) if bundle.card.calibration is None else "",
            cost: "",
            versions: listed(station.store.versions.all(bundle.card.bundle_id), bundle.card, may=True),
            **shown(work),
        }

    def sliders(cut: float, band: float) -> Updates:
        return {threshold: round(cut, 4), review: round(band, 4)}

    def shown(work: Workbench) -> Updates:
        """Histogram and table, as the workbench stands: what a drag changes."""
        cut, band = work.cuts
        tradeoff, now = work.scores.tradeoff, work.bundle.card.calibration
        rows = []
        if now is not None:
            rows.append((words.present, tradeoff.at(now.threshold.value, now.review.value)))
        rows.append((words.draft, tradeoff.at(cut, band)))
        if work.cheapest is not None:
            rows.append((words.cheapest_row, work.cheapest.point))
        rows += [("", tradeoff.at(float(one))) for one in np.linspace(*tradeoff.span, STEPS + 2)[1:-1]]
        return {
            picture: view.histogram(work.scores, [("review", band), ("cut", cut)]),
            figures: view.table(rows),
        }

    @station.handler(Role.VIEWER)
    def open_page(visitor: Visitor) -> Updates:
        if not visitor.may(Role.ENGINEER):
            return {picture: view.engineers_only()}
        work, (names, _) = visitor.tab.get(WORKBENCH), offered()
        if not isinstance(work, Workbench) or work.bundle.path.name not in names:
            return open_bundle(visitor, None)
        name, was = work.bundle.path.name, work.bundle.card
        bundle = station.bundles.find(name)
        card = bundle.card
        if (card.bundle_id, card.calibration_id) != (was.bundle_id, was.calibration_id):
            return open_bundle(visitor, name)
        work.scores = PartScores.of(bundle, station.store)  # what was typed or dragged meanwhile stays
        table = listed(station.store.versions.all(card.bundle_id), card, may=True)
        return {chosen: gr.Dropdown(names, value=name), versions: table, **shown(work)}

    @station.handler(Role.ENGINEER)
    def choose(visitor: Visitor, wanted: str | None) -> Updates:
        return open_bundle(visitor, wanted) | {said: ""}

    @station.handler(Role.ENGINEER)
    def by_rate(visitor: Visitor, percent: float, review_percent: float, kept: str) -> Updates:
        """The exact rule, from calibration parts alone."""
        return keep_promise(bench(visitor), _asked(percent, review_percent, kept))

    @station.handler(Role.ENGINEER)
    def by_leaving(visitor: Visitor, percent: float, review_percent: float, kept: str) -> Updates:
        """The same, unless the field was only looked at: a threshold chosen by hand since stays."""
        work, asked = bench(visitor), _asked(percent, review_percent, kept)
        return {picture: gr.skip()} if work.asked == asked else keep_promise(work, asked)

    def keep_promise(work: Workbench, asked: Asked) -> Updates:
        card, share = work.bundle.card, asked[0] / 100
        work.asked, work.draft = asked, None
        try:
            work.draft = card.calibrated(
                card.calibration_parts,
                round(share, 8),
                "confident" if asked[2] == "confident" else "expected",
                round(max(asked[1] / 100, share), 8),
            )
        except CalibrationError as error:
            return {promised: problem(str(error)), **shown(work)}
        work.origin = "rate"
        cut, band = work.cuts
        return {promised: view.promise(work.draft), **sliders(cut, band), said: "", **shown(work)}

    @station.handler(Role.ENGINEER)
    def by_hand(visitor: Visitor, cut: float, band: float) -> Updates:
        updates = drag(bench(visitor), float(cut), float(band))
        return updates | {review: round(float(cut), 4)} if band > cut else updates

    def drag(work: Workbench, cut: float, band: float) -> Updates:
        work.draft = None
        try:
            work.draft = work.bundle.card.estimated(cut, min(cut, band))
        except CalibrationError as error:
            return {promised: problem(str(error)), **shown(work)}
        work.origin = "threshold"
        return {promised: view.promise(work.draft), said: "", **shown(work)}

    @station.handler(Role.ENGINEER)
    def cheapest(visitor: Visitor, overkill: float, escape: float, percent: float) -> Updates:
        work = bench(visitor)
        costs = Costs(float(overkill or 0), float(escape or 0), float(percent or 0) / 100)
        work.cheapest = work.scores.tradeoff.cheapest(costs)
        cut, (_, band) = work.cheapest.point.threshold, work.cuts
        band = min(band, cut)  # the grey band stays where it begins; one that begins above the threshold is none
        told = notice(words.cheapest(work.cheapest.cost_per_part, cut, band))
        return drag(work, cut, band) | sliders(cut, band) | {cost: told}

    @station.handler(Role.ENGINEER)
    def keep(visitor: Visitor, called: str, why: str, now: bool) -> Updates:
        work = bench(visitor)
        if work.draft is None:
            raise DataError(words.nothing_drafted)
        before = work.bundle.card.calibration_id
        if station.bundles.find(work.bundle.path.name).card.calibration_id != before:
            raise DataError(words.changed_meanwhile)
        version = station.store.versions.add(
            work.draft, name=called.strip(), reason=why.strip(), by=visitor.user, origin=work.origin, parent=before
        )
        if now:
            station.store.versions.apply(work.bundle, version, by=visitor.user, reason=version.reason)
        return open_bundle(visitor, work.bundle.path.name) | {said: notice(words.saved(version.name, now)), name: ""}

    @station.handler(Role.ENGINEER)
    def put_back(visitor: Visitor) -> Updates:
        work = bench(visitor)
        version = pressed(station, visitor, work.bundle.card)
        station.store.versions.apply(work.bundle, version, by=visitor.user, reason=words.reason_again)
        return open_bundle(visitor, work.bundle.path.name) | {said: notice(words.put_back(version.name))}

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    seen = [picture, figures, promised, said]
    whole = [*seen, versions, chosen, threshold, review, rate, review_rate, guarantee, cost]
    station.on_open(open_page, outputs=whole)
    chosen.input(choose, inputs=chosen, outputs=whole, **quiet)
    for typed in (rate.submit, review_rate.submit, guarantee.input):
        typed(by_rate, inputs=[rate, review_rate, guarantee], outputs=[*seen, threshold, review], **quiet)
    for left in (rate.blur, review_rate.blur):
        left(by_leaving, inputs=[rate, review_rate, guarantee], outputs=[*seen, threshold, review], **quiet)
    for slider in (threshold, review):
        slider.input(by_hand, inputs=[threshold, review], outputs=[*seen, review], trigger_mode="always_last", **quiet)
    find.click(
        cheapest,
        inputs=[overkill_cost, escape_cost, defective_share],
        outputs=[*seen, threshold, review, cost],
        **quiet,
    )
    for saving in (save.click, name.submit, reason.submit):
        station.shown_above(saving(keep, inputs=[name, reason, use], outputs=[*whole, name], **quiet))
    station.shown_above(versions.version(put_back, outputs=whole, **quiet))


def _asked(percent: float | None, review_percent: float | None, kept: str) -> Asked:
    return float(percent or 0), float(review_percent or 0), kept


def _slider(label: str, info: str, name: str, *, key: str) -> gr.Slider:
    return gr.Slider(0, 1, 0.5, label=label, info=info, elem_id=name, elem_classes=f"key-{key}", buttons=[])
