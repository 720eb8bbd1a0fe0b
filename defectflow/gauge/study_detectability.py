"""Good parts, and flaws drawn on them -> how small a flaw the inspection finds.

Each flaw is drawn on one picture of a good part that is called ok without it, so it is the flaw that is found. What
counts as found: the picture is no longer called ok (or, where asked, is rejected).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defectflow.bundle import fitted_digests
from defectflow.common import Progress, Watch, unwatched
from defectflow.data import Picture
from defectflow.errors import DataError, ImageError, SettingsError
from defectflow.gauge.detectability import REAL, Detectability, Group, Plan, Trial
from defectflow.gauge.flaws import Flaw, FlawKind, Pixels, contrast_of, draw_flaw, longest_extent
from defectflow.gauge.logistic import fit_logistic, why_no_curve
from defectflow.gauge.regions import Regions
from defectflow.image import pixel_digest, read_image, read_mask, read_raw
from defectflow.line import Inspector
from defectflow.verdict import Share, Verdict

TRIES = 60
"""Places that are looked at for one flaw, before it is given up."""
SHOWN_PX = 96
"""Side of the cut-outs that show what was drawn."""


def study_detectability(
    inspector: Inspector,
    good: Sequence[Picture],
    plan: Plan,
    *,
    regions: Regions,
    real: Sequence[Picture] = (),
    mm_per_px: float | None = None,
    watch: Watch = unwatched,
) -> Detectability:
    """`real`: labelled pictures with masks, whose defects are judged as they are, beside the drawn ones.

    Raises NotCalibrated, SettingsError, and DataError where no good picture is called ok.
    """
    card = inspector.card
    card.require_calibration()
    if mm_per_px is not None and not (math.isfinite(mm_per_px) and mm_per_px > 0):
        raise SettingsError(
            f"a scale of {mm_per_px:g} mm per pixel is impossible; give the width of a pixel on the part"
        )
    usable, clean, unreadable = _clean(inspector, good, plan, watch)
    if not usable:
        raise DataError(
            f"none of {len(good)} good pictures is called ok, so no flaw can be told from what is rejected anyway; "
            "look at the calibration first (defectflow evaluate)"
        )
    random = np.random.default_rng(plan.seed)
    jobs = list(_jobs(plan, usable, random))
    artist = _Artist(inspector, plan, regions, random)
    trials, not_drawn, examples = _run(inspector, jobs, artist, plan, watch)
    judged = list(_judge_real(inspector, real, plan, unreadable, watch))
    return Detectability(
        plan=plan,
        bundle_id=card.bundle_id,
        calibration_id=str(card.calibration_id),
        model=card.name,
        mm_per_px=mm_per_px,
        clean=clean,
        parts=len({picture.part for picture in usable}),
        unreadable=tuple(unreadable),
        fitted=_count_fitted(inspector, usable),
        painted_regions=regions.levels is not None,
        not_drawn=not_drawn,
        trials=tuple(trials),
        real=tuple(judged),
        groups=tuple(_groups(trials, judged, plan)),
        examples=tuple(examples),
    )


def _found(verdict: Verdict, plan: Plan) -> bool:
    word = verdict.decision.word
    return word in ("defect", "invalid") if plan.rejected_only else word != "ok"


def _clean(
    inspector: Inspector, good: Sequence[Picture], plan: Plan, watch: Watch
) -> tuple[list[Picture], Share, list[tuple[str, str]]]:
    """The pictures that pass without a flaw, how many do not, and (file, reason) of those that cannot be used."""
    usable, not_ok, unreadable = list[Picture](), 0, list[tuple[str, str]]()
    items = inspector.inspect([picture.path for picture in good])
    for done, (picture, item) in enumerate(zip(good, items, strict=True), start=1):
        if isinstance(item, ImageError):
            unreadable.append((str(picture.path), str(item)))
        elif item.decision.word == "ok":
            usable.append(picture)
        else:
            not_ok += 1
        watch(Progress("good parts", done, len(good)))
    return usable, Share(not_ok, len(usable) + not_ok), unreadable


@dataclass(frozen=True, slots=True)
class _Job:
    picture: Picture
    kind: FlawKind
    contrast: float
    size_px: float


def _jobs(plan: Plan, usable: Sequence[Picture], random: np.random.Generator) -> Iterator[_Job]:
    """Sizes in equal ratios, each somewhere in its own step; pictures in turn, in random order."""
    low, high = (math.log(size) for size in plan.sizes_px)
    for kind in plan.kinds:
        for contrast in plan.contrasts:
            steps = (np.arange(plan.flaws) + random.random(plan.flaws)) / plan.flaws
            sizes = np.exp(low + (high - low) * steps)
            turns = -(-plan.flaws // len(usable))
            order = np.concatenate([random.permutation(len(usable)) for _ in range(turns)])[: plan.flaws]
            for size, place in zip(sizes.tolist(), order.tolist(), strict=True):
                yield _Job(usable[place], kind, contrast, size)


class _Artist:
    """Draws each job's flaw somewhere that its picture allows."""

    def __init__(self, inspector: Inspector, plan: Plan, regions: Regions, random: np.random.Generator) -> None:
        self._image = inspector.card.image
        self._regions, self._random = regions, random
        self._names: dict[tuple[int, int], tuple[NDArray[np.str_], NDArray[np.intp]]] = {}

    def draw(self, job: _Job) -> tuple[Pixels, Flaw, str] | None:
        """The spoiled picture, its flaw, and the region; None where no place was found. Raises ImageError."""
        pixels = read_image(job.picture.path, full_scale=self._image.full_scale)
        height, width = pixels.shape[:2]
        names, spots = self._spots(height, width)
        for _ in range(TRIES):
            y, x = divmod(int(spots[int(self._random.integers(len(spots)))]), width)
            angle = float(self._random.uniform(0, math.pi))
            flaw = Flaw(job.kind, job.size_px, job.contrast, x, y, angle)
            drawn = draw_flaw(pixels, flaw)
            if drawn is not None:
                return drawn, flaw, str(names[y, x])
        return None

    def _spots(self, height: int, width: int) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
        if (height, width) not in self._names:
            names = self._regions.names(self._image.geometry, height, width)
            spots = np.flatnonzero((names != "").ravel())
            if not len(spots):
                raise DataError("the regions leave no place for a flaw on what the model looks at; mark other ones")
            self._names[height, width] = names, spots
        return self._names[height, width]


