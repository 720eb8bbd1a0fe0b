"""A manifest's rows -> pictures. Knows what the columns mean, and says what is wrong with which row."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from defectflow.common import atomic_write
from defectflow.data.files import is_to_be_looked_at
from defectflow.data.layouts import DEFECTIVE, GOOD, Label, Split
from defectflow.data.manifest import COLUMNS, manifest_rows
from defectflow.data.pictures import PartNames, Picture
from defectflow.errors import DataError, SettingsError
from defectflow.image import READ

_LABELS: dict[str, Label] = {
    **dict.fromkeys((*GOOD, "0"), "good"),
    **dict.fromkeys((*DEFECTIVE, "1"), "defective"),
}
"""Words for good and defective; in anomaly detection, 0 is normal and 1 an anomaly."""


def read_manifest(manifest: Path, label: Label | None, parts: PartNames) -> list[Picture]:
    """Raises DataError with one line per faulty row."""
    rows = manifest_rows(manifest)
    columns = rows[0][1].keys() if rows else ()
    if parts.strict and "part" in columns:
        raise SettingsError(
            f"{manifest} has a column 'part', and a part regex {parts.expression!r} is given; leave one of them out"
        )
    pictures: list[Picture] = []
    problems: list[str] = []
    first_place: dict[Path, str] = {}
    first_called: dict[str, tuple[str, str]] = {}
    for place, row in rows:
        default = label if "label" not in columns else None
        faults, picture = _manifest_picture(manifest.parent, row, default, parts)
        problems += [f"  {place}: {fault}" for fault in faults]
        if picture is None:
            continue
        earlier = first_place.setdefault(picture.path.resolve(), place)
        if earlier != place:
            problems.append(f"  {place}: path {row['path']!r} is already in {earlier}; list each picture once")
        called, at = first_called.setdefault(picture.part, (picture.name, place))
        if row.get("name") and not picture.part_known and at != place:
            problems.append(
                f"  {place}: {_same_part(picture, called, at)}; name each picture differently, or give a column 'part'"
            )
        pictures.append(picture)
    if problems:
        shown = problems[:10] + ([f"  and {len(problems) - 10} more"] if len(problems) > 10 else [])
        raise DataError("\n".join([f"{manifest}: {len(problems)} row(s) cannot be used", *shown]))
    if not pictures:
        raise DataError(f"{manifest}: lists no pictures; add one row per picture")
    return sorted(pictures, key=lambda picture: picture.path.as_posix())


def write_manifest(pictures: Iterable[Picture], manifest: Path, columns: Sequence[str]) -> None:
    """These of COLUMNS of pictures, to a CSV file that appears whole or not at all. Raises OSError."""
    with atomic_write(manifest) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(columns)
        table.writerows([getattr(picture, column) for column in columns] for picture in pictures)


def _same_part(picture: Picture, called: str, at: str) -> str:
    """Why a picture without a part may not have its name: the name, but for the suffix, stands for its part."""
    if picture.name == called:
        return f"name {called!r} is already in {at}"
    return f"name {picture.name!r} and name {called!r} in {at} differ only in the suffix, so they would name one part"


def _manifest_picture(
    folder: Path, row: Mapping[str, str], default: Label | None, parts: PartNames
) -> tuple[list[str], Picture | None]:
    """One row -> what is wrong with it, and the picture if nothing is."""
    label = _LABELS.get(row.get("label", "").casefold())
    split = next((one for one in get_args(Split) if one == row.get("split", "").casefold()), None)
    faults = [
        f"{column} {row[column]!r} is unknown; allowed: {', '.join(allowed)}, or empty"
        for column, allowed, value in (("label", get_args(Label), label), ("split", get_args(Split), split))
        if row.get(column) and value is None
    ]
    files: dict[str, Path | None] = {}
    for column in ("path", "mask"):
        # Manifests written on Windows are read on Linux, too.
        cell = row.get(column, "").replace("\\", "/")
        file = files[column] = _on_disk(folder, cell) if cell else None
        if file is not None and not _is_file(file):
            faults.append(f"{column} {row[column]!r}: no such file below {folder}, or it cannot be opened")
        elif file is not None and not is_to_be_looked_at(file):
            faults.append(f"{column} {row[column]!r} is no picture; accepted: {READ}")
    path = files["path"]
    if path is None:
        faults.append("path is empty")
    if row.get("part") == "":
        # As its own part it might be a sibling of a picture on another side, which nobody would notice.
        faults.append("part is empty; fill it in for every picture, or leave the column out")
    if faults or path is None:
        return faults, None
    label = label or default
    name = row.get("name") or row["path"].replace("\\", "/")
    named = row.get("part")
    part, known = (named, True) if named else parts.of(name)
    kind = row.get("kind") or label or ""
    more = tuple((column, value) for column, value in row.items() if column not in COLUMNS)
    product = row.get("product") or None
    return [], Picture(path, part, label, kind, files["mask"], split, known, name, more, product)


def _on_disk(folder: Path, cell: str) -> Path:
    """The file that a cell names. An umlaut may be one sign or two, in the manifest and on the disk."""
    forms = [folder / unicodedata.normalize(form, cell) for form in ("NFC", "NFD")]
    return next((file for file in (folder / cell, *forms) if _is_file(file)), folder / cell)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no disk takes, or a folder that nobody may look into
        return False
