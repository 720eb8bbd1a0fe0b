"""Has production moved? Checked in the background, not in requests, so that every page can show an alarm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Lock, Thread

from defectflow.bundle import Bundle
from defectflow.errors import DefectFlowError
from defectflow.store import Store
from defectflow.store.drift import Course, Drift
from defectflow_ui.models.bundles import Bundles

log = logging.getLogger(__name__)
EVERY_S = 30.0
"""Never looked at more often."""
LARGEST_SHARE = 0.02
"""Of the time, at most so much goes into looking."""
Model = tuple[str, str | None]
"""(bundle_id, calibration_id)."""


class DriftWatch:
    """The drift of the active model, and of several products of each, as far as it is known. Thread-safe.

    The first look reads all parts of the model, later ones what was written since; one only after something was
    written, and at most every EVERY_S.
    """

    def __init__(self, store: Store, bundles: Bundles, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._bundles = bundles
        self._clock = clock
        self._known: dict[Model, Drift] = {}
        self._seen: object = None
        """The log's head and the models, as they were at the last look."""
        self._next = 0.0
        self._looking: Thread | None = None
        self._lock = Lock()
        self._kept: dict[str, Course] = {}
        """By bundle_id."""
        self._one_look = Lock()

    def courses(self, wait_s: float = 0.0) -> dict[str, Drift]:
        """The courses of what is at work as last seen, by name; empty before the first look, or without a model.

        Starts a look in the background where one is due, and waits up to `wait_s` seconds for one that is under way.
        """
        with self._lock:
            if self._looking is None and self._clock() >= self._next:
                self._looking = Thread(target=self._look_behind, name="drift", daemon=True)
                self._looking.start()
            looking = self._looking
        if looking is not None and wait_s:
            looking.join(wait_s)
        try:
            watched = self._bundles.at_work()
        except DefectFlowError:
            return {}
        with self._lock:
            return _named(watched, self._known)

    @property
    def looking(self) -> bool:
        """Whether a look is under way."""
        return self._looking is not None

    def look(self) -> dict[str, Drift]:
        """The courses at this moment. Raises BundleError without an active model, StoreError."""
        with self._one_look:
            began = self._clock()
            watched = self._bundles.at_work()
            seen = (self._store.head(), [_model(bundle) for bundle in watched])
            with self._lock:
                known = self._known if self._seen == seen else None
            if known is None:
                ids = [bundle.card.bundle_id for bundle in watched]
                self._kept = {one: self._kept.get(one) or Course(self._store, one) for one in ids}
                known = {_model(bundle): self._kept[bundle.card.bundle_id].look(bundle.card) for bundle in watched}
            took = self._clock() - began
            with self._lock:
                self._known, self._seen = known, seen
                self._next = self._clock() + max(EVERY_S, took / LARGEST_SHARE)
            return _named(watched, known)

    def _look_behind(self) -> None:
        try:
            self.look()
        except DefectFlowError as error:  # no model yet; or the store is being closed
            log.info("no look at drift: %s", error)
            self._next = self._clock() + EVERY_S
        finally:
            self._looking = None


def _model(bundle: Bundle) -> Model:
    return bundle.card.bundle_id, bundle.card.calibration_id


def _named(watched: list[Bundle], known: Mapping[Model, Drift]) -> dict[str, Drift]:
    return {bundle.name: known[_model(bundle)] for bundle in watched if _model(bundle) in known}
