"""A level's vectors of training and tune parts -> its density: the whitening is measured, then the flow is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectflow.common import Watch, unwatched
from defectflow.density.level import LevelDensity
from defectflow.density.measure import fit_whitening, whiten
from defectflow.density.train import Run, train_flow
from defectflow.embedding import Vectors
from defectflow.recipe import Recipe


def learn_level(
    density: LevelDensity,
    train: Vectors,
    tune: Vectors,
    folds: NDArray[np.int64],
    recipe: Recipe,
    *,
    device: torch.device,
    checkpoint: Path,
    resume: bool = False,
    name: str = "learn",
    watch: Watch = unwatched,
) -> tuple[Run, Tensor | None]:
    """Whitening from training parts, flow from them with early stopping on tune parts; on the CPU again at the end.

    Also gives nats per dimension of the training pictures at the places that count, (n, places), as of unseen parts:
    each whitened without its own part. None where the score does not ask for them, or a sample of places is kept.

    folds (n,): of each training picture, see `fit_whitening`. Whitened vectors lie beside the checkpoint meanwhile.
    """
    folder = checkpoint.parent
    whitened = fit_whitening(density.cpu(), train, recipe.embedding.normalise, folds, folder)
    run = train_flow(
        density.flow,
        density.contexts,
        whitened,
        whiten(density, tune, folder),
        recipe.training,
        device=device,
        checkpoint=checkpoint,
        resume=resume,
        name=name,
        watch=watch,
    )
    density.cpu()
    wanted = recipe.score.by_place > 0 and train.sampled is None
    return run, _nll_per_dim(density, whitened) if wanted else None


@torch.no_grad()
def _nll_per_dim(density: LevelDensity, whitened: Vectors) -> Tensor:
    """Of whitened vectors, all at the same places: (n, places)."""
    pictures = (whitened.of_picture(picture) for picture in range(len(whitened.maps)))
    return torch.stack([density.nll_per_dim(z, density.contexts[places]) for z, places in pictures])
