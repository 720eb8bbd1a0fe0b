"""Detector -> the same numbers in fewer steps, for the exported graph: what is linear is merged, and what depends on
the place alone is computed once.

A graph looks at one grid of places, so the condition is a constant there. Then normalisation, ActNorm, permutations
and mixing are affine maps, and neighbours are multiplied into one; and what the condition adds to a network's first
layer is a bias for each place. All of it is computed in double precision, once.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defectflow.density import LevelDensity, PlaceWhitening
from defectflow.embedding import Backbone
from defectflow.flows import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    ConditionedNet,
    ContextAffine,
    ContextShift,
    ContinuousFlow,
    DiagonalScale,
    Flow,
    MaskedAffine,
    MaskedNet,
    Mixing,
    Normal,
    Permutation,
    SplineCoupling,
    anchor,
)
from defectflow.score import Detector, Score, compressed


class FoldedDetector(nn.Module):
    """A detector at its fixed grid of places. Same inputs and outputs, and the seams at which a graph may be cut.

    Shapes: image (N, H, W, 3) -> the detector's outputs; then the square (N, 3, S, S), and for each level the
    backbone's features (N, D_l, h_l, w_l).
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.backbone = fold_backbone(detector.embedding.backbone, detector.embedding.size_px)
        self.densities = nn.ModuleList(
            fold_density(density, detector.score, level) for level, density in enumerate(detector.levels)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        square, features, levels = _seams(self.detector, self.backbone, image)
        maps = [density(level) for density, level in zip(self.densities, levels, strict=True)]
        return *self.detector.outputs(levels, self.detector.score.joined(maps)), square, *features


class FoldedOnTiles(nn.Module):
    """`OnTiles` with the seams of `FoldedDetector`. Each tile's grid lies elsewhere, so the flows stay as they are.

    Shapes: image (N, H, W, 3), rectangle (N, 4) -> the outputs of `OnTiles`, the square, and each level's features.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = copy.deepcopy(detector)
        for density in self.detector.levels:
            density.flow.base = density.flow.base.fixed()
        self.backbone = fold_backbone(detector.embedding.backbone, detector.embedding.size_px)
        self.densities = nn.ModuleList(Standardised(detector.score, level) for level in range(len(detector.levels)))

    def forward(self, image: Tensor, rectangle: Tensor) -> tuple[Tensor, ...]:
        square, features, levels = _seams(self.detector, self.backbone, image)
        nats = [density.on_tiles(level, rectangle) for density, level in zip(self.detector.levels, levels, strict=True)]
        maps = [density(values) for density, values in zip(self.densities, nats, strict=True)]
        return *self.detector.outputs_on_tiles(levels, self.detector.score.joined(maps)), square, *features


def _seams(detector: Detector, backbone: nn.Module, image: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The square, the features of a folded backbone, and the vectors of each level's places (N, h_l, w_l, D_l)."""
    square = detector.embedding.square(image)
    features: list[Tensor] = backbone(square)
    return square, features, detector.embedding.averaged([values.permute(0, 2, 3, 1) for values in features])


class FoldedBackbone(nn.Module):
    """Pixels 0..255 (N, 3, S, S) -> the backbone's features (N, D_l, H_l, W_l), fine to coarse."""

    mean: Tensor
    std: Tensor | None

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor | None) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, square: Tensor) -> list[Tensor]:
        centred = square - self.mean
        features: list[Tensor] = self.net(centred if self.std is None else centred / self.std)
        return features


class Standardised(nn.Module):
    """One level's nats per dimension -> how unusual each place is, as the score sums it. Any shape.

    The score's constants keep their names in a graph (`densities.0.mean`), so that they can be found there.
    """

    typical: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, score: Score, level: int) -> None:
        super().__init__()
        self.kind, self.compression = score.kind, score.compression
        for name in ("typical", "mean", "std"):
            self.register_buffer(name, getattr(score, name)[level].clone())

    def forward(self, nats: Tensor) -> Tensor:
        unusual = (nats - self.typical).abs() if self.kind == "typicality" else nats
        return compressed((unusual - self.mean) / self.std, self.compression)


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
        score: Score,
        level: int,
    ) -> None:
        """constant (h, w): the log-determinant of all that is affine."""
        super().__init__(score, level)
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


