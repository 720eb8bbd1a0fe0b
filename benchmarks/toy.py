"""Two moons and a ring of eight Gaussians: how near each family comes to the true density.

    python benchmarks/toy.py --plot toy.png

Prints, per family and shape, the cross-entropy of held-out points in nats above the true density's own (0 is perfect),
and draws the learned densities. Both true densities are known: the ring's in closed form, the moons' by integrating
the noise along the two arcs.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from defectflow.flows import Family, Flow, build_flow

Points = NDArray[np.float64]
SHAPES = ("moons", "ring")
MOON_NOISE, RING_NOISE, RING_RADIUS = 0.1, 0.2, 2.0
TRAIN, TEST, BATCH = 20_000, 10_000, 1024
LAYERS: dict[Family, int] = {"planar": 32, "nice": 12, "realnvp": 12, "glow": 12, "maf": 16, "iaf": 16, "spline": 6}
SETTINGS: dict[Family, dict[str, int]] = {
    **{family: {"layers": count, "hidden": 64} for family, count in LAYERS.items()},
    "cnf": {"hidden": 64, "steps": 16},
    "gaussian": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", choices=get_args(Family), default=list(get_args(Family)))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--plot", type=Path, help="a PNG file (needs matplotlib)")
    options = parser.parse_args()
    table = Table("family", *(f"{shape}: nats above the truth" for shape in SHAPES), "seconds")
    learned: dict[tuple[str, str], Flow] = {}
    for family in options.families:
        started, cells = time.perf_counter(), []
        for shape in SHAPES:
            flow, excess = learn(family, shape, options.steps)
            learned[family, shape] = flow
            cells.append(f"{excess:.3f}")
            print(f"{family}, {shape}: {excess:.3f}", file=sys.stderr)
        table.add_row(family, *cells, f"{time.perf_counter() - started:.0f}")
    Console().print(table)
    if options.plot:
        _plot(learned, options.families, options.plot)


def learn(family: Family, shape: str, steps: int) -> tuple[Flow, float]:
    """A flow and its cross-entropy on held-out points above the true density's, in nats."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    train = torch.from_numpy(points(shape, TRAIN, random)).float()
    test = points(shape, TEST, random)
    flow = build_flow(family, 2, 0, **SETTINGS[family])
    nothing = torch.zeros(BATCH, 0)
    flow.initialise(train, torch.zeros(TRAIN, 0))
    parameters = list(flow.parameters())
    if parameters:  # a Gaussian without a condition has none
        optimiser = torch.optim.Adam(parameters, 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            optimiser.zero_grad()
            flow.loss(train[torch.randint(TRAIN, (BATCH,))], nothing).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        ours = flow.log_prob(torch.from_numpy(test).float(), torch.zeros(TEST, 0)).mean().item()
    return flow, float(true_log_density(shape, test).mean()) - ours


def points(shape: str, count: int, random: np.random.Generator) -> Points:
    """(count, 2)."""
    if shape == "ring":
        turn = random.integers(8, size=count) * math.pi / 4
        middles = RING_RADIUS * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        return middles + RING_NOISE * random.normal(size=(count, 2))
    turn = random.uniform(0, math.pi, count)
    upper = random.random(count) < 0.5
    return _moon(turn, upper) + MOON_NOISE * random.normal(size=(count, 2))


def true_log_density(shape: str, at: Points) -> NDArray[np.float64]:
    """log p of points (n, 2), in nats."""
    if shape == "ring":
        turn = np.arange(8) * math.pi / 4
        middles, noise = RING_RADIUS * np.stack([np.cos(turn), np.sin(turn)], axis=1), RING_NOISE
    else:
        turn = (np.arange(500) + 0.5) / 500 * math.pi
        middles = np.concatenate([_moon(turn, np.full(500, upper)) for upper in (True, False)])
        noise = MOON_NOISE
    square = ((at[:, None] - middles) ** 2).sum(-1)
    each = -0.5 * square / noise**2 - math.log(2 * math.pi * noise**2)
    return np.logaddexp.reduce(each, axis=1) - math.log(len(middles))


def _moon(turn: Points, upper: NDArray[np.bool_]) -> Points:
    """Two half circles that reach into one another."""
    x = np.where(upper, np.cos(turn), 1 - np.cos(turn))
    y = np.where(upper, np.sin(turn), 0.5 - np.sin(turn))
    return np.stack([x, y], axis=1)


@torch.no_grad()
def _plot(learned: dict[tuple[str, str], Flow], families: list[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(SHAPES), len(families) + 1, figsize=(2.2 * (len(families) + 1), 4.6))
    for row, shape in zip(axes, SHAPES, strict=True):
        sample = points(shape, 4000, np.random.default_rng(1))
        (left, bottom), (right, top) = sample.min(0) - 0.3, sample.max(0) + 0.3
        x, y = np.meshgrid(np.linspace(left, right, 160), np.linspace(bottom, top, 160))
        grid = np.stack([x.ravel(), y.ravel()], axis=1)
        pictures = [("true", np.exp(true_log_density(shape, grid)))]
        for family in families:
            flow = learned[family, shape]
            pictures.append(
                (family, flow.log_prob(torch.from_numpy(grid).float(), torch.zeros(len(grid), 0)).exp().numpy())
            )
        for axis, (name, density) in zip(row, pictures, strict=True):
            axis.imshow(density.reshape(x.shape), origin="lower")
            axis.set_title(name)
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
