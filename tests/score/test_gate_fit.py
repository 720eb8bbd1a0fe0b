"""The gate of pictures that are all alike."""

from __future__ import annotations

import torch

from defectflow.score import Gate


def test_pictures_that_are_all_alike_have_a_gate() -> None:
    gate = Gate(8)
    gate.fit(torch.full((20, 8), 3.0))
    assert gate(torch.full((1, 8), 3.0)).item() == 0
    assert 100 < gate(torch.full((1, 8), 4.0)).item() < 1e6  # far, and a number
