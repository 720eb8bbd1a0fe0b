"""What the page Train may change of a recipe: one setting a line, as `image.size=384`. Nothing that names a file."""

from __future__ import annotations

from typing import Any

import yaml

from defectflow.errors import DataError, SettingsError
from defectflow.image import drawn_areas
from defectflow.recipe import Area, RegionOfInterest
from defectflow_ui.words import train_settings as words

RECTANGLE, OUTLINES, IGNORED, DRAWN_ON = (
    f"image.roi.{name}" for name in ("rectangle", "outlines", "ignored", "picture")
)
ALLOWED = (
    "image.size",
    "image.align",
    "image.aspect",
    "image.full_scale",
    RECTANGLE,
    OUTLINES,
    IGNORED,
    DRAWN_ON,
    "image.tiling.tile",
    "image.tiling.overlap",
    "embedding.levels",
    "embedding.neighbourhood",
    "score.top_fraction",
    "verdict.guarantee",
)
MOST = 50_000
"""Characters of all lines."""


def read_changes(text: str) -> dict[str, str]:
    """Setting -> value, in order. Raises SettingsError for a line that is none, or that the page may not change."""
    if len(text) > MOST:
        raise SettingsError(words.too_long(len(text), MOST))
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not value:
            raise SettingsError(words.no_setting(line))
        if key not in ALLOWED:
            raise SettingsError(words.not_allowed(key, ALLOWED))
        found[key] = value
    return found


def overrides(text: str) -> list[str]:
    """As `load_recipe` takes them. Raises SettingsError."""
    return [f"{key}={value}" for key, value in read_changes(text).items()]


def changed(text: str, key: str, value: str) -> str:
    """The lines with one setting set, or taken out where the value is empty."""
    found = read_changes(text) | {key: value}
    return "\n".join(f"{name}={given}" for name, given in found.items() if given)


def areas_in(said: str) -> list[dict[str, Any]]:
    """Areas among the changes, as they were typed or drawn. Raises DataError."""
    try:
        drawn = yaml.safe_load(said) if said else []
        return [{"points": [[float(x), float(y)] for x, y in one["points"]]} | _width(one) for one in drawn]
    except (yaml.YAMLError, TypeError, ValueError, KeyError) as error:
        raise DataError(words.no_areas(said)) from error


def _width(area: dict[str, Any]) -> dict[str, float]:
    return {} if area.get("width") is None else {"width": float(area["width"])}


def rectangle_in(said: str) -> tuple[float, float, float, float] | None:
    """A rectangle among the changes, as it was typed or drawn; None where there is none. Raises DataError."""
    try:
        typed = yaml.safe_load(said) if said else None
        return RegionOfInterest(rectangle=typed).rectangle  # by the recipe's own check
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(words.no_rectangle(said)) from error


SHARE_PX = 500
"""Side of the drawing by which the inspected share of a picture is counted."""


def told(text: str) -> list[str]:
    """Each setting as it stands, and the region in words, with its share of the picture. Raises DataError."""
    found = read_changes(text)
    said = [f"{key}={value}" for key, value in found.items() if key not in (RECTANGLE, OUTLINES, IGNORED, DRAWN_ON)]
    rectangle = rectangle_in(found.get(RECTANGLE, ""))
    outlines, ignored = (_checked(found.get(key, "")) for key in (OUTLINES, IGNORED))
    if not (outlines or ignored or rectangle):
        return said
    scored = drawn_areas(outlines, ignored, (SHARE_PX, SHARE_PX))
    left, top, width, height = rectangle or (0.0, 0.0, 1.0, 1.0)
    rows, columns = (slice(round(SHARE_PX * a), round(SHARE_PX * (a + b))) for a, b in ((top, height), (left, width)))
    share = float(scored[rows, columns].sum() / scored.size)
    return [*said, *words.region(rectangle is not None, len(outlines), len(ignored), share)]


def _checked(said: str) -> list[Area]:
    """Areas as the recipe takes them. Raises DataError."""
    try:
        return [Area(**one) for one in areas_in(said)]
    except ValueError as error:
        raise DataError(words.no_areas(said)) from error
