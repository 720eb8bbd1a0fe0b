"""Good pictures -> train, tune and calibration, by part.

The order in a fit:

    found = find_pictures(source)
    checked = check_readable(meant_for_fitting(found))      every picture once; the unreadable are listed
    splits = split_parts(...)                               by part, never by picture
    full_scale = fix_full_scale(splits, checked)            from training parts only
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defectflow.data.pictures import Picture, meant_for_fitting
from defectflow.errors import DataError, ImageError
from defectflow.image import FULL_SCALES, Geometry, brightest, full_scale_for, pixel_digest, read_raw

FOLDS = 5
"""Groups of parts, of which each is judged by what the others taught."""
MIN_PARTS = 8
"""Fewest good parts that can be divided into train, tune and calibration."""


DECIDED_BY_FEW = 0.05
"""Where no larger share of the training pictures decides what is white, that is said."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A picture that cannot be decoded, and why."""

    path: Path
    reason: str
    part: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What decoding every picture once has shown."""

    readable: tuple[Picture, ...]
    rejected: tuple[Rejected, ...]
    pixel_digests: dict[Path, str]
    """SHA-256 (hex) of the raw pixels and their shape: equal for equal pictures, however they are stored."""
    brightest: dict[Path, int]
    """The raw value of each 16-bit picture's brightest places (`image.brightest`); 8-bit pictures are absent."""
    sizes_px: dict[Path, tuple[int, int]]
    """Width and height of each picture."""

    @property
    def not_seen_whole(self) -> frozenset[str]:
        """Parts of which a picture cannot be read. The others may show their better side: such a part is no evidence
        of what good parts score."""
        return frozenset(rejected.part for rejected in self.rejected)

    @property
    def whole(self) -> tuple[Picture, ...]:
        """The readable pictures of parts of which every picture can be read."""
        not_seen = self.not_seen_whole
        return tuple(picture for picture in self.readable if picture.part not in not_seen)

    def left_out_notes(self) -> list[str]:
        """What is said of readable pictures that are left out with the unreadable ones of their part."""
        not_seen = self.not_seen_whole
        left_out = [picture for picture in self.readable if picture.part in not_seen]
        if not left_out:
            return []
        parts = sorted({picture.part for picture in left_out})
        counted = f"{len(parts)} part{'s' if len(parts) > 1 else ''}, {len(left_out)} readable pictures"
        return [
            f"{counted}, left out: another picture of the same part cannot be read, so nobody has seen the whole part; "
            f"the first is {parts[0]!r}; put its pictures right, or take them away"
        ]


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
    def by_side(self) -> dict[str, tuple[Picture, ...]]:
        return {"train": self.train, "tune": self.tune, "calibration": self.calibration}

    @property
    def part_counts(self) -> dict[str, int]:
        """How many parts stand on each side."""
        return {side: len({picture.part for picture in pictures}) for side, pictures in self.by_side.items()}

    @property
    def parts_known(self) -> bool:
        """False where a picture counts as a separate part for lack of a name; the guarantee then fails if parts
        have several pictures."""
        return all(picture.part_known for picture in self.pictures)

    @property
    def sides(self) -> NDArray[np.int64]:
        """Side of each of `pictures`, (N,): 0 train, 1 tune, 2 calibration."""
        return np.repeat([0, 1, 2], [len(self.train), len(self.tune), len(self.calibration)])


def check_readable(pictures: Sequence[Picture], *, geometry: Geometry | None = None, workers: int = 2) -> Checked:
    """Decode every picture once, in threads: which can be used, their pixels' digests, 16-bit brightness.

    Needs no full scale, because it looks at raw values: so it can come before the split.
    """
    with ThreadPoolExecutor(workers) as pool:
        findings = list(pool.map(lambda picture: _check_picture(picture, geometry), pictures))
    read = {p.path: found for p, found in zip(pictures, findings, strict=True) if not isinstance(found, Rejected)}
    return Checked(
        readable=tuple(picture for picture in pictures if picture.path in read),
        rejected=tuple(finding for finding in findings if isinstance(finding, Rejected)),
        pixel_digests={path: found.digest for path, found in read.items()},
        brightest={path: found.brightest for path, found in read.items() if found.brightest is not None},
        sizes_px={path: found.size_px for path, found in read.items()},
    )


