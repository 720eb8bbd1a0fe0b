"""What is known of each bundle of a plan -> one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
from pydantic import BaseModel, ConfigDict, ValidationError

from defectflow.common import utc_now, write_whole
from defectflow.errors import DataError

INDEX = "index.html"


class Counted(BaseModel):
    """So many of so many parts."""

    model_config = ConfigDict(frozen=True)

    count: int
    of: int
    interval: tuple[float, float]
    """95%, as shares."""


class Shown(BaseModel):
    model_config = ConfigDict(frozen=True)

    caption: str
    jpeg: str
    """In base64."""


class FitRecord(BaseModel):
    """One bundle of a plan, as fits/NAME.json holds it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    key: str
    """Of the settings and folders that it was made with."""
    product: str
    recipe: str
    seed: int
    bundle_id: str
    guarantee: tuple[str, ...]
    warnings: int
    auroc: float | None
    """Of pictures; None without test pictures of both kinds."""
    auroc_interval: tuple[float, float] | None
    escape: Counted | None
    overkill: Counted | None
    fit_seconds: float
    milliseconds: float | None
    """Of one picture, the median, where the fit ran."""
    megabytes: float
    """Of model.onnx."""
    pictures: tuple[Shown, ...]


def read_record(file: Path) -> FitRecord:
    """Raises DataError naming the file."""
    try:
        return FitRecord.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(
            f"{file}: cannot be read ({str(error).splitlines()[0]}); remove it, and it is fitted again"
        ) from error


def write_index(out: Path, records: Sequence[FitRecord], missing: Sequence[tuple[str, str]]) -> None:
    """`missing`: (name, why) of bundles that are not there."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("fit_index.html.j2").render(records=records, missing=missing, at=utc_now())
    write_whole(out / INDEX, page)
