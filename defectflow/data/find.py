"""Folder, layout of folders, or manifest -> pictures, by names and by what files begin with. Nothing is decoded here,
but masks where they alone tell good from defective.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from defectflow.data.files import Files, walk
from defectflow.data.layouts import (
    Entry,
    Label,
    check_plain,
    is_bad_folder,
    is_good_folder,
    is_test_folder,
    is_tree_folder,
    recognise,
)
from defectflow.data.manifest import SUFFIXES as MANIFEST_SUFFIXES
from defectflow.data.manifest import is_manifest
from defectflow.data.manifest_pictures import read_manifest
from defectflow.data.pictures import PartNames, Picture
from defectflow.errors import DataError
from defectflow.image import READ, read_mask

MANIFEST = "manifest.csv"
"""A folder that holds a file of this name is read through it; to be judged, only if it has a column `path`."""
PLAIN = "a folder"
SHOWN = 40
"""Folders that a summary lists, at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """The pictures of a source, and what else lies there."""

    pictures: tuple[Picture, ...]
    layout: str
    """How the source was read, in words: PLAIN, "train and test folders", ..."""
    skipped: tuple[str, ...] = ()
    """Names of files that are not looked at: no pictures, hidden, or outside the layout's folders."""
    unmatched_masks: tuple[str, ...] = ()
    """Names of masks that belong to no picture."""

    @property
    def products(self) -> tuple[str, ...]:
        """What a manifest's column `product` names, by name; none where it has no such column."""
        return tuple(sorted({picture.product for picture in self.pictures if picture.product is not None}))

    def showing(self, product: str | None, source: Path) -> Found:
        """The pictures for a bundle of this product: those of its rows, and those that name no product.

        All of them where the bundle is not one of several (None). Raises DataError where all show other products.
        """
        if product is None or not self.products:
            return self
        shown = tuple(picture for picture in self.pictures if picture.product in (None, product))
        if not shown:
            raise DataError(
                f"{source}: shows {', '.join(self.products)}, and no picture of {product!r}, which is judged here; "
                "give pictures of it, or correct the column 'product'"
            )
        return replace(self, pictures=shown)

    @property
    def folders_taken_for_good(self) -> int:
        """How many folders are taken to hold good parts without saying so; 0 where it is one, or where they say it."""
        folders = {PurePosixPath(one.name).parent for one in self.pictures if one.label == "good"}
        return len(folders) if self.layout == PLAIN and len(folders) > 1 else 0

    def summary(self) -> list[str]:
        """What is used, folder by folder with counts, and what is not: lines for people."""
        uses = Counter((_folder(one.name), _use(one)) for one in self.pictures)
        shown = [f"  {folder}: {count} {use}" for (folder, use), count in sorted(uses.items())]
        more = [f"  and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else []
        guessed = []
        if folders := self.folders_taken_for_good:
            guessed.append(f"Nothing says that all {folders} folders hold good parts only; if not, give those that do.")
        return [
            f"{_some(self.pictures, 'picture')}, read as {self.layout}:",
            *shown[:SHOWN],
            *more,
            *guessed,
            *self.left_out_notes(),
        ]

    def left_out_notes(self) -> list[str]:
        """What is not used; nothing where everything is."""
        said = []
        if self.skipped:
            said.append(f"{_some(self.skipped, 'file')} skipped: {_first(self.skipped)}")
        if self.unmatched_masks:
            said.append(f"{_some(self.unmatched_masks, 'mask')} without a picture: {_first(self.unmatched_masks)}")
        return said


def find_pictures(
    source: Path, *, label: Label | None = None, part_regex: str | None = None, usual_part_regex: str | None = None
) -> list[Picture]:
    """The pictures of `look_through`, which says what the arguments mean."""
    return list(look_through(source, label=label, part_regex=part_regex, usual_part_regex=usual_part_regex).pictures)


def look_through(
    source: Path, *, label: Label | None = None, part_regex: str | None = None, usual_part_regex: str | None = None
) -> Found:
    """The pictures of a source, in an order that depends only on their names.

    `source` is, tried in this order: a manifest (.csv, .parquet) or one picture; a folder that holds
    manifest.csv; a folder of one of the layouts of `layouts`, or the test folder of one; any other folder, searched
    with its subfolders. Files that are not pictures by name or content are skipped, and so is what is hidden.

    `label` is what the pictures of a plain folder, or of a manifest without a `label` column, are taken for.
    `part_regex` is searched in each picture's name: its path relative to the source ("/" between folders), or a
    manifest's `name`. Its first group, or the whole match, names the part. Without it a manifest's `part`, else the
    name without suffix.

    `usual_part_regex`, a bundle's own, stands in for it where nothing else names the parts; a name that it does
    not match names its own part.

    Raises DataError (nothing found, a faulty layout or manifest, or defects among what should be good),
    SettingsError (a faulty or endless `part_regex`).
    """
    parts = PartNames.by(part_regex or usual_part_regex, strict=part_regex is not None)
    if source.is_file():
        if source.suffix.lower() in MANIFEST_SUFFIXES:
            return Found(tuple(read_manifest(source, label, parts)), "a manifest")
        found = Found((_plain_picture(source, source.parent, label, parts),), "one picture")
    elif not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    elif (source / MANIFEST).is_file() and (label == "good" or is_manifest(source / MANIFEST)):
        return Found(tuple(read_manifest(source / MANIFEST, label, parts)), f"{MANIFEST} in it")
    else:
        found = _look_through_folder(source, label, parts)
    if not found.pictures:
        skipped = f"; {_some(found.skipped, 'file')} skipped: {_first(found.skipped)}" if found.skipped else ""
        raise DataError(f"{source}: no pictures found{skipped}; accepted are {READ}")
    return found


def _look_through_folder(source: Path, label: Label | None, parts: PartNames) -> Found:
    if is_test_folder(source.absolute().name):
        of_tree = _read_layout(*_tree_around(source.absolute()), parts)
        tested = () if of_tree is None else tuple(one for one in of_tree.pictures if one.split == "test")
        if of_tree is not None and tested:
            return replace(of_tree, pictures=tested)
    files = walk(source)
    if (layout := _read_layout(source, files, parts)) is not None:
        return layout
    if label == "good":
        _check_all_good(source, files)
    pictures = tuple(_plain_picture(path, source, label, parts) for path in files.pictures)
    return Found(pictures, PLAIN, tuple(path.relative_to(source).as_posix() for path in files.skipped))


def _read_layout(root: Path, files: Files, parts: PartNames) -> Found | None:
    """The pictures of a folder in one of the known layouts; None where it has none."""
    names = [PurePosixPath(path.relative_to(root).as_posix()) for path in files.pictures]
    layout = recognise(names, lambda mask: not read_mask(root / mask).any())
    if layout is None:
        return None
    skipped = [path.relative_to(root).as_posix() for path in files.skipped]
    return Found(
        tuple(_layout_picture(root, entry, parts) for entry in layout.entries),
        layout.called,
        (*skipped, *map(str, layout.strangers)),
        tuple(map(str, layout.unmatched)),
    )


def _tree_around(test: Path) -> tuple[Path, Files]:
    """The tree that a test folder belongs to, as far as it says what the test pictures are."""
    root = test.parent
    beside = [one for one in root.iterdir() if is_tree_folder(one.name) and one.is_dir()]
    every = [walk(folder) for folder in sorted(beside)]
    return root, Files(
        tuple(path for files in every for path in files.pictures),
        tuple(path for files in every for path in files.skipped if path.is_relative_to(test)),
    )


def _check_all_good(source: Path, files: Files) -> None:
    """Raises DataError if a folder, by its name or by those in it, holds more than good parts."""
    check_plain([PurePosixPath(path.relative_to(source).as_posix()) for path in files.pictures], str(source))
    place = source.absolute()
    if is_bad_folder(place.name):
        good = [one for one in sorted(place.parent.iterdir()) if is_good_folder(one.name) and one.is_dir()]
        if good:
            raise DataError(
                f"{source}: is called {place.name}, and {good[0].name} lies beside it, so these are not good parts; "
                f"give {good[0]}"
            )
        raise DataError(
            f"{source}: is called {place.name}, as folders of defective parts are, and a model learns from good parts; "
            "give a folder of good parts, or rename this one if its parts are good"
        )


def _plain_picture(path: Path, base: Path, label: Label | None, parts: PartNames) -> Picture:
    name = path.relative_to(base).as_posix()
    part, known = parts.of(name)
    return Picture(path, part, label, label or "", part_known=known, name=name)


def _layout_picture(root: Path, entry: Entry, parts: PartNames) -> Picture:
    part, known = parts.of(str(entry.name))
    mask = None if entry.mask is None else root / entry.mask
    return Picture(root / entry.name, part, entry.label, entry.kind, mask, entry.split, known, str(entry.name))


def _folder(name: str) -> str:
    """Where a picture lies, for people."""
    folder = str(PurePosixPath(name).parent)
    return "(top folder)" if folder == "." else folder


def _some(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _use(picture: Picture) -> str:
    """What a picture is used as, for people."""
    said: str = picture.label or "unlabelled"
    if picture.label == "defective" and picture.mask is not None:
        said += " with mask"
    return said if picture.split is None else f"{said}, {picture.split}"