@dataclass(frozen=True)
class Affine:
    """y = (x matrix) * scale + shift, in double precision; scale and shift may differ from place to place.

    Shapes: x (..., D) -> y (..., D'), matrix (D, D'), scale None or (h, w, D'), shift (D') or (h, w, D').
    """

    matrix: Tensor
    scale: Tensor | None
    shift: Tensor

    def joins(self, matrix: Tensor) -> bool:
        """Whether a matrix can follow without a step of its own."""
        return self.scale is None or _order(matrix) is not None

    def then(self, matrix: Tensor, shift: Tensor) -> Affine:
        """This map, then y -> y matrix + shift, in one."""
        scale = self.scale
        order = _order(matrix)
        if scale is not None and order is not None:
            # Of a matrix that only reorders and stretches, the stretch can be left to the shared matrix.
            scale = scale[..., order]
        return replace(self, matrix=self.matrix @ matrix, scale=scale, shift=self.shift @ matrix + shift)

    def then_at_places(self, scale: Tensor | None, shift: Tensor) -> Affine:
        """This map, then y -> y * scale + shift with scale and shift (h, w, D')."""
        if scale is None:
            return replace(self, shift=self.shift + shift)
        both = scale if self.scale is None else self.scale * scale
        return replace(self, scale=both, shift=self.shift * scale + shift)

    def steps(self) -> list[nn.Module]:
        """As modules: none for the identity."""
        matrix, scale, shift = self.matrix, self.scale, self.shift
        if matrix.shape[0] == matrix.shape[1] and torch.equal(matrix, torch.diag(matrix.diagonal())):
            scale = matrix.diagonal() * (1 if scale is None else scale)
            step = PlaceAffine(None, None if bool((scale == 1).all()) else scale, shift)
        else:
            step = PlaceAffine(matrix, scale, shift)
        return [] if step.is_identity else [step]


def _order(matrix: Tensor) -> Tensor | None:
    """Which input each output is, for a matrix that only reorders and stretches; None for any other."""
    if bool(((matrix != 0).sum(0) == 1).all()):
        return (matrix != 0).double().argmax(0)
    return None


class PlaceAffine(nn.Module):
    """y = (x matrix) * scale + shift, each of the three optional. Shapes: (N, h, w, D) -> (N, h, w, D')."""

    matrix: Tensor | None
    scale: Tensor | None
    shift: Tensor | None

    def __init__(self, matrix: Tensor | None, scale: Tensor | None, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift if bool((shift != 0).any()) else None)

    @property
    def is_identity(self) -> bool:
        return self.matrix is None and self.scale is None and self.shift is None

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix is not None:
            x = x @ self.matrix
        if self.scale is not None:
            x = x * self.scale
        return x if self.shift is None else x + self.shift


class Turned(nn.Module):
    """The linear part of a whitening by place. Shapes: (N, h, w, D) -> (N, h, w, D)."""

    def __init__(self, whitening: PlaceWhitening) -> None:
        super().__init__()
        self.whitening = whitening

    def forward(self, x: Tensor) -> Tensor:
        return self.whitening.turned(x)


@torch.no_grad()
def fold_density(density: LevelDensity, score: Score, level: int) -> Density:
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
    lifted = flow.lifted(condition.new_zeros(flow.width))
    pending = pending.then(flow.lifted(torch.eye(flow.width, dtype=torch.float64)) - lifted, lifted)
    nothing = Affine(torch.eye(len(lifted), dtype=torch.float64), None, torch.zeros_like(lifted))
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
                    setattr(layer, "net", _at_places(layer.net, condition))  # noqa: B010  (of another type)
                steps.append(layer)
    steps += pending.steps()
    return Density(steps, constant, flow, condition, density.with_log_det, score, level).to(dtype).eval()


