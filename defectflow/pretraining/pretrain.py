"""Photographs and drawings -> the weights of a backbone. One explicit loop; the same on CPU and GPU.

Every random number comes from (seed, step), so a run that was stopped continues as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from timm.models import PretrainedCfg
from torch import Tensor, nn

from defectflow.common import Progress, Watch, unwatched
from defectflow.data import find_pictures
from defectflow.density import choose_device, load_checkpoint, save_checkpoint, seed_of
from defectflow.errors import DataError, ImageError, SettingsError, TrainingError
from defectflow.image import read_image
from defectflow.pretraining.drawing import Dice, draw
from defectflow.pretraining.learner import Learner
from defectflow.pretraining.settings import PretrainingRecipe
from defectflow.pretraining.views import crops

SHEET_PICTURES = 64
"""Pictures drawn at once."""
SHEETS = 16
"""Sheets of drawn pictures available; the oldest is replaced every `STEPS_PER_SHEET` steps."""
STEPS_PER_SHEET = 16


@dataclass(frozen=True, slots=True)
class Pretrained:
    """The weights file, and what it took."""

    path: Path
    sha256: str
    steps: int
    unreadable: tuple[tuple[str, str], ...]
    """Photographs that could not be used, with the reason."""
    pictures_per_s: float
    """Crops learned from per second, each counted once though seen twice; of this run alone."""


def pretrain(
    recipe: PretrainingRecipe,
    photos: Path | None,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = unwatched,
) -> Pretrained:
    """Learn and write the weights (fp16 safetensors) to `out`; `resume` continues from the checkpoint beside it.

    A resumed run may be given another number of steps, which makes the rest of it longer or shorter.

    Raises SettingsError for settings that do not go together, DataError without usable photographs, TrainingError
    on a loss that is not a number.
    """
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out}: weights are written as safetensors; name a file that ends in .safetensors")
    if out.exists() and not overwrite:
        raise SettingsError(f"{out}: exists already; choose another name, or replace it with --overwrite")
    settings, pictures = recipe.training, recipe.pictures
    checkpoint = out.with_suffix(".training")
    if resume and not checkpoint.is_file():
        raise TrainingError(f"{checkpoint}: nothing to resume; leave --resume out")
    device = choose_device(settings)
    torch.manual_seed(settings.seed)
    learner = _learner(recipe, device)
    made_with = recipe.model_dump(mode="json")
    if resume:
        progress, state = load_checkpoint(checkpoint, device)
        if _but_for_steps(progress["recipe"]) != _but_for_steps(made_with):
            raise TrainingError(f"{checkpoint}: was made with other settings; give the same recipe, or start anew")
        learner.restore(state, progress["steps"])
    photographs, unreadable = _photographs(photos, pictures.photo_px, pictures.drawn_share, watch)
    photographs = photographs.to(device)
    drawings = _Drawings(pictures.drawn_px, settings.seed, device)

    started, first_step, seen, recognised = time.perf_counter(), learner.steps, 0, list[list[float]]()
    while learner.steps < settings.steps:
        dice = Dice(seed_of(settings.seed, 1, learner.steps), device)
        side_px = pictures.crop_px[learner.steps % len(pictures.crop_px)]
        count = max(2, pictures.pixels_per_step // side_px**2)
        drawn = round(pictures.drawn_share * count)
        sources = ((drawings.at(learner.steps), drawn), (photographs, count - drawn))
        crop = torch.cat([crops(pool, share, side_px, dice) for pool, share in sources if share])
        recognised.append(learner.step(crop, dice))
        seen += count
        if learner.steps % settings.check_every == 0 or learner.steps == settings.steps:
            save_checkpoint(checkpoint, {"steps": learner.steps, "recipe": made_with}, learner.state())
            elapsed_s = time.perf_counter() - started
            left_s = elapsed_s / (learner.steps - first_step) * (settings.steps - learner.steps)
            shares = ", ".join(f"{np.mean(level):.0%}" for level in zip(*recognised, strict=True))
            recognised.clear()
            note = f"places recognised {shares}; {seen / elapsed_s:.0f} pictures/s, {left_s / 60:.0f} min left"
            watch(Progress("pretrain", learner.steps, settings.steps, note))
    # One entry only: safetensors writes several in any order, and the digests of equal weights would differ.
    weights = learner.weights({"recipe": json.dumps(made_with)})
    out.write_bytes(weights)
    checkpoint.unlink()
    pictures_per_s = seen / max(time.perf_counter() - started, 1e-9)
    return Pretrained(out, hashlib.sha256(weights).hexdigest(), learner.steps, unreadable, pictures_per_s)


def _but_for_steps(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe | {"training": recipe["training"] | {"steps": None}}


def _learner(recipe: PretrainingRecipe, device: torch.device) -> Learner:
    """The network up to its last level in use, with random weights, ready to learn."""
    if not timm.is_model(recipe.backbone):
        raise SettingsError(f"backbone: timm has no model {recipe.backbone!r}; timm.list_models() names them")
    try:
        net: Any = timm.create_model(recipe.backbone, features_only=True, out_indices=recipe.levels)
    except (AssertionError, IndexError, ValueError) as error:
        raise SettingsError(f"levels: {list(recipe.levels)} does not suit {recipe.backbone!r}: {error}") from error
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm starts residual branches at zero, from where they learn later
    config = timm.get_pretrained_cfg(recipe.backbone) or PretrainedCfg()
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    return Learner(net, net.feature_info.channels(), mean, std, recipe.objective, recipe.training, device)


class _Drawings:
    """The sheets available at a step, drawn when they are first needed; drawn again alike after a stop."""

    def __init__(self, side_px: int, seed: int, device: torch.device) -> None:
        self.seed, self.device, self.side_px = seed, device, side_px
        self.pictures = torch.empty(SHEETS * SHEET_PICTURES, 3, side_px, side_px, dtype=torch.uint8, device=device)
        self.drawn = -1
        """The latest sheet drawn."""

    def at(self, step: int) -> Tensor:
        """Pictures (M, 3, P, P) uint8."""
        latest = step // STEPS_PER_SHEET + SHEETS - 1
        for sheet in range(max(self.drawn + 1, latest - SHEETS + 1), latest + 1):
            pictures = draw(SHEET_PICTURES, self.side_px, Dice(seed_of(self.seed, 2, sheet), self.device))
            start = sheet % SHEETS * SHEET_PICTURES
            self.pictures[start : start + SHEET_PICTURES] = (255 * pictures).round().byte()
        self.drawn = latest
        return self.pictures


def _photographs(
    photos: Path | None, side_px: int, drawn_share: float, watch: Watch
) -> tuple[Tensor, tuple[tuple[str, str], ...]]:
    """The middle square of every photograph, (M, 3, P, P) uint8, and those that could not be read."""
    if drawn_share == 1:
        return torch.zeros(1, 3, side_px, side_px, dtype=torch.uint8), ()
    if photos is None:
        raise SettingsError(
            f"pictures.drawn_share: {drawn_share:g} leaves a part for photographs, but none were given; "
            "give --photos DIR, or --set pictures.drawn_share=1"
        )
    found = find_pictures(photos)
    squares, unreadable = list[Tensor](), list[tuple[str, str]]()
    for done, picture in enumerate(found, start=1):
        try:
            squares.append(_middle_square(read_image(picture.path), side_px))
        except ImageError as error:
            unreadable.append((str(picture.path), str(error)))
        if done % 100 == 0 or done == len(found):
            watch(Progress("photographs", done, len(found), f"{len(squares)} usable"))
    if not squares:
        raise DataError(f"{photos}: none of its {len(found)} photographs can be read")
    return torch.stack(squares), tuple(unreadable)


def _middle_square(pixels: NDArray[np.uint8], side_px: int) -> Tensor:
    """(H, W, 3) -> (3, P, P)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    return torch.from_numpy(cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA)).permute(2, 0, 1)
