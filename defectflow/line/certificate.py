"""certificate.json: what `verify` has seen on one machine. Plain data, so that people and pages can show it.

A certificate belongs to a machine, not to a bundle: it lies beside the bundle and is not copied with it.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from defectflow.bundle import Bundle, Card
from defectflow.common import Moment
from defectflow.errors import BundleError

FORMAT = 1
_PACKAGES = ("defectflow", "numpy", "onnx", "onnxruntime", "opencv", "pillow")


class _Part(BaseModel):
    # Not-a-number must survive the file: it is a finding.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Machine(_Part):
    """Where it was verified."""

    name: str
    system: str
    """Operating system with its release."""
    architecture: str
    cpu: str
    cores: int
    python: str
    packages: dict[str, str]
    """Package -> version: what takes part in a verdict."""


class Comparison(_Part):
    """One row of the table: one way to run the bundle, against the calibrated graph."""

    backend: str
    source: Literal["golden", "images"]
    """Golden pictures are compared with the record, others with the calibrated graph on this machine's CPU."""
    pictures: int
    refused: int
    """Those among them that both refuse, as unreadable ones."""
    flips: int
    """Pictures whose verdict differs although they are farther from each threshold than the tolerance."""
    borderline: int
    """Pictures within the tolerance of a threshold, whose verdict may differ; counted apart."""
    largest_difference: float
    """Of scores, in standard deviations of the good scores."""
    mean_difference: float
    """In the same unit."""
    largest_map_difference: float
    """Of any place of an anomaly map, in the same unit."""
    largest_distance_difference: float
    """Of the distances that the gate compares, in shares of its limit."""
    map_correlation: float
    """Of anomaly maps; the lowest over the pictures."""
    p95_ms: float | None
    """From file to verdict, one picture at a time; 95% take at most this. None: not timed."""
    flipped: tuple[str, ...]
    """The first of these pictures, by name."""


class Certificate(_Part):
    """What was compared, and with what outcome."""

    format: int = FORMAT
    bundle: str
    bundle_id: str
    calibration_id: str | None
    precision: str
    created: Moment
    """UTC, ISO 8601."""
    passed: bool
    problems: tuple[str, ...]
    """Why the bundle must not be used here; empty where it passed."""
    notes: tuple[str, ...]
    """What whoever reads it should know, though it is not a failure."""
    comparisons: tuple[Comparison, ...]
    tolerance: float
    """In standard deviations of the good scores."""
    machine: Machine
    signed_by: str | None
    """Fingerprint of the public key that the signature was checked with; None: no key was given."""
    checksums: dict[str, str]
    """File in the bundle -> SHA-256; all were compared."""

    @property
    def flips(self) -> int:
        return sum(row.flips for row in self.comparisons)

    def covers(self, card: Card) -> bool:
        """False where the bundle was fitted or calibrated again since."""
        return self.checksums == card.checksums

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"


def certificate_file(bundle: Bundle) -> Path:
    """Where `verify` leaves its certificate by default: beside the bundle's folder."""
    folder = bundle.home.resolve()
    if bundle.product is not None:
        return folder.with_name(f"{folder.name}.{bundle.product}.certificate.json")
    return folder.with_name(f"{folder.name}.certificate.json")


def read_certificate(file: Path) -> Certificate:
    """Raises BundleError for a file that is not a certificate."""
    try:
        return Certificate.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(
            f"{file}: cannot be read as a certificate ({str(error).splitlines()[0]}); run defectflow verify again"
        ) from error


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(
        name=platform.node(),
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        packages=_versions(),
    )


def _versions() -> dict[str, str]:
    """Of the packages that take part in a verdict, under each of their names: onnxruntime-gpu, opencv-python, ..."""
    installed = {(each.name or "").lower(): each.version for each in distributions()}
    return {name: version for name, version in sorted(installed.items()) if name.partition("-")[0] in _PACKAGES}


def _cpu() -> str:
    """The processor's model. Only Linux keeps it in a file; elsewhere the platform module knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "hardware")))
    return next(models, platform.machine())
