"""reference/index.json: which pictures and parts the fit has seen, and the thumbnails of its training parts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from defectflow.bundle.bundle import Bundle
from defectflow.bundle.files import INDEX, read_checked
from defectflow.errors import BundleError


class Thumbnail(BaseModel):
    """One training picture, small."""

    model_config = ConfigDict(frozen=True)

    file: str
    """Below reference/."""
    part: str


class Index(BaseModel):
    model_config = ConfigDict(frozen=True)

    fitted: dict[str, str]
    """Digest of a picture's pixels -> the side of the fit (train, tune, calibration) that it stood on."""
    parts: dict[str, str]
    """Name of a part -> that side."""
    thumbnails: tuple[Thumbnail, ...] = ()


def read_index(bundle: Bundle) -> Index:
    """Raises BundleError where the file is missing, not the one that the card describes, or no index."""
    try:
        return Index.model_validate_json(read_checked(bundle.path, INDEX, bundle.card))
    except ValidationError as error:
        raise BundleError(
            f"{bundle.path / INDEX}: cannot be read ({str(error).splitlines()[0]}); fit again, or copy the bundle again"
        ) from error


def fitted_digests(bundle: Bundle) -> dict[str, str]:
    """Digest of a picture's pixels -> the side of the fit (train, tune, calibration) that it stood on."""
    return read_index(bundle).fitted


def fitted_parts(bundle: Bundle) -> dict[str, str]:
    """Name of a part -> the side of the fit (train, tune, calibration) that it stood on."""
    return read_index(bundle).parts
