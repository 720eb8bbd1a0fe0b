"""A large picture, with outlines, heat on demand and zoom, on Inspect and on Review; and a link to a download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from defectflow.verdict import FULL_HEAT, Region, Verdict, outlines
from defectflow_ui.markup.render import render
from defectflow_ui.words import inspect as words

OUTLINE_PX = 1000
"""Longer side of the drawing that outlines are traced on."""
NUMBER_PX = 40
"""Height of a place's number on that drawing; none is wider."""
MOST_PLACES = 8


@dataclass(frozen=True, slots=True)
class Marks:
    """The marked places of a picture as a drawing on it."""

    width: int
    height: int
    outlines: tuple[str, ...]
    """Closed lines as an SVG polygon's points."""
    numbers: tuple[tuple[float, float], ...]
    """Where the numbers of the first places stand: at their upper left corners, but whole on the picture."""
    dashed: bool
    """No place passed the pixel threshold, so the most unusual ones are shown."""

    @classmethod
    def of(cls, verdict: Verdict, regions: Sequence[Region]) -> Marks:
        scale = OUTLINE_PX / max(verdict.height_px, verdict.width_px)
        height, width = max(1, round(scale * verdict.height_px)), max(1, round(scale * verdict.width_px))
        lines = tuple(" ".join(f"{x},{y}" for x, y in line[:, 0]) for line in outlines(verdict, height, width))
        corners = tuple(
            (min(scale * one.left_px, width - NUMBER_PX), max(scale * one.top_px, NUMBER_PX))
            for one in regions[:MOST_PLACES]
        )
        return cls(width, height, lines, corners, verdict.mask_is_top_fraction)


@dataclass(frozen=True, slots=True)
class Place:
    """A marked place in words, and where to zoom for it."""

    window: str
    """Left, top, width and height, in shares of the picture."""
    share: float
    """How far its peak is along the scale of the heat: 1 and above the strongest colour."""
    peak: str
    size: str
    where: str

    @classmethod
    def of(cls, verdict: Verdict, region: Region, mm_per_px: float | None) -> Place:
        width, height = verdict.width_px, verdict.height_px
        window = (region.left_px / width, region.top_px / height, region.width_px / width, region.height_px / height)
        return cls(
            " ".join(f"{share:.5f}" for share in window),
            min(region.peak / max(FULL_HEAT * verdict.pixel_threshold, 1e-6), 1.0),
            words.peak(region.peak, verdict.pixel_threshold),
            words.place_size(region.width_px, region.height_px, mm_per_px),
            words.place_at(region.left_px, region.top_px, region.area_px, mm_per_px),
        )


def viewer(
    plain: str,
    heat: str | None,
    width_px: int,
    height_px: int,
    marks: Marks | None = None,
    good: str | None = None,
) -> Markup:
    """By the pictures' addresses; `heat`: the same under its heat, where there is a verdict to show; `good`: a good
    part that can be laid over it, to compare them by turns."""
    return render(
        "viewer.html",
        words=words,
        plain=plain,
        heat=heat,
        good=good,
        width_px=width_px,
        height_px=height_px,
        marks=marks,
        number_px=NUMBER_PX,
    )


def places(verdict: Verdict, regions: Sequence[Region], *, mm_per_px: float | None, kind: str | None) -> Markup:
    """A compact card for each marked place: a click on it zooms there. `kind`: what people said of the part."""
    return render(
        "places.html",
        words=words,
        places=[Place.of(verdict, one, mm_per_px) for one in regions[:MOST_PLACES]],
        dashed=verdict.mask_is_top_fraction,
        kind=kind,
        more=words.more_regions(len(regions) - MOST_PLACES) if len(regions) > MOST_PLACES else "",
    )


def download(address: str, what: str) -> Markup:
    """The browser takes it at once; the link is there to take it again."""
    return render("download.html", address=address, said=words.download, what=what)
