"""Affine maps of a place's vector: multiplied into one, as long as one step can hold them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Affine:
    """y = (x matrix) * scale + shift, in double precision; scale and shift may differ from place to place.

    Shapes: x (..., D) -> y (..., D'), matrix (D, D'), scale None or (h, w, D'), shift (D') or (h, w, D').
    """

    matrix: Tensor
    scale: Tensor | None
    shift: Tensor

    def joins(self, matrix: Tensor) -> bool:
        """Whether a matrix can follow without its own step."""
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
