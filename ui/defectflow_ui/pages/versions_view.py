"""The calibrations of a model as a table, each with the way back to it: on Calibrate and on Review."""

from __future__ import annotations

import html
from collections.abc import Sequence

from defectflow.bundle import Card
from defectflow.errors import StoreError
from defectflow.store import CalibrationVersion
from defectflow_ui.markup.theme import moment
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import versions as words


def versions(found: Sequence[CalibrationVersion], card: Card, *, may: bool) -> str:
    """Newest first. `may`: whether the visitor may put one back to work; a click on data-version is for `pressed`."""
    if not found:
        return f'<p class="quiet">{words.none}</p>'
    head = "".join(f"<th>{name}</th>" for name in words.head)
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(one, card, may))}</tr>" for one in found)
    return f'<div class="scroll"><table class="facts versions"><tr>{head}</tr>{rows}</table></div>'


def pressed(station: Station, visitor: Visitor, card: Card) -> CalibrationVersion:
    """The version whose button was pressed. Raises StoreError where it is of another model than this card's."""
    bundle_id, _, calibration_id = str(visitor.event.get("version")).partition(" ")
    if bundle_id != card.bundle_id:
        raise StoreError(words.other_model(card.name))
    return station.store.versions.get(bundle_id, calibration_id)


def _cells(version: CalibrationVersion, card: Card, may: bool) -> tuple[str, ...]:
    calibration, name = version.calibration, html.escape(version.name)
    holds = version.calibration_id == card.calibration_id
    estimated = calibration.guarantee == "estimate"
    which = f"{version.bundle_id} {version.calibration_id}"
    back = f'<button type="button" class="chip" data-version="{which}">{words.use_again}</button>'
    in_use = f'<span class="badge small ok"><b>✓</b> {words.in_use}</span>'
    return (
        name,
        f"{moment(version.at)}, {html.escape(version.by)}",
        words.estimate if estimated else words.promise(calibration.rate, version.parts),
        f"{calibration.threshold.value:.3f}",
        html.escape(version.reason),
        in_use if holds else back if may else "",
    )
