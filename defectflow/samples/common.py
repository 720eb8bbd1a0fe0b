"""A seed -> numbers for drawing, and the surface that every sample product is drawn as.

Products are drawn at twice the picture's size, so that edges are smooth after halving.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
ByteImage = npt.NDArray[np.uint8]

PICTURE_PX = 256
CANVAS_PX = 2 * PICTURE_PX
CENTRE_PX = (CANVAS_PX - 1) / 2

KINDS: tuple[str, ...] = ("scratch", "dent", "hole", "stain", "missing", "misplacement")


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A part before it is photographed; S is CANVAS_PX.

    albedo (3, S, S) in 0..1, as planes because NumPy is fast on them;
    height_px (S, S), the relief that the light catches;
    gloss (S, S) in 0..1;
    grooves (2, S, S), cosine and sine of twice the direction across the machining grooves; (2, 1, 1) zeros
    for a product without any;
    part (S, S), 1 on the part and 0 beside it;
    defect (S, S), 1 on the defect.
    """

    albedo: FloatImage
    height_px: FloatImage
    gloss: FloatImage
    grooves: FloatImage
    part: FloatImage
    defect: FloatImage


@dataclass(frozen=True, slots=True, eq=False)
class Flaw:
    """What is wrong with a defective part: a kind, a severity in 0..1, and its own random numbers."""

    kind: str
    severity: float
    rng: np.random.Generator

    def graded(self, low: float, high: float) -> float:
        """A size or contrast between low and high that follows the severity, but not slavishly.

        Size and contrast are graded by separate calls, so that large faint flaws and small harsh ones occur.
        """
        level = 0.7 * self.severity + 0.3 * float(self.rng.random())
        return low * math.pow(high / low, level)


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on the seed and the key alone, never on what was drawn before."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@lru_cache(maxsize=1)
def canvas_grid() -> tuple[FloatImage, FloatImage]:
    """x and y of every canvas pixel from the centre, in canvas pixels; each (S, S), read-only."""
    line = np.arange(CANVAS_PX, dtype=np.float32) - np.float32(CENTRE_PX)
    x, y = np.meshgrid(line, line)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def blank() -> FloatImage:
    """An empty layer (S, S)."""
    return np.zeros((CANVAS_PX, CANVAS_PX), np.float32)


def smooth_noise(rng: np.random.Generator, cell_x_px: float, cell_y_px: float | None = None) -> FloatImage:
    """Noise (S, S) of zero mean and a spread near 1 that varies over about one cell."""
    rows = math.ceil(CANVAS_PX / (cell_y_px or cell_x_px)) + 2
    columns = math.ceil(CANVAS_PX / cell_x_px) + 2
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def layer(drawn: npt.NDArray[np.uint8]) -> FloatImage:
    """A layer drawn with OpenCV's antialiasing (bytes only) as coverage in 0..1."""
    return drawn.astype(np.float32) * np.float32(1 / 255)


def blend(albedo: FloatImage, rgb: tuple[float, float, float], coverage: FloatImage) -> FloatImage:
    """albedo (3, S, S) covered by one colour; coverage (S, S) in 0..1."""
    covered = albedo.copy()
    spots = np.flatnonzero(coverage)  # most coverages are sparse
    strength = coverage.ravel()[spots]
    for plane, paint in zip(covered, rgb, strict=True):
        flat = plane.ravel()
        flat[spots] += (np.float32(paint) - flat[spots]) * strength
    return covered


def coloured(rgb: tuple[float, float, float], tone: FloatImage) -> FloatImage:
    """One colour, lighter and darker by tone (S, S) -> (3, S, S)."""
    return np.array(rgb, dtype=np.float32)[:, None, None] * tone


def blur(image: FloatImage, sigma_px: float) -> FloatImage:
    """Gaussian blur of a layer (S, S) or a picture (H, W, 3)."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), dtype=np.float32)


def dusted(surface: Surface, rng: np.random.Generator, *, specks: float, tone: float) -> Surface:
    """The surface with about `specks` harmless dust specks and a few lint fibres of the given tone."""
    dust = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
    for _ in range(int(rng.poisson(specks))):
        x, y = (int(v) for v in rng.integers(0, CANVAS_PX, 2))
        cv2.circle(dust, (x, y), int(rng.integers(1, 4)), int(rng.integers(40, 200)), -1, cv2.LINE_AA)
    for _ in range(int(rng.poisson(specks / 12))):
        x, y = (int(v) for v in rng.integers(0, CANVAS_PX, 2))
        reach = (int(rng.integers(8, 26)), int(rng.integers(5, 18)))
        start, turn = (float(v) for v in rng.uniform(0, 360, 2))
        cv2.ellipse(dust, (x, y), reach, turn, start, start + 110, int(rng.integers(40, 130)), 1, cv2.LINE_AA)
    return replace(surface, albedo=blend(surface.albedo, (tone, tone, tone), layer(dust)))
