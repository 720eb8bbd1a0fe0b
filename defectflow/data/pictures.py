"""Folder, MVTec tree or manifest -> pictures, by name alone: nothing is decoded here.

A *part* is one physical object. All its pictures lie on one side of a split (splits.py), because pictures of one
part are alike: calibrated on siblings of training pictures, a threshold would promise what it cannot keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, cast, get_args

import regex

from defectflow.data.manifest import SUFFIXES as MANIFEST_SUFFIXES
from defectflow.data.manifest import manifest_rows
from defectflow.errors import DataError, SettingsError
from defectflow.image import SUFFIXES

Label = Literal["good", "defective"]
Split = Literal["train", "tune", "calibration", "test"]

MANIFEST = "manifest.csv"
"""A folder that holds a file of this name is read through it."""
PATIENCE_S = 0.5
"""How long a part regex may search in one name. Some expressions, like (a|aa)+$, take longer than a life."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of one part. `label` and `split` are None where nothing says what they are."""

    path: Path
    part: str
    label: Label | None
    kind: str
    """"good", the kind of defect, or "" where unknown."""
    mask: Path | None = None
    split: Split | None = None
    part_known: bool = field(default=False, compare=False)
    """Whether a part regex or a manifest's column named the part; else every picture is a part of its own."""
    name: str = field(default="", compare=False)
    """What people call it, as far as `find_pictures` knows: its path below the source, or a manifest's `name`."""


def find_pictures(
    source: Path, *, label: Label | None = None, part_regex: str | None = None, usual_part_regex: str | None = None
) -> list[Picture]:
    """The pictures of a source, in an order that depends only on their names.

    `source` is, tried in this order: a manifest (.csv, .parquet) or one picture; a folder that holds
    manifest.csv; an MVTec-AD-style tree (train/good, test/<kind>, ground_truth/<kind>/<stem>_mask.png) or its
    test/ folder; any other folder, searched with its subfolders. Hidden files and other suffixes are skipped.

    `label` is what the pictures of a plain folder, or of a manifest without a `label` column, are taken for.
    `part_regex` is searched in each picture's name: its path relative to the source ("/" between folders), or a
    manifest's `name`. Its first group, or the whole match, names the part. Without it a manifest's `part`, else the
    name without suffix.

    `usual_part_regex`, a bundle's own, stands in for it where nothing else names the parts; a name that it does
    not match names its own part.

    Raises DataError (nothing found, or a faulty tree or manifest), SettingsError (a faulty or endless `part_regex`).
    """
    parts = _PartNames(_compile(part_regex or usual_part_regex), strict=part_regex is not None)
    if source.is_file():
        if source.suffix.lower() in MANIFEST_SUFFIXES:
            return _read_manifest(source, label, parts)
        pictures = [_unsorted_picture(source, source.parent, label, parts)] if _is_picture(source) else []
    elif not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    elif (source / MANIFEST).is_file():
        return _read_manifest(source / MANIFEST, label, parts)
    elif (source / "train" / "good").is_dir():
        pictures = [*_tree_pictures(source, "train", parts), *_tree_pictures(source, "test", parts)]
    elif _is_test_folder(source):
        pictures = list(_tree_pictures(source.absolute().parent, "test", parts))
    else:
        pictures = [_unsorted_picture(path, source, label, parts) for path in _picture_files(source)]
    if not pictures:
        raise DataError(f"{source}: no pictures found; accepted are {', '.join(sorted(SUFFIXES))}")
    return pictures


def part_of(name: str, part_regex: str | None) -> str | None:
    """The part that a picture's name names, by a bundle's own expression; None where it does not tell.

    Raises SettingsError where the expression takes too long.
    """
    part, known = _PartNames(_compile(part_regex), strict=False).of(name)
    return part if known else None


def meant_for_fitting(found: Iterable[Picture]) -> list[Picture]:
    """The good pictures that are not kept for testing."""
    return [picture for picture in found if picture.label == "good" and picture.split != "test"]


