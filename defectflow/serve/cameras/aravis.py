"""A GigE Vision or USB3 Vision camera, through Aravis and GObject introspection.

Both come with the operating system and not with pip: docs/serve.md says how they are installed.
"""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defectflow.errors import CameraError, SettingsError
from defectflow.serve.camera_settings import AravisCamera
from defectflow.serve.cameras.source import Frame, Pixels, png

BUFFERS = 8
"""Pictures that may come before the first of them is taken."""
WAIT_S = 0.02
"""How long a picture that the camera's input triggers is waited for at once."""
ASK_S = 2.0
"""How often a camera whose pictures come by themselves is asked whether it is there."""
_GREY_16 = {"Mono10": 0x01100003, "Mono12": 0x01100005, "Mono14": 0x01100025, "Mono16": 0x01100007}
_BAYER = {
    "BayerGR8": (0x01080008, cv2.COLOR_BayerGRBG2BGR),
    "BayerRG8": (0x01080009, cv2.COLOR_BayerRGGB2BGR),
    "BayerGB8": (0x0108000A, cv2.COLOR_BayerGBRG2BGR),
    "BayerBG8": (0x0108000B, cv2.COLOR_BayerBGGR2BGR),
}
_MONO8, _RGB8, _BGR8 = 0x01080001, 0x02180014, 0x02180015
FORMATS = ("Mono8", *_GREY_16, "RGB8", "BGR8", *_BAYER)
"""Pixel formats that can be read, by their GenICam names."""


class AravisSource:
    """One camera of Aravis."""

    def __init__(self, settings: AravisCamera, name: str, timeout_s: float) -> None:
        """Raises SettingsError where Aravis is not installed, or the pixel format cannot be read."""
        if settings.pixel_format is not None and settings.pixel_format not in FORMATS:
            raise SettingsError(
                f"cameras.{name}.aravis.pixel_format: {settings.pixel_format!r} cannot be read; use one of "
                f"{', '.join(FORMATS)}"
            )
        self._aravis, self._failed = _aravis(name)
        self.live = settings.trigger != "software"
        self._settings, self._timeout_s = settings, timeout_s
        self._name = settings.device or "the first camera"
        self._camera: Any = None
        self._stream: Any = None
        self._asked = 0.0

    def open(self) -> str:
        aravis = self._aravis
        if self._settings.device is not None and self._settings.device.startswith("Fake"):
            aravis.enable_interface("Fake")
        try:
            self._camera = aravis.Camera.new(self._settings.device)
            if self._camera is None:
                raise CameraError(f"{self._name}: there is no such camera; arv-tool-0.8 lists those that are there")
            words = self._set_up(self._camera)
            self._stream = self._camera.create_stream(None, None)
            size = self._camera.get_payload()
            for _ in range(BUFFERS):
                self._stream.push_buffer(aravis.Buffer.new_allocate(size))
            self._camera.start_acquisition()
        except self._failed as error:
            raise CameraError(f"{self._name}: {error.message}") from error
        return words

    def take(self, timeout_s: float) -> Frame:
        self._drain()
        until = time.monotonic() + timeout_s
        try:
            if self._settings.trigger == "software":
                self._camera.software_trigger()
            else:
                self._next(until - time.monotonic())  # it may have begun before the trigger
        except self._failed as error:
            raise CameraError(f"{self._name}: {error.message}") from error
        frame = self._next(until - time.monotonic())
        if frame is None:
            raise CameraError(f"{self._name}: no picture after {timeout_s:g} s (timeout_s)")
        return frame

    def watch(self) -> Frame | None:
        now = time.monotonic()
        if not self.live or now - self._asked > ASK_S:
            self._asked = now
            try:
                self._camera.get_region()
            except self._failed as error:
                raise CameraError(f"{self._name}: {error.message}") from error
        if self._settings.trigger == "hardware":
            return self._next(WAIT_S)
        if self.live:
            self._drain()
            time.sleep(WAIT_S)
        return None

    def close(self) -> None:
        camera, self._camera, self._stream = self._camera, None, None
        if camera is not None:
            try:
                camera.stop_acquisition()
            except self._failed:
                return  # it is gone

    def _set_up(self, camera: Any) -> str:
        """Raises CameraError where the camera does not take a setting, and Aravis' own error."""
        settings = self._settings
        if settings.pixel_format is not None:
            camera.set_pixel_format_from_string(settings.pixel_format)
        if settings.exposure_us is not None:
            camera.set_exposure_time(settings.exposure_us)
            if abs(camera.get_exposure_time() - settings.exposure_us) > 0.05 * settings.exposure_us:
                raise CameraError(
                    f"{self._name}: does not take exposure_us: {settings.exposure_us:g}; it has "
                    f"{camera.get_exposure_time():g}"
                )
        if settings.gain_db is not None:
            camera.set_gain(settings.gain_db)
        if settings.packet_bytes is not None and camera.is_gv_device():
            camera.gv_set_packet_size(settings.packet_bytes)
        camera.set_acquisition_mode(self._aravis.AcquisitionMode.CONTINUOUS)
        match settings.trigger:
            case "software":
                camera.set_trigger("Software")
            case "hardware":
                camera.set_trigger(settings.line)
            case "free":
                camera.clear_triggers()
        _, _, width_px, height_px = camera.get_region()
        name = f"{camera.get_vendor_name()} {camera.get_model_name()}"
        return f"{name}, {width_px} x {height_px} pixels, {camera.get_pixel_format_as_string()}"

    def _next(self, timeout_s: float) -> Frame | None:
        """The next picture within so long; None where none comes. Raises CameraError for an incomplete one."""
        buffer = self._stream.timeout_pop_buffer(max(0, round(1e6 * timeout_s)))
        if buffer is None:
            return None
        try:
            if buffer.get_status() != self._aravis.BufferStatus.SUCCESS:
                raise CameraError(f"{self._name}: a picture arrived incomplete ({buffer.get_status().value_nick})")
            pixels = decoded(
                buffer.get_data(),
                buffer.get_image_width(),
                buffer.get_image_height(),
                buffer.get_image_pixel_format(),
                self._name,
            )
        finally:
            self._stream.push_buffer(buffer)
        return Frame(png(pixels), ".png")

    def _drain(self) -> None:
        """Forget what came while nobody asked."""
        while (buffer := self._stream.try_pop_buffer()) is not None:
            self._stream.push_buffer(buffer)


