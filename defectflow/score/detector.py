"""Embedding, flows, score and gate in one module: what is trained, and what is exported."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from defectflow.density import WHOLE, LevelDensity
from defectflow.embedding import Embedding, Weights, build_embedding, tiling_of
from defectflow.errors import SettingsError
from defectflow.image import Tiling
from defectflow.recipe import Recipe
from defectflow.score.gate import Gate
from defectflow.score.region import places_inside
from defectflow.score.score import Score


class Detector(nn.Module):
    """uint8 pictures -> score, anomaly map, pooled embedding, gate distance and the top fraction's lowest value.

    Shapes: image (N, H, W, 3) -> score (N,), map (N, h, w), embedding (N, D), distance (N,), top_floor (N,).
    """

    shares: Tensor
    """Of each place, level after level, in its level's mean over the region of interest."""

    def __init__(
        self, embedding: Embedding, densities: list[LevelDensity], score: Score, tiling: Tiling | None = None
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.tiling = tiling
        """None: the embedding's square is the whole part; otherwise `OnTiles` is what looks at pictures."""
        self.densities = nn.ModuleList(densities)
        self.score = score
        self.gate = Gate(sum(shape[-1] for shape in embedding.shapes))
        inside = [score.inside_at(height, width).flatten().float() for height, width, _ in embedding.shapes]
        self.register_buffer("shares", torch.cat([places / places.sum() for places in inside]), persistent=False)

    @property
    def levels(self) -> list[LevelDensity]:
        """Fine to coarse."""
        return cast("list[LevelDensity]", list(self.densities))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        levels, motion = self.embedding.look(image)
        maps = [density(level) for density, level in zip(self.levels, levels, strict=True)]
        return self.outputs(levels, self.score.anomaly_map(maps), motion)

    def outputs(
        self, levels: list[Tensor], anomaly_map: Tensor, motion: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A picture's vectors, by level, and its map -> what `forward` gives.

        `motion`: what the picture was aligned by; the map is laid back on the picture.
        """
        score, top_floor = self.score.image_score(anomaly_map)
        pooled = self.pooled(levels)
        if motion is not None and self.embedding.alignment is not None:
            anomaly_map = self.embedding.alignment.laid_back(anomaly_map, motion)
            top_floor = self.score.top_floor(anomaly_map)  # what is marked is what reaches it on this map
        return score, anomaly_map, pooled, self.gate(pooled), top_floor

    def pooled(self, levels: list[Tensor]) -> Tensor:
        """Mean over each level's places inside the region of interest, side by side: -> (N, sum of D_l)."""
        means, start = [], 0
        for level in levels:
            places = level.flatten(1, 2)  # (N, h, w, D) -> (N, h*w, D)
            means.append(self.shares[start : start + places.shape[1]] @ places)
            start += places.shape[1]
        return torch.cat(means, dim=1)

    def outputs_on_tiles(self, levels: list[Tensor], anomaly_map: Tensor) -> tuple[Tensor, ...]:
        """`outputs`, and the pooled embedding in the gate's units (N, D)."""
        seen = self.outputs(levels, anomaly_map)
        return *seen, self.gate.whitened(seen[2])


class OnTiles(nn.Module):
    """The detector for tiles, wherever on the part they lie; `FoldedOnTiles` is the same for a graph.

    Shapes: image (N, H, W, 3), rectangle (N, 4) -> the detector's outputs, and the pooled embedding in the gate's
    units (N, D), of which the mean over tiles gives the whole picture's distance.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor, rectangle: Tensor) -> tuple[Tensor, ...]:
        detector = self.detector
        levels = detector.embedding(image)
        maps = [density.on_tiles(level, rectangle) for density, level in zip(detector.levels, levels, strict=True)]
        return detector.outputs_on_tiles(levels, detector.score.anomaly_map(maps))


def build_detector(recipe: Recipe) -> tuple[Detector, Weights]:
    """A detector with a ready backbone and untrained flows, and the weights that its backbone was given."""
    embedding, weights = build_embedding(recipe.image, recipe.embedding)
    height, width, _ = embedding.shapes[0]
    tiling = tiling_of(recipe.image, height)
    densities = [
        LevelDensity(
            shape,
            recipe.flow,
            rectangles=WHOLE if tiling is None else torch.from_numpy(tiling.rectangles),
            with_log_det=recipe.score.kind != "latent_norm",
            seed=recipe.training.seed + level,
        )
        for level, shape in enumerate(embedding.shapes)
    ]
    score = Score(
        grids=[(height, width) for height, width, _ in embedding.shapes],
        smoothing_places=recipe.score.smoothing_px * height / recipe.image.size,
        top_fraction=recipe.score.top_fraction,
        inside=places_inside(recipe.image, height, width),
        kind=recipe.score.kind,
        compression=recipe.score.compression,
        by_place=recipe.score.by_place,
    )
    for height, width, _ in embedding.shapes:
        if not score.inside_at(height, width).any():
            raise SettingsError(
                f"image.roi: {recipe.image.roi.mask or 'what was drawn'} leaves nothing to score at {width}x{height} "
                "places; of a mask, white (above 127) is scored, black is ignored. Widen it, raise image.size, or use "
                "finer embedding.levels"
            )
    return Detector(embedding, densities, score, tiling).eval(), weights
