"""golden/: pictures that travel with a bundle, and what they gave through its graph where it was made.

expected.json   per file: score, distance, digest of the decoded pixels; or that it must be refused
maps.npy        (n, h, w) float32: the anomaly maps of those that are not refused, in the order of expected.json
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from defectflow.bundle import EXPECTED, GOLDEN, GOLDEN_MAPS, Bundle
from defectflow.errors import BundleError, ImageError
from defectflow.image import SUFFIXES, pixel_digest, read_image
from defectflow.line.inspector import Inspector

NATIVE = "native-"
"""How names of pictures begin that are as the camera gave them."""
LOSSY = frozenset({".jpg", ".jpeg"})
"""Decoders of these formats may differ by a grey level and still be right."""


class GoldenRecord(BaseModel):
    """What one golden picture gave. Scores are dimensionless; higher is worse."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float
    distance: float
    pixels: str
    """SHA-256 of the decoded uint8 RGB pixels."""


_RECORDS = TypeAdapter(dict[str, GoldenRecord | None])
"""File name -> its record; null where the picture must be refused, as a 16-bit one by a model of 8-bit pictures."""


@dataclass(frozen=True, slots=True)
class Golden:
    """One golden picture as it was recorded."""

    file: Path
    record: GoldenRecord | None
    """None: it must be refused."""
    anomaly_map: NDArray[np.float32] | None

    @property
    def lossy(self) -> bool:
        return self.file.suffix.lower() in LOSSY


def record_golden(bundle: Bundle) -> None:
    """Run the pictures of golden/ through the bundle's graph, one by one, and write down what they give.

    A form that this bundle refuses is recorded as such. Raises ImageError if it refuses one as the camera gave it.
    """
    files = sorted(file for file in (bundle.path / GOLDEN).iterdir() if file.suffix.lower() in SUFFIXES)
    records: dict[str, GoldenRecord | None] = {}
    maps = []
    for file, item in zip(files, Inspector(bundle, batch=1).measure(files), strict=True):
        if isinstance(item, ImageError):
            if file.name.startswith(NATIVE):
                raise item
            records[file.name] = None
            continue
        records[file.name] = GoldenRecord(score=item.score, distance=item.distance, pixels=decoded(bundle, file))
        maps.append(item.anomaly_map)
    (bundle.path / EXPECTED).write_bytes(_RECORDS.dump_json(records, indent=2) + b"\n")
    np.save(bundle.path / GOLDEN_MAPS, np.stack(maps))


def read_golden(bundle: Bundle) -> list[Golden]:
    """The golden pictures with their records. Raises BundleError if the records cannot be read."""
    try:
        records = _RECORDS.validate_json((bundle.path / EXPECTED).read_bytes())
        maps: Iterator[NDArray[np.float32]] = iter(np.load(bundle.path / GOLDEN_MAPS, allow_pickle=False))
        folder = bundle.path / GOLDEN
        if outside := next((name for name in records if Path(name).name != name), None):
            raise ValueError(f"{outside!r} is no picture of this folder")
        return [
            Golden(folder / name, record, None if record is None else next(maps)) for name, record in records.items()
        ]
    except (ValidationError, OSError, ValueError, TypeError, EOFError, StopIteration) as error:
        reason = str(error).splitlines()[0] if str(error) else "fewer maps than pictures"
        raise BundleError(f"{bundle.path / EXPECTED}: cannot be read ({reason}); copy the bundle again") from error


def decoded(bundle: Bundle, file: Path) -> str:
    """Digest of a picture's pixels as this machine decodes them. Raises ImageError."""
    return pixel_digest(read_image(file, full_scale=bundle.card.image.full_scale))
