"""Surface -> surface with a scratch, a dent, a hole or a stain: the flaws that any material can have."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from defectflow.samples.common import (
    CANVAS_PX,
    CENTRE_PX,
    Flaw,
    FloatImage,
    Surface,
    blend,
    blur,
    canvas_grid,
    layer,
    smooth_noise,
)

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Material:
    """How a material shows flaws: colours in 0..1, the largest dent, and the border without flaws."""

    scratch_rgb: Rgb
    inside_rgb: Rgb
    stain_rgb: Rgb
    dent_radius_px: float
    dent_slope: float
    border_px: int


def flawed(surface: Surface, flaw: Flaw, material: Material) -> Surface:
    """The surface with its flaw; kinds that change how a product is built are left to the product."""
    match flaw.kind:
        case "scratch":
            return _scratched(surface, flaw, material)
        case "dent":
            return _dented(surface, flaw, material)
        case "hole":
            return _pierced(surface, flaw, material)
        case "stain":
            return _stained(surface, flaw, material)
        case _:
            return surface


def rough_distance(
    rng: np.random.Generator, x_px: float, y_px: float, radius_px: float, roughness: float
) -> FloatImage:
    """Distance of every pixel to an irregular blob's edge, in canvas pixels; negative inside. (S, S).

    x_px and y_px are measured from the canvas centre.
    """
    x, y = canvas_grid()
    stretch, turn_rad = float(rng.uniform(0.75, 1.3)), float(rng.uniform(0, math.pi))
    along = (x - x_px) * math.cos(turn_rad) + (y - y_px) * math.sin(turn_rad)
    aside = (y - y_px) * math.cos(turn_rad) - (x - x_px) * math.sin(turn_rad)
    away = np.hypot(along / stretch, aside * stretch)
    bumps = smooth_noise(rng, max(4.0, 0.7 * radius_px))
    # The bumps may not swallow the blob: its middle always stays inside.
    return np.asarray(away - radius_px * np.clip(1 + roughness * bumps, 0.5, 1.8), dtype=np.float32)


def _place(surface: Surface, rng: np.random.Generator, border_px: int) -> tuple[float, float]:
    """A spot on the part, off its edges and inside the picture; x and y from the canvas centre."""
    inner = cv2.erode(surface.part, np.ones((17, 17), np.uint8))[border_px:-border_px, border_px:-border_px] > 0.5
    spots = np.flatnonzero(inner)
    row, column = divmod(int(spots[int(rng.integers(spots.size))]), inner.shape[1])
    return column + border_px - CENTRE_PX, row + border_px - CENTRE_PX


def _scratched(surface: Surface, flaw: Flaw, material: Material) -> Surface:
    rng = flaw.rng
    x, y = _place(surface, rng, material.border_px)
    length_px, width_px = flaw.graded(28, 190), flaw.graded(2, 5.5)
    contrast = flaw.graded(0.12, 1.2)
    heading_rad = float(rng.uniform(0, 2 * math.pi))
    points: list[tuple[float, float]] = []
    for _ in range(24):
        points.append((x + CENTRE_PX, y + CENTRE_PX))
        x, y = x + length_px / 24 * math.cos(heading_rad), y + length_px / 24 * math.sin(heading_rad)
        heading_rad += float(rng.normal(0, 0.05))
    drawn = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
    path = np.round(np.array(points) * 16).astype(np.int32)[:, None]
    cv2.polylines(drawn, [path], False, 255, max(2, round(width_px)), cv2.LINE_AA, shift=4)
    line = layer(drawn) * surface.part
    # A tool presses unevenly: the line fades and returns along its way.
    pressure = np.clip(0.85 + 0.3 * smooth_noise(rng, 24), 0.35, 1.2)
    return replace(
        surface,
        albedo=blend(surface.albedo, material.scratch_rgb, np.clip(contrast * line * pressure, 0, 1)),
        height_px=surface.height_px - contrast * line * pressure,
        gloss=surface.gloss * (1 - min(1.0, contrast) * line),
        defect=line,
    )


def _dented(surface: Surface, flaw: Flaw, material: Material) -> Surface:
    rng = flaw.rng
    x, y = _place(surface, rng, material.border_px)
    radius_px = flaw.graded(0.3 * material.dent_radius_px, material.dent_radius_px)
    slope = flaw.graded(0.2 * material.dent_slope, material.dent_slope)
    away = rough_distance(rng, x, y, radius_px, 0.12) / radius_px + 1
    bowl = np.exp(-(away**2)) * surface.part
    return replace(
        surface,
        albedo=surface.albedo * (1 - min(0.5, 0.25 * slope) * bowl),
        # exp(-d^2/r^2) is steepest at 0.86/r, so this depth gives the wanted slope.
        height_px=surface.height_px - slope * radius_px / 0.86 * bowl,
        gloss=surface.gloss * (1 - min(0.8, 0.4 * slope) * bowl),
        defect=((away < 1.5) & (surface.part > 0.5)).astype(np.float32),
    )


def _pierced(surface: Surface, flaw: Flaw, material: Material) -> Surface:
    rng = flaw.rng
    x, y = _place(surface, rng, material.border_px)
    radius_px, depth = flaw.graded(3.0, 19), flaw.graded(0.3, 1.4)
    edge_px = rough_distance(rng, x, y, radius_px, 0.2)
    hole = np.clip(0.5 - edge_px, 0, 1) * surface.part
    covered = hole * min(1.0, depth)
    return replace(
        surface,
        albedo=blend(surface.albedo, material.inside_rgb, covered),
        height_px=surface.height_px * (1 - covered) - 0.8 * blur(covered, 1.0),
        gloss=surface.gloss * (1 - covered),
        defect=hole,
    )


def _stained(surface: Surface, flaw: Flaw, material: Material) -> Surface:
    rng = flaw.rng
    x, y = _place(surface, rng, material.border_px)
    radius_px, density = flaw.graded(11, 52), flaw.graded(0.12, 0.85)
    edge_px = rough_distance(rng, x, y, radius_px, 0.25)
    spread = np.clip(0.5 - edge_px / (0.25 * radius_px), 0, 1) * surface.part
    # Drying liquid leaves more of itself at the rim.
    rim = np.exp(-((edge_px / (0.12 * radius_px) + 1) ** 2)) * float(rng.uniform(0, 0.6))
    patchy = np.clip(1 + 0.2 * smooth_noise(rng, 14), 0.3, 1.6)
    film = np.clip(density * spread * (0.8 + rim) * patchy, 0, 0.9)
    return replace(
        surface,
        albedo=blend(surface.albedo, material.stain_rgb, film),
        gloss=surface.gloss * (1 - film),
        defect=(spread > 0.5).astype(np.float32),
    )
