"""One judged picture -> all that is shown of it, made once and kept for a while. No Gradio here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from defectflow.image import read_image, shrink
from defectflow.line import Inspector, References, Similar
from defectflow.verdict import Region, Verdict, heat
from defectflow_ui.pictures import Pixels, jpeg, large, thumbnail
from defectflow_ui.visits.served import Served

CROP_SHARE = 0.3
"""A place is cut out with at least this share of the picture's larger side, so that one sees where it is."""
CROP_PX = 600
MOST = 16
"""Pictures whose addresses are kept: asking what-if, or stepping there and back, draws nothing again."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The worst place, and the same place on the most similar good part, as addresses."""

    here: str
    there: str
    part: str
    """That good part's name."""


@dataclass(frozen=True, slots=True)
class PictureView:
    """What is shown of one picture, as addresses that are served; drawn when the browser asks for it."""

    original: str
    heat: str
    """The same under its heat, at the same size."""
    good: str
    """The most similar good part, whole, to be compared with it."""
    regions: tuple[Region, ...]
    beside: Beside | None


class PictureViews:
    """What is shown of the pictures of one inspection, by the picture's number. Thread-safe."""

    def __init__(self, inspector: Inspector, served: Served) -> None:
        self._inspector = inspector
        self._served = served
        self._kept: OrderedDict[int, PictureView] = OrderedDict()
        self._references: dict[str | None, References] = {}
        """By product."""
        self._lock = Lock()

    def thumbnail(self, file: Path) -> str:
        return self._put(file, thumbnail)

    def of(self, number: int, file: Path, verdict: Verdict) -> PictureView:
        with self._lock:
            view = self._kept.get(number) or self._make(file, verdict)
            self._kept[number] = view
            self._kept.move_to_end(number)
            while len(self._kept) > MOST:
                self._forget(self._kept.popitem(last=False)[1])
            return view

    def close(self) -> None:
        with self._lock:
            while self._kept:
                self._forget(self._kept.popitem()[1])

    def _make(self, file: Path, verdict: Verdict) -> PictureView:
        if verdict.product not in self._references:
            judged_by = next(each for each in self._inspector.bundles if each.product == verdict.product)
            self._references[verdict.product] = References(judged_by)
        similar = self._references[verdict.product].most_similar(verdict.embedding)
        regions = tuple(verdict.regions())
        return PictureView(
            self._put(file, large),
            self._put(file, lambda pixels: heat(large(pixels), verdict)),
            self._put(similar.thumbnail, large),
            regions,
            self._beside(file, verdict, regions[0], similar) if regions else None,
        )

    def _beside(self, file: Path, verdict: Verdict, worst: Region, similar: Similar) -> Beside:
        centre = (
            (worst.left_px + worst.width_px / 2) / verdict.width_px,
            (worst.top_px + worst.height_px / 2) / verdict.height_px,
        )
        side = max(worst.width_px * 1.6, worst.height_px * 1.6, CROP_SHARE * max(verdict.height_px, verdict.width_px))
        share = side / verdict.width_px, side / verdict.height_px

        def cut(pixels: Pixels) -> Pixels:
            return _cut(pixels, centre, share)

        return Beside(self._put(file, cut), self._put(similar.thumbnail, cut), similar.part)

    def _put(self, file: Path, change: Callable[[Pixels], Pixels]) -> str:
        """The address of a picture file as a JPEG."""
        full_scale = self._inspector.image.full_scale
        return self._served.put(lambda: jpeg(change(read_image(file, full_scale=full_scale))), "image/jpeg")

    def _forget(self, view: PictureView) -> None:
        addresses = [view.original, view.heat, view.good]
        if view.beside is not None:
            addresses += [view.beside.here, view.beside.there]
        for address in addresses:
            self._served.remove(address)


def _cut(pixels: Pixels, centre: tuple[float, float], share: tuple[float, float]) -> Pixels:
    """A window around a place, both in shares of width and height, moved inside where it would leave the picture."""
    height, width = pixels.shape[:2]
    w, h = min(width, round(share[0] * width)), min(height, round(share[1] * height))
    left = min(max(round(centre[0] * width - w / 2), 0), width - w)
    top = min(max(round(centre[1] * height - h / 2), 0), height - h)
    return shrink(np.ascontiguousarray(pixels[top : top + h, left : left + w]), CROP_PX)
