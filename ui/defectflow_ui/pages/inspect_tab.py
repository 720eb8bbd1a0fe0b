"""The inspection of a browser tab: found, started, forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from defectflow.bundle import Bundle
from defectflow.errors import DataError, DefectFlowError
from defectflow.store import Query, Seen
from defectflow_ui.inspecting.inspection import Inspection
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import inspect as words

PREFIX = "inspect."
INSPECTION, TRIAL, PRODUCT = f"{PREFIX}inspection", f"{PREFIX}trial", f"{PREFIX}product"
SOURCE = "ui"
MOST_ROWS = 5000
"""Pictures of one tab; beyond them it has to be cleared."""


def found(visitor: Visitor) -> Inspection | None:
    """The tab's inspection, if anything was dropped there."""
    inspection = visitor.tab.get(INSPECTION)
    return inspection if isinstance(inspection, Inspection) else None


def current(visitor: Visitor) -> Inspection:
    """Raises DataError if there is none any more."""
    inspection = found(visitor)
    if inspection is None:
        raise DataError(words.no_longer)
    return inspection


def on_trial(station: Station, visitor: Visitor, bundles: Sequence[Bundle]) -> bool:
    """Whether what this tab judges stays out of history, audit and drift: as somebody chose there; by default until
    something that was judged with the model is kept, and of several products with each.
    """
    chosen = visitor.tab.get(TRIAL)
    if isinstance(chosen, bool):
        return chosen
    history = station.store.history
    return not all(history.search(Query(bundle_id=each.card.bundle_id, limit=1)) for each in bundles)


def product(visitor: Visitor) -> str | None:
    """Which of several products this tab inspects, as somebody chose there, "auto" for all; None: the active one."""
    chosen = visitor.tab.get(PRODUCT)
    return chosen if isinstance(chosen, str) else None


def judging(station: Station, visitor: Visitor) -> list[Bundle]:
    """What may judge this tab's pictures: one, or with "auto" one for each product.

    Raises BundleError, also where a chosen product is gone.
    """
    return station.bundles.judging(product(visitor))


def chosen(station: Station, visitor: Visitor) -> Bundle | None:
    """The one bundle that judges this tab's pictures; None where there is none, or each product's own does."""
    try:
        bundles = judging(station, visitor)
    except DefectFlowError:
        return None
    return bundles[0] if len(bundles) == 1 else None


def is_at_work(station: Station, visitor: Visitor, inspection: Inspection) -> bool:
    """Whether what has judged the tab's pictures judges the next ones, too."""
    try:
        return station.bundles.inspector(product(visitor)) is inspection.inspector
    except DefectFlowError:
        return False


def begin(station: Station, visitor: Visitor) -> Inspection:
    """The tab's inspection, or a new one if there is none or another calibration is active by now.

    Raises NotReleased where what is judged counts, and the store's settings ask for a check of the master parts first.
    """
    inspector = station.bundles.inspector(product(visitor))
    if not on_trial(station, visitor, inspector.bundles):
        for bundle in inspector.bundles:
            station.store.masters.require_release(bundle.card, station.store.settings.golden)

    def record(seen: list[Seen]) -> list[int] | None:
        if on_trial(station, visitor, inspector.bundles):
            return None
        return station.store.record(inspector.bundles[0].card, seen, by=visitor.user, source=SOURCE)

    with visitor.tab.lock:  # two drops at once are one inspection
        before, notice = found(visitor), None
        if before is not None:
            over = _trial_over(before, on_trial(station, visitor, inspector.bundles))
            if before.inspector is inspector and not over:
                if len(before.rows) >= MOST_ROWS:
                    raise DataError(words.clear_first(MOST_ROWS))
                before.record_by(record)
                return before
            before.close()
            if over:
                notice = words.trial_over(len(before.rows))
            elif before.rows:
                notice = words.other_calibration(len(before.rows))
        visitor.tab[INSPECTION] = inspection = Inspection(inspector, visitor.served, record)
    inspection.notice = notice
    return inspection


def _trial_over(inspection: Inspection, trial: bool) -> bool:
    """Whether all that is on show was on trial, and what comes now is kept: the two are not one table."""
    rows = inspection.rows
    return not trial and not inspection.running and bool(rows) and all(row.recorded is None for row in rows)


def forget(visitor: Visitor) -> None:
    """Raises DataError if there is none any more."""
    current(visitor).close()
    del visitor.tab[INSPECTION]
