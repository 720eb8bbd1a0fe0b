"""What the page Train may change of a recipe: one setting a line, as `image.size=384`. Nothing that names a file."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import yaml

from defectflow.errors import DataError, SettingsError
from defectflow_ui.words import train_settings as words

RECTANGLE, OUTLINES, IGNORED, DRAWN_ON = (
    f"image.roi.{name}" for name in ("rectangle", "outlines", "ignored", "picture")
)
ALLOWED = (
    "image.size",
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


SHARE_PX = 500
"""Side of the drawing by which the inspected share of a picture is counted."""


def told(text: str) -> list[str]:
    """Each setting as it stands, and the region in words, with its share of the picture. Raises DataError."""
    found = read_changes(text)
    said = [f"{key}={value}" for key, value in found.items() if key not in (RECTANGLE, OUTLINES, IGNORED, DRAWN_ON)]
    outlines, ignored = (areas_in(found.get(key, "")) for key in (OUTLINES, IGNORED))
    if not (outlines or ignored or RECTANGLE in found):
        return said
    inside = np.full((SHARE_PX, SHARE_PX), 0 if outlines else 1, np.uint8)
    for one in outlines:
        _draw(inside, one, 1)
    for one in ignored:
        _draw(inside, one, 0)
    if RECTANGLE in found:
        try:
            left, top, width, height = (float(edge) * SHARE_PX for edge in yaml.safe_load(found[RECTANGLE]))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise DataError(words.no_areas(found[RECTANGLE])) from error
        cut = np.zeros_like(inside)
        cut[round(top) : round(top + height), round(left) : round(left + width)] = 1
        inside &= cut
    return [*said, *words.region(RECTANGLE in found, len(outlines), len(ignored), float(inside.mean()))]


def _draw(inside: np.ndarray, area: dict[str, Any], value: int) -> None:
    points = np.rint(np.array(area["points"]) * SHARE_PX).astype(np.int32)
    if "width" in area:
        cv2.polylines(inside, [points], isClosed=False, color=value, thickness=max(1, round(area["width"] * SHARE_PX)))
    else:
        cv2.fillPoly(inside, [points], value)
