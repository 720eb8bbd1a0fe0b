"""Models: the bundles of the station's folder, what they are and promise; compare, activate, verify, download."""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep

import gradio as gr

from defectflow.bundle import Bundle
from defectflow.errors import BundleError, DefectFlowError
from defectflow.line import Certificate, certificate_file
from defectflow.line import verify as run_verify
from defectflow.store import Role
from defectflow_ui.markup.elements import block, clicks, notice
from defectflow_ui.pages import models_view as view
from defectflow_ui.pages.page import QUIET, Page, Updates, wanting
from defectflow_ui.station import Station, handler
from defectflow_ui.tasks.jobs import Job
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import models as words

CHOSEN, CHECK = "models.chosen", "models.check"
POLL_S = 0.3


class ModelsPage(Page):
    """A list of bundles on the left, the chosen one's card on the right."""

    tab = words.tab

    def lay_out(self) -> None:
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=340):
                self.listed = block(elem_id="bundles", events=clicks("bundle"))
            with gr.Column(scale=6, min_width=420):
                with gr.Row():
                    self.activate = gr.Button(
                        words.activate,
                        variant="primary",
                        interactive=False,
                        elem_id="activate",
                        elem_classes=["key-a", "key-focus"],
                    )
                    self.verify = gr.Button(words.verify, interactive=False, elem_id="verify", elem_classes="key-v")
                    self.compare = gr.Dropdown(
                        [(words.compare_nothing, "")],
                        value="",
                        label=words.compare,
                        interactive=True,
                        elem_id="compare",
                    )
                self.said = block(elem_id="models-said")
                self.card = block(elem_id="card")
                with gr.Accordion(words.manage, open=False, visible=False, elem_id="models-manage") as self.manage:
                    self._lay_out_management()

    def _lay_out_management(self) -> None:
        self.note = gr.Textbox(label=words.note, info=words.note_info, lines=2, elem_id="models-note")
        self.keep_note = gr.Button(words.keep_note, size="sm", elem_id="models-keep-note")
        with gr.Row():
            self.name = gr.Textbox(label=words.name, elem_id="models-name")
            self.why = gr.Textbox(label=words.why, elem_id="models-why")
        with gr.Row():
            self.rename = gr.Button(words.rename, size="sm", elem_id="models-rename")
            self.delete = gr.Button(words.delete, size="sm", variant="stop", elem_id="models-delete")

    def connect(self) -> None:
        other, above = self.compare, self.station.shown_above
        managed = [self.manage, self.note, self.name, self.why]
        everything = [self.listed, self.card, self.compare, self.activate, self.verify, *managed]
        shown = [*everything, self.said]
        self.station.on_open(self.refresh, inputs=other, outputs=everything)
        # "multiple": a key that is pressed again before the answer counts as well.
        self.listed.bundle(self.choose, inputs=other, outputs=shown, trigger_mode="multiple", **QUIET)
        self.compare.input(self.refresh, inputs=other, outputs=everything, **QUIET)
        above(self.activate.click(self.make_active, inputs=other, outputs=shown, **QUIET))
        self.keep_note.click(self.write_note, inputs=[other, self.note], outputs=shown, **QUIET)
        above(self.rename.click(self.call, inputs=[other, self.name], outputs=shown, **QUIET))
        self.delete.click(self.remove, inputs=[other, self.why], outputs=shown, **QUIET)
        begun = self.verify.click(self.begin_check, outputs=self.said, **QUIET)
        above(begun)
        begun.success(self.follow_check, inputs=other, outputs=shown, **QUIET)

    def _shown(self, visitor: Visitor, other: str | None = None) -> Updates:
        names = [found.name for found in self.station.bundles.all()]
        first = self.station.bundles.active_name or (names[0] if names else None)
        chosen = visitor.tab.setdefault(CHOSEN, first)
        others = [(words.compare_nothing, ""), *((name, name) for name in names if name != chosen)]
        compared = other if other in names and other != chosen else None
        bundle = _usable(self.station, chosen)
        return {
            self.listed: view.bundles(self.station, chosen),
            self.card: view.cards(self.station, visitor, chosen, compared),
            self.compare: gr.Dropdown(others, value=compared or ""),
            self.activate: gr.Button(
                interactive=bundle is not None
                and visitor.may(Role.ENGINEER)
                and not self.station.bundles.is_activated(bundle)
            ),
            self.verify: gr.Button(interactive=bundle is not None and visitor.may(Role.OPERATOR)),
            **self._management(visitor, chosen, bundle),
        }

    def _management(self, visitor: Visitor, chosen: str | None, bundle: Bundle | None) -> Updates:
        note = None if bundle is None else self.station.store.model_changes.note(bundle.card.bundle_id)
        family = None if bundle is None else bundle.family
        shared = None if family is None else words.all_products(family.names)
        return {
            self.manage: gr.Accordion(visible=bundle is not None and visitor.may(Role.ENGINEER)),
            self.note: "" if note is None else note.said,
            self.name: gr.Textbox("" if bundle is None else bundle.home.resolve().name, info=shared),
            self.why: gr.Textbox("", info=shared),
        }

    @handler(Role.VIEWER)
    def refresh(self, visitor: Visitor, other: str | None) -> Updates:
        return self._shown(visitor, other)

    @handler(Role.VIEWER)
    def choose(self, visitor: Visitor, other: str | None) -> Updates:
        visitor.tab[CHOSEN] = str(visitor.event.get("bundle"))
        return self._shown(visitor, other) | {self.said: ""}

    @handler(Role.ENGINEER)
    def make_active(self, visitor: Visitor, other: str | None) -> Updates:
        name = str(visitor.tab.get(CHOSEN))
        self.station.bundles.activate(name, by=visitor.user, reason=words.activated_here)
        return self._shown(visitor, other) | {self.said: notice(words.activated(name))}

    @handler(Role.ENGINEER)
    def write_note(self, visitor: Visitor, other: str | None, text: str) -> Updates:
        self.station.bundles.note(str(visitor.tab.get(CHOSEN)), text, by=visitor.user)
        return self._shown(visitor, other) | {self.said: notice(words.noted)}

    @handler(Role.ENGINEER)
    def call(self, visitor: Visitor, other: str | None, called: str) -> Updates:
        """Give the chosen model another name."""
        name = str(visitor.tab.get(CHOSEN))
        renamed = self.station.bundles.rename(name, called.strip(), by=visitor.user)
        visitor.tab[CHOSEN] = renamed.name
        return self._shown(visitor, other) | {self.said: notice(f"{words.renamed(name, renamed.name)}.")}

    @handler(Role.ENGINEER)
    def remove(self, visitor: Visitor, other: str | None, why: str) -> Updates:
        """Delete the chosen model."""
        if missing := wanting({self.why: why}):
            return missing
        deleted = self.station.bundles.delete(str(visitor.tab.get(CHOSEN)), why, by=visitor.user)
        visitor.tab.pop(CHOSEN)
        return self._shown(visitor, other) | {self.said: notice(words.deleted(deleted))}

    @handler(Role.OPERATOR)
    def begin_check(self, visitor: Visitor) -> str:
        bundle = self.station.bundles.find(str(visitor.tab.get(CHOSEN)))
        running = visitor.tab.get(CHECK)
        if isinstance(running, Job) and running.state == "running":
            raise BundleError(words.still_verifying(running.title))
        title, jobs = words.verification(bundle.name), self.station.jobs
        visitor.tab[CHECK] = jobs.start(title, lambda job: _certify(bundle, job), who=visitor.user)
        return ""

    @handler(Role.OPERATOR)
    def follow_check(self, visitor: Visitor, other: str | None) -> Iterator[Updates]:
        job = visitor.tab.get(CHECK)
        if not isinstance(job, Job):
            return
        while job.state == "running":
            if (so_far := job.progress) is not None:
                yield {self.said: notice(words.verifying(so_far.stage, so_far.done, so_far.total))}
            sleep(POLL_S)
        if job.error is not None:
            raise BundleError(job.error)
        yield self._shown(visitor, other) | {self.said: ""}


def _usable(station: Station, name: str | None) -> Bundle | None:
    try:
        return station.bundles.find(name or "")
    except DefectFlowError:
        return None


def _certify(bundle: Bundle, job: Job) -> Certificate:
    """Verify, and leave the certificate where the command leaves it."""
    certificate = run_verify(bundle, watch=job.watch)
    certificate_file(bundle).write_text(certificate.to_json(), encoding="utf-8")
    return certificate
