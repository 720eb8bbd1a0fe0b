"""On the page Inspect: how a picture's name tells which part it shows, with live examples; kept with the model."""

from __future__ import annotations

import gradio as gr
from markupsafe import Markup

from defectflow.bundle import Bundle, Card
from defectflow.data import part_of
from defectflow.errors import DataError, DefectFlowError, SettingsError
from defectflow.store import Query, Role
from defectflow_ui.markup.elements import block, note, notice, problem
from defectflow_ui.markup.render import render
from defectflow_ui.pages.inspect_tab import chosen, found, judging
from defectflow_ui.pages.page import QUIET, Updates
from defectflow_ui.station import Station, handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect_parts as words

EXAMPLES = 8
LOOKED_AT = 200
"""Of the latest pictures, so many are tried."""


class InspectParts:
    """An expression, what it makes of the latest pictures, and a button that keeps it. For engineers."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.told = block(elem_id="parts-told")
        with gr.Accordion(words.title, open=False, visible=False, elem_id="inspect-parts") as self.rule:
            self.expression = gr.Textbox(label=words.expression, info=words.about, elem_id="parts-expression")
            self.examples = block(elem_id="parts-examples")
            self.keep = gr.Button(words.keep, size="sm", elem_id="parts-keep")
            self.said = block(elem_id="parts-said")
        self.shown = [self.told, self.rule, self.expression, self.examples, self.said]

    def connect(self) -> None:
        self.station.on_open(self.open_rule, outputs=self.shown)
        self.expression.change(
            self.look, inputs=self.expression, outputs=self.examples, trigger_mode="always_last", **QUIET
        )
        self.station.shown_above(self.keep.click(self.keep_rule, inputs=self.expression, outputs=self.shown, **QUIET))

    def of_product(self, visitor: Visitor) -> Updates:
        """The rule of what this tab inspects with, by name; of several products each has its own."""
        bundle, may = chosen(self.station, visitor), visitor.may(Role.ENGINEER)
        if bundle is None or not visitor.may(Role.OPERATOR):
            return {self.told: self._missing_of(visitor), self.rule: gr.Accordion(visible=False)}
        card = bundle.card
        missing = card.parts_known and card.part_regex is None
        label = words.title if bundle.family is None else words.title_of(bundle.name)
        return {
            self.told: note(words.nothing_tells if may else words.ask_an_engineer) if missing else "",
            self.rule: gr.Accordion(label=label, visible=may and card.parts_known),
            self.expression: card.part_regex or "",
            self.examples: self._examples(visitor, card, card.part_regex or ""),
            self.said: "",
        }

    def _missing_of(self, visitor: Visitor) -> Markup:
        """Which products' pictures nothing tells the part of, where each picture is judged as its own product."""
        if not visitor.may(Role.OPERATOR):
            return Markup()
        try:
            cards = {one.name: one.card for one in judging(self.station, visitor)}
        except DefectFlowError:
            return Markup()
        missing = [name for name, card in cards.items() if card.parts_known and card.part_regex is None]
        return note(words.nothing_tells_of(", ".join(missing))) if missing else Markup()

    def _examples(self, visitor: Visitor, card: Card, expression: str) -> Markup:
        """What the expression finds in the names of this tab's pictures, or of those inspected last."""
        names = [row.name for row in inspection.rows] if (inspection := found(visitor)) else []
        if not names:
            latest = self.station.store.history.search(Query(bundle_id=card.bundle_id, limit=LOOKED_AT))
            names = [item.file for item in latest]
        names = list(dict.fromkeys(names))[-LOOKED_AT:]
        if not names:
            return note(words.no_names)
        if not expression.strip():
            return note(words.no_expression(names[0]))
        try:
            parts = {name: part_of(name, expression.strip()) for name in names}
        except SettingsError as error:
            return problem(str(error))
        missed = [name for name, part in parts.items() if part is None]
        told = sorted(parts.items(), key=lambda one: one[1] is not None)[:EXAMPLES]
        number = len({part for part in parts.values() if part is not None})
        counted = words.counted_parts(len(parts) - len(missed), number, len(missed))
        return render("inspect_parts/examples.html", words=words, told=told, counted=counted, missed=bool(missed))

    @handler(Role.VIEWER)
    def open_rule(self, visitor: Visitor) -> Updates:
        return self.of_product(visitor)

    @handler(Role.OPERATOR)
    def look(self, visitor: Visitor, expression: str) -> Markup:
        return self._examples(visitor, self._bundle(visitor).card, expression)

    @handler(Role.ENGINEER)
    def keep_rule(self, visitor: Visitor, expression: str) -> Updates:
        rule = expression.strip()
        if not rule:
            raise DataError(words.empty)
        part_of("part", rule)  # SettingsError where it is none
        name = self._bundle(visitor).name
        self.station.bundles.set_part_rule(name, rule, by=visitor.user)
        return self.of_product(visitor) | {self.said: notice(words.kept(name))}

    def _bundle(self, visitor: Visitor) -> Bundle:
        bundle = chosen(self.station, visitor)
        if bundle is None:
            raise DataError(words.choose_first)
        return bundle
