"""Is this a picture of the part at all? A shrunk Gaussian over pooled embeddings, fitted on training parts."""

from __future__ import annotations

import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

SHRINKAGE = 1e-2
"""Added to each channel's variance, as a share of the mean variance."""

FLOOR = 1e-8
"""Added to each channel's variance, as a share of the mean square of all: for pictures that are all alike."""


class Gate(nn.Module):
    """distance = sqrt( mean_i ((e - mean) M)_i^2 ), the Mahalanobis distance per root dimension.

    Shapes: pooled embedding e (N, D) -> distance (N,); about 1 for a training part.
    Source: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4 (the shrinkage).
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    def forward(self, pooled: Tensor) -> Tensor:
        standard = self.whitened(pooled)
        return (standard * standard).mean(-1).sqrt()

    def whitened(self, pooled: Tensor) -> Tensor:
        """(N, D) -> (N, D), with about unit covariance over training parts. Linear, as the mean over tiles needs it."""
        return (pooled - self.mean) @ self.matrix

    @torch.no_grad()
    def fit(self, pooled: Tensor) -> None:
        """From the pooled embeddings of training pictures, (N, D)."""
        variance = pooled.var(0)
        # Channels that hardly vary over training parts must not turn a small change into a huge distance.
        scale = (variance + SHRINKAGE * variance.mean() + FLOOR * pooled.square().mean() + 1e-12).sqrt()
        shrunk = LedoitWolf().fit(((pooled - pooled.mean(0)) / scale).double().cpu().numpy())
        # Of pictures that are all alike nothing is known but how far a change is from them, in units of `scale`.
        alike = shrunk.covariance_.trace() < 1e-6 * len(shrunk.covariance_)
        precision = torch.eye(len(variance), dtype=torch.float64) if alike else torch.from_numpy(shrunk.precision_)
        factor = torch.linalg.cholesky((precision + precision.T) / 2)  # precision = factor factor^T
        self.mean.copy_(pooled.mean(0))
        self.matrix.copy_(factor.to(scale) / scale[:, None])