def _run(
    inspector: Inspector, jobs: Sequence[_Job], artist: _Artist, plan: Plan, watch: Watch
) -> tuple[list[Trial], int, list[tuple[str, float, Pixels]]]:
    """All trials; how many flaws were not drawn; and cut-outs of some."""
    drawn: list[tuple[_Job, Flaw, str]] = []
    examples: dict[tuple[str, float], tuple[float, Pixels]] = {}
    middle = math.sqrt(plan.sizes_px[0] * plan.sizes_px[1]) * 1.5
    missing = 0

    def pictures() -> Iterator[Pixels]:
        nonlocal missing
        for job in jobs:
            made = artist.draw(job)
            if made is None:
                missing += 1
                continue
            pixels, flaw, region = made
            drawn.append((job, flaw, region))
            shown = examples.get((job.kind, job.contrast))
            distance = abs(math.log(job.size_px / middle))
            if shown is None or distance < shown[0]:
                examples[job.kind, job.contrast] = distance, _cut_out(pixels, flaw)
            yield pixels

    trials: list[Trial] = []
    for place, item in enumerate(inspector.inspect(pictures())):
        if isinstance(item, ImageError):
            raise item
        job, flaw, region = drawn[place]
        trials.append(
            _trial(job.picture, job.kind, job.contrast, job.size_px, (flaw.x_px, flaw.y_px), region, item, plan)
        )
        watch(Progress("flaws", place + 1, len(jobs)))
    return trials, missing, [(kind, contrast, pixels) for (kind, contrast), (_, pixels) in examples.items()]


