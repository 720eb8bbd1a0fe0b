"""Embeddings -> whitened embeddings, with statistics of the training parts, measured once and then frozen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defectflow.embedding import Vectors


class Normalisation(nn.Module):
    """v -> (v - mean) M, with statistics of the training parts, never of the batch or the picture.

    Shapes: (..., D) -> (..., D).
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    def forward(self, vectors: Tensor) -> Tensor:
        return (vectors - self.mean) @ self.matrix

    def fit(self, mean: Tensor, covariance: Tensor, how: str) -> None:
        """`whiten`: M = C^(-1/2); `standardise`: M = diag(C)^(-1/2); both after adding a little to C's diagonal.

        mean (D,), covariance (D, D). Without that little, dead channels would be blown up to the size of live ones.
        """
        covariance = covariance.double()
        width = len(covariance)
        covariance = covariance + SHRINKAGE * covariance.trace() / width * torch.eye(width, dtype=torch.float64)
        if how == "standardise":
            matrix = torch.diag(covariance.diagonal().rsqrt())
        else:
            values, vectors = torch.linalg.eigh(covariance)
            matrix = vectors @ torch.diag(values.rsqrt()) @ vectors.T
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)


SHRINKAGE = 1e-3
"""Added to a level's covariance, as a share of its mean variance."""


def fit_normalisation(normalisation: Normalisation, vectors: Vectors, how: str) -> None:
    """Mean and covariance of all training vectors inside the region of interest."""
    depth = vectors.maps.shape[-1]
    total = torch.zeros(depth, dtype=torch.float64)
    moment = torch.zeros(depth, depth, dtype=torch.float64)
    count = 0
    for picture in range(len(vectors.maps)):
        rows = vectors.of_picture(picture)[0].double()
        total += rows.sum(0)
        moment += rows.T @ rows
        count += len(rows)
    mean = total / count
    normalisation.fit(mean.float(), moment / count - torch.outer(mean, mean), how)
