"""What is done now and then beside the requests, in a thread of its own: a look at drift, retention."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from defectflow.errors import DefectFlowError

log = logging.getLogger(__name__)


class Regularly:
    """Does something at once, and again after every so many seconds. What fails is logged once, and tried again."""

    def __init__(self, name: str, seconds: float, do: Callable[[], object]) -> None:
        self._name, self._seconds, self._do = name, seconds, do
        self._failed: str | None = None
        self._over = Event()
        self._thread = Thread(target=self._go_on, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends after what is just being done."""
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        while True:
            try:
                self._do()
                self._failed = None
            except (DefectFlowError, OSError) as error:
                if str(error) != self._failed:
                    log.warning("%s: %s", self._name, error)
                self._failed = str(error)
            if self._over.wait(self._seconds):
                return
