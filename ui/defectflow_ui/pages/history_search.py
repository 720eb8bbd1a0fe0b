"""The form of the page History -> what the store is asked for. No Gradio here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from defectflow.errors import DataError
from defectflow.store import Answered, Every, Query, Store, YieldCount, product_in
from defectflow.verdict import Word
from defectflow_ui.pages.history_chart import MOST_BARS, stretches
from defectflow_ui.words import history as words

PAGE = 50
"""Inspections that are listed at once."""
SPANS = {"shift": timedelta(hours=8), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
HOURLY = timedelta(days=2)
"""Spans up to this one are counted by the hour."""


def query(
    days: Mapping[str, Any], span: Any, word: Any, answer: Any, name: Any, of_part: Any, product: Any, made_by: Any
) -> Query:
    """By the form's fields; `days`: what the browser said of the two dates, which count where the span says so.

    Raises DataError if they are not dates.
    """
    since, until = datetime.now(UTC) - SPANS[span] if span in SPANS else None, None
    if span == "dates":
        since, until = _between(days)
    bundle_id, _, calibration_id = str(made_by or "").partition(" ")
    return Query(
        since=since,
        until=until,
        decisions=(word,) if word in get_args(Word) else (),
        answered=answer if answer in get_args(Answered) else None,
        file=str(name or "").strip() or None,
        part=str(of_part or "").strip() or None,
        product=product or None,
        bundle_id=bundle_id or None,
        calibration_id=calibration_id or None,
        limit=PAGE,
    )


def models(store: Store) -> list[tuple[str, str]]:
    """(label, value): every model that has inspected anything, each followed by its thresholds."""
    choices = [(words.any_model, "")]
    for bundle_id, name in store.history.models():
        choices.append((f"{name} ({bundle_id})", bundle_id))
        choices += [
            (words.thresholds(name, version.name), f"{bundle_id} {version.calibration_id}")
            for version in store.versions.all(bundle_id)
        ]
    return choices


def products(store: Store) -> list[tuple[str, str]]:
    """(label, value): every product of a model of several that has inspected anything, by name."""
    found = {product for _, name in store.history.models() if (product := product_in(name)) is not None}
    return [(words.any_product, ""), *((product, product) for product in sorted(found))]


def counts_over_time(store: Store, wanted: Query) -> tuple[list[YieldCount], Every]:
    """By the hour where the span is short; otherwise by the finest of day, week and month that can be drawn."""
    if wanted.since is not None and (wanted.until or datetime.now(UTC)) - wanted.since <= HOURLY:
        return store.history.counts(wanted, every="hour"), "hour"
    every: Every
    for every in ("day", "week", "month"):
        counts = store.history.counts(wanted, every=every)
        if not counts or len(stretches(counts[0].start, counts[-1].start, every)) <= MOST_BARS:
            break
    return counts, every


def _between(said: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    """The moments that the browser made of the two dates; None where one was left empty. Raises DataError."""
    since, until = _moment(said.get("since")), _moment(said.get("until"))
    if since is not None and until is not None and since >= until:
        raise DataError(words.backwards)
    return since, until


def _moment(said: object) -> datetime | None:
    if said == "incomplete":
        raise DataError(words.incomplete)
    if not said:
        return None
    try:
        return datetime.fromisoformat(str(said)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DataError(words.no_date) from error
