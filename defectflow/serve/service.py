"""Settings -> an open service: store, models, keys, queue. Or a refusal that says what to do."""

from __future__ import annotations

from defectflow.line import find_providers
from defectflow.serve.guard import Guard
from defectflow.serve.keys import ClientKeys
from defectflow.serve.metrics import Look, Metrics
from defectflow.serve.models import Models
from defectflow.serve.receive import Spool
from defectflow.serve.settings import ServeSettings
from defectflow.serve.work import Work
from defectflow.store import Store


class Service:
    """What the routes work with."""

    def __init__(self, settings: ServeSettings) -> None:
        """Raises SettingsError, DataError and StoreError before anything is started."""
        find_providers([settings.provider])
        if settings.tls is not None:
            for file in (settings.tls.certificate, settings.tls.key):
                file.open("rb").close()
        self.settings = settings
        self.guard = Guard(None if settings.keys is None else ClientKeys(settings.keys), settings.limits.requests_per_s)
        self.store = Store.open(settings.store)
        try:
            self.models = Models(settings, self.store.versions)
            self.spool = Spool()
        except BaseException:
            self.store.close()
            raise
        self.work = Work(settings, self.store, self.models.inspector)
        self.metrics = Metrics(self.work, self.models, self.store)
        self._look = Look(self.metrics, settings.drift_s)

    def check(self) -> str:
        """What judges where a request names no model. Raises BundleError, NotCalibrated, StoreError, NotReleased."""
        self.store.head()
        card = self.models.inspector(None).card
        self.store.masters.require_release(card, self.store.settings.golden)
        return f"{card.name} (bundle {card.bundle_id}, calibration {card.calibration_id})"

    def close(self) -> None:
        """Answer what was accepted, then end."""
        self.work.close()
        self._look.close()
        self.spool.close()
        self.store.close()
