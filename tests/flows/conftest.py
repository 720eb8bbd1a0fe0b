"""What the flows' tests share."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)  # on a busy machine, threads wait for each other in spinning loops


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
