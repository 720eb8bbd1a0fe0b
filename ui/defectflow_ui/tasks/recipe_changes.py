"""What the page Train may change of a recipe: one setting a line, as `image.size=384`. Nothing that names a file."""

from __future__ import annotations

from defectflow.errors import SettingsError
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
