"""The printed circuit board: traces, pads, parts and silk print; every board has the same layout."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from defectflow.samples.camera import Optics
from defectflow.samples.common import (
    CANVAS_PX,
    Flaw,
    FloatImage,
    Surface,
    blank,
    blend,
    blur,
    coloured,
    dusted,
    smooth_noise,
)
from defectflow.samples.flaws import Material, flawed
from defectflow.samples.layout import COMPONENTS, Component, bare_board, component_patch

OPTICS = Optics(zoom=1.0, zoom_spread=0.006, shift_px=1.0, rotation_deg=0.6, relief=0.28, exposure_spread=0.06)
MATERIAL = Material(
    scratch_rgb=(0.66, 0.58, 0.40),
    inside_rgb=(0.04, 0.05, 0.04),
    stain_rgb=(0.50, 0.46, 0.28),
    dent_radius_px=24,
    dent_slope=2.2,
    border_px=40,
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a component really sits, relative to its place in the layout."""

    component: Component
    shift_x_px: float
    shift_y_px: float
    turn_deg: float
    tone: float
    present: bool = True


def draw(rng: np.random.Generator, flaw: Flaw | None) -> Surface:
    """One board; a flaw changes nothing that `rng` decides."""
    bare = bare_board()
    placements = [
        Placement(
            component,
            float(rng.normal(0, 0.6)),
            float(rng.normal(0, 0.6)),
            float(rng.normal(0, 0.7)),
            1 + 0.05 * float(rng.normal()),
        )
        for component in COMPONENTS
    ]
    mask_tone = 1 + 0.05 * float(rng.normal())
    ripple = 1 + 0.03 * smooth_noise(rng, 70) + 0.03 * smooth_noise(rng, 5)
    solder = float(rng.uniform(0.7, 1.3))
    # Screens slip: the whole print moves a little, and its ink is thinner in places.
    slip_x, slip_y = (float(v) for v in rng.normal(0, 0.9, 2))
    ink = np.clip(float(rng.uniform(0.7, 0.95)) + 0.1 * smooth_noise(rng, 30), 0.3, 1)
    silk = _shifted(bare.silk, slip_x, slip_y)

    defect = blank()
    if flaw is not None and flaw.kind in ("missing", "misplacement"):
        placements, defect = _misbuilt(placements, flaw)

    albedo = coloured((0.035, 0.25, 0.13), mask_tone * ripple * (1 + 0.45 * bare.copper))
    albedo = blend(albedo, (0.82, 0.83, 0.78), silk * ink)
    albedo += (coloured((0.62, 0.60, 0.55), 1 + 0.05 * smooth_noise(rng, 8)) - albedo) * bare.pads
    albedo = blend(albedo, (0.05, 0.05, 0.05), bare.drills)
    table = 0.10 + 0.008 * smooth_noise(rng, 50)
    on_table = np.asarray(table + (albedo - table) * bare.outline, dtype=np.float32)
    height_px = bare.copper_height_px + solder * bare.pad_height_px
    albedo, height_px = _assembled(on_table, height_px, placements)
    surface = Surface(
        albedo=albedo,
        height_px=height_px,
        gloss=blank(),
        grooves=np.zeros((2, 1, 1), np.float32),
        part=bare.outline * (1 - bare.drills),
        defect=defect,
    )
    surface = dusted(surface, rng, specks=9, tone=0.55)
    return surface if flaw is None else flawed(surface, flaw, MATERIAL)


def _misbuilt(placements: list[Placement], flaw: Flaw) -> tuple[list[Placement], FloatImage]:
    """The placements with one component missing or out of place, and the area (S, S) that shows it.

    The less severe the flaw, the smaller the component.
    """
    by_size = sorted(range(len(placements)), key=lambda k: placements[k].component.area_px2)
    aim = flaw.severity * (len(by_size) - 1) + float(flaw.rng.normal(0, 2))
    chosen = by_size[int(np.clip(round(aim), 0, len(by_size) - 1))]
    good = placements[chosen]
    if flaw.kind == "missing":
        bad = replace(good, present=False)
    else:
        away_rad = float(flaw.rng.uniform(0, 2 * math.pi))
        distance_px = flaw.graded(1.5, 15)
        bad = replace(
            good,
            shift_x_px=good.shift_x_px + distance_px * math.cos(away_rad),
            shift_y_px=good.shift_y_px + distance_px * math.sin(away_rad),
            turn_deg=good.turn_deg + flaw.graded(2, 28) * (1 if flaw.rng.random() < 0.5 else -1),
        )
    area = np.maximum(_covered(good), _covered(bad))
    return [bad if k == chosen else placement for k, placement in enumerate(placements)], area


def _shifted(image: FloatImage, x_px: float, y_px: float) -> FloatImage:
    """A layer (S, S) moved by a fraction of a pixel or more."""
    move = np.array([[1, 0, x_px], [0, 1, y_px]], dtype=np.float64)
    return np.asarray(cv2.warpAffine(image, move, (CANVAS_PX, CANVAS_PX)), dtype=np.float32)


def _placed(placement: Placement) -> tuple[tuple[slice, slice], FloatImage]:
    """The component's window on the canvas and what it shows there.

    The window's image is (P, P, 5): red, green, blue (times coverage), coverage and height in pixels.
    """
    component = placement.component
    patch = component_patch(component)
    size = patch.shape[0]
    pose = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), placement.turn_deg + component.turn_deg, 1)
    pose[:, 2] += np.array((placement.shift_x_px, placement.shift_y_px))
    # warpAffine takes at most four channels at a time.
    colour = cv2.warpAffine(patch[..., :4], pose, (size, size))
    height = cv2.warpAffine(patch[..., 4], pose, (size, size))
    top, left = component.y_px - size // 2, component.x_px - size // 2
    window = (slice(top, top + size), slice(left, left + size))
    return window, np.asarray(np.dstack([colour, height]), dtype=np.float32)


def _covered(placement: Placement) -> FloatImage:
    """1 where the component's body and terminals are. (S, S)."""
    covered = blank()
    window, image = _placed(placement)
    covered[window] = image[..., 3]
    return covered


def _assembled(albedo: FloatImage, height_px: FloatImage, placements: list[Placement]) -> tuple[FloatImage, FloatImage]:
    """The board's albedo and height with its components, which darken the board close to them."""
    covered = blank()
    mounted = [(*_placed(placement), placement.tone) for placement in placements if placement.present]
    for window, image, _ in mounted:
        covered[window] = np.maximum(covered[window], image[..., 3])
    albedo = albedo * (1 - 0.45 * _shifted(blur(covered, 4.0), 2, 3))
    height_px = height_px.copy()
    for window, image, tone in mounted:
        bare = 1 - image[..., 3]
        for plane, colour in zip(albedo, np.moveaxis(image, 2, 0), strict=False):
            plane[window] = plane[window] * bare + colour * tone
        height_px[window] = height_px[window] * bare + image[..., 4]
    return albedo, height_px
