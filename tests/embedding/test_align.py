"""Parts that lie a little apart: motions that were drawn are found, and nothing else moves a part."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support import swatch
from torch import Tensor

from defectflow.embedding.align import FARTHEST, MARGIN, MOST_UNLIKE, Alignment, Lie, back, moved

SIDE = 160
HALF = SIDE / 2


def board(
    shift_px: tuple[float, float] = (0, 0), turn: float = 0.0, seed: int = 0, *, scratched: bool = False
) -> Tensor:
    """A square (1, 3, S, S) of a part with some rectangles, that lies shifted and turned by so many radians."""
    canvas = np.full((SIDE, SIDE), 30, np.uint8)
    for left, top, right, bottom, grey in ((30, 40, 130, 125, 110), (45, 55, 80, 75, 220), (90, 80, 120, 115, 180)):
        cv2.rectangle(canvas, (left, top), (right, bottom), grey, -1)
    if scratched:
        cv2.line(canvas, (40, 110), (75, 85), 250, 5)
    return _laid(canvas, shift_px, turn, seed)


def washer(shift_px: tuple[float, float] = (0, 0), seed: int = 0) -> Tensor:
    """A round part, that looks the same however it is turned."""
    canvas = np.full((SIDE, SIDE), 30, np.uint8)
    cv2.circle(canvas, (80, 80), 55, 190, -1, cv2.LINE_AA)
    cv2.circle(canvas, (80, 80), 25, 40, -1, cv2.LINE_AA)
    return _laid(canvas, shift_px, 0.0, seed)


def _laid(canvas: np.ndarray, shift_px: tuple[float, float], turn: float, seed: int) -> Tensor:
    matrix = cv2.getRotationMatrix2D((HALF - 0.5, HALF - 0.5), -np.degrees(turn), 1.0)
    matrix[:, 2] += shift_px
    grey = cv2.warpAffine(canvas, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    grey += np.random.default_rng(seed).normal(0, 4, grey.shape)
    return torch.from_numpy(grey.clip(0, 255).astype(np.float32)).expand(1, 3, -1, -1)


def scattered(draw=board, count: int = 12, apart_px: float = 3.0, start: int = 0) -> Tensor:
    random = np.random.default_rng(start)
    shifts = random.normal(0, apart_px, (count, 2)).clip(-2 * apart_px, 2 * apart_px)
    return torch.cat([draw(tuple(shift), seed=start + row) for row, shift in enumerate(shifts)])


def lie_of(alignment: Alignment, squares: Tensor) -> Lie:
    paths = [Path(f"{row}.png") for row in range(len(squares))]
    return alignment.look(alignment.copies(squares), torch.arange(len(squares)) % 4, paths)


def fitted(squares: Tensor) -> Alignment:
    alignment = Alignment(SIDE)
    alignment.fit(alignment.copies(squares))
    return alignment


@pytest.fixture(scope="module")
def alignment() -> Alignment:
    random = np.random.default_rng(7)
    return fitted(torch.cat([board(tuple(random.normal(0, 3, 2)), random.normal(0, 0.03), seed) for seed in range(16)]))


def test_a_drawn_motion_is_found(alignment: Alignment) -> None:
    _, rest = alignment(board(seed=100))
    _, motion = alignment(board((4.0, -3.0), 0.04, seed=101))
    found = (motion - rest)[0] * torch.tensor([HALF, HALF, 1.0])
    torch.testing.assert_close(found, torch.tensor([4.0, -3.0, 0.04]), atol=0.7, rtol=0.0)
    assert 0.02 < float(found[2]) < 0.05  # small motions are preferred a little


def test_aligned_pictures_are_alike(alignment: Alignment) -> None:
    first, second = board((3, 2), 0.03, seed=102), board((-3, 1), -0.03, seed=103)
    apart = (first - second).abs().mean()
    assert (alignment(first)[0] - alignment(second)[0]).abs().mean() < 0.35 * apart


def test_a_motion_is_undone(alignment: Alignment) -> None:
    random = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 1, 10, 10, generator=random)
    smooth = torch.nn.functional.interpolate(maps, size=(80, 80), mode="bicubic")
    motion = torch.tensor([[0.05, -0.1, 0.08], [-0.1, 0.02, -0.06], [0.0, 0.0, 0.0]])
    again = moved(moved(smooth, motion), back(motion))
    torch.testing.assert_close(again[..., 15:-15, 15:-15], smooth[..., 15:-15, 15:-15], atol=0.03, rtol=0.0)


def test_the_map_of_a_shifted_part_is_laid_back_on_the_picture() -> None:
    place = torch.zeros(1, 1, 40, 40)
    place[0, 0, 20, 30] = 1.0  # on the aligned part
    motion = torch.tensor([[0.1, -0.2, 0.0]])  # two places to the right, four up: so the part lies on the picture
    assert moved(place, back(motion))[0, 0].argmax() == 16 * 40 + 32


def test_what_is_round_is_not_turned() -> None:
    motion = fitted(scattered(washer))(washer((3.0, 2.0), seed=200))[1][0]
    assert abs(float(motion[2])) < 0.01
    assert abs(float(motion[0]) * HALF - 3.0) < 1.0


def test_a_defect_does_not_move_the_part(alignment: Alignment) -> None:
    lie = {"shift_px": (2.0, -2.0), "turn": 0.02, "seed": 104}
    good, defective = (alignment(board(**lie, scratched=scratched))[1] for scratched in (False, True))
    assert float((good - defective).abs().max()) * HALF < 0.4


def test_no_part_is_moved_farther_than_good_parts_lie_apart(alignment: Alignment) -> None:
    motion = alignment(board((14.0, 0.0), seed=105))[1]
    assert float(motion.abs()[0, 0]) <= float(alignment.limit[0]) + 1e-6
    assert float(alignment.limit.max()) <= FARTHEST
    still = fitted(torch.cat([board(seed=seed) for seed in range(8)]))
    assert float(still.limit[:2].max()) * HALF < 0.5 * MARGIN


def test_each_picture_is_aligned_by_itself(alignment: Alignment) -> None:
    squares = scattered(start=300, count=4)
    together = alignment(squares)[1]
    alone = torch.cat([alignment(square[None])[1] for square in squares])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0.0)


def test_a_picture_of_one_grey_is_left_where_it_is(alignment: Alignment) -> None:
    square = torch.full((1, 3, SIDE, SIDE), 90.0)
    aligned, _ = alignment(square)
    torch.testing.assert_close(aligned, square)
    assert fitted(square.expand(4, -1, -1, -1))(square)[1].abs().max() == 0


@pytest.mark.parametrize(
    ("apart_px", "lies_alike", "can_be_aligned"), [(3.0, False, True), (0.0, True, False)], ids=["apart", "alike"]
)
def test_how_parts_lie_decides(apart_px: float, lies_alike: bool, can_be_aligned: bool) -> None:
    squares = scattered(apart_px=apart_px)
    lie = lie_of(fitted(squares), squares)
    assert (lie.lies_alike, lie.can_be_aligned) == (lies_alike, can_be_aligned)


def test_what_is_never_alike_is_not_aligned() -> None:
    random = np.random.default_rng(0)
    noise = [cv2.GaussianBlur(random.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), 8) for _ in range(16)]
    squares = torch.from_numpy(np.stack(noise))[:, None].expand(-1, 3, -1, -1) * 400 + 120
    lie = lie_of(fitted(squares), squares)
    assert not lie.can_be_aligned
    assert lie.unlike > 0.3
    assert lie.odd_ones == (), "where all are odd, none is"


@pytest.mark.parametrize("any_turn", [False, True])
def test_what_repeats_and_is_laid_a_stripe_aside_is_not_aligned(any_turn: bool) -> None:
    squares = torch.from_numpy(np.stack([swatch(seed) for seed in range(24)])).permute(0, 3, 1, 2).float()
    alignment = Alignment(squares.shape[-1], any_turn=any_turn)
    alignment.fit(alignment.copies(squares))
    lie = lie_of(alignment, squares)
    assert lie.wrongly_laid
    assert not lie.can_be_aligned


@pytest.mark.parametrize(("count", "can_be_aligned"), [(60, True), (16, False)])
def test_one_odd_picture_counts_among_few_alone(count: int, can_be_aligned: bool) -> None:
    blank = torch.full((1, 3, SIDE, SIDE), 90.0)
    squares = torch.cat([scattered(count=count), blank])
    lie = lie_of(fitted(squares), squares)
    assert lie.wrongly_laid == lie.odd_ones == (Path(f"{count}.png"),)
    assert lie.unlike < MOST_UNLIKE
    assert lie.can_be_aligned == can_be_aligned


def test_parts_that_lie_turned_any_way_are_laid_alike() -> None:
    random = np.random.default_rng(11)

    def anyhow(count: int, first: int) -> Tensor:
        turns = random.uniform(0, 2 * np.pi, count)
        return torch.cat([board(tuple(random.normal(0, 2, 2)), turn, first + n) for n, turn in enumerate(turns)])

    train, tune = anyhow(16, 400), anyhow(8, 500)
    by_steps, from_any_turn = Alignment(SIDE), Alignment(SIDE, any_turn=True)
    for alignment, can_be_aligned in ((by_steps, False), (from_any_turn, True)):
        alignment.fit(alignment.copies(train))
        assert lie_of(alignment, torch.cat([train, tune])).can_be_aligned == can_be_aligned
    aligned = from_any_turn(tune)[0][:, 0]
    assert (aligned - aligned.mean(0)).abs().mean() < 0.3 * (tune[:, 0] - tune[:, 0].mean(0)).abs().mean()


def test_a_turn_of_a_stretched_picture_is_a_turn_of_the_part() -> None:
    """A wide picture's square is narrow: turned there as a square would be, the part would be sheared."""
    wide = np.full((SIDE, 2 * SIDE), 30, np.uint8)
    cv2.rectangle(wide, (100, 50), (220, 110), 190, -1)
    matrix = cv2.getRotationMatrix2D((SIDE - 0.5, SIDE / 2 - 0.5), -np.degrees(0.1), 1.0)
    turned = cv2.warpAffine(wide, matrix, (2 * SIDE, SIDE), borderValue=30)
    upright, lies = (
        torch.from_numpy(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32))[None, None]
        for picture in (wide, turned)
    )
    motion = torch.tensor([[0.0, 0.0, 0.1]])
    assert (moved(lies, motion, aspect=2.0) - upright).abs().mean() < 0.75
    assert (moved(lies, motion, aspect=1.0) - upright).abs().mean() > 1.5
    there_and_back = moved(moved(upright, motion, aspect=2.0), back(motion, aspect=2.0), aspect=2.0)
    assert (there_and_back - upright).abs().mean() < 1.5
