"""On the page Inspect: how a picture's name tells which part it shows, with live examples; kept with the model."""

from __future__ import annotations

import gradio as gr
from markupsafe import Markup

from defectflow.bundle import Card
from defectflow.data import part_of
from defectflow.errors import DataError, SettingsError
from defectflow.store import Query, Role
from defectflow_ui.markup.elements import block, note, notice, problem
from defectflow_ui.markup.render import render
from defectflow_ui.pages.inspect_tab import found
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

    def connect(self) -> None:
        shown = [self.told, self.rule, self.expression, self.examples]
        self.station.on_open(self.open_rule, outputs=shown)
        self.expression.change(
            self.look, inputs=self.expression, outputs=self.examples, trigger_mode="always_last", **QUIET
        )
        self.station.shown_above(
            self.keep.click(self.keep_rule, inputs=self.expression, outputs=[*shown, self.said], **QUIET)
        )

    def _shown(self, visitor: Visitor) -> Updates:
        name = self.station.bundles.active_name
        usable = {one.name: one.bundle for one in self.station.bundles.all()}.get(name or "")
        if usable is None or not visitor.may(Role.OPERATOR):
            return {self.told: "", self.rule: gr.Accordion(visible=False)}
        card, may = usable.card, visitor.may(Role.ENGINEER)
        missing = card.parts_known and card.part_regex is None
        return {
            self.told: note(words.nothing_tells if may else words.ask_an_engineer) if missing else "",
            self.rule: gr.Accordion(visible=may and card.parts_known),
            self.expression: card.part_regex or "",
            self.examples: self._examples(visitor, card, card.part_regex or ""),
        }

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
        return self._shown(visitor)

    @handler(Role.OPERATOR)
    def look(self, visitor: Visitor, expression: str) -> Markup:
        return self._examples(visitor, self.station.bundles.active().card, expression)

    @handler(Role.ENGINEER)
    def keep_rule(self, visitor: Visitor, expression: str) -> Updates:
        rule = expression.strip()
        if not rule:
            raise DataError(words.empty)
        part_of("part", rule)  # SettingsError where it is none
        name = str(self.station.bundles.active_name)
        self.station.bundles.set_part_rule(name, rule, by=visitor.user)
        return self._shown(visitor) | {self.said: notice(words.kept(name))}