@dataclass(frozen=True, slots=True)
class _Read:
    digest: str
    brightest: int | None
    size_px: tuple[int, int]


def _check_picture(picture: Picture, geometry: Geometry | None) -> _Read | Rejected:
    try:
        pixels = read_raw(picture.path)
        if geometry is not None:
            geometry.check(pixels.shape[0], pixels.shape[1], str(picture.path))
    except ImageError as error:
        return Rejected(picture.path, str(error).removeprefix(f"{picture.path}: "), picture.part)
    return _Read(pixel_digest(pixels), brightest(pixels), (pixels.shape[1], pixels.shape[0]))


def fix_full_scale(splits: Splits, checked: Checked) -> int | None:
    """`image.full_scale` where the recipe leaves it open: from training parts only; None if all are 8-bit.

    Raises DataError if there are 16-bit pictures, but none to train on.
    """
    values = [checked.brightest[p.path] for p in splits.train if p.path in checked.brightest]
    if values:
        return full_scale_for(values)
    for picture in splits.pictures:
        if picture.path in checked.brightest:
            raise DataError(
                f"{picture.path}: is a 16-bit picture, but no training picture is; "
                "set image.full_scale to the value that means white (e.g. 4095), or save all with 8 bits"
            )
    return None


def full_scale_notes(splits: Splits, checked: Checked, full_scale: int | None) -> list[str]:
    """What is taken as white in 16-bit pictures, and whether few pictures decide it; nothing for 8-bit pictures."""
    bright = {one.path: checked.brightest[one.path] for one in splits.train if one.path in checked.brightest}
    if full_scale is None or not bright:
        return []
    said = [f"16-bit pictures: {full_scale} is taken as white; set image.full_scale if the camera's white is another"]
    below = max((scale for scale in FULL_SCALES if scale < full_scale), default=0)
    deciding = [path for path, value in bright.items() if value > below]
    if 0 < len(deciding) <= DECIDED_BY_FEW * len(bright):
        said.append(
            f"only {len(deciding)} of {len(bright)} training pictures are brighter than {below}, the first is "
            f"{deciding[0]}; without them {below} would be white: check whether they belong here"
        )
    return said


def common_size(splits: Splits, checked: Checked) -> tuple[int, int]:
    """Width and height that most training pictures have; the largest of several that are equally common."""
    counts = Counter(checked.sizes_px[picture.path] for picture in splits.train)
    return max(counts, key=lambda size: (counts[size], size))


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
    good = meant_for_fitting(pictures)
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
        those = f"1 {label} picture is" if count == 1 else f"{count} {label} pictures are"
        yield f"{those} left out, because a fit learns from good parts only"
    shared = [picture for picture in pictures if picture.split == "test" and picture.part in fitted_parts]
    if shared:
        n_good = sum(picture.label == "good" for picture in shared)
        parts = sorted({picture.part for picture in shared})
        yield (
            f"{len(parts)} parts have pictures both for fitting and in the test split ({len(shared)} test "
            f"pictures, {n_good} of them good; e.g. part {parts[0]!r}); on these, test figures look too good"
        )


def fold_by_part(parts: list[str], folds: int = FOLDS) -> NDArray[np.int64]:
    """The group of each picture, (N,), 0 to folds - 1; no part is in two groups, and groups are equally large."""
    names = sorted(set(parts))
    order = np.random.default_rng(0).permutation(len(names))
    fold_of = {names[index]: position % folds for position, index in enumerate(order)}
    return np.array([fold_of[part] for part in parts])
