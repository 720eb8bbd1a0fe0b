"""One level's density: whitening, condition, flow; training, checkpoints, health, samples."""

from defectflow.density.checkpoints import (
    Tensors,
    choose_device,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
    seed_of,
    set_learning_rate,
)
from defectflow.density.condition import CONDITION_WIDTH, WHOLE, position_condition
from defectflow.density.draw import Drawn, draw_embeddings, write_embeddings
from defectflow.density.health import Check, examine
from defectflow.density.learn import learn_level
from defectflow.density.level import LevelDensity
from defectflow.density.measure import fit_whitening, whiten
from defectflow.density.place_whitening import PlaceWhitening, packed
from defectflow.density.saved import Head, open_heads, write_sample
from defectflow.density.train import Run, train_flow
from defectflow.density.whitening import Normalisation, fit_normalisation

__all__ = [
    "CONDITION_WIDTH",
    "WHOLE",
    "Check",
    "Drawn",
    "Head",
    "LevelDensity",
    "Normalisation",
    "PlaceWhitening",
    "Run",
    "Tensors",
    "choose_device",
    "draw_embeddings",
    "examine",
    "fit_normalisation",
    "fit_whitening",
    "learn_level",
    "load_checkpoint",
    "open_heads",
    "optimiser_tensors",
    "packed",
    "position_condition",
    "restore_optimiser",
    "save_checkpoint",
    "seed_of",
    "set_learning_rate",
    "train_flow",
    "whiten",
    "write_embeddings",
    "write_sample",
]
