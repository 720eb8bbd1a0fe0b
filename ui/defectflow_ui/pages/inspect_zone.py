"""On the page Inspect: where pictures are dropped, which product they show, and whether they are judged on trial."""

from __future__ import annotations

import gradio as gr
from markupsafe import Markup

from defectflow.bundle import AUTO
from defectflow.errors import DefectFlowError
from defectflow.store import Role
from defectflow_ui.markup.elements import block
from defectflow_ui.pages import inspect_view as view
from defectflow_ui.pages.inspect_tab import PRODUCT, TRIAL, judging, on_trial, product
from defectflow_ui.pages.page import QUIET, Updates
from defectflow_ui.station import Station, handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect as words

DROPS = "station.dropZone(element, trigger, 'dropped'); station.reloaded(trigger, 'reloaded')"


class InspectZone:
    """A drop zone, a choice of product where the active model knows several, and a box for trials."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.zone = block(elem_id="drop-zone", events=DROPS)
        self.product = gr.Dropdown(
            [], label=words.product, info=words.product_info, visible=False, elem_id="inspect-product"
        )
        self.trial = gr.Checkbox(False, label=words.trial, visible=False, container=False, elem_id="inspect-trial")
        self.shown = [self.zone, self.trial, self.product]

    def connect(self) -> None:
        self.trial.input(self.choose_trial, inputs=self.trial, outputs=self.zone, **QUIET)

    def of_product(self, visitor: Visitor) -> Updates:
        products = self._products(visitor)
        obstacle = view.obstacle(self.station, visitor)
        trial = obstacle is None and on_trial(self.station, visitor, judging(self.station, visitor))
        updates: Updates = {
            self.zone: obstacle
            or view.drop_zone(self.station, visitor.tab_name, trial=trial, production=TRIAL not in visitor.tab),
            self.trial: gr.Checkbox(trial, visible=obstacle is None),
            self.product: products,
        }
        return updates

    def choose(self, visitor: Visitor, wanted: str) -> None:
        """From now on this tab inspects this product, or with "auto" each picture as the nearest one."""
        visitor.tab[PRODUCT] = wanted
        visitor.tab.pop(TRIAL, None)  # whether it is on trial depends on the product

    def _products(self, visitor: Visitor) -> gr.Dropdown:
        """Which of several products to inspect; not there where the active model knows one only."""
        try:
            bundle = judging(self.station, visitor)[0]
        except DefectFlowError:
            visitor.tab.pop(PRODUCT, None)  # another model is active by now, or that product is gone
            return gr.Dropdown(visible=False)
        if bundle.family is None:
            return gr.Dropdown(visible=False)
        names = [(name, name) for name in bundle.family.names]
        offered = [*names, (words.nearest_product, AUTO)] if len(names) > 1 else names
        chosen = AUTO if product(visitor) == AUTO and len(names) > 1 else bundle.product
        return gr.Dropdown(offered, value=chosen, visible=visitor.may(Role.OPERATOR))

    @handler(Role.OPERATOR)
    def choose_trial(self, visitor: Visitor, trial: bool) -> Markup:
        visitor.tab[TRIAL] = bool(trial)
        return view.drop_zone(self.station, visitor.tab_name, trial=bool(trial))
