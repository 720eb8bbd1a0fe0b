"""Drawn pictures, crops, views and flaws: what the backbone learns from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from defectflow.pretraining import drawing
from defectflow.pretraining.drawing import Dice, draw
from defectflow.pretraining.views import crops, photographed, same_places, toned, warped

CPU = torch.device("cpu")
KINDS = ["_noise", "_grain", "_gratings", "_lattice", "_weave", "_cells", "_shapes", "_print", "_strokes"]


def coordinates(count: int, side_px: int) -> Tensor:
    """Pictures whose first two channels are their own x and y, -1..1, as affine grids count them."""
    place = (2 * torch.arange(side_px) + 1) / side_px - 1
    y, x = torch.meshgrid(place, place, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]).expand(count, -1, -1, -1).contiguous()


class TestDrawing:
    def test_pictures_are_pictures(self) -> None:
        pictures = draw(24, 96, Dice(0, CPU))
        assert pictures.shape == (24, 3, 96, 96)
        assert pictures.isfinite().all()
        assert pictures.min() >= 0
        assert pictures.max() <= 1
        assert (pictures.std((1, 2, 3)) > 0.01).all()  # none is blank

    def test_a_seed_draws_the_same_again_and_another_seed_something_else(self) -> None:
        first, again, other = (draw(4, 64, Dice(seed, CPU)) for seed in (5, 5, 6))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_no_two_pictures_are_alike(self) -> None:
        flat = draw(24, 96, Dice(1, CPU)).flatten(1)
        centred = F.normalize(flat - flat.mean(1, keepdim=True), dim=1)
        likeness = (centred @ centred.T - torch.eye(24)).abs()
        assert likeness.max() < 0.95

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_varies_within_and_between_pictures(self, kind: str) -> None:
        fields = getattr(drawing, kind)(12, 96, Dice(2, CPU))
        assert fields.shape == (12, 96, 96)
        assert fields.isfinite().all()
        assert (fields.std((1, 2)) > 1e-3).all()
        assert (fields[0] - fields[1]).abs().max() > 1e-3

    def test_gratings_have_the_frequency_that_was_drawn(self) -> None:
        """Fields of one wave: nearly all of the spectrum's energy lies at one frequency and its harmonics."""
        phase, _ = drawing._phases(16, 128, Dice(3, CPU))
        waves = torch.sin(phase)
        power = torch.fft.rfft2(waves - waves.mean((1, 2), keepdim=True)).abs() ** 2
        strongest = power.flatten(1).sort(descending=True).values
        assert (strongest[:, :60].sum(1) / strongest.sum(1) > 0.7).float().mean() > 0.6


class TestViews:
    def test_a_warped_view_shows_the_places_its_matrix_names(self) -> None:
        crop = coordinates(6, 64)
        again, matrix = warped(crop, Dice(0, CPU))
        back, seen = same_places(again, matrix)
        assert seen.float().mean() > 0.5
        wrong = (back[:, :2] - crop[:, :2]).abs().amax(1)[seen]
        assert wrong.max() < 0.02  # under a pixel of 64: the views agree on where everything is

    def test_maps_coarser_than_the_picture_agree_too(self) -> None:
        crop = coordinates(6, 64)
        again, matrix = warped(crop, Dice(1, CPU))
        coarse, coarse_again = F.avg_pool2d(crop, 8), F.avg_pool2d(again, 8)
        back, seen = same_places(coarse_again, matrix)
        wrong = (back[:, :2] - coarse[:, :2]).abs().amax(1)[seen]
        assert wrong.mean() < 0.03
        assert wrong.max() < 0.15  # half a place: reflection at the border blurs the outermost

    def test_places_out_of_sight_are_reported(self) -> None:
        matrix = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])  # the second view lies half a picture to the right
        _, seen = same_places(torch.zeros(1, 1, 8, 8), matrix)
        assert seen[0, :, :3].sum() == 0
        assert seen[0, 1:-1, 5:7].all()

    def test_crops_are_cut_from_the_pictures(self) -> None:
        pictures = torch.zeros(3, 3, 100, 100, dtype=torch.uint8)
        pictures[0], pictures[1], pictures[2] = 10, 100, 200
        cut = crops(pictures, 40, 32, Dice(0, CPU))
        assert cut.shape == (40, 3, 32, 32)
        tones = (cut * 255).round()
        assert torch.equal(tones.amin((1, 2, 3)), tones.amax((1, 2, 3)))  # each shows one picture
        assert set(tones[:, 0, 0, 0].tolist()) == {10.0, 100.0, 200.0}

    def test_materials_reach_from_dim_to_full_contrast(self) -> None:
        crop = draw(16, 64, Dice(0, CPU)).repeat(8, 1, 1, 1)
        ratio = toned(crop, Dice(1, CPU)).mean(1).std((1, 2)) / crop.mean(1).std((1, 2))
        assert ratio.min() < 0.25
        assert ratio.max() > 1.0

    def test_a_camera_changes_tones_but_not_places(self) -> None:
        crop = draw(32, 64, Dice(0, CPU))
        shot = photographed(crop, Dice(1, CPU))
        assert shot.min() >= 0
        assert shot.max() <= 1
        centred, centred_shot = (x.mean(1).flatten(1) - x.mean((1, 2, 3))[:, None] for x in (crop, shot))
        assert F.cosine_similarity(centred, centred_shot).mean() > 0.85
        assert (crop - shot).abs().mean() > 0.01
