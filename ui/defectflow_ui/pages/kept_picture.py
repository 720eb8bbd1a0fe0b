"""A picture that the store keeps, large: on Review and in a part's story on History."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from markupsafe import Markup

from defectflow.image import read_image
from defectflow.store import Inspection
from defectflow.verdict import Verdict, heat
from defectflow_ui.pages.viewer import Marks, viewer
from defectflow_ui.pictures import Pixels, file_picture, jpeg, large
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor


def enlarged(station: Station, visitor: Visitor, picture: Inspection, *, marked: bool) -> Markup | None:
    """The picture; where it may be marked and its model is at work, with outlines and heat as well.

    None where it was not kept, or could not be read.
    """
    file = station.store.picture(picture)
    if file is None or picture.error is not None:
        return None
    bundle = station.bundles.active_or_none()
    full_scale = None if bundle is None else bundle.card.image.full_scale
    plain = visitor.served.put(partial(_plain, file, full_scale), "image/jpeg")
    size = picture.width_px or 1, picture.height_px or 1
    verdict = None
    if marked and (inspector := station.bundles.inspector_of(picture.bundle_id)) is not None:
        (item,) = inspector.inspect([file])
        verdict = item if isinstance(item, Verdict) else None
    if verdict is None:
        return viewer(plain, None, *size)
    warm = visitor.served.put(partial(_warm, file, full_scale, verdict), "image/jpeg")
    return viewer(plain, warm, *size, Marks.of(verdict, verdict.regions()))


def _original(file: Path, full_scale: int | None) -> Pixels:
    return large(read_image(file, full_scale=full_scale))


def _plain(file: Path, full_scale: int | None) -> bytes:
    """As the model sees it; of 16 bits, for a model that was made for 8, by its own brightest value."""
    return file_picture(file, large) if full_scale is None else jpeg(_original(file, full_scale))


def _warm(file: Path, full_scale: int | None, verdict: Verdict) -> bytes:
    """Under its heat, as a JPEG."""
    return jpeg(heat(_original(file, full_scale), verdict))