def _cut_out(pixels: Pixels, flaw: Flaw) -> Pixels:
    """A square around the flaw, at the camera's own scale."""
    height, width = pixels.shape[:2]
    half = SHOWN_PX // 2
    top = min(max(0, int(flaw.y_px) - half), max(0, height - SHOWN_PX))
    left = min(max(0, int(flaw.x_px) - half), max(0, width - SHOWN_PX))
    return pixels[top : top + SHOWN_PX, left : left + SHOWN_PX].copy()


def _trial(
    picture: Picture,
    kind: str,
    contrast: float,
    size_px: float,
    at: tuple[float, float],
    region: str,
    verdict: Verdict,
    plan: Plan,
) -> Trial:
    return Trial(
        picture=picture.name or picture.path.name,
        part=picture.part,
        kind=kind,
        contrast=contrast,
        size_px=size_px,
        x_px=at[0],
        y_px=at[1],
        region=region,
        decision=verdict.decision.word,
        score=verdict.score,
        found=_found(verdict, plan),
    )


def _judge_real(
    inspector: Inspector, real: Sequence[Picture], plan: Plan, unreadable: list[tuple[str, str]], watch: Watch
) -> Iterator[Trial]:
    """Each defective picture with a mask, by the longest extent of the mask's largest region."""
    masked = [picture for picture in real if picture.label == "defective" and picture.mask is not None]
    for done, (picture, item) in enumerate(
        zip(masked, inspector.inspect([picture.path for picture in masked]), strict=True), start=1
    ):
        watch(Progress("real defects", done, len(masked)))
        if isinstance(item, ImageError):
            unreadable.append((str(picture.path), str(item)))
            continue
        assert picture.mask is not None
        mask = read_mask(picture.mask)
        size = longest_extent(mask)
        if size:
            pixels = read_image(picture.path, full_scale=inspector.card.image.full_scale)
            contrast = contrast_of(pixels, mask) if mask.shape == pixels.shape[:2] else math.nan
            ys, xs = np.nonzero(mask)
            at = float(xs.mean()), float(ys.mean())
            yield _trial(picture, picture.kind, contrast, size, at, "", item, plan)


def _count_fitted(inspector: Inspector, pictures: Sequence[Picture]) -> int:
    known = {*fitted_digests(inspector.bundle), *inspector.card.added_digests}
    return sum(pixel_digest(read_raw(picture.path)) in known for picture in pictures)


def _groups(trials: Sequence[Trial], real: Sequence[Trial], plan: Plan) -> Iterator[Group]:
    """By kind and contrast; by region and contrast, all kinds together, where there are regions; and real defects."""
    regions = sorted({trial.region for trial in trials})
    ways: list[tuple[str, Callable[[Trial], str], list[str]]] = [("kind", lambda trial: trial.kind, list(plan.kinds))]
    if len(regions) > 1:
        ways.append(("region", lambda trial: trial.region, regions))
    for by, name_of, names in ways:
        for name in names:
            for contrast in plan.contrasts:
                chosen = [one for one in trials if name_of(one) == name and one.contrast == contrast]
                yield _group(by, name, contrast, chosen)
    if real:
        yield _group("real", REAL, None, real)


def _group(by: str, name: str, contrast: float | None, trials: Sequence[Trial]) -> Group:
    sizes = np.array([trial.size_px for trial in trials])
    found = np.array([trial.found for trial in trials], bool)
    why = why_no_curve(np.log(sizes), found) if len(sizes) else "nothing was drawn"
    if why and found.any() and not found.all() and sizes[~found].max() < sizes[found].min():
        why = f"none was found up to {sizes[~found].max():.1f} px, and all from {sizes[found].min():.1f} px on"
    curve = None if why else fit_logistic(np.log(sizes), found)
    if curve is not None and curve.slope <= 0:
        curve, why = None, "larger ones were not found more often"
    return Group(by, name, contrast, sizes, found, curve, why)
