"""The woven fabric: a 2/2 twill that fills the picture."""

import math

import numpy as np

from defectflow.samples.camera import Optics
from defectflow.samples.common import (
    CANVAS_PX,
    Flaw,
    FloatImage,
    Surface,
    blank,
    canvas_grid,
    dusted,
    smooth_noise,
)
from defectflow.samples.flaws import Material, flawed

# The zoom hides the canvas's border, whatever the pose.
OPTICS = Optics(zoom=1.14, zoom_spread=0.012, shift_px=4.0, rotation_deg=1.2, relief=0.5, exposure_spread=0.06)
MATERIAL = Material(
    scratch_rgb=(0.86, 0.86, 0.84),
    inside_rgb=(0.06, 0.06, 0.07),
    stain_rgb=(0.22, 0.17, 0.10),
    dent_radius_px=40,
    dent_slope=0.9,
    border_px=84,
)

PITCH_PX = 15.0  # canvas pixels from yarn to yarn
WARP_RGB, WEFT_RGB = (0.27, 0.36, 0.48), (0.60, 0.61, 0.58)
GAP_TONE = 0.18  # what little light returns from between the yarns
YARNS = 48  # enough to cross the canvas, wherever the weave starts


def draw(rng: np.random.Generator, flaw: Flaw | None) -> Surface:
    """One piece of fabric; a flaw changes nothing that `rng` decides.

    u counts warp yarns from left to right and v weft yarns (picks) from top to bottom, in yarns.
    """
    x, y = canvas_grid()
    start_u, start_v = (float(v) for v in rng.uniform(0, 4, 2))
    u = (x / PITCH_PX) + 20 + start_u + 0.05 * smooth_noise(rng, PITCH_PX, 90) + 0.10 * smooth_noise(rng, 150)
    v = (y / PITCH_PX) + 20 + start_v + 0.05 * smooth_noise(rng, 90, PITCH_PX) + 0.10 * smooth_noise(rng, 150)
    warp_width, weft_width = rng.normal(0.93, 0.03, (2, YARNS)).astype(np.float32)
    warp_tone, weft_tone = rng.normal(1, 0.035, (2, YARNS)).astype(np.float32)
    slubs = _slubs(rng, u, v)
    fuzz = rng.standard_normal((CANVAS_PX, CANVAS_PX), dtype=np.float32)
    shade = 1 + 0.03 * smooth_noise(rng, 90) + 0.03 * float(rng.normal())

    defect, gone, swapped = blank(), blank(), blank()
    if flaw is not None and flaw.kind == "missing":
        defect = gone = _flawed_pick(flaw, u, v)
        gone = gone * min(1.0, flaw.graded(0.3, 1.4))
    elif flaw is not None and flaw.kind == "misplacement":
        if flaw.rng.random() < 0.5:
            defect = swapped = _flawed_pick(flaw, u, v)
        else:
            v, defect = _slanted(flaw, u, v)

    i, j = np.floor(u), np.floor(v)
    warp, weft = i.astype(np.intp), j.astype(np.intp)
    warp_aside = (2 * (u - i) - 1) / np.take(warp_width, warp)
    weft_aside = (2 * (v - j) - 1) / (np.take(weft_width, weft) + slubs) / np.maximum(1 - gone, 1e-3)
    # Over two, under two, one step further with each pick; a mispick does the reverse.
    order = np.float32(math.pi) * swapped
    warp_lift = np.cos(np.float32(math.pi / 2) * (v - 0.5 - i) - np.float32(math.pi / 4) + order)
    weft_lift = -np.cos(np.float32(math.pi / 2) * (j - u + 0.5) - np.float32(math.pi / 4) + order)
    warp_round = np.sqrt(np.maximum(1 - warp_aside**2, 0))
    weft_round = np.sqrt(np.maximum(1 - weft_aside**2, 0)) * (1 - 0.6 * gone)
    warp_z = np.where(warp_round > 0, 0.9 * warp_lift + warp_round, np.float32(-2))
    weft_z = np.where(weft_round > 0, 0.9 * weft_lift + weft_round, np.float32(-2))

    warp_on_top = warp_z > weft_z
    top_z = np.maximum(warp_z, weft_z)
    # Spun fibres run aslant round the yarn.
    twist = np.where(warp_on_top, v * 3 + warp_aside * 0.6, u * 3 + weft_aside * 0.6)
    tone = np.where(warp_on_top, np.take(warp_tone, warp), np.take(weft_tone, weft)) * shade
    tone = tone * (0.62 + 0.38 * np.clip((top_z + 1) / 2.6, 0, 1)) * (1 + 0.06 * np.sin(2 * math.pi * twist))
    tone = tone * (1 + 0.05 * fuzz)
    tone = np.where(top_z > -1.9, tone, np.float32(GAP_TONE))
    planes = [
        np.where(warp_on_top, np.float32(warp_paint), np.float32(weft_paint)) * tone
        for warp_paint, weft_paint in zip(WARP_RGB, WEFT_RGB, strict=True)
    ]
    surface = Surface(
        albedo=np.asarray(planes, dtype=np.float32),
        height_px=np.asarray(1.6 * np.maximum(top_z, -1), dtype=np.float32),
        gloss=blank(),
        grooves=np.zeros((2, 1, 1), np.float32),
        part=np.ones((CANVAS_PX, CANVAS_PX), np.float32),
        defect=defect,
    )
    surface = dusted(surface, rng, specks=8, tone=0.75)
    return surface if flaw is None else flawed(surface, flaw, MATERIAL)


def _slubs(rng: np.random.Generator, u: FloatImage, v: FloatImage) -> FloatImage:
    """Extra width of thick places in the weft: a harmless feature of spun yarn. (S, S)."""
    extra, picks = blank(), np.floor(v)
    for _ in range(int(rng.poisson(3))):
        pick, middle = int(rng.integers(4, 40)), float(rng.uniform(4, 40))
        length, width = float(rng.uniform(1.5, 4)), float(rng.uniform(0.06, 0.22))
        row = picks == pick
        extra[row] += width * np.exp(-(((u[row] - middle) / length) ** 2))
    return extra


def _span(flaw: Flaw, shortest: float, longest: float) -> tuple[int, float, float]:
    """A pick inside the picture, the middle of its flawed stretch and half its length, in yarns."""
    pick = int(flaw.rng.integers(11, 31))
    return pick, float(flaw.rng.uniform(11, 31)), flaw.graded(shortest, longest) / 2


def _flawed_pick(flaw: Flaw, u: FloatImage, v: FloatImage) -> FloatImage:
    """Where one pick is flawed, 1 on its band and 0 elsewhere. (S, S)."""
    pick, middle, half_length = _span(flaw, 1.5, 30)
    band = (np.floor(v) == pick) & (np.abs(u - middle) < half_length)
    return np.asarray(band, dtype=np.float32)


def _slanted(flaw: Flaw, u: FloatImage, v: FloatImage) -> tuple[FloatImage, FloatImage]:
    """v with picks pushed aside along a stretch, and where that shows. Each (S, S)."""
    pick, middle, half_length = _span(flaw, 5, 26)
    offset = flaw.graded(0.25, 1.5) * (1 if flaw.rng.random() < 0.5 else -1)
    # A narrower push would fold one pick over the next.
    reach = 1.6
    push = np.exp(-(((v - pick - 0.5) / reach) ** 2 + ((u - middle) / half_length) ** 4))
    return np.asarray(v + offset * push, dtype=np.float32), np.asarray(push > 0.4, dtype=np.float32)
