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
from defectflow_ui.pages.page import QUIET, Page, Updates
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
                        [words.compare_nothing], label=words.compare, interactive=True, elem_id="compare"
                    )
                self.said = block(elem_id="models-said")
                self.card = block(elem_id="card")

    def connect(self) -> None:
        other, above = self.compare, self.station.shown_above
        everything = [self.listed, self.card, self.compare, self.activate, self.verify]
        shown = [*everything, self.said]
        self.station.on_open(self.refresh, inputs=other, outputs=everything)
        # "multiple": a key that is pressed again before the answer counts as well.
        self.listed.bundle(self.choose, inputs=other, outputs=shown, trigger_mode="multiple", **QUIET)
        self.compare.input(self.refresh, inputs=other, outputs=everything, **QUIET)
        above(self.activate.click(self.make_active, inputs=other, outputs=shown, **QUIET))
        begun = self.verify.click(self.begin_check, outputs=self.said, **QUIET)
        above(begun)
        begun.success(self.follow_check, inputs=other, outputs=shown, **QUIET)

    def _shown(self, visitor: Visitor, other: str | None = None) -> Updates:
        names = [found.name for found in self.station.bundles.all()]
        first = self.station.bundles.active_name or (names[0] if names else None)
        chosen = visitor.tab.setdefault(CHOSEN, first)
        others = [words.compare_nothing, *(name for name in names if name != chosen)]
        other = other if other in others else words.compare_nothing
        compared = None if other == words.compare_nothing else other
        bundle = _usable(self.station, chosen)
        return {
            self.listed: view.bundles(self.station, chosen),
            self.card: view.cards(self.station, visitor, chosen, compared),
            self.compare: gr.Dropdown(others, value=other),
            self.activate: gr.Button(interactive=bundle is not None and visitor.may(Role.ENGINEER)),
            self.verify: gr.Button(interactive=bundle is not None and visitor.may(Role.OPERATOR)),
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

    @handler(Role.OPERATOR)
    def begin_check(self, visitor: Visitor) -> str:
        bundle = self.station.bundles.find(str(visitor.tab.get(CHOSEN)))
        running = visitor.tab.get(CHECK)
        if isinstance(running, Job) and running.state == "running":
            raise BundleError(words.still_verifying(running.title))
        title = f"{words.verify} {bundle.name}"
        work = self.station.jobs.start(title, lambda job: _certify(bundle, job), who=visitor.user)
        visitor.tab[CHECK] = work
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
