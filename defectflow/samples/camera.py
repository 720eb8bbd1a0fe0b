"""Surface -> picture: one shot of a part, with its own pose, light and sensor noise."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from defectflow.samples.common import CENTRE_PX, PICTURE_PX, ByteImage, FloatImage, Surface, blur

# A quarter of a pixel covered is a visible change; asking for half would erase the thinnest scratches.
MASK_COVERAGE = 0.25
# Lower values make the highlight of turned metal a wide bow tie, higher ones a narrow streak.
HIGHLIGHT_SHARPNESS = 2.5


@dataclass(frozen=True, slots=True)
class Optics:
    """How a product is pictured; spreads are standard deviations, lengths are in picture pixels."""

    zoom: float
    zoom_spread: float
    shift_px: float
    rotation_deg: float
    relief: float
    exposure_spread: float


def photograph(surface: Surface, rng: np.random.Generator, optics: Optics) -> tuple[ByteImage, ByteImage]:
    """One picture (256, 256, 3) RGB and its defect mask (256, 256), 0 or 255.

    All random numbers are drawn whatever the surface shows, so a part with and without its defect gets the
    same shot.
    """
    rotation_deg = optics.rotation_deg * _bounded_normal(rng)
    light_rad = math.radians(-120 + 25 * _bounded_normal(rng) - rotation_deg)
    zoom = optics.zoom * (1 + optics.zoom_spread * _bounded_normal(rng))
    pose = np.asarray(cv2.getRotationMatrix2D((CENTRE_PX, CENTRE_PX), rotation_deg, zoom), dtype=np.float64)
    pose[:, 2] += np.array([2 * optics.shift_px * _bounded_normal(rng) for _ in range(2)])

    lit = _lit(surface, light_rad, optics.relief)
    picture = _posed(lit, pose) * _illumination(rng, optics)
    picture = blur(picture, float(rng.uniform(0.35, 0.75)))
    # Photon noise grows with the light, read-out noise does not.
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    picture += noise * np.sqrt(np.float32(1.2e-5) + np.float32(8e-5) * np.clip(picture, 0, 1))
    mask = _posed(surface.defect, pose) > MASK_COVERAGE
    pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels, mask.astype(np.uint8) * np.uint8(255)


def _bounded_normal(rng: np.random.Generator) -> float:
    """A standard normal number within +-2.5: fixtures hold a part, so no pose is wild."""
    return float(np.clip(rng.standard_normal(), -2.5, 2.5))


def _lit(surface: Surface, light_rad: float, relief: float) -> FloatImage:
    """Light from one side on the relief, plus the highlight across the grooves. (S, S, 3)."""
    towards_x, towards_y = math.cos(light_rad), math.sin(light_rad)
    slope_x = cv2.Sobel(surface.height_px, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    slope_y = cv2.Sobel(surface.height_px, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    facing = np.clip(1 - relief * (slope_x * towards_x + slope_y * towards_y), 0.3, 2.0)
    cosine, sine = surface.grooves
    across = cosine * math.cos(2 * light_rad) + sine * math.sin(2 * light_rad)
    highlight = surface.gloss * np.exp(HIGHLIGHT_SHARPNESS * (across - 1)) * facing
    lit = surface.albedo * facing + highlight
    return np.asarray(cv2.merge(list(lit)), dtype=np.float32)  # (3, S, S) -> (S, S, 3)


def _posed(canvas: FloatImage, pose: npt.NDArray[np.float64]) -> FloatImage:
    """Canvas (S, S[, 3]) -> picture size (256, 256[, 3]), moved by the 2x3 pose."""
    height, width = canvas.shape[:2]
    moved = cv2.warpAffine(canvas, pose, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(moved, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _illumination(rng: np.random.Generator, optics: Optics) -> FloatImage:
    """Gain of every pixel (256, 256, 3): exposure, gradient, vignette and colour temperature."""
    line = np.linspace(-1, 1, PICTURE_PX, dtype=np.float32)
    across, down = line[None, :], line[:, None]
    exposure = math.exp(optics.exposure_spread * _bounded_normal(rng))
    direction_rad = math.radians(-120 + 45 * _bounded_normal(rng))
    strength = float(rng.uniform(0.03, 0.16))
    gradient = 1 + strength * (across * math.cos(direction_rad) + down * math.sin(direction_rad))
    vignette = 1 - 0.07 * (across**2 + down**2)
    warmth = 0.013 * _bounded_normal(rng)
    colour = np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32)
    return np.asarray((exposure * gradient * vignette)[..., None] * colour, dtype=np.float32)
