"""Files of a folder -> what each of them is: a good or a defective picture, for fitting or for testing, or a mask.

Layouts are read by the names that people give to folders, case ignored:

    train/good  test/good  test/<kind>  ground_truth/<kind>/<stem>_mask.png     MVTec AD; BTAD with ok and ko
    ... validation/good    ground_truth/<kind>/<stem>/000.png                   MVTec LOCO
    Data/Images/Normal  Data/Images/Anomaly  Data/Masks/Anomaly                 VisA
    good  [good_test]  <kind or defective>  mask                                anomalib's folders; OK and NG
    <stem>.png beside <stem>_GT.png or <stem>_label.bmp                         KolektorSDD2, KolektorSDD
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath as Name
from typing import Literal

from defectflow.errors import DataError

Label = Literal["good", "defective"]
Split = Literal["train", "tune", "calibration", "test"]

GOOD = frozenset({"good", "ok", "normal", "pass", "passed"})
DEFECTIVE = frozenset(
    {"ng", "ko", "nok", "not_ok", "bad", "defect", "defects", "defective", "anomaly", "anomalies", "anomalous",
     "abnormal", "fail", "failed", "faulty"}
)  # fmt: skip
MASKS = frozenset({"ground_truth", "groundtruth", "gt", "mask", "masks", "label", "labels"})
MASK_ENDS = ("_mask", "_gt", "_label")
SPLITS: dict[str, Literal["train", "test"]] = {"train": "train", "validation": "train", "val": "train", "test": "test"}
"""A picture of `train` or `validation` is for fitting, which divides good parts by itself."""
WRAPPERS = frozenset({"data", "images", "imgs"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a layout."""

    name: Name
    """Relative to the layout's folder."""
    label: Label | None
    kind: str
    mask: Name | None
    """A file, or a folder of which all pictures together are the mask."""
    split: Split | None


@dataclass(frozen=True, slots=True)
class Layout:
    called: str
    entries: tuple[Entry, ...]
    strangers: tuple[Name, ...] = ()
    """Pictures outside the folders that such a layout has."""
    unmatched: tuple[Name, ...] = ()
    """Masks of no picture."""


@dataclass(slots=True)
class _Sorted:
    """Pictures, and masks by whom they may belong to."""

    pictures: list[Name] = field(default_factory=list)
    beside: dict[Name, Name] = field(default_factory=dict)
    """Picture -> the mask that lies beside it."""
    masks: list[Name] = field(default_factory=list)
    """Those in folders of masks."""


def recognise(files: Sequence[Name], is_blank: Callable[[Name], bool]) -> Layout | None:
    """The layout that these pictures lie in; None for a folder without one.

    `is_blank` tells whether a mask marks nothing: beside each other, good and defective pictures differ in that only.
    Raises DataError for a picture that lies where its layout does not say what it is.
    """
    found = _sort(files)
    kinds = {(_split(name), _kind(name)) for name in found.pictures}
    good = any(kind is not None and is_good_folder(kind) for _, kind in kinds)
    by_split = any(split is not None and kind is not None and is_good_folder(kind) for split, kind in kinds)
    defective = any(kind is not None and _fold(kind) in DEFECTIVE for _, kind in kinds)
    tested = any(split == "test" and kind is not None for split, kind in kinds)
    if by_split or (tested and (defective or found.masks)):
        return _in_folders("train and test folders", found, need_split=True)
    if good and (defective or found.masks):
        return _in_folders("folders of good and of defective parts", found, need_split=False)
    if found.beside:
        return _beside(found, is_blank)
    return None


