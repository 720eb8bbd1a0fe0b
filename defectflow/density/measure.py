"""The part of a level's density that is measured, not learned: its whitening, from training parts."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from defectflow.density.level import LevelDensity
from defectflow.density.place_whitening import Moments, PlaceWhitening
from defectflow.density.whitening import fit_normalisation
from defectflow.embedding import Vectors

PICTURES_AT_ONCE = 16


@torch.no_grad()
def fit_whitening(
    density: LevelDensity, train: Vectors, normalise: str, folds: NDArray[np.int64], folder: Path
) -> Vectors:
    """Measure the whitening on training pictures, and whiten them as the flow is to learn from them.

    Each picture is whitened by statistics of the other folds (folds (n,): of each picture; parts must not be
    divided), so that it looks as an unseen one will: pictures that were whitened by themselves look too normal.
    The whitened vectors are in a file below `folder` that is removed when they are.
    """
    fit_normalisation(density.normalisation, train, normalise)
    whitening = density.whitening
    if whitening is None:
        return whiten(density, train, folder)
    whitened = _file_like(train, folder)
    groups = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    sums = [_moments(density, whitening, train, group) for group in groups]
    total = sum(sums, Moments.of_none(whitening))
    for group, own in zip(groups, sums, strict=True):
        whitening.fit(total - own if len(groups) > 1 else total, density.kind, density.shrinkage)
        _whiten(density, train, group, whitened)
    squares = [float(whitened.of_picture(row)[0].square().mean()) for row in range(len(whitened.maps))]
    unit = float(np.sqrt(np.mean(squares)))
    for maps in whitened.maps:
        maps /= unit
    whitening.fit(total, density.kind, density.shrinkage, unit)
    return whitened


@torch.no_grad()
def whiten(density: LevelDensity, vectors: Vectors, folder: Path) -> Vectors:
    """The same vectors whitened, in a file below `folder` that is removed when they are."""
    whitened = _file_like(vectors, folder)
    _whiten(density, vectors, np.arange(len(vectors.maps)), whitened)
    return whitened


def _whiten(density: LevelDensity, vectors: Vectors, pictures: NDArray[np.int64], whitened: Vectors) -> None:
    for picture in pictures:
        found, places = vectors.of_picture(picture)
        rows = whitened.maps[picture].reshape(-1, vectors.maps.shape[-1])
        rows[vectors.places] = density.whitened(found, places).numpy()


def _moments(
    density: LevelDensity, whitening: PlaceWhitening, vectors: Vectors, pictures: NDArray[np.int64]
) -> Moments:
    """Of vectors that are whitened over all places."""
    moments = Moments.of_none(whitening)
    for start in range(0, len(pictures), PICTURES_AT_ONCE):
        found = [vectors.of_picture(picture) for picture in pictures[start : start + PICTURES_AT_ONCE]]
        seen, places = (torch.cat(parts) for parts in zip(*found, strict=True))
        moments.add(density.normalisation(seen), density.cells[places])
    return moments


def _file_like(vectors: Vectors, folder: Path) -> Vectors:
    """Room for vectors of the same pictures and places, on disk and not in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        maps = np.memmap(file, np.float16, "w+", shape=vectors.maps.shape)
    return replace(vectors, maps=maps)
