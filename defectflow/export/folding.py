"""Detector -> the same numbers in fewer steps, for the exported graph: what is linear is merged, and what depends on
the place alone is computed once.

A graph looks at one grid of places, so the condition is a constant there. Then normalisation, ActNorm, permutations
and mixing are affine maps, and neighbours are multiplied into one; and what the condition adds to a network's first
layer is a bias for each place. All of it is computed in double precision, once.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from defectflow.density import LevelDensity, PlaceWhitening
from defectflow.export.affine import Affine
from defectflow.export.fold_backbone import fold_backbone
from defectflow.export.place_networks import at_places
from defectflow.flows import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    ContextAffine,
    ContextShift,
    ContinuousFlow,
    DiagonalScale,
    Flow,
    MaskedAffine,
    Mixing,
    Normal,
    Permutation,
    SplineCoupling,
)
from defectflow.score import Detector, Standardised


class FoldedDetector(nn.Module):
    """A detector at its fixed grid of places. Same inputs and outputs, and the seams at which a graph may be cut.

    Shapes: image (N, H, W, 3) -> the detector's outputs; then the square (N, 3, S, S), where parts are aligned the
    aligned square, and for each level the backbone's features (N, D_l, h_l, w_l).
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.backbone = fold_backbone(detector.embedding.backbone, detector.embedding.size_px)
        self.densities = nn.ModuleList(
            fold_density(density, standardised)
            for density, standardised in zip(detector.levels, detector.score.standardised, strict=True)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        seams, levels, motion = _seams(self.detector, self.backbone, image)
        maps = [density(level) for density, level in zip(self.densities, levels, strict=True)]
        return *self.detector.outputs(levels, self.detector.score.joined(maps), motion), *seams


class FoldedOnTiles(nn.Module):
    """`OnTiles` with the seams of `FoldedDetector`. Each tile's grid lies elsewhere, so the flows are not changed.

    Shapes: image (N, H, W, 3), rectangle (N, 4) -> the outputs of `OnTiles`, the square, and each level's features.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = copy.deepcopy(detector)
        for density in self.detector.levels:
            density.flow.base = density.flow.base.fixed()
        self.backbone = fold_backbone(detector.embedding.backbone, detector.embedding.size_px)
        self.densities = copy.deepcopy(detector.score.levels)

    def forward(self, image: Tensor, rectangle: Tensor) -> tuple[Tensor, ...]:
        seams, levels, _ = _seams(self.detector, self.backbone, image)
        nats = [density.on_tiles(level, rectangle) for density, level in zip(self.detector.levels, levels, strict=True)]
        maps = [density(values) for density, values in zip(self.densities, nats, strict=True)]
        return *self.detector.outputs_on_tiles(levels, self.detector.score.joined(maps)), *seams


def _seams(detector: Detector, backbone: nn.Module, image: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Squares and the features of a folded backbone; the vectors of each level's places (N, h_l, w_l, D_l); and the
    motion that has aligned the square."""
    square = detector.embedding.square(image)
    seen, motion = detector.embedding.aligned(square)
    squares = [square] if motion is None else [square, seen]
    features: list[Tensor] = backbone(seen)
    levels = detector.embedding.averaged([values.permute(0, 2, 3, 1) for values in features])
    return [*squares, *features], levels, motion


class Density(Standardised):
    """One level's vectors -> how unusual each place is, standardised. Shapes: (N, h, w, D) -> (N, h, w)."""

    constant: Tensor
    context: Tensor

    def __init__(
        self,
        steps: list[nn.Module],
        constant: Tensor,
        flow: Flow,
        context: Tensor,
        with_log_det: bool,
        standardised: Standardised,
    ) -> None:
        """constant (h, w): the log-determinant of all that is affine; standardised: whose constants it has."""
        super().__init__(standardised.grid, standardised.kind, standardised.compression)
        self.load_state_dict(standardised.state_dict())
        self.with_log_det = with_log_det
        self.steps = nn.ModuleList(steps)
        self.base, self.width = flow.base, flow.width
        self.register_buffer("constant", constant)
        self.register_buffer("context", context)

    def forward(self, x: Tensor) -> Tensor:
        total = self.constant
        for step in self.steps:
            if isinstance(step, Bijection):
                x, log_det = step(x, self.context)
                total = total + log_det
            else:
                x = step(x)
        log_prob = self.base.log_prob(x)
        nats = (log_prob + total if self.with_log_det else log_prob) * (-1 / self.width)
        return super().forward(nats)


class Turned(nn.Module):
    """The linear part of a whitening by place. Shapes: (N, h, w, D) -> (N, h, w, D)."""

    def __init__(self, whitening: PlaceWhitening) -> None:
        super().__init__()
        self.whitening = whitening

    def forward(self, x: Tensor) -> Tensor:
        return self.whitening.turned(x)


@torch.no_grad()
def fold_density(density: LevelDensity, standardised: Standardised) -> Density:
    """A level's whitening, flow and part of the score, at its places."""
    dtype = density.normalisation.matrix.dtype
    density = copy.deepcopy(density).double()
    normalisation, whitening, flow = density.normalisation, density.whitening, density.flow
    flow.base = flow.base.fixed()
    condition = density.condition  # (h, w, K)
    grid = condition.shape[:2]
    constant = condition.new_zeros(grid)
    if isinstance(flow, ContinuousFlow):
        constant = constant - Normal().log_prob(flow.extra)
    steps: list[nn.Module] = []
    pending = Affine(normalisation.matrix, None, -normalisation.mean @ normalisation.matrix)
    if whitening is not None:
        steps = [*pending.then_at_places(None, -whitening.mean).steps(), Turned(whitening)]
        pending = Affine(torch.eye(flow.width, dtype=torch.float64), None, condition.new_zeros(flow.width))
    origin = flow.augment(condition.new_zeros(flow.width))
    pending = pending.then(flow.augment(torch.eye(flow.width, dtype=torch.float64)) - origin, origin)
    nothing = Affine(torch.eye(len(origin), dtype=torch.float64), None, torch.zeros_like(origin))
    for layer in flow.layers():
        match layer:
            case ActNorm() | DiagonalScale() | Mixing() | Permutation():
                # Affine and the same everywhere: its values at the origin and at the unit vectors say all.
                shift, log_det = layer(nothing.shift, condition)
                matrix = layer(nothing.matrix, condition)[0] - shift
                if not pending.joins(matrix):
                    steps += pending.steps()
                    pending = nothing
                pending = pending.then(matrix, shift)
                constant = constant + log_det
            case ContextAffine() | ContextShift():
                shift, log_det = layer(nothing.shift.expand(*grid, -1), condition)
                scale = None if isinstance(layer, ContextShift) else layer(torch.ones_like(shift), condition)[0] - shift
                pending = pending.then_at_places(scale, shift)
                constant = constant + log_det
            case _:
                steps += pending.steps()
                pending = nothing
                if isinstance(layer, AffineCoupling | AdditiveCoupling | SplineCoupling | MaskedAffine):
                    setattr(layer, "net", at_places(layer.net, condition))  # noqa: B010  (of another type)
                steps.append(layer)
    steps += pending.steps()
    return Density(steps, constant, flow, condition, density.with_log_det, standardised).to(dtype).eval()
