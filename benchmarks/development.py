"""Which backbone weights are better? Quick heads on the development sets, never on the sets that we report.

    DEFECTFLOW_DATA=... python benchmarks/development.py a.safetensors b.safetensors

Per weights file and set: image AUROC of two crude density heads, a whitened Gaussian around each place's mean
(levels 1 to 3) and the distance to the nearest of 4,000 whitened training vectors (levels 2 and 3). Sets: the three
sample products; dobot and cookies with their own defects; training parts of the magnetic tiles and of DeepPCB, where
good pictures with faint flaws drawn over them stand in for defective parts. About a minute per file on 2 CPU cores.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from defectflow.data import Picture, find_pictures
from defectflow.density import Normalisation
from defectflow.embedding import Embedding, build_embedding, measure_statistics
from defectflow.image import read_image
from defectflow.recipe import EmbeddingSettings, ImageSettings
from defectflow.samples import PRODUCTS, draw_product
from defectflow.score import Score
from defectflow.verdict import auroc

SIDE_PX = 256
MEMORY_VECTORS = 4000
BATCH = 16
TUNE_SHARE = 0.2
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class DevelopmentSet:
    """Pictures (n, S, S, 3) uint8."""

    train: Pixels
    good: Pixels
    defective: Pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="weights files, or `builtin`")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--adapt", action="store_true", help="as with embedding.adapt: true")
    options = parser.parse_args()
    sets = development_sets()
    table = Table("weights", *sets, "Gaussian", "nearest", "mean")
    for weights in options.weights:
        settings = EmbeddingSettings(backbone=options.backbone, weights=weights)
        figures = {}
        for name, pictures in sets.items():
            embedding, _ = build_embedding(ImageSettings(size=SIDE_PX), settings)
            if options.adapt:
                known = pictures.train[: _known(pictures)]
                measure_statistics(embedding.backbone, embedding.square(torch.from_numpy(known)).split(BATCH))
            figures[name] = aurocs(embedding, pictures)
        gaussian, nearest = np.mean(list(figures.values()), axis=0)
        cells = [f"{first:.3f} {second:.3f}" for first, second in figures.values()]
        table.add_row(
            Path(weights).stem, *cells, f"{gaussian:.3f}", f"{nearest:.3f}", f"{(gaussian + nearest) / 2:.3f}"
        )
        print(f"{weights}: {(gaussian + nearest) / 2:.3f}", file=sys.stderr)
    Console(width=200).print(table)


def development_sets() -> dict[str, DevelopmentSet]:
    """The sample products, and the real sets where DEFECTFLOW_DATA names their folder."""
    random = np.random.default_rng(0)
    sets = {}
    folder = os.environ.get("DEFECTFLOW_DATA")
    if folder:
        for name in ("dobot", "cookies"):
            sets[name] = _labelled(find_pictures(Path(folder) / f"{name}.csv"), 60, 60, 60, random)
        for name in ("mtd_by_tile", "deeppcb"):
            sets[name] = _drawn_over(find_pictures(Path(folder) / f"{name}.csv"), random)
    else:
        print("DEFECTFLOW_DATA is not set: sample products only", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        for product in PRODUCTS:
            counts = {"good_parts": 50, "test_good_parts": 30, "defective_parts": 60}
            tree = draw_product(product, Path(scratch) / product, **counts)
            sets[product] = _labelled(find_pictures(tree), 80, 50, 70, random)
    return sets


@torch.inference_mode()
def aurocs(embedding: Embedding, pictures: DevelopmentSet) -> tuple[float, float]:
    """Image AUROC of the Gaussian head and of the nearest-neighbour head."""
    train, good, defective = (
        _levels(embedding, group) for group in (pictures.train, pictures.good, pictures.defective)
    )
    known = _known(pictures)
    scores = []
    for head, levels in ((_gaussian, (0, 1, 2)), (_nearest, (1, 2))):
        measures = {level: head(train[level][:known]) for level in levels}
        grids = [embedding.shapes[level][:2] for level in levels]
        inside = torch.ones(grids[0], dtype=torch.bool)
        score = Score(grids, smoothing_places=1.0, top_fraction=0.01, inside=inside)
        score.fit_maps([measures[level](train[level][known:]) for level in levels])
        of_good, of_defective = (
            score.image_score(score.anomaly_map([measures[level](group[level]) for level in levels]))[0]
            for group in (good, defective)
        )
        scores.append(auroc(of_good.numpy(), of_defective.numpy()))
    return scores[0], scores[1]


def _known(pictures: DevelopmentSet) -> int:
    """So many of the training pictures are learned from; the others set the score's units."""
    return int(len(pictures.train) * (1 - TUNE_SHARE))


def _levels(embedding: Embedding, pictures: Pixels) -> list[Tensor]:
    batches = [embedding(torch.from_numpy(pictures[row : row + BATCH])) for row in range(0, len(pictures), BATCH)]
    return [torch.cat(level) for level in zip(*batches, strict=True)]


