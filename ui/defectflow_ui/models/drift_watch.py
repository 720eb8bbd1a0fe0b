"""Has production moved? Checked in the background, not in requests, so that every page can show an alarm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock, Thread

from defectflow.errors import DefectFlowError
from defectflow.store import Store
from defectflow.store.drift import Course, Drift
from defectflow_ui.models.bundles import Bundles

log = logging.getLogger(__name__)
EVERY_S = 30.0
"""Never looked at more often."""
LARGEST_SHARE = 0.02
"""Of the time, at most so much goes into looking."""


class DriftWatch:
    """The active model's drift, as far as it is known. Thread-safe.

    The first look reads all parts of the model, later ones what was written since; one only after something was
    written, and at most every EVERY_S.
    """

    def __init__(self, store: Store, bundles: Bundles, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._bundles = bundles
        self._clock = clock
        self._known: tuple[tuple[str, str | None], Drift] | None = None
        self._seen: object = None
        """The log's head and the model, as they were at the last look."""
        self._next = 0.0
        self._looking: Thread | None = None
        self._lock = Lock()
        self._kept: Course | None = None
        self._one_look = Lock()

    def course(self, wait_s: float = 0.0) -> Drift | None:
        """The course of the active model as last seen; None before the first look, or without an active model.

        Starts a look in the background where one is due, and waits up to `wait_s` seconds for one that is under way.
        """
        with self._lock:
            if self._looking is None and self._clock() >= self._next:
                self._looking = Thread(target=self._look_behind, name="drift", daemon=True)
                self._looking.start()
            looking = self._looking
        if looking is not None and wait_s:
            looking.join(wait_s)
        model = self._model()
        with self._lock:
            return self._known[1] if self._known is not None and self._known[0] == model else None

    @property
    def looking(self) -> bool:
        """Whether a look is under way."""
        return self._looking is not None

    def look(self) -> Drift:
        """The course at this moment. Raises BundleError without an active model, StoreError."""
        with self._one_look:
            began = self._clock()
            card = self._bundles.active().card
            seen = (self._store.head(), card.bundle_id, card.calibration_id)
            with self._lock:
                known = self._known if self._seen == seen else None
            if self._kept is None or self._kept.bundle_id != card.bundle_id:
                self._kept = Course(self._store, card.bundle_id)
            course = self._kept.look(card) if known is None else known[1]
            took = self._clock() - began
            with self._lock:
                self._known, self._seen = ((card.bundle_id, card.calibration_id), course), seen
                self._next = self._clock() + max(EVERY_S, took / LARGEST_SHARE)
            return course

    def _look_behind(self) -> None:
        try:
            self.look()
        except DefectFlowError as error:  # no model yet; or the store is being closed
            log.info("no look at drift: %s", error)
            self._next = self._clock() + EVERY_S
        finally:
            self._looking = None

    def _model(self) -> tuple[str, str | None] | None:
        try:
            card = self._bundles.active().card
        except DefectFlowError:
            return None
        return card.bundle_id, card.calibration_id