def recognise_streamed(
    names: Callable[[], Iterable[Name]], is_blank: Callable[[Name], bool]
) -> tuple[str | None, Iterator[Entry]]:
    """As `recognise`, of more names than memory should hold: what the layout is called (None: a plain folder), entries.

    Each call of `names` goes through all of them. A layout shows in the folders' names and in masks beside pictures,
    so one picture of each folder tells it, with those; only a labelled tree is then read as a whole.
    """
    of_folder, masks = dict[Name, Name](), list[Name]()
    for name in names():
        if _without_end(name.stem) != name.stem:
            masks.append(name)
        else:
            of_folder.setdefault(name.parent, name)
    masked = {_key(name.parent, _without_end(name.stem)) for name in masks}
    pictures = [name for name in names() if _key(name.parent, name.stem) in masked] if masked else []
    if recognise(list(dict.fromkeys([*of_folder.values(), *pictures, *masks])), is_blank) is None:
        return None, (Entry(name, None, "", None, None) for name in names())
    layout = recognise(list(names()), is_blank)
    return (None, iter(())) if layout is None else (layout.called, iter(layout.entries))


def check_plain(files: Sequence[Name], source: str) -> None:
    """Raises DataError if pictures that should all be good lie among defects or masks, by their folders' names."""
    bad = [name for name in files if any(is_bad_folder(part) for part in name.parts[:-1])]
    if not bad:
        return
    others = Counter(name.parent for name in files if name not in set(bad))
    named = [folder for folder in others if is_good_folder(folder.name)]
    better = named or [folder for folder in others if folder != Name()]
    counts = Counter(str(name.parent) for name in bad)
    lines = "\n".join(f"  {source}/{folder} ({others[folder]} pictures)" for folder in sorted(better)[:10])
    remedy = f"give a folder of good parts only:\n{lines}" if better else "give a folder of good parts only"
    raise DataError(
        f"{source}: {len(bad)} of {len(files)} pictures lie in folders that are called defective or masks "
        f"({', '.join(sorted(counts)[:5])}), so these are not all good parts; {remedy}"
    )


def _sort(files: Sequence[Name]) -> _Sorted:
    found = _Sorted()
    stems = {_key(name.parent, name.stem): name for name in files}
    for name in files:
        if any(is_mask_folder(part) for part in name.parts[:-1]):
            found.masks.append(name)
        elif (bare := _without_end(name.stem)) != name.stem and (of := stems.get(_key(name.parent, bare))):
            found.beside[of] = name
        else:
            found.pictures.append(name)
    return found


def _in_folders(called: str, found: _Sorted, *, need_split: bool) -> Layout:
    entries, strangers, masks = list[Entry](), list[Name](), _Masks(found.masks)
    twins = Counter(name.stem.casefold() for name in found.pictures if not is_good_folder(_kind(name) or ""))
    for name in found.pictures:
        split, kind = _split(name), _kind(name)
        if need_split and split is None:
            strangers.append(name)
            continue
        if kind is None or (split == "train" and not is_good_folder(kind) and _fold(kind) not in DEFECTIVE):
            if not need_split:
                entries.append(Entry(name, None, "", found.beside.get(name), split))
                continue
            places = "train/good" if split == "train" else "test/good or test/<kind of defect>"
            raise DataError(f"{name}: is not in {places}, where pictures of such a tree belong; move it there")
        is_good = is_good_folder(kind)
        mask = found.beside.get(name) or masks.take(name, alone=not is_good and twins[name.stem.casefold()] == 1)
        label: Label | None = "good" if is_good else "defective"
        if split is None and not is_good and mask is None and _fold(kind) not in DEFECTIVE:
            label, kind = None, ""  # an unknown folder's name alone says nothing
        entries.append(Entry(name, label, "good" if is_good else kind, None if is_good else mask, split))
    if any(_is_good_test(_kind(entry.name)) for entry in entries):  # the other good parts are for fitting, then
        entries = [replace(entry, split=_side(entry)) for entry in entries]
    return Layout(called, tuple(entries), tuple(strangers), tuple(masks.unmatched()))


def _beside(found: _Sorted, is_blank: Callable[[Name], bool]) -> Layout:
    entries = []
    for name in found.pictures:
        mask = found.beside.get(name)
        marked = mask is not None and not is_blank(mask)
        label: Label = "defective" if marked else "good"
        entries.append(Entry(name, label, label, mask if marked else None, _split(name)))
    return Layout("pictures beside their masks", tuple(entries), unmatched=tuple(found.masks))