def test_pictures(pictures: Iterable[Picture]) -> list[Picture]:
    """What to evaluate on: labelled pictures of split `test` or, if no picture has a split, all labelled."""
    pictures = list(pictures)
    if any(picture.split is not None for picture in pictures):
        return [picture for picture in pictures if picture.split == "test" and picture.label is not None]
    return [picture for picture in pictures if picture.label is not None]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _picture_files(folder: Path) -> list[Path]:
    """Picture files below a folder, without hidden files and folders, sorted by relative path."""
    files = [
        (relative.as_posix(), path)
        for path in folder.rglob("*")
        if _is_picture(path) and path.is_file()
        for relative in [path.relative_to(folder)]
        if not any(name.startswith(".") for name in relative.parts)
    ]
    return [path for _, path in sorted(files)]


def _unsorted_picture(path: Path, base: Path, label: Label | None, parts: _PartNames) -> Picture:
    name = path.relative_to(base).as_posix()
    part, known = parts.of(name)
    return Picture(path, part, label, _kind("", label), part_known=known, name=name)


def _is_test_folder(folder: Path) -> bool:
    """True for the test/ folder of a tree."""
    beside = folder.absolute().parent
    return folder.absolute().name == "test" and (
        (folder / "good").is_dir() or (beside / "ground_truth").is_dir() or (beside / "train" / "good").is_dir()
    )


def _tree_pictures(root: Path, split: Literal["train", "test"], parts: _PartNames) -> Iterator[Picture]:
    for path in _picture_files(root / split):
        relative = path.relative_to(root)
        kind = relative.parts[1]
        if len(relative.parts) == 2 or (split == "train" and kind != "good"):
            places = "train/good" if split == "train" else "test/good or test/<kind of defect>"
            raise DataError(f"{path}: is not in {places}, where pictures of such a tree belong; move it there")
        label: Label = "good" if kind == "good" else "defective"
        mask_folder = root / "ground_truth" / Path(*relative.parts[1:-1])
        masks = [mask_folder / f"{path.stem}{end}" for end in ("_mask.png", ".png")]
        mask = next((mask for mask in masks if mask.is_file()), None)
        part, known = parts.of(relative.as_posix())
        yield Picture(path, part, label, kind, mask, split, known, relative.as_posix())


def _compile(part_regex: str | None) -> regex.Pattern[str] | None:
    try:
        return None if part_regex is None else regex.compile(part_regex)
    except regex.error as error:
        raise SettingsError(f"part regex {part_regex!r} is not a regular expression: {error}") from error


@dataclass(frozen=True, slots=True)
class _PartNames:
    """How a picture's name names its part. Where it does not, a strict rule refuses, and another stands aside."""

    pattern: regex.Pattern[str] | None
    strict: bool

    @property
    def expression(self) -> str | None:
        return None if self.pattern is None else self.pattern.pattern

    def of(self, name: str) -> tuple[str, bool]:
        """The part's name, and whether it is known to be one: else the name without suffix. Raises DataError."""
        name = printable(name)
        match = self._search(name)
        if match is not None and (part := match[1 if match.re.groups else 0]):
            return part, True
        if self.strict:
            raise DataError(
                f"{name}: no part can be read from this name with the part regex {self.expression!r}; "
                "change the expression, or leave it out if every picture shows another part"
            )
        return stem_of(name), False

    def _search(self, name: str) -> regex.Match[str] | None:
        try:
            return None if self.pattern is None else self.pattern.search(name, timeout=PATIENCE_S)
        except TimeoutError as error:
            raise SettingsError(
                f"part regex {self.expression!r} searches longer than {PATIENCE_S:g} s in {name}; simplify it: mostly "
                "a repetition of what can be read in two ways, as in (a|aa)+, is to blame"
            ) from error


def stem_of(name: str) -> str:
    """A picture's name without suffix: the part that it shows, where nothing else names one."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def printable(name: str) -> str:
    """A file's name may hold bytes that are no Unicode, which no table can hold: they are spelled out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _kind(kind: str, label: Label | None) -> str:
    return kind or label or ""


def _read_manifest(manifest: Path, label: Label | None, parts: _PartNames) -> list[Picture]:
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
    folder: Path, row: Mapping[str, str], default: Label | None, parts: _PartNames
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
    return [], Picture(path, part, label, _kind(row.get("kind", ""), label), files["mask"], split, known, name)
