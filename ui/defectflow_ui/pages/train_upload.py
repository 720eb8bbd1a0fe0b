"""The upload of the page Train: pictures as they arrive, until they are a source to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import gradio as gr
from markupsafe import Markup

from defectflow.errors import DataError
from defectflow.store import Role
from defectflow_ui.markup.elements import block, note, problem
from defectflow_ui.pages import train_view as view
from defectflow_ui.pages.page import QUIET, Updates
from defectflow_ui.station import Station, handler
from defectflow_ui.tasks.training import Training
from defectflow_ui.visits.uploads import Arrived, Drop
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import train as words

FORM, UPLOAD = "train.form", "train.upload"
LOOK_EVERY_S = 1.0


class TrainUpload:
    """A place to drop pictures, how far they have come, and a button to stop them."""

    def __init__(self, station: Station, training: Training, source: gr.Dropdown) -> None:
        """`source`: where the upload is chosen, once it is there."""
        self.station, self.training, self.source = station, training, source
        self.zone = block(
            view.drop_zone(station.settings.data is not None),
            elem_id="train-drop",
            events="station.dropZone(element, trigger, 'dropped')",
        )
        self.arriving = block(elem_id="train-arriving")
        self.stop = gr.Button(words.stop_upload, visible=False, elem_id="train-stop-upload")

    def connect(self) -> None:
        shown = [self.source, self.arriving, self.stop]
        self.zone.dropped(self.take, outputs=shown, trigger_mode="multiple", **QUIET)
        self.stop.click(self.give_up, **QUIET)

    @handler(Role.ENGINEER)
    def take(self, visitor: Visitor) -> Iterator[Updates]:
        """Pictures as they arrive, until all have, or somebody stops it."""
        drops, key, files = visitor.session.drops, str(visitor.event.get("drop")), visitor.number("expected") or 1
        drop = drops.get(key)
        if drop is None:
            raise DataError(words.nothing_uploaded)
        visitor.tab[UPLOAD] = key
        here, told, updates = list[Arrived](), Markup(), Updates()
        try:
            yield from self._arrive(drop, here, files)
            updates = {self.source: self._chosen(visitor, here)}
            told = view.refused([str(one.error) for one in here if one.error is not None])
            told += Markup().join(map(note, drop.skipped))
        except DataError as error:
            told = problem(view.sentence(str(error)))
        finally:
            drops.pop(key, None)
            drop.close()
        yield updates | {self.arriving: told, self.stop: gr.Button(visible=False)}

    def _arrive(self, drop: Drop, here: list[Arrived], files: int) -> Iterator[Updates]:
        """Fill `here` with what arrives. Raises DataError if that is not all of it."""
        ended, shown_at = False, 0.0
        while not ended:
            more, ended = drop.take(len(here), LOOK_EVERY_S)
            here += more
            if monotonic() - shown_at >= LOOK_EVERY_S:
                shown_at = monotonic()
                yield {
                    self.arriving: view.arriving(len(here), files, drop.size),
                    self.stop: gr.Button(visible=True),
                }
        if drop.closed:
            raise DataError(words.upload_stopped)
        if drop.abandoned:
            raise DataError(words.upload_abandoned(len(here), files))

    def _chosen(self, visitor: Visitor, here: list[Arrived]) -> gr.Dropdown:
        """The upload as a source. Raises DataError if nothing of it can be used, or kept."""
        token = self.training.take_upload(here)
        if (form := visitor.tab.get(FORM)) is not None:
            visitor.tab[FORM] = replace(form, source=token)  # though the page may be out of sight just now
        return gr.Dropdown(self.training.sources.all(), value=token)

    @handler(Role.ENGINEER)
    def give_up(self, visitor: Visitor) -> None:
        if drop := visitor.session.drops.pop(str(visitor.tab.get(UPLOAD)), None):
            drop.close()
