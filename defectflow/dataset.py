"""Folder, MVTec tree or manifest -> pictures -> train, tune, calibration and test. Reads files; writes none.

The order in a fit:

    pictures = find_pictures(source, label="good")          names only, nothing is decoded
    checked = check_readable(pictures)                      every picture once; the unreadable are listed
    splits = split_parts(checked.readable, ...)             by part, never by picture
    full_scale = fix_full_scale(splits, checked)            from training parts only
    exact_duplicates(splits, checked), near_duplicates(splits, pooled)

A *part* is one physical object. All its pictures lie on one side of the split, because pictures of one part
are alike: calibrated on siblings of training pictures, a threshold would promise what it cannot keep.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import DataError, ImageError, SettingsError
from defectflow.runtime import image

Label = Literal["good", "defective"]
Split = Literal["train", "tune", "calibration", "test"]

COLUMNS = ("path", "label", "kind", "mask", "part", "split")
"""Columns of a manifest; only `path` is required. Paths are relative to the manifest's folder."""
MANIFEST = "manifest.csv"
"""A folder that holds a file of this name is read through it."""
MIN_PARTS = 8
"""Fewest good parts that can be divided into train, tune and calibration."""


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


@dataclass(frozen=True, slots=True)
class Rejected:
    """A picture that cannot be decoded, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What decoding every picture once has shown."""

    readable: tuple[Picture, ...]
    rejected: tuple[Rejected, ...]
    pixel_digests: dict[Path, str]
    """SHA-256 (hex) of the raw pixels and their shape: equal for equal pictures, however they are stored."""
    brightest: dict[Path, int]
    """The largest raw value of each 16-bit picture; 8-bit pictures are absent."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Good pictures for fitting. No part is on two sides."""

    train: tuple[Picture, ...]
    tune: tuple[Picture, ...]
    calibration: tuple[Picture, ...]
    warnings: tuple[str, ...] = ()
    """What the engineer should know about the division; for the console, the card and the report."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures: train, then tune, then calibration."""
        return self.train + self.tune + self.calibration

    @property
    def one_picture_per_part(self) -> bool:
        """True if every picture counts as its own part; if parts have siblings, the guarantee then fails."""
        return len({picture.part for picture in self.pictures}) == len(self.pictures)

    @property
    def sides(self) -> NDArray[np.int64]:
        """Side of each of `pictures`, (N,): 0 train, 1 tune, 2 calibration."""
        return np.repeat([0, 1, 2], [len(self.train), len(self.tune), len(self.calibration)])


# --- finding pictures -------------------------------------------------------------------------------------


def find_pictures(source: Path, *, label: Label | None = None, part_regex: str | None = None) -> list[Picture]:
    """The pictures of a source, in an order that depends only on their names.

    `source` is, tried in this order: a manifest (.csv, .parquet) or one picture; a folder that holds
    manifest.csv; an MVTec-AD-style tree (train/good, test/<kind>, ground_truth/<kind>/<stem>_mask.png) or its
    test/ folder; any other folder, searched with its subfolders. Hidden files and other suffixes are skipped.

    `label` is what the pictures of a plain folder, or of a manifest without a `label` column, are taken for.
    `part_regex` is searched in each path relative to the source ("/" between folders); its first group, or
    the whole match, names the part. Without it a manifest's `part`, else the relative path without suffix.

    Raises DataError (nothing found, or a faulty tree or manifest), SettingsError (a faulty `part_regex`).
    """
    pattern = _compile(part_regex)
    if source.is_file():
        if source.suffix.lower() in (".csv", ".parquet"):
            return _read_manifest(source, label, pattern)
        pictures = [_unsorted_picture(source, source.parent, label, pattern)] if _is_picture(source) else []
    elif not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    elif (source / MANIFEST).is_file():
        return _read_manifest(source / MANIFEST, label, pattern)
    elif (source / "train" / "good").is_dir():
        pictures = [*_tree_pictures(source, "train", pattern), *_tree_pictures(source, "test", pattern)]
    elif _is_test_folder(source):
        pictures = list(_tree_pictures(source.absolute().parent, "test", pattern))
    else:
        pictures = [_unsorted_picture(path, source, label, pattern) for path in _picture_files(source)]
    if not pictures:
        raise DataError(f"{source}: no pictures found; accepted are {', '.join(sorted(image.SUFFIXES))}")
    return pictures


def test_pictures(pictures: Iterable[Picture]) -> list[Picture]:
    """What to evaluate on: labelled pictures of split `test` or, if no picture has a split, all labelled."""
    pictures = list(pictures)
    if any(picture.split is not None for picture in pictures):
        return [picture for picture in pictures if picture.split == "test" and picture.label is not None]
    return [picture for picture in pictures if picture.label is not None]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in image.SUFFIXES and not path.name.startswith(".")


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


