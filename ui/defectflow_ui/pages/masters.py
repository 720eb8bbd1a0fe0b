"""Masters: the parts that the inspection is checked with at the start of a shift, and whether the model is released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import gradio as gr

from defectflow.bundle import Bundle
from defectflow.data import Picture, label_of_folders, part_of
from defectflow.errors import DataError, DefectFlowError
from defectflow.gauge import check_masters, register_masters, standing
from defectflow.store import MasterSet, Role
from defectflow_ui.markup.elements import block, empty, note, notice, problem
from defectflow_ui.pages import masters_view as view
from defectflow_ui.pages.page import QUIET, Page, Updates
from defectflow_ui.station import handler
from defectflow_ui.visits.uploads import Arrived
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import masters as words

LOOK_EVERY_S = 1.0
ANEW = "masters.anew"
"""Whether what is dropped in this tab becomes the master parts."""


class MastersPage(Page):
    """A place to drop pictures of the master parts, and below it how the active model stands."""

    tab = words.tab

    def lay_out(self) -> None:
        self.zone = block(elem_id="masters-drop", events="station.dropZone(element, trigger, 'dropped')")
        self.anew = gr.Checkbox(False, label=words.anew, visible=False, container=False, elem_id="masters-anew")
        self.said = block(elem_id="masters-said")
        self.standing = block(elem_id="masters-standing")

    def connect(self) -> None:
        shown = [self.zone, self.anew, self.standing]
        self.station.on_open(self.open_page, outputs=shown)
        self.anew.input(self.choose_anew, inputs=self.anew, outputs=shown, **QUIET)
        self.zone.dropped(self.check, outputs=[*shown, self.said], trigger_mode="multiple", **QUIET)

    def _shown(self, visitor: Visitor) -> Updates:
        try:
            bundle = self.station.bundles.active()
            bundle.card.require_calibration()
        except DefectFlowError as error:
            nothing = empty(words.no_model, str(error))
            return {self.zone: "", self.anew: gr.Checkbox(visible=False), self.standing: nothing}
        store = self.station.store
        found, engineer = standing(store, bundle.card), visitor.may(Role.ENGINEER)
        anew = _anew(visitor, found.masters)
        return {
            self.zone: view.drop_zone(found.masters, anew=anew) if visitor.may(Role.OPERATOR) else "",
            self.anew: gr.Checkbox(anew, visible=engineer and found.masters is not None),
            self.standing: view.shown(found, store.settings.golden.hours),
        }

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> Updates:
        return self._shown(visitor)

    @handler(Role.ENGINEER)
    def choose_anew(self, visitor: Visitor, anew: bool) -> Updates:
        visitor.tab[ANEW] = bool(anew)
        return self._shown(visitor)

    @handler(Role.OPERATOR)
    def check(self, visitor: Visitor) -> Iterator[Updates]:
        """Judge what was dropped, once all of it has arrived."""
        drops, key, files = visitor.session.drops, str(visitor.event.get("drop")), visitor.number("expected") or 1
        drop = drops.get(key)
        if drop is None:
            raise DataError(words.nothing_dropped)
        try:
            here, ended = list[Arrived](), False
            while not ended:
                more, ended = drop.take(len(here), LOOK_EVERY_S)
                here += more
                yield {self.said: note(words.arriving(len(here), files))}
            if drop.closed or drop.abandoned:  # a check of what happened to arrive would fail for the rest
                raise DataError(words.nothing_dropped)
            bundle = self.station.bundles.active()
            pictures = [_picture(one.name, _file_of(one), bundle) for one in here]
            said = notice(self._judge(visitor, bundle, pictures))
        except DefectFlowError as error:  # stays beside what it is about
            said = problem(str(error))
        finally:
            drops.pop(key, None)
            drop.close()
        yield self._shown(visitor) | {self.said: said}

    def _judge(self, visitor: Visitor, bundle: Bundle, pictures: list[Picture]) -> str:
        """Check with these pictures, or make what they show the master parts. -> what came of it."""
        store, inspector = self.station.store, self.station.bundles.inspector()
        if not _anew(visitor, store.masters.current(bundle.card.bundle_id)):
            run = check_masters(store, inspector, pictures, by=visitor.user)
            return words.checked(run.passed, len(run.signals))
        run = register_masters(store, inspector, pictures, by=visitor.user)
        visitor.tab.pop(ANEW, None)
        return words.registered(len(run.judged))


def _anew(visitor: Visitor, masters: MasterSet | None) -> bool:
    """Whether what is dropped becomes the master parts: the first time, and where an engineer says so."""
    return visitor.may(Role.ENGINEER) and (masters is None or bool(visitor.tab.get(ANEW)))


def _file_of(arrived: Arrived) -> Path:
    """Raises the error of a file that could not be taken: a check of some of the master parts is none."""
    if arrived.file is None:
        raise arrived.error or DataError(words.nothing_dropped)
    return arrived.file


def _picture(name: str, file: Path, bundle: Bundle) -> Picture:
    """Named as the command names it: by the model's part regex, else by the file without suffix."""
    part = part_of(name, bundle.card.part_regex)
    named = PurePosixPath(name).stem if part is None else part
    return Picture(file, named, label_of_folders(name), "", part_known=part is not None, name=name)