def decoded(content: bytes, width_px: int, height_px: int, pixel_format: int, name: str) -> Pixels:
    """A buffer's bytes -> (H, W) grey or (H, W, 3) BGR, 8 or 16 bit. Raises CameraError.

    `pixel_format`: the number that GenICam's naming convention gives it.
    """
    if pixel_format in _GREY_16.values():
        return _shaped(np.frombuffer(content, "<u2").astype(np.uint16), (height_px, width_px), name)
    pixels = np.frombuffer(content, np.uint8)
    if pixel_format in (_RGB8, _BGR8):
        colours = _shaped(pixels, (height_px, width_px, 3), name)
        return colours if pixel_format == _BGR8 else np.ascontiguousarray(colours[..., ::-1])
    if pixel_format == _MONO8:
        return _shaped(pixels, (height_px, width_px), name)
    for number, conversion in _BAYER.values():
        if pixel_format == number:
            return cv2.cvtColor(_shaped(pixels, (height_px, width_px), name), conversion).astype(np.uint8)
    raise CameraError(
        f"{name}: its pixel format {pixel_format:#010x} cannot be read; set pixel_format to one of {', '.join(FORMATS)}"
    )


def _shaped(values: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    if values.size < np.prod(shape):
        raise CameraError(f"{name}: a picture has {values.size:,} values where {shape} needs {np.prod(shape):,}")
    return values[: int(np.prod(shape))].reshape(shape)


def _aravis(name: str) -> tuple[Any, type[Any]]:
    """Aravis, and the error that it raises. Raises SettingsError that says how it is installed."""
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:
        raise SettingsError(
            f"cameras.{name}.aravis: Aravis cannot be used ({error}); on Debian: apt-get install gir1.2-aravis-0.8 "
            "python3-gi, and make the virtual environment with /usr/bin/python3 -m venv --system-site-packages"
        ) from error
    return Aravis, GLib.Error
