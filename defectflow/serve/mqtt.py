"""An inspection -> an MQTT broker, as the plant's other systems read it.

    ROOT/STATION/state                    retained: {"online": true, "since": ...}; the broker says false for us, and
                                          then since is null, for it cannot know when we died
    ROOT/STATION/CAMERA/inspection        every inspection, once confirmed by the broker (QoS 1)
    ROOT/STATION/CAMERA/last              retained: the newest, for whoever comes later
    ROOT/STATION/CAMERA/alarm             retained: the camera has failed, or gives pictures again

CAMERA is `none` where a request named none. What a picture's sender may choose never makes another topic level.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from threading import Event
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from defectflow.common import utc_now
from defectflow.errors import SettingsError
from defectflow.serve.passwords import read_password
from defectflow.serve.settings import MqttSettings
from defectflow.serve.tell import Told, Untold, event
from defectflow.store import Alarm

CONFIRMED_S = 10.0
"""How long a confirmation is waited for."""
KEEP_ALIVE_S = 30


class Mqtt:
    """A broker that is told inspections."""

    def __init__(self, settings: MqttSettings) -> None:
        """Connects in the background, and again whenever it was cut off. Raises SettingsError."""
        self.at_once = 1
        self.name = f"mqtt {settings.host}:{settings.port} {settings.station}"
        self._root = f"{settings.root}/{settings.station}"
        self._where = f"{settings.host}:{settings.port}"
        self._connected = Event()
        self._refused: str | None = None
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"{settings.root}-{settings.station}")
        if settings.username is not None:
            password = settings.password
            said = None if password is None else read_password(password, "mqtt.password")
            client.username_pw_set(settings.username, said)
        if settings.tls:
            try:
                client.tls_set(None if settings.ca is None else str(settings.ca))
            except OSError as error:
                raise SettingsError(f"mqtt.ca: {settings.ca} cannot be read ({error}); name a PEM file") from error
        client.will_set(f"{self._root}/state", _state(online=False, since=None), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.reconnect_delay_set(1, 5)
        client.connect_async(settings.host, settings.port, KEEP_ALIVE_S)
        client.loop_start()
        self._client = client

    def wants(self, said: Told) -> bool:
        return True

    def tell(self, said: Told) -> None:
        if not self._connected.wait(CONFIRMED_S):
            raise Untold(f"{self._where}: {self._refused or 'the broker cannot be reached'}")
        body = event(said)
        if isinstance(said, Alarm):
            self._publish(f"{self._root}/{level(said.subject)}/alarm", body, retain=True)
            return
        camera = f"{self._root}/{level(said.camera or 'none')}"
        self._publish(f"{camera}/inspection", body)
        self._publish(f"{camera}/last", body, retain=True)

    def close(self) -> None:
        if self._connected.is_set():
            sent = self._client.publish(
                f"{self._root}/state", _state(online=False, since=utc_now()), qos=1, retain=True
            )
            with suppress(ValueError, RuntimeError):
                sent.wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, body: bytes, *, retain: bool = False) -> None:
        try:
            sent = self._client.publish(topic, body, qos=1, retain=retain)
            sent.wait_for_publish(CONFIRMED_S)
        except (ValueError, RuntimeError) as error:  # the client's queue is full, or it is not connected
            raise Untold(f"{self._where}: {error}") from error
        if not sent.is_published():
            raise Untold(f"{self._where}: the broker has not confirmed after {CONFIRMED_S:g} s")

    def _on_connect(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refused = f"the broker refuses us: {reason}"
            return
        self._refused = None
        client.publish(f"{self._root}/state", _state(online=True, since=utc_now()), qos=1, retain=True)
        self._connected.set()

    def _on_disconnect(self, client: paho.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._connected.clear()


def level(name: str) -> str:
    """A name as one topic level: without the characters that separate levels or stand for many."""
    return re.sub(r"[/+#\x00-\x1f$]", "_", name)


def _state(*, online: bool, since: str | None) -> bytes:
    return json.dumps({"online": online, "since": since}).encode()
