"""A manifest's rows -> pictures. Knows what the columns mean, and says what is wrong with which row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

from defectflow.data.layouts import Label, Split
from defectflow.data.manifest import manifest_rows
from defectflow.data.pictures import PartNames, Picture
from defectflow.errors import DataError, SettingsError
from defectflow.image import SUFFIXES


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


def _same_part(picture: Picture, called: str, at: str) -> str:
    """Why a picture without a part may not have its name: the name, but for the suffix, stands for its part."""
    if picture.name == called:
        return f"name {called!r} is already in {at}"
    return f"name {picture.name!r} and name {called!r} in {at} differ in the suffix only, and mean one part"


def _manifest_picture(
    folder: Path, row: Mapping[str, str], default: Label | None, parts: PartNames
) -> tuple[list[str], Picture | None]:
    """One row -> what is wrong with it, and the picture if nothing is."""
    faults = [
        f"{column} {row[column]!r} is unknown; allowed: {', '.join(allowed)}, or empty"
        for column, allowed in (("label", get_args(Label)), ("split", get_args(Split)))
        if row.get(column) and row[column] not in allowed
    ]
    files: dict[str, Path | None] = {}
    for column in ("path", "mask"):
        # Manifests written on Windows are read on Linux, too.
        cell = row.get(column, "").replace("\\", "/")
        files[column] = folder / cell if cell else None
        if cell and not (folder / cell).is_file():
            faults.append(f"{column} {row[column]!r}: no such file below {folder}")
        elif cell and Path(cell).suffix.lower() not in SUFFIXES:
            faults.append(f"{column} {row[column]!r} is no picture; accepted: {', '.join(sorted(SUFFIXES))}")
    path = files["path"]
    if path is None:
        faults.append("path is empty")
    if row.get("part") == "":
        # As its own part it might be a sibling of a picture on another side, which nobody would notice.
        faults.append("part is empty; fill it in for every picture, or leave the column out")
    if faults or path is None:
        return faults, None
    label = cast(Label | None, row.get("label") or default)
    name = row.get("name") or row["path"].replace("\\", "/")
    named = row.get("part")
    part, known = (named, True) if named else parts.of(name)
    split = cast(Split | None, row.get("split") or None)
    return [], Picture(path, part, label, row.get("kind") or label or "", files["mask"], split, known, name)
