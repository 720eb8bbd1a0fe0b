"""Glow's layers for vectors: ActNorm and learned invertible mixing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectflow.flows.bijection import Bijection


class ActNorm(Bijection):
    """z = (x - b) * exp(s), with b and s set so that the first batch comes out with mean 0 and variance 1.

    Shapes: x (..., D) -> z (..., D), log_det (...) = sum of s.
    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, section 3.1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))
        self.log_scale = nn.Parameter(torch.zeros(width))

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor) -> None:
        self.shift.copy_(x.mean(0))
        self.log_scale.copy_(-torch.log(x.std(0) + 1e-3))  # a dead channel must not be blown up

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        z = (x - self.shift) * torch.exp(self.log_scale)
        return z, self.log_scale.sum() + torch.zeros_like(x[..., 0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        x = z * torch.exp(-self.log_scale) + self.shift
        return x, torch.zeros_like(z[..., 0]) - self.log_scale.sum()

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        return self.log_scale


class Mixing(Bijection):
    """z = W x with W = P L (U + diag(sign * exp(s))), so that log|det W| = sum of s at no cost.

    Starts as a random rotation. L is unit lower, U strictly upper triangular; P and the signs are fixed.
    Shapes: x (..., D) -> z (..., D), log_det (...).
    Source: Kingma and Dhariwal 2018, arXiv:1807.03039, eq. 10.
    """

    order: Tensor
    signs: Tensor

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("signs", diagonal.sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_scale = nn.Parameter(diagonal.abs().log().float())

    def _triangles(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.eye(len(self.signs), dtype=self.lower.dtype, device=self.lower.device)
        upper = self.upper.triu(1) + torch.diag(self.signs * torch.exp(self.log_scale))
        return lower, upper

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self._matrix().T, self.log_scale.sum() + torch.zeros_like(x[..., 0])

    def inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._triangles()
        columns = z[..., torch.argsort(self.order)].reshape(-1, z.shape[-1]).T  # (D, places)
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        return columns.T.reshape(z.shape), torch.zeros_like(z[..., 0]) - self.log_scale.sum()

    def log_scales(self, x: Tensor, context: Tensor) -> Tensor:
        """Of W's singular values: those of its triangles are far from 0 even for a rotation."""
        matrix = self._matrix()
        whole = bool(matrix.isfinite().all())  # of anything else there is no decomposition
        return torch.linalg.svdvals(matrix).log() if whole else torch.full_like(self.log_scale, torch.nan)

    def _matrix(self) -> Tensor:
        lower, upper = self._triangles()
        return (lower @ upper)[self.order]  # P L U: the permutation picks rows