def _gaussian(train: Tensor):
    """Mean square of the whitened difference from the place's mean, itself averaged over 5 x 5 places."""
    mean = F.avg_pool2d(train.mean(0).permute(2, 0, 1)[None], 5, stride=1, padding=2, count_include_pad=False)
    mean = mean[0].permute(1, 2, 0)
    whiten = _whitening(train - mean)
    return lambda maps: whiten(maps - mean).square().mean(-1)


def _nearest(train: Tensor):
    """Distance to the nearest of some whitened training vectors."""
    whiten = _whitening(train)
    vectors = whiten(train).flatten(0, 2)
    chosen = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))[:MEMORY_VECTORS]
    memory = vectors[chosen]
    return lambda maps: torch.stack([torch.cdist(whiten(one), memory).amin(-1) for one in maps])


def _whitening(vectors: Tensor) -> Normalisation:
    flat = vectors.flatten(0, 2)
    mean = flat.mean(0)
    centred = flat - mean
    whiten = Normalisation(flat.shape[1])
    whiten.fit(mean, centred.T @ centred / len(flat), "whiten")
    return whiten


def _labelled(
    found: list[Picture], train: int, good: int, defective: int, random: np.random.Generator
) -> DevelopmentSet:
    groups = (
        ([p for p in found if p.split == "train" and p.label == "good"], train),
        ([p for p in found if p.split != "train" and p.label == "good"], good),
        ([p for p in found if p.label != "good"], defective),
    )
    return DevelopmentSet(*(_read(_picked(group, count, random)) for group, count in groups))


def _drawn_over(found: list[Picture], random: np.random.Generator) -> DevelopmentSet:
    """Training parts only: some to learn from; of the others, some as they are and some with a flaw."""
    pictures = [p for p in found if p.split == "train" and p.label == "good"]
    parts = sorted({p.part for p in pictures})
    learned = {parts[i] for i in random.permutation(len(parts))[: int(0.7 * len(parts))]}
    train = _picked([p for p in pictures if p.part in learned], 100, random)
    held_out = _read(_picked([p for p in pictures if p.part not in learned], 120, random))
    flawed = np.stack([with_flaw(pixels, random) for pixels in held_out[60:]])
    return DevelopmentSet(_read(train), held_out[:60], flawed)


def _picked(pictures: list[Picture], count: int, random: np.random.Generator) -> list[Picture]:
    return [pictures[i] for i in sorted(random.permutation(len(pictures))[:count])]


def _read(pictures: list[Picture]) -> Pixels:
    side = (SIDE_PX, SIDE_PX)
    return np.stack([cv2.resize(read_image(p.path), side, interpolation=cv2.INTER_AREA) for p in pictures])


def with_flaw(picture: Pixels, random: np.random.Generator) -> Pixels:
    """A scratch, spot, displaced patch or stain, (S, S, 3); tones change by 0.3 to 1.5 of their own spread."""
    tones = picture.astype(np.float32)
    change = random.choice([-1.0, 1.0]) * random.uniform(0.3, 1.5) * max(8.0, float(tones.std()))
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float32)
    middle_x, middle_y = random.uniform(30, SIDE_PX - 30, 2)
    match random.choice(["scratch", "spot", "patch", "stain"], p=[0.4, 0.2, 0.2, 0.2]):
        case "scratch":
            steps = random.uniform(2, 7, 12)
            headings = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, 0.15, 12))
            points = np.stack(
                [middle_x + np.cumsum(steps * np.cos(headings)), middle_y + np.cumsum(steps * np.sin(headings))], 1
            )
            cover = np.zeros((SIDE_PX, SIDE_PX), np.float32)
            width = int(random.integers(1, 4))
            cv2.polylines(cover, [np.round(points * 8).astype(np.int32)], False, 1, width, cv2.LINE_AA, 3)
            tones += change * cv2.GaussianBlur(cover, (0, 0), 0.7)[..., None]
        case "spot":
            away = np.hypot(x - middle_x, (y - middle_y) * random.uniform(0.6, 1.6))
            cover = np.clip(random.uniform(2.5, 8) - away, 0, 1)
            tones += change * cv2.GaussianBlur(cover, (0, 0), 0.8)[..., None]
        case "patch":
            height, width = random.integers(8, 28, 2)
            top, left = int(middle_y) - height // 2, int(middle_x) - width // 2
            from_top, from_left = random.integers(0, SIDE_PX - 40, 2)
            patch = tones[from_top : from_top + height, from_left : from_left + width]
            tones[top : top + height, left : left + width] = patch[::-1, ::-1].copy()
        case _:
            rough = cv2.GaussianBlur(random.normal(size=tones.shape[:2]).astype(np.float32), (0, 0), 8)
            edge = random.uniform(10, 28) + 4 * rough / rough.std() - np.hypot(x - middle_x, y - middle_y)
            tones += 0.6 * change / (1 + np.exp(-edge[..., None] / 2))
    return np.clip(tones, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
