"""The results of a data check: as facts, and as findings in plain words with remedies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from defectflow.data import Rejected, Siblings
from defectflow.embedding import Lie
from defectflow.fitting.order import Order
from defectflow.verdict import CONFIDENCE, Guarantee

Gravity = Literal["fine", "note", "look", "stop"]
"""`note`: good to know; `look`: a person should; `stop`: a fit would fail."""
COARSE_PX = 4
"""From so many camera pixels on, what a model pixel cannot show is worth a look."""
NAMED = 5
"""Names of stragglers that are given in full."""
HONEST = (
    "Take a picture out only if it is wrong: good parts that merely look unusual are what the promise is about, and "
    "without them it would not hold."
)


@dataclass(frozen=True, slots=True)
class Finding:
    topic: str
    gravity: Gravity
    said: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A picture labelled good, ranked by how unusual it looks to densities of the other parts."""

    path: Path
    part: str
    rank: int
    """1 for the most unusual."""
    tail_units: float
    stands_out: bool
    """Whether it lies beyond what a set of good pictures of this size would show."""
    where: tuple[float, float] | None
    """The worst place, as shares of the picture's width and height; None where it is unusual mostly as a whole."""


@dataclass(frozen=True, slots=True)
class Format:
    """Pictures of one size and depth."""

    width_px: int
    height_px: int
    bits: int
    pictures: int
    example: Path


@dataclass(frozen=True, slots=True)
class Promise:
    """What the parts support, for one of the two guarantees."""

    guarantee: Guarantee
    rate: float
    calibration_needed: int
    calibration_parts: int
    """As many as these data can give: a third of the parts, or those that a manifest names."""
    lowest_rate: float

    @property
    def kept(self) -> bool:
        return self.calibration_parts >= self.calibration_needed


