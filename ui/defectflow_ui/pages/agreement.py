"""Agreement: parts of a study that everybody judges more than once, blind; what came of it is `study agreement`."""

from __future__ import annotations

from markupsafe import Markup

from defectflow.bundle import Bundle
from defectflow.errors import DefectFlowError, StoreError
from defectflow.image import read_image
from defectflow.store import AgreementStudy, Answer, Asked, Role
from defectflow_ui.markup.elements import block, clicks, empty
from defectflow_ui.markup.render import render
from defectflow_ui.pages.page import QUIET, Page
from defectflow_ui.pages.viewer import viewer
from defectflow_ui.pictures import jpeg, large
from defectflow_ui.station import handler
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import agreement as words

ANSWERS = {"good": Answer.GOOD, "defective": Answer.DEFECTIVE}


class AgreementPage(Page):
    """One part at a time, without anything that could sway whoever judges it."""

    tab = words.tab

    def lay_out(self) -> None:
        self.part = block(elem_id="agreement-part", events=clicks("answer"))

    def connect(self) -> None:
        self.station.on_open(self.open_page, outputs=self.part)
        self.part.answer(self.answer, outputs=self.part, **QUIET)

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> str:
        return self._shown(visitor)

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
            return empty(words.nothing, words.nothing_do(*self.station.named_in_commands(visitor, bundle)))
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
