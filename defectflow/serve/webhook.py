"""An inspection or an alarm -> a signed POST to a URL of the plant's.

Source of the headers and the signature: the Standard Webhooks specification, version 1
(https://www.standardwebhooks.com), for which libraries exist in most languages.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

import httpx

from defectflow.errors import SettingsError
from defectflow.serve.settings import WebhookSettings
from defectflow.serve.tell import Refused, Told, Untold, event, event_id
from defectflow.store import Inspection

SECRET_BYTES = 32
PREFIX = "whsec_"
"""How a secret begins, so that it is recognised where it should not be."""
SHORTEST_BYTES = 24
"""Of a secret, by the specification."""
COME_AGAIN = (408, 425, 429)
"""Refusals of now, not of the message."""


class Webhook:
    """A URL that is told. Any answer but 2xx is tried again; after a 4xx that is no COME_AGAIN, not for ever."""

    def __init__(self, name: str, settings: WebhookSettings) -> None:
        """Raises SettingsError."""
        self.name = f"webhook {name}"
        self.at_once = settings.at_once
        self._settings = settings
        self._secret = read_secret(settings.secret)
        self._http = httpx.Client(timeout=settings.timeout_s, trust_env=False)

    def wants(self, said: Told) -> bool:
        wanted = self._settings.decisions
        return not wanted or not isinstance(said, Inspection) or said.decision in wanted

    def tell(self, said: Told) -> None:
        body = event(said)
        url = self._settings.url
        headers = {"Content-Type": "application/json"} | signed(self._secret, event_id(said), body)
        try:
            answer = self._http.post(url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise Untold(f"{url}: {error or type(error).__name__}") from error
        if not answer.is_success:
            refused = answer.is_client_error and answer.status_code not in COME_AGAIN
            why = f"{url}: answers {answer.status_code} where 2xx would confirm {event_id(said)}"
            raise Refused(why) if refused else Untold(why)

    def close(self) -> None:
        self._http.close()


def signed(secret: bytes, number: str, body: bytes) -> dict[str, str]:
    """The headers that prove who sent a body, and when."""
    now = str(int(time.time()))
    digest = hmac.new(secret, f"{number}.{now}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": number, "webhook-timestamp": now, "webhook-signature": signature}


def write_secret(file: Path) -> None:
    """A new secret, for our service and for the receiver. Raises SettingsError where a file lies there."""
    text = f"{PREFIX}{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}\n"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SettingsError(f"{file}: no secret can be written there ({error}); choose another name") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)


def read_secret(file: Path) -> bytes:
    """The secret of a file that holds `whsec_` and base64. Raises SettingsError."""
    remedy = f"make one: defectflow keys secret {file}"
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: the webhook's secret cannot be read ({error}); {remedy}") from error
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError as error:
        raise SettingsError(f"{file}: holds no secret ({PREFIX} and base64); {remedy}") from error
    if len(secret) < SHORTEST_BYTES:
        raise SettingsError(f"{file}: the secret has {len(secret)} bytes; at least {SHORTEST_BYTES}; {remedy}")
    return secret