def _unsorted_picture(path: Path, base: Path, label: Label | None, pattern: re.Pattern[str] | None) -> Picture:
    return Picture(path, _part(path.relative_to(base).as_posix(), pattern), label, _kind("", label))


def _is_test_folder(folder: Path) -> bool:
    """True for the test/ folder of a tree."""
    beside = folder.absolute().parent
    return folder.absolute().name == "test" and (
        (folder / "good").is_dir() or (beside / "ground_truth").is_dir() or (beside / "train" / "good").is_dir()
    )


def _tree_pictures(root: Path, split: Literal["train", "test"], pattern: re.Pattern[str] | None) -> Iterator[Picture]:
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
        yield Picture(path, _part(relative.as_posix(), pattern), label, kind, mask, split)


def _compile(part_regex: str | None) -> re.Pattern[str] | None:
    try:
        return None if part_regex is None else re.compile(part_regex)
    except re.error as error:
        raise SettingsError(f"part regex {part_regex!r} is not a regular expression: {error}") from error


def _part(relative: str, pattern: re.Pattern[str] | None) -> str:
    """Relative path -> the part's name. Raises DataError if the pattern does not match."""
    if pattern is None:
        return str(PurePosixPath(relative).with_suffix(""))
    match = pattern.search(relative)
    part = match[1 if pattern.groups else 0] if match else None
    if not part:
        raise DataError(
            f"{relative}: no part can be read from this path with the part regex {pattern.pattern!r}; "
            "change the expression, or leave it out if every picture shows another part"
        )
    return part


def _kind(kind: str, label: Label | None) -> str:
    return kind or label or ""


# --- manifests --------------------------------------------------------------------------------------------


def _read_manifest(manifest: Path, label: Label | None, pattern: re.Pattern[str] | None) -> list[Picture]:
    """Raises DataError with one line per faulty row."""
    rows = list(_parquet_rows(manifest) if manifest.suffix.lower() == ".parquet" else _csv_rows(manifest))
    columns = rows[0][1].keys() if rows else ()
    if pattern is not None and "part" in columns:
        raise SettingsError(
            f"{manifest} has a column 'part', and a part regex {pattern.pattern!r} is given; leave one of them out"
        )
    pictures: list[Picture] = []
    problems: list[str] = []
    first_place: dict[Path, str] = {}
    for place, row in rows:
        default = label if "label" not in columns else None
        faults, picture = _manifest_picture(manifest.parent, row, default, pattern)
        problems += [f"  {place}: {fault}" for fault in faults]
        if picture is None:
            continue
        earlier = first_place.setdefault(picture.path.resolve(), place)
        if earlier != place:
            problems.append(f"  {place}: path {row['path']!r} is already in {earlier}; list each picture once")
        pictures.append(picture)
    if problems:
        shown = problems[:10] + ([f"  and {len(problems) - 10} more"] if len(problems) > 10 else [])
        raise DataError("\n".join([f"{manifest}: {len(problems)} row(s) cannot be used", *shown]))
    if not pictures:
        raise DataError(f"{manifest}: lists no pictures; add one row per picture")
    return sorted(pictures, key=lambda picture: picture.path.as_posix())


