"""What /metrics shows to Prometheus: decisions, latency, the queue, refusals, the active model, drift."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from defectflow.serve.cameras import Camera
from defectflow.serve.models import Models
from defectflow.serve.tell import Teller
from defectflow.serve.work import Work
from defectflow.store import Inspection, Store
from defectflow.store.drift import Course

BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counts what this process does. Thread-safe, but for `look`, which one thread calls."""

    def __init__(
        self, work: Work, models: Models, store: Store, tellers: Sequence[Teller], cameras: Mapping[str, Camera]
    ) -> None:
        self._models, self._store, self._tellers, self._cameras = models, store, tellers, cameras
        self._registry = CollectorRegistry()
        self._inspections = Counter(
            "defectflow_inspections", "Pictures inspected.", ["model", "decision"], registry=self._registry
        )
        self.refused = Counter(
            "defectflow_refused_requests", "Requests refused, by HTTP status.", ["status"], registry=self._registry
        )
        self.latency = Histogram(
            "defectflow_request_seconds",
            "From a request's arrival to its answer.",
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        queue = Gauge("defectflow_queue_pictures", "Pictures accepted and not answered yet.", registry=self._registry)
        queue.set_function(lambda: work.unanswered)
        self._active = Gauge(
            "defectflow_active_model",
            "1 for the model and calibration that judge where a request names none.",
            ["model", "bundle_id", "calibration_id"],
            registry=self._registry,
        )
        self._evidence = Gauge(
            "defectflow_drift_evidence",
            "The active model's drift e-value; an alarm at defectflow_drift_run_length.",
            ["model"],
            registry=self._registry,
        )
        self._run_length = Gauge(
            "defectflow_drift_run_length", "Good parts between false alarms, on average.", registry=self._registry
        )
        self._alarms = Gauge(
            "defectflow_drift_standing_alarms",
            "Drift alarms of the active model that nobody has seen to.",
            ["model"],
            registry=self._registry,
        )
        self._untold = Gauge(
            "defectflow_untold_inspections",
            "Inspections that a channel of the plant has not confirmed yet.",
            ["channel"],
            registry=self._registry,
        )
        self._set_aside = Gauge(
            "defectflow_refused_messages",
            "Messages that a channel's receiver refuses, and that were set aside: defectflow log refused.",
            ["channel"],
            registry=self._registry,
        )
        self._courses: dict[str, Course] = {}
        self._up = Gauge(
            "defectflow_camera_up", "1 while a camera gives pictures.", ["camera"], registry=self._registry
        )
        self._missed = Gauge(
            "defectflow_camera_missed_pictures",
            "Pictures that came or were due, and could not be inspected, since the start.",
            ["camera"],
            registry=self._registry,
        )

    def count(self, inspections: Iterable[Inspection]) -> None:
        for one in inspections:
            self._inspections.labels(one.model, one.decision).inc()

    def text(self) -> bytes:
        """Raises StoreError."""
        set_aside = self._store.outbox.refused_counts()
        for teller in self._tellers:
            self._untold.labels(teller.channel.name).set(teller.behind)
            self._set_aside.labels(teller.channel.name).set(set_aside.get(teller.channel.name, 0))
        for name, camera in self._cameras.items():
            self._up.labels(name).set(camera.error is None)
            self._missed.labels(name).set(camera.missed)
        return generate_latest(self._registry)

    def look(self) -> None:
        """Which model is active, and has production moved? Raises BundleError, NotCalibrated, StoreError."""
        cards = [bundle.card for bundle in self._models.inspector(None).bundles]
        self._courses = {
            card.bundle_id: self._courses.get(card.bundle_id) or Course(self._store, card.bundle_id) for card in cards
        }
        drifts = [(card, self._courses[card.bundle_id].look(card)) for card in cards if card.calibration is not None]
        for gauge in (self._active, self._evidence, self._alarms):
            gauge.clear()
        for card, drift in drifts:
            self._active.labels(card.name, card.bundle_id, str(card.calibration_id)).set(1)
            self._evidence.labels(card.name).set(drift.points[-1].evidence if drift.points else 0.0)
            self._alarms.labels(card.name).set(len(drift.standing))
            self._run_length.set(drift.run_length)
