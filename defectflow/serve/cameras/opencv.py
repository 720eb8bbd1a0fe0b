"""A USB camera, an RTSP stream or a video file, through OpenCV."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import cv2

from defectflow.errors import CameraError
from defectflow.serve.camera_settings import OpenCvCamera
from defectflow.serve.cameras.source import Frame, Pixels, png, size_words


class OpenCvSource:
    """One device of OpenCV. A live one is read all the time, so that no old picture waits in its queue."""

    def __init__(self, settings: OpenCvCamera, name: str, timeout_s: float) -> None:
        self.live = settings.live
        self._settings, self._timeout_s = settings, timeout_s
        self._name = shown_device(settings.device)
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> str:
        device = self._settings.device
        limit_ms = round(1000 * self._timeout_s)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
        try:
            if isinstance(device, int):
                capture = cv2.VideoCapture(device)
            else:
                capture = cv2.VideoCapture(device, cv2.CAP_FFMPEG, limits)
        except cv2.error as error:
            raise CameraError(f"{self._name}: cannot be opened ({error})") from error
        self._capture = capture
        if not capture.isOpened():
            raise CameraError(f"{self._name}: cannot be opened; is it there, and used by nobody else?")
        self._set_up(capture)
        pixels = self._read()
        if not self.live:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)  # the first picture is for the first trigger
        return f"{self._name}, {size_words(pixels)}"

    def take(self, timeout_s: float) -> Frame:
        until = time.monotonic() + timeout_s
        if self.live:
            self._grab()  # it may have begun before the trigger
        pixels = self._read()
        if time.monotonic() > until:
            raise CameraError(f"{self._name}: the picture has not come after {timeout_s:g} s (timeout_s)")
        return Frame(png(pixels), ".png")

    def watch(self) -> Frame | None:
        if self.live:
            self._grab()
        elif not Path(str(self._settings.device)).is_file():
            raise CameraError(f"{self._name}: the file is gone")
        return None

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _set_up(self, capture: cv2.VideoCapture) -> None:
        """Raises CameraError where the driver does not take a setting, instead of going on with another one."""
        wanted: dict[str, tuple[int, float]] = {}
        settings = self._settings
        if settings.pixel_format is not None:
            wanted["pixel_format"] = cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.pixel_format)
        if settings.width_px is not None:
            wanted["width_px"] = cv2.CAP_PROP_FRAME_WIDTH, settings.width_px
        if settings.height_px is not None:
            wanted["height_px"] = cv2.CAP_PROP_FRAME_HEIGHT, settings.height_px
        if settings.exposure is not None:
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)  # by hand, as Video4Linux numbers it
            wanted["exposure"] = cv2.CAP_PROP_EXPOSURE, settings.exposure
        for name, (number, value) in wanted.items():
            if not capture.set(number, value) or (name != "exposure" and capture.get(number) != value):
                raise CameraError(
                    f"{self._name}: does not take {name}: {getattr(settings, name)}; it has {capture.get(number):g}"
                )

    def _grab(self) -> None:
        if not self._opened().grab():
            raise CameraError(f"{self._name}: gives no picture any more")

    def _read(self) -> Pixels:
        there, pixels = self._opened().read()
        if not there and not self.live:  # a video file begins again
            self._opened().set(cv2.CAP_PROP_POS_FRAMES, 0)
            there, pixels = self._opened().read()
        if not there:
            raise CameraError(f"{self._name}: gives no picture any more")
        return cast(Pixels, pixels)

    def _opened(self) -> Any:
        if self._capture is None:
            raise CameraError(f"{self._name}: is not open")
        return self._capture


def shown_device(device: int | str) -> str:
    """Without the password that a stream's URL may hold."""
    if isinstance(device, int):
        return f"camera {device}"
    scheme, separator, rest = device.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else device
