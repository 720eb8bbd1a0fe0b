"""A camera that answers a GET with a picture."""

from __future__ import annotations

import ssl
import time

import httpx

from defectflow.errors import CameraError, ImageError, SettingsError
from defectflow.image import HEADER_BYTES, READ, kind_of, read_raw
from defectflow.serve.camera_settings import HttpCamera
from defectflow.serve.cameras.source import Frame, size_words
from defectflow.serve.passwords import read_password


class HttpSource:
    """Asks one URL. What it answers is the picture's file, byte for byte."""

    live = False

    def __init__(self, settings: HttpCamera, name: str, timeout_s: float, most_bytes: int) -> None:
        """Raises SettingsError."""
        self._settings, self._timeout_s, self._most_bytes = settings, timeout_s, most_bytes
        auth: httpx.Auth | None = None
        if settings.username is not None:
            password = settings.password
            said = "" if password is None else read_password(password, f"cameras.{name}.http.password")
            kind = httpx.DigestAuth if settings.auth == "digest" else httpx.BasicAuth
            auth = kind(settings.username, said)
        verify: ssl.SSLContext | bool = True
        if settings.ca is not None:
            try:
                verify = ssl.create_default_context(cafile=str(settings.ca))
            except OSError as error:
                raise SettingsError(
                    f"cameras.{name}.http.ca: {settings.ca} cannot be read ({error}); name a PEM file"
                ) from error
        self._http = httpx.Client(timeout=timeout_s, auth=auth, verify=verify, trust_env=False)

    def open(self) -> str:
        frame = self.take(self._timeout_s)
        try:
            pixels = read_raw(frame.content, name=self._settings.url)
        except ImageError as error:
            raise CameraError(str(error)) from error
        return f"{self._settings.url}, {size_words(pixels)}"

    def take(self, timeout_s: float) -> Frame:
        url, until = self._settings.url, time.monotonic() + timeout_s
        content = bytearray()
        try:
            with self._http.stream("GET", url) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise CameraError(f"{url}: answers {answer.status_code} where 200 and a picture would be right")
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > self._most_bytes:
                        raise CameraError(
                            f"{url}: over the limit of {self._most_bytes:,} bytes (limits.picture_megabytes)"
                        )
                    if time.monotonic() > until:
                        raise CameraError(f"{url}: the picture has not come after {timeout_s:g} s (timeout_s)")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CameraError(f"{url}: {error or type(error).__name__}") from error
        kind = kind_of(bytes(content[:HEADER_BYTES]))
        if kind is None:
            raise CameraError(f"{url}: what it answers is no picture of a kind that can be read ({READ})")
        return Frame(bytes(content), f".{kind.lower()}")

    def watch(self) -> Frame | None:
        self.take(self._timeout_s)
        return None

    def close(self) -> None:
        """Connections are made anew where they have broken."""
