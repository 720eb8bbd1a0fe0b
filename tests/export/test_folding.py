"""The folded detector gives the same numbers as the trained one, for every family, score and backbone."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from support import save

from defectflow.embedding.backbone import Backbone
from defectflow.export.fold_backbone import fold_backbone
from defectflow.export.folding import FoldedDetector
from defectflow.flows.build import Family
from defectflow.recipe.settings import load_recipe
from defectflow.score.detector import Detector, build_detector

TINY = ("image.size=64", "embedding.levels=[1, 2]")
SETTINGS = {
    "realnvp": "layers: 3, base: student_t",
    "planar": "layers: 3",
    "cnf": "steps: 2, augmented: 3, base: student_t",
    "gaussian": "base: student_t",
}
"""Of families that should not have their defaults here."""


@torch.no_grad()
def learned(*overrides: str) -> Detector:
    """A detector in double precision, no part of which is at its start."""
    torch.manual_seed(0)
    detector, _ = build_detector(load_recipe("free", [*TINY, *overrides]))
    detector.double()
    for density in detector.levels:
        width = density.flow.width
        factor = torch.randn(width, width, dtype=torch.float64) / width**0.5
        density.normalisation.fit(torch.randn(width), factor @ factor.T, "whiten")
        if density.whitening is not None:
            density.whitening.mean += torch.randn_like(density.whitening.mean)
            density.whitening.factor += 0.1 * torch.randn_like(density.whitening.factor).triu()
        for parameter in density.flow.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    for standardised in detector.score.standardised:
        standardised.typical.normal_()
        standardised.mean.normal_()
        standardised.std.uniform_(1, 2)
    return detector


def assert_same(detector: Detector) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype=np.uint8))
    with torch.no_grad():
        wanted, got = detector(image), FoldedDetector(detector)(image)
    for one, other in zip(wanted, got[: len(wanted)], strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)  # the square is resized in single precision


@pytest.mark.parametrize("family", [family for family in get_args(Family) if family != "iaf"])  # it is not exported
def test_every_family_gives_the_same_numbers(family: str) -> None:
    assert_same(learned(f"flow={{family: {family}, hidden: 16, {SETTINGS.get(family, '')}}}"))


@pytest.mark.parametrize("place", ["spread", "full"])
@pytest.mark.parametrize("family", ["gaussian", "glow", "nice", "spline"])
def test_whitening_by_place_and_anchored_couplings_give_the_same_numbers(family: str, place: str) -> None:
    anchored = "" if family == "gaussian" else ", anchored: true"
    assert_same(learned(f"flow={{family: {family}, hidden: 16, place: {place}{anchored}, {SETTINGS.get(family, '')}}}"))


@pytest.mark.parametrize("kind", ["latent_norm", "typicality"])
def test_every_score_gives_the_same_numbers(kind: str) -> None:
    assert_same(learned(f"score.kind={kind}", "flow={family: glow, hidden: 16, layers: 2}"))


def test_compressed_levels_and_binomial_averages_give_the_same_numbers() -> None:
    assert_same(learned("score.compression=log", "embedding.weighting=binomial", "embedding.averaged_to_px=4"))


def test_a_region_of_interest_gives_the_same_numbers(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[8:56, 16:60] = 255
    assert_same(learned(f"image.roi.mask={save(tmp_path / 'mask.png', mask)}", "flow={family: realnvp, hidden: 16}"))


def test_what_is_linear_takes_one_step_and_the_pixels_scale_none() -> None:
    folded = FoldedDetector(learned("flow={family: realnvp, hidden: 16, layers: 2, place: none}"))
    names = [type(step).__name__ for step in folded.densities[0].steps]
    assert names == ["PlaceAffine", "AffineCoupling", "PlaceAffine", "AffineCoupling"]
    assert folded.backbone.std is None


def test_a_net_whose_pixels_meet_no_convolution_keeps_their_scale() -> None:
    pooled = Backbone(torch.nn.Sequential(torch.nn.AvgPool2d(4), Listed()), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)).double()
    folded = fold_backbone(pooled, 32)
    square = 255 * torch.rand(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(folded(square)[0], pooled(square)[0].permute(0, 3, 1, 2))


class Listed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]
