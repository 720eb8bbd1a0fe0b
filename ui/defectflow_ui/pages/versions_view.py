"""The calibrations of a model as a table, each with the way back to it: on Calibrate and on Review."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from defectflow.bundle import Card
from defectflow.errors import StoreError
from defectflow.store import CalibrationVersion
from defectflow_ui.markup.render import render
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import versions as words


def versions(found: Sequence[CalibrationVersion], card: Card, *, may: bool) -> Markup:
    """Newest first. `may`: whether the visitor may put one back to work; a click on data-version is for `pressed`."""
    return render("versions/table.html", words=words, versions=found, in_use=card.calibration_id, may=may)


def pressed(station: Station, visitor: Visitor, card: Card) -> CalibrationVersion:
    """The version whose button was pressed. Raises StoreError if it is of another model than this card's."""
    bundle_id, _, calibration_id = str(visitor.event.get("version")).rpartition(" ")
    if bundle_id != card.bundle_id:
        raise StoreError(words.other_model(card.name))
    return station.store.versions.get(bundle_id, calibration_id)
