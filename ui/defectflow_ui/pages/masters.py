"""Masters: the parts that the inspection is checked with at the start of a shift, and whether the model is released."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from defectflow.bundle import Bundle
from defectflow.data import Picture, part_of
from defectflow.errors import DataError, DefectFlowError
from defectflow.gauge import check_masters, standing
from defectflow.store import Role
from defectflow_ui.markup.elements import block, empty, note, notice
from defectflow_ui.pages import masters_view as view
from defectflow_ui.pages.page import QUIET, Page, Updates
from defectflow_ui.station import handler
from defectflow_ui.visits.uploads import Arrived
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import masters as words

LOOK_EVERY_S = 1.0


class MastersPage(Page):
    """A place to drop pictures of the master parts, and below it how the active model stands."""

    tab = words.tab

    def lay_out(self) -> None:
        self.zone = block(elem_id="masters-drop", events="station.dropZone(element, trigger, 'dropped')")
        self.said = block(elem_id="masters-said")
        self.standing = block(elem_id="masters-standing")

    def connect(self) -> None:
        shown = [self.zone, self.standing]
        self.station.on_open(self.open_page, outputs=shown)
        self.zone.dropped(self.check, outputs=[*shown, self.said], trigger_mode="multiple", **QUIET)

    def _shown(self, visitor: Visitor) -> Updates:
        try:
            bundle = self.station.bundles.active()
            bundle.card.require_calibration()
        except DefectFlowError as error:
            return {self.zone: "", self.standing: empty(words.no_model, str(error))}
        store = self.station.store
        found = standing(store, bundle.card)
        zone = view.drop_zone(found.masters) if visitor.may(Role.OPERATOR) else ""
        named = self.station.named_in_commands(visitor, bundle)
        return {self.zone: zone, self.standing: view.shown(found, store.settings.golden.hours, named)}

    @handler(Role.VIEWER)
    def open_page(self, visitor: Visitor) -> Updates:
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
            run = check_masters(self.station.store, self.station.bundles.inspector(), pictures, by=visitor.user)
        finally:
            drops.pop(key, None)
            drop.close()
        yield self._shown(visitor) | {self.said: notice(words.checked(run.passed, len(run.signals)))}


def _file_of(arrived: Arrived) -> Path:
    """Raises the error of a file that could not be taken: a check of some of the master parts is none."""
    if arrived.file is None:
        raise arrived.error or DataError(words.nothing_dropped)
    return arrived.file


def _picture(name: str, file: Path, bundle: Bundle) -> Picture:
    """Named as the command names it: by the model's part regex, else by the file without suffix."""
    part = part_of(name, bundle.card.part_regex)
    return Picture(file, part or PurePosixPath(name).stem, None, "", part_known=part is not None, name=name)