class PlaceNet(nn.Module):
    """A layer's network where the context is constant: relu(x A + a), relu(h B + b), h C + c; a and c by place.

    Shapes: x (N, h, w, D) -> (N, h, w, D').
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], anchored: bool = False) -> None:
        """layers: weight (out, in) and bias (out) or (h, w, out) of each."""
        super().__init__()
        self.anchored = anchored
        self.steps = nn.ModuleList(PlaceLinear(weight, bias) for weight, bias in layers)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        first, second, last = self.steps
        out: Tensor = last(F.relu(second(F.relu(first(x)))))
        return anchor(x) * out if self.anchored else out


class PlaceLinear(nn.Module):
    """y = x A + a, where a may differ from place to place.

    A position's bias is a sum over its row and its column; kept apart, they take a hundredth of the file, and an
    engine adds them up when it loads it.
    """

    matrix: Tensor
    bias: Tensor
    by_column: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """weight (out, in), bias (out) or (h, w, out)."""
        super().__init__()
        by_row, by_column = bias, None
        if bias.dim() == 3:
            rows, columns = bias[:, :1], bias[:1] - bias[:1, :1]  # (h, 1, out), (1, w, out)
            if torch.allclose(rows + columns, bias, rtol=0, atol=1e-12):
                by_row, by_column = rows, columns
        self.register_buffer("matrix", weight.T.contiguous())
        self.register_buffer("bias", by_row)
        self.register_buffer("by_column", by_column)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix + (self.bias if self.by_column is None else self.bias + self.by_column)


class PlaceMaskedNet(PlaceNet):
    """As PlaceNet, its two halves apart, as MaskedNet gives them."""

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        first, second = super().forward(x, context).chunk(2, dim=-1)
        return first, second


def _at_places(net: ConditionedNet | MaskedNet, condition: Tensor) -> PlaceNet:
    def added(linear: nn.Linear, from_context: nn.Linear | None) -> Tensor:
        return linear.bias if from_context is None else linear.bias + from_context(condition)

    first, second, last = net.first, net.second, net.last
    entered = added(first, net.from_context)
    if isinstance(net, ConditionedNet):
        layers = [(first.weight, entered), (second.weight, second.bias), (last.weight, last.bias)]
        return PlaceNet(layers, net.anchored)
    weights = first.weight * net.into, second.weight * net.between, last.weight * net.out_of
    return PlaceMaskedNet(list(zip(weights, (entered, second.bias, added(last, net.straight)), strict=True)))


@torch.no_grad()
def fold_backbone(backbone: Backbone, size_px: int) -> FoldedBackbone:
    """The pixels' scale moves into the first convolution; their mean cannot, because the zeros that pad it mean "mean".

    Where no single convolution takes the pixels, the scale stays.
    """
    net = copy.deepcopy(backbone.net)
    whole = FoldedBackbone(backbone.net, backbone.mean, backbone.std)
    square = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0)).to(backbone.mean) * 255
    takers: list[nn.Conv2d] = []

    def watch(convolution: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given and given[0] is square:
            takers.append(cast(nn.Conv2d, convolution))

    hooks = [module.register_forward_pre_hook(watch) for module in net.modules() if isinstance(module, nn.Conv2d)]
    net(square)
    for hook in hooks:
        hook.remove()
    if len(takers) != 1 or takers[0].weight.shape[1] != 3:
        return whole
    takers[0].weight /= backbone.std
    folded = FoldedBackbone(net, backbone.mean, None)
    # Something else than the convolution may read the pixels, too: only the outcome tells.
    pairs = zip(folded(square), whole(square), strict=True)
    same = all(torch.allclose(one, other, rtol=0, atol=1e-3 * float(other.std())) for one, other in pairs)
    return folded if same else whole