def _manifest_picture(
    folder: Path, row: Mapping[str, str], default: Label | None, pattern: re.Pattern[str] | None
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
        elif cell and Path(cell).suffix.lower() not in image.SUFFIXES:
            faults.append(f"{column} {row[column]!r} is no picture; accepted: {', '.join(sorted(image.SUFFIXES))}")
    path = files["path"]
    if path is None:
        faults.append("path is empty")
    if row.get("part") == "":
        # As its own part it might be a sibling of a picture on another side, which nobody would notice.
        faults.append("part is empty; fill it in for every picture, or leave the column out")
    if faults or path is None:
        return faults, None
    label = cast(Label | None, row.get("label") or default)
    part = row.get("part") or _part(row["path"].replace("\\", "/"), pattern)
    split = cast(Split | None, row.get("split") or None)
    return [], Picture(path, part, label, _kind(row.get("kind", ""), label), files["mask"], split)


def _csv_rows(manifest: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """("line 2", {column: value}), ... of a CSV file, without space around values."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:  # -sig: Excel writes a byte-order mark
            reader = csv.reader(file, strict=True)
            columns = [column.strip() for column in next(reader, [])]
            _check_columns(manifest, columns)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise DataError(
                        f"{manifest}, line {reader.line_num}: {len(cells)} values for {len(columns)} "
                        "columns; put values that hold a comma in double quotes"
                    )
                yield f"line {reader.line_num}", dict(zip(columns, (c.strip() for c in cells), strict=True))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(f"{manifest}: cannot be read as CSV in UTF-8 ({error}); save it as 'CSV UTF-8'") from error


def _parquet_rows(manifest: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """("row 1", {column: value}), ... of a Parquet file; null becomes ""."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{manifest}: reading Parquet needs pyarrow; pip install 'defectflow[parquet]', or save it as CSV"
        ) from error
    try:
        table: Any = pyarrow.parquet.read_table(manifest)
    except (OSError, ValueError) as error:  # pyarrow's own errors are subclasses
        raise DataError(f"{manifest}: cannot be read as Parquet ({error})") from error
    _check_columns(manifest, table.column_names)
    for number, row in enumerate(table.to_pylist(), start=1):
        yield (
            f"row {number}",
            {column: "" if value is None else str(value).strip() for column, value in row.items()},
        )


def _check_columns(manifest: Path, columns: Sequence[str]) -> None:
    allowed = f"allowed: {', '.join(COLUMNS)}"
    for column, count in Counter(columns).items():
        if column not in COLUMNS:
            raise DataError(f"{manifest}, header: unknown column {column!r}; {allowed} (commas between them)")
        if count > 1:
            raise DataError(f"{manifest}, header: column {column!r} appears {count} times")
    if "path" not in columns:
        raise DataError(f"{manifest}, header: the column 'path' is missing; {allowed}")


# --- decoding every picture once --------------------------------------------------------------------------


def check_readable(pictures: Sequence[Picture], *, workers: int = 2) -> Checked:
    """Decode every picture once, in threads: which can be read, their pixels' digests, 16-bit brightness.

    Needs no full scale, because it looks at raw values: so it can come before the split.
    """
    with ThreadPoolExecutor(workers) as pool:
        findings = list(pool.map(_check_picture, pictures))
    digests: dict[Path, str] = {}
    brightest: dict[Path, int] = {}
    for picture, finding in zip(pictures, findings, strict=True):
        if isinstance(finding, Rejected):
            continue
        digests[picture.path], largest = finding
        if largest is not None:
            brightest[picture.path] = largest
    return Checked(
        readable=tuple(picture for picture in pictures if picture.path in digests),
        rejected=tuple(finding for finding in findings if isinstance(finding, Rejected)),
        pixel_digests=digests,
        brightest=brightest,
    )


def _check_picture(picture: Picture) -> tuple[str, int | None] | Rejected:
    try:
        pixels = image.read_raw(picture.path)
    except ImageError as error:
        return Rejected(picture.path, str(error).removeprefix(f"{picture.path}: "))
    return image.pixel_digest(pixels), image.brightest(pixels)


def fix_full_scale(splits: Splits, checked: Checked) -> int | None:
    """`image.full_scale` where the recipe leaves it open: from training parts only; None if all are 8-bit.

    Raises DataError if there are 16-bit pictures, but none to train on.
    """
    values = [checked.brightest[p.path] for p in splits.train if p.path in checked.brightest]
    if values:
        return image.full_scale_for(values)
    for picture in splits.pictures:
        if picture.path in checked.brightest:
            raise DataError(
                f"{picture.path}: is a 16-bit picture, but no training picture is; "
                "set image.full_scale to the value that means white (e.g. 4095), or save all with 8 bits"
            )
    return None


# --- splitting --------------------------------------------------------------------------------------------


def split_parts(pictures: Iterable[Picture], *, calibration_parts: int, tune_share: float, seed: int) -> Splits:
    """Divide the good pictures, by part, into train, tune and calibration.

    Of n parts, min(calibration_parts, n // 3) are for calibration. Of the rest, `tune_share` (rounded; at
    least 1, and at least 3 if n >= 12) are for tune, the others for train. Which ones depends on the parts'
    names and `seed` only. Pictures of split `test` are left out.

    If any good picture has the split `tune` or `calibration`, the splits are taken as given. If there is only
    `train`, as in an MVTec tree, that means "for fitting", and those parts are divided as above.

    Raises DataError: fewer than MIN_PARTS good parts, or given splits that put a part on two sides, leave a
    picture out or leave train or tune empty.
    """
    pictures = sorted(pictures, key=lambda picture: (picture.part, picture.path.as_posix()))
    good = [picture for picture in pictures if picture.label == "good" and picture.split != "test"]
    parts = sorted({picture.part for picture in good})
    if len(parts) < MIN_PARTS:
        raise DataError(
            f"{len(parts)} good parts ({len(good)} pictures) are too few to fit on; at least {MIN_PARTS} are "
            f"needed: add {MIN_PARTS - len(parts)} more"
        )
    if any(picture.split in ("tune", "calibration") for picture in good):
        side_of = _given_sides(good)
    else:
        side_of = _drawn_sides(parts, calibration_parts, tune_share, seed)
    train, tune, calibration = (
        tuple(picture for picture in good if side_of[picture.part] == side) for side in ("train", "tune", "calibration")
    )
    return Splits(train, tune, calibration, tuple(_split_warnings(pictures, set(parts))))


def _drawn_sides(parts: Sequence[str], calibration_parts: int, tune_share: float, seed: int) -> dict[str, str]:
    n_calibration = min(calibration_parts, len(parts) // 3)
    n_rest = len(parts) - n_calibration
    n_tune = max(round(n_rest * tune_share), 3 if len(parts) >= 12 else 1)
    sides = ["calibration"] * n_calibration + ["tune"] * n_tune + ["train"] * (n_rest - n_tune)
    order = np.random.default_rng(seed).permutation(len(parts))
    return {parts[index]: side for index, side in zip(order, sides, strict=True)}


def _given_sides(good: Sequence[Picture]) -> dict[str, str]:
    side_of: dict[str, str] = {}
    for picture in good:
        if picture.split is None:
            raise DataError(
                f"{picture.path}: has no split, but other good pictures are given to tune or calibration; "
                "give each good picture a split, or only train and test"
            )
        if side_of.setdefault(picture.part, picture.split) != picture.split:
            raise DataError(
                f"part {picture.part!r} is in both {side_of[picture.part]} and {picture.split} "
                f"({picture.path}); give all its pictures one split"
            )
    for side in ("train", "tune"):
        if side not in side_of.values():
            raise DataError(f"no good picture has the split {side!r}; give some parts to it")
    return side_of


def _split_warnings(pictures: Sequence[Picture], fitted_parts: set[str]) -> Iterator[str]:
    unused = Counter(
        picture.label or "unlabelled" for picture in pictures if picture.split != "test" and picture.label != "good"
    )
    for label, count in sorted(unused.items()):
        yield f"{count} {label} pictures outside the test split are not used for fitting"
    shared = [picture for picture in pictures if picture.split == "test" and picture.part in fitted_parts]
    if shared:
        n_good = sum(picture.label == "good" for picture in shared)
        parts = sorted({picture.part for picture in shared})
        yield (
            f"{len(parts)} parts have pictures both for fitting and in the test split ({len(shared)} test "
            f"pictures, {n_good} of them good; e.g. part {parts[0]!r}); on these, test figures look too good"
        )


# --- the same picture on two sides ------------------------------------------------------------------------


def exact_duplicates(splits: Splits, checked: Checked) -> list[tuple[Picture, Picture]]:
    """For each picture with the same pixels on an earlier side (train, tune, calibration): (that one, it)."""
    first: dict[str, tuple[int, Picture]] = {}
    pairs = []
    for side, picture in zip(splits.sides, splits.pictures, strict=True):
        twin_side, twin = first.setdefault(checked.pixel_digests[picture.path], (int(side), picture))
        if twin_side < side:
            pairs.append((twin, picture))
    return pairs


def near_duplicates(
    splits: Splits, pooled: NDArray[np.floating[Any]], *, share: float = 0.1
) -> list[tuple[Picture, Picture]]:
    """For each picture with a near-twin on an earlier side: (the nearest such twin, it).

    Near means an embedding distance below `share` times the median, over all pictures, of the distance to the
    nearest other picture. `pooled` (N, D) holds one embedding per picture, in the order of `splits.pictures`.
    Memory: O(N D + N * 256).
    """
    pictures, sides = splits.pictures, splits.sides
    if pooled.shape[0] != len(pictures):
        raise ValueError(f"{pooled.shape[0]} embeddings for {len(pictures)} pictures")
    vectors = pooled.astype(np.float64) - pooled.mean(axis=0, dtype=np.float64)  # centred: less cancellation
    squared_norms = np.einsum("nd,nd->n", vectors, vectors)
    nearest = np.empty(len(pictures))  # distance to the nearest other picture
    nearest_earlier = np.empty(len(pictures))  # ... and to the nearest one on an earlier side
    twins = np.empty(len(pictures), dtype=np.int64)
    for start, stop in pairwise([*range(0, len(pictures), 256), len(pictures)]):
        rows = np.arange(start, stop)
        squared = squared_norms[rows, None] + squared_norms[None] - 2 * vectors[rows] @ vectors.T  # (rows, N)
        distances = np.sqrt(np.maximum(squared, 0))
        distances[rows - start, rows] = np.inf
        nearest[rows] = distances.min(axis=1)
        distances[sides[None, :] >= sides[rows, None]] = np.inf
        twins[rows] = distances.argmin(axis=1)
        nearest_earlier[rows] = distances.min(axis=1)
    limit = share * np.median(nearest)
    return [(pictures[twins[i]], pictures[i]) for i in np.flatnonzero(nearest_earlier < limit)]
