"""A level's vectors of training and tune parts -> its density: the whitening is measured, then the flow is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
) -> Run:
    """Whitening from training parts, flow from them with early stopping on tune parts; on the CPU again at the end.

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
    return run
