"""Several pictures of one part, unknown to us: found by what most names share and by looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from defectflow.data import Picture, find_siblings

PARTS = 12


def shots(*others: str) -> tuple[list[Picture], np.ndarray]:
    """Two shots of each part, alike but not equal, and pictures of other names."""
    names = [f"part{part:02}_shot{shot}.png" for part in range(PARTS) for shot in (1, 2)] + list(others)
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.normal(size=(PARTS, 16)), 2, axis=0) + 0.1 * rng.normal(size=(2 * PARTS, 16))
    pooled = np.concatenate([alike, rng.normal(size=(len(others), 16))])
    return [Picture(Path(name), name, "good", "good", name=name) for name in names], pooled


def test_one_name_otherwise_hides_no_siblings() -> None:
    found = find_siblings(*shots("overview.png"))
    assert found is not None
    assert found.stragglers == ("overview.png",)
    assert (found.parts, found.pictures, found.alike) == (PARTS + 1, 2 * PARTS, 1.0)


def test_a_pattern_that_few_names_follow_is_none() -> None:
    assert find_siblings(*shots(*(f"picture{letter}.png" for letter in "abcdefghij"))) is None
