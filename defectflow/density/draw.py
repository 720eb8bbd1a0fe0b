"""Density heads -> embeddings sampled from them, compared with real ones of tune parts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectflow.density.saved import Head
from defectflow.errors import SettingsError
from defectflow.verdict import auroc

CENTRAL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one level's density draws.

    vectors (n, D), whitened. Likelihoods in nats per dimension.
    """

    level: int
    vectors: NDArray[np.float32]
    real_nats: float
    drawn_nats: float
    share_typical: float
    """Share of drawn vectors whose likelihood lies in the middle 95% of the real ones'."""
    likelihood_distance: float
    """Kolmogorov-Smirnov distance between the likelihoods of drawn and real vectors."""
    separation: float | None
    """AUROC of the distance to the nearest real vector of half the tune parts: drawn ones against the other parts'.

    Vectors of one picture, neighbours above all, are near to one another, so that a part must not be on both sides.
    """
    no_separation: str
    """Why there is no such figure; empty where there is."""

    def to_json(self) -> dict[str, float | int | str | None]:
        """The figures, without the vectors."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "vectors"}


@torch.no_grad()
def draw_embeddings(heads: list[Head], count: int, seed: int) -> list[Drawn]:
    """`count` vectors for each level, at the places where the real ones lie."""
    return [_draw(head, count, torch.Generator().manual_seed(seed)) for head in heads]


def write_embeddings(drawn: list[Drawn], path: Path) -> None:
    """One array `level_<n>` (count, D) for each level. Raises SettingsError for another kind of file."""
    if path.suffix != ".npz":
        raise SettingsError(f"{path}: embeddings are written as NumPy archives; name a file that ends in .npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{f"level_{level.level}": level.vectors for level in drawn})  # type: ignore[arg-type]


def _draw(head: Head, count: int, generator: torch.Generator) -> Drawn:
    places = torch.randint(len(head.context), (count,), generator=generator)
    context = head.context[places]
    vectors = head.flow.sample(context, generator)
    width = head.flow.width
    real = (head.flow.log_prob(head.vectors, head.context) / width).double().numpy()
    drawn = (head.flow.log_prob(vectors, context) / width).double().numpy()
    low, high = np.quantile(real, CENTRAL)
    no_separation = _why_no_separation(head.parts)
    return Drawn(
        level=head.level,
        vectors=vectors.numpy(),
        real_nats=float(real.mean()),
        drawn_nats=float(drawn.mean()),
        share_typical=float(((drawn >= low) & (drawn <= high)).mean()),
        likelihood_distance=float(scipy.stats.ks_2samp(real, drawn).statistic),
        separation=None if head.parts is None or no_separation else _separation(vectors, head.vectors, head.parts),
        no_separation=no_separation,
    )


def _why_no_separation(parts: Tensor | None) -> str:
    if parts is None:
        return "the bundle does not say which part each vector is from; fit again with this version"
    count = len(set(parts.tolist()))
    return "" if count >= 2 else f"it needs vectors of at least 2 tune parts, and there is {count}; fit with more parts"


def _separation(drawn: Tensor, real: Tensor, parts: Tensor) -> float:
    numbers = sorted(set(parts.tolist()))
    is_known = torch.isin(parts, torch.tensor(numbers[: len(numbers) // 2]))
    known, unknown = real[is_known], real[~is_known]
    return auroc(_nearest(unknown, known).numpy(), _nearest(drawn, known).numpy())


def _nearest(vectors: Tensor, known: Tensor) -> Tensor:
    return torch.cdist(vectors, known).amin(1)