@dataclass(frozen=True, slots=True)
class DataCheck:
    """Everything found. Pairs are (earlier picture, its twin); `suspects` are the most unusual, most unusual first."""

    source: str
    pictures: int
    parts: int
    pictures_per_part: tuple[int, int]
    """Fewest and most."""
    parts_named: bool
    siblings: Siblings | None
    unreadable: tuple[Rejected, ...]
    exact: tuple[tuple[Path, Path], ...]
    near: tuple[tuple[Path, Path], ...]
    formats: tuple[Format, ...]
    stretched: bool
    """Whether pictures of different shape would be deformed differently."""
    model_pixel_px: tuple[float, float] | None
    """Width and height, in pixels of the pictures, of what the model sees as one; None without pictures."""
    suspects: tuple[Suspect, ...]
    wanted: Guarantee
    review_rate: float
    promises: tuple[Promise, ...]
    given_splits: bool
    lie: Lie | None
    """How the parts lie from picture to picture; None where it was not measured."""
    aligned: bool
    """Whether a fit would shift and turn them, so that all lie alike."""
    order: Order | None
    """What the order of the parts' names tells; None where they are too few, siblings of each other, or no fit is."""
    warnings: tuple[str, ...]
    failure: str | None
    """Why a fit would fail, in its own words."""
    used: tuple[str, ...]
    """Which folders are used as what, with counts, and which files are not."""
    full_scale: tuple[str, ...]
    """What is taken as white in 16-bit pictures, and whether few of them decide it."""
    folders_taken_for_good: int
    """Folders that are taken to hold good parts, though nothing says so; 0 where there is one."""

    @property
    def fit_fails(self) -> bool:
        return self.failure is not None

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; the keys are part of the product's interface."""
        findings = [asdict(finding) for finding in self.findings()]
        return {"fit_fails": self.fit_fails, "findings": findings, **_plain(asdict(self))}

    def findings(self) -> list[Finding]:
        """One verdict per topic, in the order in which they should be dealt with."""
        found = [
            self._folders(),
            self._readable(),
            self._parts(),
            self._duplicates(),
            self._formats(),
            *self._detail(),
            *self._white(),
            *self._lie(),
            self._wrong(),
            *self._order(),
            *self._promises(),
        ]
        if self.failure is not None:
            found.insert(0, Finding("fit", "stop", f"A fit would fail: {self.failure}", "Fix this first."))
        return [*found, *(Finding("division", "look", warning) for warning in self.warnings)]

    def _review(self, promise: Promise) -> str:
        """What else a rate above the recipe's review rate needs."""
        return f" verdict.review_rate={promise.lowest_rate:.4g}" if promise.lowest_rate > self.review_rate else ""

    def _folders(self) -> Finding:
        said = "\n".join(self.used)
        if self.folders_taken_for_good:
            return Finding("folders", "note", said, "Make sure of it, or the model learns defects as good.")
        return Finding("folders", "fine", said)

    def _readable(self) -> Finding:
        bad, total = len(self.unreadable), self.pictures + len(self.unreadable)
        if not bad:
            return Finding("pictures", "fine", f"All {total} pictures can be read.")
        first = self.unreadable[0]
        said = f"{bad} of {total} pictures cannot be used, the first is {first.path} ({first.reason})."
        return Finding("pictures", "look", said, "Save them again or remove them; a fit leaves them out.")

    def _parts(self) -> Finding:
        fewest, most = self.pictures_per_part
        each = f"{most} of each" if fewest == most else f"{fewest} to {most} of each"
        if self.parts_named:
            return Finding("parts", "fine", f"{self.pictures} pictures show {self.parts} parts, {each}.")
        if self.siblings is not None:
            seen = self.siblings
            remedy = f"If so, give --part-regex '{seen.part_regex}': {seen.parts} parts."
            if seen.stragglers:
                more = f" and {len(seen.stragglers) - NAMED} more" if len(seen.stragglers) > NAMED else ""
                remedy += (
                    f" {len(seen.stragglers)} named otherwise: {', '.join(seen.stragglers[:NAMED])}{more}. Rename or "
                    "remove what is named otherwise first."
                )
            return Finding(
                "parts",
                "look",
                f"Every picture counts as a part, but {seen.pictures} of them look like several pictures of one part: "
                f"{seen.example[0]} and {seen.example[1]} by their names, and {seen.alike:.0%} are nearest to such a "
                "sibling. If they are counted as separate parts, the guarantee fails.",
                remedy,
            )
        said = f"Each of the {self.pictures} pictures counts as a separate part; nothing suggests otherwise."
        return Finding("parts", "fine", said, "Where several pictures show one part, give --part-regex.")

    def _duplicates(self) -> Finding:
        if not self.exact and not self.near:
            return Finding("duplicates", "fine", "No picture appears twice.")
        same = [f"{len(self.exact)} pictures repeat another's pixels, and are left out"] if self.exact else []
        alike = [f"{len(self.near)} nearly repeat a picture of another part"] if self.near else []
        first, second = (self.exact or self.near)[0]
        return Finding(
            "duplicates",
            "look",
            f"{', and '.join([*same, *alike])}, the first {second} beside {first}.",
            "Keep one of each pair; if they show one part, give --part-regex.",
        )

    def _formats(self) -> Finding:
        usual, *others = self.formats or (None,)
        if usual is None:
            return Finding("formats", "look", "No picture could be read.")
        name = f"{usual.width_px} x {usual.height_px} pixels, {usual.bits} bits"
        if not others:
            return Finding("formats", "fine", f"All pictures have {name}.")
        said = f"The pictures have {len(self.formats)} sizes or depths: "
        said += (
            f"{sum(one.pictures for one in others)} of {self.pictures} pictures differ from {name}, the first "
            f"{others[0].example} ({others[0].width_px} x {others[0].height_px}, {others[0].bits} bits)."
        )
        shapes = {one.width_px / one.height_px for one in self.formats}
        if max(shapes) / min(shapes) > 1.02 and self.stretched:
            said += " Their shapes differ too, so the model would see parts deformed differently."
        return Finding(
            "formats", "look", said, "Take all pictures with one camera setting, as on the line; or leave these out."
        )

    def _detail(self) -> Iterator[Finding]:
        if self.model_pixel_px is None:
            return
        width, height = self.model_pixel_px
        said = f"One model pixel is {width:.3g} x {height:.3g} camera pixels"
        if max(width, height) < COARSE_PX:
            yield Finding("detail", "fine", f"{said}.")
            return
        missed = f"defects below about {2 * width:.3g} x {2 * height:.3g} px will be missed"
        remedy = "Consider the recipe large, which looks at tiles; or raise image.size, or cut with image.rectangle."
        yield Finding("detail", "look", f"{said}: {missed}.", remedy)

    def _white(self) -> Iterator[Finding]:
        if self.full_scale:
            scale, *doubt = self.full_scale
            yield Finding("white", "look" if doubt else "note", scale, " ".join(doubt))

    def _lie(self) -> Iterator[Finding]:
        if self.lie is None:
            return
        apart = f"Parts lie {self.lie.apart:.1%} of the picture's side apart"
        if self.aligned and self.lie.any_turn:
            said = "Parts lie turned any way; a fit turns each, so that all lie alike."
        elif self.aligned:
            said = f"{apart}; a fit shifts and turns each a little, so that all lie alike."
        elif self.lie.lies_alike:
            said = "All parts lie alike."
        else:
            said = (
                "Parts do not lie alike, or differ too much to be laid on each other; a fit looks at them as they lie."
            )
        if odd := self.lie.odd_ones:
            said += f" In no position like the others: {len(odd)} of {self.lie.looked_at}, most of all {odd[0]}."
        if self.aligned or self.lie.lies_alike:
            yield Finding("position", "look" if odd else "fine", said, "Are they really good?" if odd else "")
        else:
            yield Finding("position", "note", said, "Where parts are alike, place them alike for the camera.")

    def _wrong(self) -> Finding:
        out = [suspect for suspect in self.suspects if suspect.stands_out]
        if not self.suspects:
            return Finding("suspects", "look", "Too few parts to tell which pictures do not belong.")
        if not out:
            said = f"No picture stands out; the most unusual is {self.suspects[0].path}."
            return Finding("suspects", "fine", said, f"Check the first few nevertheless. {HONEST}")
        count = "1 picture looks" if len(out) == 1 else f"{len(out)} pictures look"
        said = f"{count} unlike the other parts, the first {out[0].path}."
        return Finding("suspects", "look", said, f"Are they really good? {HONEST}")

    def _order(self) -> Iterator[Finding]:
        if self.order is None:
            return
        if not self.order.matters:
            yield Finding("order", "fine", "The order of the parts' names tells nothing about their look.")
            return
        seen = self.order
        said = (
            "The look of the parts changes along their names. A model that has not seen a fifth of them in a row would "
            f"reject {_about(seen.rejected)} of that fifth on average, where {_percent(seen.rate)} is promised. From "
            f"{seen.worst_first} to {seen.worst_last} it would be {_about(seen.worst)}."
        )
        remedy = (
            "If names follow time, take good parts from more days, shifts and batches. The promise holds for "
            "production that looks like these pictures."
        )
        yield Finding("order", "look", said, remedy)

    def _promises(self) -> Iterator[Finding]:
        for promise in self.promises:
            sure = "on average" if promise.guarantee == "expected" else f"with {CONFIDENCE:.0%} confidence"
            aim = f"At most {_percent(promise.rate)} of good parts rejected, {sure}"
            if promise.kept:
                yield Finding("promise", "fine", f"{aim}: there are enough parts.")
                continue
            supports = f"they support {_percent(promise.lowest_rate)}"
            if self.given_splits:
                needs = f"needs {promise.calibration_needed} calibration parts, the manifest names "
                needs += f"{promise.calibration_parts}"
            else:
                needs = f"needs {3 * promise.calibration_needed} good parts, there are {self.parts}"
            settings = f"verdict.rate={promise.lowest_rate:.4g}{self._review(promise)}"
            accept = f"accept {_percent(promise.lowest_rate)} ({settings})"
            if promise.guarantee == self.wanted:
                remedy = (
                    f"Add parts, or {accept}. Otherwise the model will be uncalibrated; calibrate can finish it later."
                )
                yield Finding("promise", "look", f"{aim}, {needs}; {supports}.", remedy)
            else:
                remedy = f"Only for verdict.guarantee={promise.guarantee}: add parts, or {accept}."
                yield Finding("promise", "note", f"{aim}, {needs}; {supports}.", remedy)


def _percent(rate: float) -> str:
    return f"{100 * rate:.4g}%"


def _about(share: float) -> str:
    """Two digits: more would say more than so many parts can."""
    return _percent(round(share, 2 if share >= 0.1 else 3))


def _plain(value: Any) -> Any:
    """Paths as text, tuples as lists."""
    match value:
        case Path():
            return str(value)
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case _:
            return value