class _Masks:
    """Masks in their own folders, found by a picture's kind and stem."""

    def __init__(self, masks: Iterable[Name]) -> None:
        self._files: dict[str, Name] = {}
        self._folders: defaultdict[str, list[Name]] = defaultdict(list)
        self._taken: set[Name] = set()
        for name in masks:
            folders = Name(*_folders(name))
            self._files[_key(folders, _without_end(name.stem))] = name
            self._folders[_key(folders.parent, folders.name)].append(name)

    def take(self, picture: Name, *, alone: bool) -> Name | None:
        """The mask of a picture; by its stem alone only where no other defective picture has the same."""
        key = _key(Name(*_folders(picture)), picture.stem)
        if key in self._folders:  # several masks, as MVTec LOCO has
            self._taken.update(self._folders[key])
            return self._folders[key][0].parent
        mask = self._files.get(key) or (self._files.get(_key(Name(), picture.stem)) if alone else None)
        if mask is not None:
            self._taken.add(mask)
        return mask

    def unmatched(self) -> list[Name]:
        everything = {*self._files.values(), *(name for several in self._folders.values() for name in several)}
        return sorted(everything - self._taken)


def _folders(name: Name) -> list[str]:
    """The folders of a picture that say what it shows: without `Data/Images`, `train`, `ground_truth` and the like."""
    parts = [part for part in name.parts[:-1] if _fold(part) not in MASKS]
    while parts and (_fold(parts[0]) in WRAPPERS or _fold(parts[0]) in SPLITS):
        parts = parts[1:]
    return parts


def _kind(name: Name) -> str | None:
    return next(iter(_folders(name)), None)


def _split(name: Name) -> Literal["train", "test"] | None:
    outer = [_fold(part) for part in name.parts[:-1] if _fold(part) not in WRAPPERS]
    return SPLITS.get(outer[0]) if outer else None


def is_good_folder(name: str) -> bool:
    """Whether a folder of this name holds good parts: `good`, and anomalib's `good_test`."""
    return _fold(name) in GOOD or _is_good_test(name)


def is_bad_folder(name: str) -> bool:
    """Whether a folder of this name holds defective parts, or masks."""
    return _fold(name) in DEFECTIVE | MASKS


def label_of_folders(name: str) -> Label | None:
    """What a picture's folders call it; None where they say nothing. `name`: its path below the folder given."""
    folders = Name(name).parts[:-1]
    if any(_fold(folder) in DEFECTIVE for folder in folders):
        return "defective"
    return "good" if any(is_good_folder(folder) for folder in folders) else None


def is_mask_folder(name: str) -> bool:
    return _fold(name) in MASKS


def is_tree_folder(name: str) -> bool:
    """Whether a folder of this name may be one of `train`, `test` and `ground_truth`."""
    return _fold(name) in SPLITS or is_mask_folder(name)


def is_test_folder(name: str) -> bool:
    return SPLITS.get(_fold(name)) == "test"


def _is_good_test(kind: str | None) -> bool:
    words = _fold(kind or "").split("_")
    return len(words) == 2 and "test" in words and any(word in GOOD for word in words)


def _side(entry: Entry) -> Split | None:
    """What a picture is for where a folder `good_test` says that the others are for fitting."""
    if entry.label is None or entry.split is not None:
        return entry.split
    return "test" if entry.label == "defective" or _is_good_test(_kind(entry.name)) else "train"


def _fold(part: str) -> str:
    return part.casefold().replace("-", "_").replace(" ", "_")


def _without_end(stem: str) -> str:
    folded = stem.casefold()
    return next((stem[: -len(end)] for end in MASK_ENDS if folded.endswith(end) and folded != end), stem)


def _key(folder: Name, stem: str) -> str:
    return f"{folder.as_posix()}/{stem}".casefold()
