"""Embedding, flows, score and gate in one module: what is trained, and what is exported."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from defectflow.density import CONDITION_WIDTH, WHOLE, Normalisation, position_condition
from defectflow.embedding import Embedding, Weights, build_embedding, geometry_of, tiling_of
from defectflow.errors import SettingsError
from defectflow.flows import Flow, build_flow
from defectflow.image import Tiling, read_image
from defectflow.recipe import ImageSettings, Recipe
from defectflow.score.gate import Gate
from defectflow.score.score import Score


class Detector(nn.Module):
    """uint8 pictures -> score, anomaly map, pooled embedding, gate distance and the top fraction's lowest value.

    Shapes: image (N, H, W, 3) -> score (N,), map (N, h, w), embedding (N, D), distance (N,), top_floor (N,).
    """

    def __init__(self, embedding: Embedding, flows: list[Flow], score: Score, tiling: Tiling | None = None) -> None:
        super().__init__()
        self.embedding = embedding
        self.tiling = tiling
        """None: the embedding's square is the whole part; else `OnTiles` is what looks at pictures."""
        self.normalisations = nn.ModuleList(Normalisation(shape[-1]) for shape in embedding.shapes)
        self.flows = nn.ModuleList(flows)
        self.score = score
        self.gate = Gate(sum(shape[-1] for shape in embedding.shapes))
        where = WHOLE if tiling is None else torch.from_numpy(tiling.rectangles)
        for level, (height, width, _) in enumerate(embedding.shapes):
            self.register_buffer(f"condition_{level}", position_condition(height, width, where), persistent=False)
            inside = score.inside_at(height, width).flatten().float()
            self.register_buffer(f"share_{level}", inside / inside.sum(), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        levels = self.embedding(image)
        maps = [self.unusual(i, level, self.condition(i)) for i, level in enumerate(levels)]
        return self.outputs(levels, self.score.anomaly_map(maps))

    def outputs(self, levels: list[Tensor], anomaly_map: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A picture's vectors, by level, and its map -> what `forward` gives."""
        score, top_floor = self.score.image_score(anomaly_map)
        pooled = self.pooled(levels)
        return score, anomaly_map, pooled, self.gate(pooled), top_floor

    def condition(self, level: int) -> Tensor:
        """(h_l, w_l, K), or (tiles, h_l, w_l, K): where on the part each place of a level lies."""
        condition: Tensor = getattr(self, f"condition_{level}")
        return condition

    def pooled(self, levels: list[Tensor]) -> Tensor:
        """Mean over each level's places inside the region of interest, side by side: -> (N, sum of D_l)."""
        shares = [getattr(self, f"share_{level}") for level in range(len(levels))]
        return torch.cat([share @ level.flatten(1, 2) for share, level in zip(shares, levels, strict=True)], dim=1)

    def normalisation(self, level: int) -> Normalisation:
        return cast(Normalisation, self.normalisations[level])

    def flow(self, level: int) -> Flow:
        return cast(Flow, self.flows[level])

    def unusual(self, level: int, vectors: Tensor, condition: Tensor) -> Tensor:
        """How unusual each place is, in nats per dimension: (..., D_l), condition (..., K) -> (...).

        The negative log-likelihood; for `latent_norm` that of z under the base density, without the log-determinant.
        """
        flow = self.flow(level)
        normal = self.normalisation(level)(vectors)
        if self.score.kind == "latent_norm":
            return -flow.latent_log_prob(normal, condition) / flow.width
        return -flow.log_prob(normal, condition) / flow.width

    def unusual_on_tiles(self, levels: list[Tensor], rectangle: Tensor) -> list[Tensor]:
        """`unusual` of tiles' vectors, by level, which lie at rectangle (N, 4) on the part: (N, h_l, w_l) each."""
        places = [position_condition(height, width, rectangle) for height, width, _ in self.embedding.shapes]
        return [self.unusual(i, level, places[i]) for i, level in enumerate(levels)]

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
        maps = detector.unusual_on_tiles(levels, rectangle)
        return detector.outputs_on_tiles(levels, detector.score.anomaly_map(maps))


def build_detector(recipe: Recipe) -> tuple[Detector, Weights]:
    """A detector with a ready backbone and untrained flows, and the weights that its backbone was given."""
    embedding, weights = build_embedding(recipe.image, recipe.embedding)
    flows = [
        build_flow(
            width=shape[-1],
            context_width=CONDITION_WIDTH,
            seed=recipe.training.seed + level,
            **recipe.flow.model_dump(),
        )
        for level, shape in enumerate(embedding.shapes)
    ]
    height, width, _ = embedding.shapes[0]
    tiling = tiling_of(recipe.image, height)
    score = Score(
        levels=len(flows),
        grid=(height, width),
        smoothing_places=recipe.score.smoothing_px * height / recipe.image.size,
        top_fraction=recipe.score.top_fraction,
        inside=_inside(recipe.image, height, width),
        kind=recipe.score.kind,
    )
    for height, width, _ in embedding.shapes:
        if not score.inside_at(height, width).any():
            raise SettingsError(
                f"image.roi.mask: {recipe.image.roi.mask} leaves nothing to score at {width}x{height} places; white "
                "(above 127) is scored, black is ignored. Widen it, raise image.size, or use finer embedding.levels"
            )
    return Detector(embedding, flows, score, tiling).eval(), weights


def _inside(image: ImageSettings, height: int, width: int) -> Tensor:
    """The region of interest's mask on the map's grid, (h, w), True where scored."""
    if image.roi.mask is None:
        return torch.ones(height, width, dtype=torch.bool)
    grey = read_image(image.roi.mask)[..., 0]
    share = geometry_of(image).to_square((grey > 127).astype(np.float32), height, width)
    return torch.from_numpy(share >= 0.5)
