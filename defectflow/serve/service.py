"""Settings -> an open service: store, models, keys, queue. Or a refusal that says what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from defectflow.errors import CameraError
from defectflow.line import find_providers
from defectflow.serve.cameras import Camera
from defectflow.serve.folders import WatchedFolder
from defectflow.serve.guard import Guard
from defectflow.serve.keys import ClientKeys
from defectflow.serve.metrics import Metrics
from defectflow.serve.models import Models
from defectflow.serve.mqtt import Mqtt
from defectflow.serve.receive import Spool
from defectflow.serve.regularly import Regularly
from defectflow.serve.settings import OpcUaSettings, ServeSettings
from defectflow.serve.switch import Switch
from defectflow.serve.tell import Channel, Teller
from defectflow.serve.webhook import Webhook
from defectflow.serve.work import Work
from defectflow.store import SERVICE, Inspection, Store

if TYPE_CHECKING:
    from defectflow.serve.opcua import OpcUa

log = logging.getLogger(__name__)
RETENTION_S = 3600.0


class Service:
    """What the routes work with."""

    def __init__(self, settings: ServeSettings, *, trial: bool = False) -> None:
        """Raises SettingsError, DataError and StoreError before anything is started.

        `trial`: take no pictures with cameras, and open no port.
        """
        find_providers([settings.provider])
        if settings.tls is not None:
            for file in (settings.tls.certificate, settings.tls.key):
                file.open("rb").close()
        self.settings = settings
        keys = None if settings.keys is None else ClientKeys(settings.keys)
        self.guard = Guard(keys, settings.limits.requests_per_s)
        self.store = Store.open(settings.store)
        with ExitStack() as opened:  # in reverse order at the end, or where something cannot be opened
            opened.callback(self.store.close)
            self.models = Models(settings, self.store)
            self.spool = Spool()
            opened.callback(self.spool.close)
            self.tellers: list[Teller] = []
            for channel in _channels(settings):
                self.tellers.append(Teller(channel, self.store.outbox))
                opened.callback(self.tellers[-1].close)
            self.work = Work(settings, self.store, self.models.inspector, self._recorded)
            self.cameras: dict[str, Camera] = {}
            self.metrics = Metrics(self.work, self.models, self.store, self.tellers, self.cameras)
            for name, seconds, do in () if trial else self._upkeep():
                opened.callback(Regularly(name, seconds, do).close)
            opened.callback(self.work.close)
            self.switch = Switch()
            for name, camera in ({} if trial else settings.cameras).items():
                self.cameras[name] = Camera(
                    name, camera, settings.limits, self.work, self.spool, self.switch, self.store.alarms, self._alarmed
                )
                opened.callback(self.cameras[name].close)
            self.folders: list[WatchedFolder] = []
            for folder, wanted in settings.folders.items():
                self.folders.append(WatchedFolder(folder, wanted, self.work, self.store))
                opened.callback(self.folders[-1].close)
            self.opcua: OpcUa | None = None
            if settings.opcua is not None and trial:
                _check_opcua(settings.opcua)
            elif settings.opcua is not None:
                self.opcua = self._open_opcua(settings.opcua, keys)
                self.tellers.append(Teller(self.opcua, self.store.outbox))
                opened.callback(self.tellers[-1].close)
            self._opened = opened.pop_all()

    def check(self) -> str:
        """What judges where a request names no model. Raises BundleError, NotCalibrated, StoreError, NotReleased.

        And CameraError where a camera gives no pictures.
        """
        held = self.store.in_force()
        cards = [bundle.card for bundle in self.models.inspector(None, held).bundles]
        for card in cards:
            self.store.masters.require_release(card, held.settings.golden)
        for camera in self.cameras.values():
            if camera.error is not None:
                raise CameraError(f"camera {camera.name}: {camera.error}")
        return ", ".join(f"{card.name} (bundle {card.bundle_id}, calibration {card.calibration_id})" for card in cards)

    def notes(self) -> list[str]:
        """What of telling the plant's systems needs somebody's eyes; inspection goes on. Raises StoreError.

        Without addresses and reasons, which are for the log: whoever asks needs no key.
        """
        notes = [
            f"{name}: messages refused and set aside: {count}; list them: defectflow log refused"
            for name, count in self.store.outbox.refused_counts().items()
        ]
        failing = [teller.channel.name for teller in self.tellers if teller.error is not None]
        return notes + [f"{name}: does not confirm what it is told; the log says why" for name in failing]

    def close(self) -> None:
        """Answer what was accepted, then end."""
        self._opened.close()

    @property
    def alive(self) -> bool:
        """Whether all that judges is at work."""
        return (
            self.work.alive
            and all(folder.alive for folder in self.folders)
            and all(camera.alive for camera in self.cameras.values())
            and (self.opcua is None or self.opcua.alive)
        )

    def _upkeep(self) -> Iterator[tuple[str, float, Callable[[], object]]]:
        yield "drift", self.settings.drift_s, self.metrics.look
        yield "retention", RETENTION_S, self._retain

    def _retain(self) -> None:
        self.store.retain(by=SERVICE)
        for one in self.store.kept_for_channels():
            log.warning("%s: older rows stay until it is told them (inspections behind: %d)", one.name, one.behind)

    def _open_opcua(self, settings: OpcUaSettings, keys: ClientKeys | None) -> OpcUa:
        from defectflow.serve.opcua import Doors, OpcUa  # with the extra `opcua` alone

        limits = self.settings.limits
        doors = Doors(self.work, self.spool, self.switch, self.cameras, limits, settings.folders)
        return OpcUa(settings, keys, doors, self.check, self.settings.drain_s)

    def _recorded(self, inspections: Sequence[Inspection]) -> None:
        self.metrics.count(inspections)
        self._alarmed()

    def _alarmed(self) -> None:
        for teller in self.tellers:
            teller.look()


def _check_opcua(settings: OpcUaSettings) -> None:
    """Raises SettingsError."""
    from defectflow.serve.opcua import check_files

    check_files(settings)


def _channels(settings: ServeSettings) -> Iterator[Channel]:
    """What is told of every inspection. Raises SettingsError."""
    for name, webhook in settings.webhooks.items():
        yield Webhook(name, webhook)
    if settings.mqtt is not None:
        yield Mqtt(settings.mqtt)
