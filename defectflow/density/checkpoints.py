"""What every training loop shares: device, learning-rate schedule and checkpoints."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from defectflow.errors import TrainingError
from defectflow.recipe import LearningSettings

Tensors = dict[str, Tensor]


def choose_device(settings: LearningSettings) -> torch.device:
    """The device of a recipe. Raises TrainingError if `cuda` is wanted and absent."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("training.device: cuda, but torch sees no CUDA device here; use auto or cpu")
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def seed_of(*key: int) -> int:
    """One seed from several numbers, like those of a run and a step: no two keys' draws are correlated."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, settings: LearningSettings) -> float:
    """A linear rise over `warmup` steps, then half a cosine down to zero; returns the rate."""
    if step < settings.warmup:
        rate = settings.learning_rate * (step + 1) / settings.warmup
    else:
        done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
        rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def save_checkpoint(path: Path, progress: dict[str, Any], groups: dict[str, Tensors]) -> None:
    """One safetensors file with a JSON header, no pickle; a kill at any moment leaves the old one or the new one."""
    tensors = {
        f"{group}/{key}": tensor.detach().contiguous().clone()
        for group, members in groups.items()
        for key, tensor in members.items()
    }
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, partial, metadata={"progress": json.dumps(progress)})
    partial.replace(path)


def load_checkpoint(path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """What `save_checkpoint` was given; a group without tensors is absent."""
    groups: dict[str, Tensors] = {}
    with safetensors.safe_open(path, "pt", device=str(device)) as file:
        progress: dict[str, Any] = json.loads(file.metadata()["progress"])
        for key in file.keys():  # noqa: SIM118  (not a dict)
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    return progress, groups


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Tensors:
    """The moments of every parameter, named `index/moment`."""
    return {
        f"{index}/{name}": tensor
        for index, moments in optimiser.state_dict()["state"].items()
        for name, tensor in moments.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    state = optimiser.state_dict()
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        state["state"].setdefault(int(index), {})[name] = tensor
    optimiser.load_state_dict(state)
