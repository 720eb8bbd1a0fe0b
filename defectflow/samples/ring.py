"""The machined metal ring: a turned face with chamfers and a groove, on a dark table."""

import math
from functools import lru_cache

import cv2
import numpy as np

from defectflow.samples.camera import Optics
from defectflow.samples.common import (
    CANVAS_PX,
    CENTRE_PX,
    Flaw,
    FloatImage,
    Surface,
    blank,
    blend,
    canvas_grid,
    coloured,
    dusted,
    layer,
    smooth_noise,
)
from defectflow.samples.flaws import Material, flawed, rough_distance

OPTICS = Optics(zoom=1.0, zoom_spread=0.008, shift_px=1.6, rotation_deg=4.0, relief=0.55, exposure_spread=0.06)
MATERIAL = Material(
    scratch_rgb=(0.86, 0.86, 0.84),
    inside_rgb=(0.05, 0.05, 0.05),
    stain_rgb=(0.24, 0.18, 0.10),
    dent_radius_px=26,
    dent_slope=0.6,
    border_px=48,
)

OUTER_PX, BORE_PX, GROOVE_PX, CHAMFER_PX = 204.0, 104.0, 158.0, 8.0


def draw(rng: np.random.Generator, flaw: Flaw | None) -> Surface:
    """One ring; a flaw changes nothing that `rng` decides."""
    radius_px, _ = _polar()
    outer_px, bore_px = OUTER_PX + float(rng.normal(0, 0.7)), BORE_PX + float(rng.normal(0, 0.7))
    # Lathes are never perfect: the tolerance on the bore's place is half a canvas pixel.
    bore_x, bore_y = (float(v) for v in rng.normal(0, 0.5, 2))
    turned = _turned_texture(rng)
    mottle = smooth_noise(rng, 60)
    tone = 0.40 * (1 + 0.05 * float(rng.normal())) * (1 + 0.07 * turned + 0.025 * mottle)
    marks = _machining_marks(rng)
    table = 0.05 + 0.006 * smooth_noise(rng, 40) + 0.004 * rng.standard_normal(tone.shape, dtype=np.float32)

    edge_px = _edge_distance(outer_px, bore_px, bore_x, bore_y)
    defect = blank()
    if flaw is not None and flaw.kind in ("missing", "misplacement"):
        good_edge_px = edge_px
        if flaw.kind == "missing":
            edge_px = np.minimum(good_edge_px, _chip(flaw, outer_px, bore_px))
        else:
            offset_px, turn_rad = flaw.graded(2.5, 17), float(flaw.rng.uniform(0, 2 * math.pi))
            bore_x += offset_px * math.cos(turn_rad)
            bore_y += offset_px * math.sin(turn_rad)
            edge_px = _edge_distance(outer_px, bore_px, bore_x, bore_y)
        moved_px = np.abs(np.clip(edge_px, -1, CHAMFER_PX) - np.clip(good_edge_px, -1, CHAMFER_PX))
        defect = (moved_px > 0.4 * moved_px.max()).astype(np.float32)

    part = np.clip(edge_px + 0.5, 0, 1)
    metal = coloured((1.0, 0.985, 0.95), np.maximum(tone, 0.1))
    metal = blend(metal, (0.62, 0.61, 0.59), marks)
    groove_px = 3.0 * np.exp(-(((radius_px - GROOVE_PX) / 4.5) ** 2))
    surface = Surface(
        albedo=np.asarray(table + (metal - table) * part, dtype=np.float32),
        height_px=np.asarray(0.6 * np.clip(edge_px, 0, CHAMFER_PX) - groove_px * part, dtype=np.float32),
        gloss=np.asarray(0.42 * part * np.clip(1 + 0.16 * turned, 0.2, 2), dtype=np.float32),
        grooves=_grooves(),
        part=part,
        defect=defect,
    )
    surface = dusted(surface, rng, specks=14, tone=0.28)
    return surface if flaw is None else flawed(surface, flaw, MATERIAL)


@lru_cache(maxsize=1)
def _polar() -> tuple[FloatImage, FloatImage]:
    """Radius in canvas pixels and angle in radians of every pixel; each (S, S)."""
    x, y = canvas_grid()
    return np.hypot(x, y), np.arctan2(y, x)


@lru_cache(maxsize=1)
def _grooves() -> FloatImage:
    """Turning leaves circles, so the direction across them is the radius's. (2, S, S)."""
    _, angle_rad = _polar()
    return np.stack([np.cos(2 * angle_rad), np.sin(2 * angle_rad)])


def _edge_distance(outer_px: float, bore_px: float, bore_x: float, bore_y: float) -> FloatImage:
    """Distance to the ring's nearest edge in canvas pixels, negative beside the metal. (S, S)."""
    radius_px, _ = _polar()
    x, y = canvas_grid()
    inwards_px = np.hypot(x - bore_x, y - bore_y) - bore_px
    return np.asarray(np.minimum(outer_px - radius_px, inwards_px), dtype=np.float32)


def _chip(flaw: Flaw, outer_px: float, bore_px: float) -> FloatImage:
    """Distance to a bite out of the outer edge or the bore's edge; negative inside the bite. (S, S)."""
    rim_px = outer_px if flaw.rng.random() < 0.6 else bore_px
    turn_rad = float(flaw.rng.uniform(0, 2 * math.pi))
    size_px = flaw.graded(3.5, 36)
    x, y = rim_px * math.cos(turn_rad), rim_px * math.sin(turn_rad)
    return rough_distance(flaw.rng, x, y, size_px, 0.2)


def _turned_texture(rng: np.random.Generator) -> FloatImage:
    """Concentric tool marks with a spread near 1, partly full circles and partly arcs. (S, S)."""
    angles, radii = 256, CANVAS_PX // 2 + 4
    circles = rng.standard_normal((1, radii), dtype=np.float32)
    arcs = cv2.blur(rng.standard_normal((angles, radii), dtype=np.float32), (1, 21)) * 4
    polar = np.asarray(0.6 * circles + 0.8 * arcs, dtype=np.float32)
    flags = cv2.WARP_POLAR_LINEAR | cv2.WARP_INVERSE_MAP | cv2.WARP_FILL_OUTLIERS | cv2.INTER_LINEAR
    size, centre = (CANVAS_PX, CANVAS_PX), (CENTRE_PX, CENTRE_PX)
    return np.asarray(cv2.warpPolar(polar, size, centre, radii, flags), dtype=np.float32)


def _machining_marks(rng: np.random.Generator) -> FloatImage:
    """Faint arcs where the tool rested: harmless, and as common on good parts. Coverage (S, S)."""
    drawn = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
    centre = (CANVAS_PX // 2, CANVAS_PX // 2)
    for _ in range(int(rng.poisson(2.5))):
        radius_px = int(rng.uniform(BORE_PX + 12, OUTER_PX - 12))
        start_deg, sweep_deg = float(rng.uniform(0, 360)), float(rng.uniform(15, 80))
        strength, width_px = int(rng.uniform(25, 90)), int(rng.integers(1, 4))
        reach = (radius_px, radius_px)
        cv2.ellipse(drawn, centre, reach, 0, start_deg, start_deg + sweep_deg, strength, width_px, cv2.LINE_AA)
    return layer(drawn)
