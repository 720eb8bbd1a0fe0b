"""What a picture is, before anything is decoded: whose part it shows, whether that is good, and what it is for.

A *part* is one physical object. All its pictures lie on one side of a split (splits.py), because pictures of one
part are alike: calibrated on siblings of training pictures, a threshold would promise what it cannot keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import regex

from defectflow.data.layouts import Label, Split
from defectflow.errors import DataError, SettingsError

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
    """A picture of what is defective, or a folder of several."""
    split: Split | None = None
    part_known: bool = field(default=False, compare=False)
    """Whether a part regex or a manifest's column named the part; otherwise every picture is a separate part."""
    name: str = field(default="", compare=False)
    """What people call it, as far as `find_pictures` knows: its path below the source, or a manifest's `name`."""
    more: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """(column, value) of a manifest's other columns, like lot and camera: for the results."""
    product: str | None = field(default=None, compare=False)
    """Which product it shows, as a manifest's column says; None where nothing says it."""


def part_of(name: str, part_regex: str | None) -> str | None:
    """The part that a picture's name names, by a bundle's own expression; None where it does not tell.

    Raises SettingsError if the expression takes too long.
    """
    part, known = PartNames.by(part_regex, strict=False).of(name)
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


@dataclass(frozen=True, slots=True)
class PartNames:
    """How a picture's name names its part. Where it does not, a strict rule refuses, and another stands aside."""

    pattern: regex.Pattern[str] | None
    strict: bool

    @classmethod
    def by(cls, part_regex: str | None, *, strict: bool) -> PartNames:
        """Raises SettingsError for what is not a regular expression."""
        try:
            return cls(None if part_regex is None else regex.compile(part_regex), strict)
        except regex.error as error:
            raise SettingsError(f"part regex {part_regex!r} is not a regular expression: {error}") from error

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
                f"{name}: the part regex {self.expression!r} finds no part in this name; change the expression, or "
                "leave it out if every picture shows another part"
            )
        return stem_of(name), False

    def _search(self, name: str) -> regex.Match[str] | None:
        try:
            return None if self.pattern is None else self.pattern.search(name, timeout=PATIENCE_S)
        except TimeoutError as error:
            raise SettingsError(
                f"part regex {self.expression!r} searches longer than {PATIENCE_S:g} s in {name}; simplify it: "
                "the usual cause is a repetition that can match in two ways, as in (a|aa)+"
            ) from error


def stem_of(name: str) -> str:
    """A picture's name without suffix: the part that it shows, where nothing else names one."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name


def printable(name: str) -> str:
    """A file's name may hold bytes that are no Unicode, which no table can hold: they are spelled out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
