"""What the flows' tests share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

torch.set_num_threads(1)  # on a busy machine, threads wait for each other in spinning loops


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def perturb():
    """Moves every parameter, so that nothing is tested at the identity where flows start."""

    def move(module: nn.Module, size: float = 0.3) -> nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += size * torch.randn_like(parameter)
        return module

    return move
