"""Agreement: parts of a study that everybody judges more than once, blind; engineers begin it and have its report."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
from markupsafe import Markup

from defectflow.bundle import Bundle
from defectflow.errors import DefectFlowError, StoreError
from defectflow.gauge import USUAL_PARTS, analyse, choose_parts, known_by_answers, write_agreement
from defectflow.image import read_image
from defectflow.store import AgreementStudy, Answer, Asked, Role
from defectflow_ui.markup.elements import block, clicks, empty, notice
from defectflow_ui.markup.render import render
from defectflow_ui.pages.page import QUIET, Page, Updates, wanting
from defectflow_ui.pages.viewer import download, viewer
from defectflow_ui.pictures import jpeg, large
from defectflow_ui.station import handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import agreement as words

TRIALS = 2
ANSWERS = {"good": Answer.GOOD, "defective": Answer.DEFECTIVE}


class AgreementPage(Page):
    """One part at a time, without anything that could sway whoever judges it; below it the studies, for engineers."""

    tab = words.tab

    def lay_out(self) -> None:
        self.part = block(elem_id="agreement-part", events=clicks("answer"))
        with gr.Accordion(words.studies, open=False, visible=False, elem_id="agreement-studies") as self.studies:
            gr.Markdown(words.studies_about)
            with gr.Row():
                self.name = gr.Textbox(label=words.name, elem_id="agreement-name")
                self.count = gr.Number(
                    USUAL_PARTS, label=words.parts, minimum=2, precision=0, elem_id="agreement-parts"
                )
                self.begin = gr.Button(words.begin, elem_id="agreement-begin")
            self.report = gr.Button(words.report, size="sm", elem_id="agreement-report")
            self.told = block(elem_id="agreement-told")

    def connect(self) -> None:
        self.station.on_open(self.open_page, outputs=[self.part, self.studies])
        self.part.answer(self.answer, outputs=self.part, **QUIET)
        begun = [self.part, self.told, self.name]
        self.begin.click(self.begin_study, inputs=[self.name, self.count], outputs=begun, **QUIET)
        self.report.click(self.write_report, outputs=self.told, **QUIET)

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> Updates:
        may = visitor.may(Role.ENGINEER) and self.station.bundles.active_or_none() is not None
        return {self.part: self._shown(visitor), self.studies: gr.Accordion(visible=may)}

    @handler(Role.ENGINEER)
    def begin_study(self, visitor: Visitor, name: str, count: float | None) -> Updates:
        """Of parts that were inspected at this station or on the line; answers say what is known of them."""
        if missing := wanting({self.name: name}):
            return missing
        store, card = self.station.store, self.station.bundles.active().card
        chosen = choose_parts(
            store,
            card.bundle_id,
            parts=int(count or USUAL_PARTS),
            known=known_by_answers(store, card.bundle_id),
            only_known=False,
            threshold=card.require_calibration().threshold.value,
        )
        study = store.agreement.begin(card, name.strip(), chosen, trials=TRIALS, by=visitor.user)
        known = sum(part.defective is not None for part in study.parts)
        told = notice(words.begun(study.name, len(study.parts), known))
        return {self.part: self._shown(visitor), self.told: told, self.name: gr.Textbox("", info=None)}

    @handler(Role.ENGINEER)
    def write_report(self, visitor: Visitor) -> Markup:
        """Raises StoreError where nobody has judged everything, and where it would sway whoever asks."""
        store, card = self.station.store, self.station.bundles.active().card
        study = store.agreement.get(card.bundle_id)
        asked = store.agreement.next(study, visitor.user)
        if asked is not None and asked.done:
            raise StoreError(words.would_sway(asked.of - asked.done))
        with TemporaryDirectory(prefix="defectflow-") as folder:
            page = write_agreement(Path(folder), store, card, analyse(store, study)).read_bytes()
        return download(visitor.served.put(lambda: page, "text/html", filename=words.file_name), words.report)

    @handler(Role.OPERATOR)
    def answer(self, visitor: Visitor) -> str:
        """Each button carries what it is about, so that an answer never falls on a part that was not shown."""
        word, _, token = str(visitor.event.get("answer")).partition(" ")
        bundle = self.station.bundles.active()
        study = self.station.store.agreement.get(bundle.card.bundle_id)
        asked = self.station.store.agreement.next(study, visitor.user)
        if asked is None or word not in ANSWERS or token != _token(study, asked):
            raise StoreError(words.not_shown)
        self.station.store.agreement.answer(study, asked.part.part, asked.trial, ANSWERS[word], by=visitor.user)
        return self._shown(visitor)

    def _shown(self, visitor: Visitor) -> Markup:
        try:
            bundle = self.station.bundles.active()
        except DefectFlowError as error:
            return empty(words.no_model, str(error))
        studies = self.station.store.agreement.all(bundle.card.bundle_id)
        if not studies:
            return empty(words.nothing, words.nothing_do)
        study = studies[0]
        asked = self.station.store.agreement.next(study, visitor.user)
        if asked is None:
            return empty(words.done, words.done_do)
        return render(
            "agreement/part.html",
            words=words,
            progress=words.progress(study.name, asked.done, asked.of, asked.trial + 1, study.trials),
            done=asked.done,
            of=asked.of,
            viewers=[self._picture(visitor, bundle, number) for number in asked.part.inspections],
            token=_token(study, asked),
            may=visitor.may(Role.OPERATOR),
        )

    def _picture(self, visitor: Visitor, bundle: Bundle, number: int) -> Markup | None:
        """Unmarked, and under no name: a file's name may say what others think of it."""
        inspection = self.station.store.history.get(number)
        file = None if inspection is None else self.station.store.picture(inspection)
        if inspection is None or file is None:
            return None
        full_scale = bundle.card.image.full_scale
        address = visitor.served.put(lambda: jpeg(large(read_image(file, full_scale=full_scale))), "image/jpeg")
        return viewer(address, None, inspection.width_px or 1, inspection.height_px or 1)


def _token(study: AgreementStudy, asked: Asked) -> str:
    """Names a part in a round without saying what it is called."""
    place = [part.part for part in study.parts].index(asked.part.part)
    return f"{study.id}-{asked.trial}-{place}"
