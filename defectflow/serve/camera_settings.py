"""YAML -> where a camera's pictures come from, when one is taken, and what judges it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from defectflow.recipe import Settings


class FolderCamera(Settings):
    """A camera that writes files. Each trigger takes one of them; the files stay where they are."""

    path: Path
    pictures: Literal["new", "replay"] = "new"
    """new: the oldest that was written since the last trigger, for which it waits; what lay there at the start is not
    taken. replay: one after another in the order of their names, again and again, to try a line without a camera."""
    settled_s: float = Field(0.1, ge=0, le=60)
    """A file is taken once it has not changed for so long."""


class HttpCamera(Settings):
    """A camera that answers a GET with a picture, as most network cameras do."""

    url: str = Field(pattern="^https?://")
    username: str | None = None
    password: Path | None = None
    """File that holds it."""
    auth: Literal["basic", "digest"] = "digest"
    """How the camera asks for user name and password."""
    ca: Path | None = None
    """Certificates to trust (PEM); null: those of the system."""


class OpenCvCamera(Settings):
    """A USB camera, an RTSP stream or a video file, through OpenCV."""

    device: int | str
    """Number of a camera of this machine, rtsp://..., or a video file."""
    width_px: int | None = Field(None, ge=1)
    height_px: int | None = Field(None, ge=1)
    pixel_format: str | None = Field(None, pattern="^[A-Za-z0-9 ]{4}$")
    """Four characters by which the camera's driver knows it, e.g. MJPG; null: as it is."""
    exposure: float | None = None
    """In the driver's own unit; null: as it is."""

    @property
    def live(self) -> bool:
        """Whether pictures come by themselves: then an old one waits in its queue, and must not be taken."""
        return not (isinstance(self.device, str) and Path(self.device).is_file())


class AravisCamera(Settings):
    """A GigE Vision or USB3 Vision camera, through Aravis."""

    device: str | None = None
    """Its name, address or serial number, as `arv-tool-0.8` lists them; null: the first one that is found."""
    trigger: Literal["software", "hardware", "free"] = "software"
    """software: the camera exposes when it is asked; hardware: when its input line says so, and each picture is
    inspected; free: it runs, and the first picture that begins after a trigger is taken."""
    line: str = "Line1"
    """The input, where hardware triggers."""
    exposure_us: float | None = Field(None, gt=0)
    """Null: as it is."""
    gain_db: float | None = None
    """Null: as it is."""
    pixel_format: str | None = None
    """By its GenICam name, e.g. Mono8, BayerRG8, RGB8, Mono12; null: as it is."""
    packet_bytes: int | None = Field(None, ge=576, le=9000)
    """Of a GigE Vision camera's packets; null: as it is."""


class CameraSettings(Settings):
    """One camera: exactly one of folder, http, opencv and aravis says where its pictures come from."""

    folder: FolderCamera | None = None
    http: HttpCamera | None = None
    opencv: OpenCvCamera | None = None
    aravis: AravisCamera | None = None
    model: str | None = None
    """The bundle's name; null: the active one."""
    product: str | None = None
    """Of a bundle of several products: what it shows; null: each picture the one that it resembles most."""
    lot: str | None = Field(None, min_length=1, max_length=200)
    """Of pictures whose trigger names none."""
    every_s: float | None = Field(None, ge=0.05, le=86400)
    """A picture is inspected each so many seconds, too; null: only on a trigger."""
    timeout_s: float = Field(5, gt=0, le=300)
    """A picture must have come so many seconds after its trigger, and an answer after the question."""
    check_s: float = Field(10, ge=0.5, le=3600)
    """How often a camera that nobody triggers is asked whether it is there."""

    @model_validator(mode="after")
    def _one_source(self) -> CameraSettings:
        given = [name for name in ("folder", "http", "opencv", "aravis") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'nothing'} says where its pictures come from; give exactly one of folder, "
                "http, opencv and aravis"
            )
        if self.every_s is not None and self.aravis is not None and self.aravis.trigger == "hardware":
            raise ValueError("every_s and aravis.trigger: hardware exclude each other; leave one of them out")
        return self
