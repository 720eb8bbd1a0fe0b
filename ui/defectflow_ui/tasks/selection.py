"""Pictures that a person takes out of a fit, or calls defective, before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from defectflow.data import Picture, write_manifest
from defectflow.errors import DataError
from defectflow_ui.words import train as words

DEFECTIVE = "called defective"
"""The kind of defect of a picture that was called defective here."""


def names(text: str) -> list[str]:
    """Pictures' names, one a line, each once, in order."""
    return list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))


def toggled(text: str, name: str) -> str:
    """The lines with a name added, or taken out where it is among them."""
    listed = names(text)
    return "\n".join([one for one in listed if one != name] if name in listed else [*listed, name])


def select(pictures: Iterable[Picture], left_out: str, defective: str) -> list[Picture]:
    """What remains of good pictures, by their names; a part with a picture called defective is kept for testing.

    Raises DataError for a name that no picture has.
    """
    pictures = list(pictures)
    out, bad = set(names(left_out)), set(names(defective))
    if unknown := sorted((out | bad) - {picture.name for picture in pictures}):
        raise DataError(words.no_such_picture(unknown[0], len(unknown)))
    bad_parts = {(picture.product, picture.part) for picture in pictures if picture.name in bad}

    def sorted_out(picture: Picture) -> Picture:
        if (picture.product, picture.part) not in bad_parts:
            return picture
        return replace(picture, label="defective", kind=DEFECTIVE, split="test")

    return [sorted_out(picture) for picture in pictures if picture.name not in out]


def write_selection(pictures: Sequence[Picture], manifest: Path, *, with_parts: bool) -> None:
    """A manifest of pictures with absolute paths; `with_parts`: that names their parts, too. Raises OSError."""
    columns = ["path", "name", "label", "kind", "mask", "split", *(["part"] if with_parts else [])]
    columns += ["product"] if any(picture.product is not None for picture in pictures) else []
    kept = (_as_listed(picture) for picture in pictures)
    write_manifest(kept, manifest, columns)


def _as_listed(picture: Picture) -> Picture:
    """A manifest names one mask; of a folder of several it names none."""
    mask = picture.mask if picture.mask is not None and picture.mask.is_file() else None
    return replace(picture, path=picture.path.absolute(), mask=None if mask is None else mask.absolute())
