"""The recipe of a built-in backbone -> frozen, typed settings: every number that shapes its weights, with its unit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from defectflow.recipe import CONFIGS, PRETRAIN, Fraction, LearningSettings, Settings, load


class PretrainingPictures(Settings):
    """What a backbone sees while it is made."""

    drawn_share: Fraction = 0.5
    """Share of the crops that are drawn; the others are cut from photographs."""
    drawn_px: int = Field(160, ge=64, le=1024)
    """Side of a drawn picture."""
    photo_px: int = Field(240, ge=64, le=1024)
    """Side to which photographs are reduced."""
    crop_px: tuple[Annotated[int, Field(ge=32, le=512)], ...] = Field((128,), min_length=1)
    """Sides of the crops; they take turns."""
    pixels_per_step: int = Field(524_288, ge=4096)
    """Pixels of one step's crops together, before each is seen twice."""


class DescriptorSettings(Settings):
    """Places of the same spot must agree, of different spots differ."""

    width: int = Field(64, ge=8, le=1024)
    """Values in a place's descriptor."""
    temperature: float = Field(0.1, gt=0, le=1)
    """Divides the similarities; smaller weighs the most similar wrong places more."""
    places: int = Field(3072, ge=16)
    """Places per step and level that are distinguished from one another."""
    average: float = Field(0.998, ge=0, lt=1)
    """Memory of the running average of the weights, which is what is kept."""


class PretrainingSettings(LearningSettings):
    """How a backbone is learned."""

    steps: int = Field(7000, ge=1)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    weight_decay: float = Field(0.02, ge=0, le=1)
    warmup: int = Field(100, ge=0)
    check_every: int = Field(100, ge=1)


class PretrainingRecipe(Settings):
    """Everything that shapes the weights of a built-in backbone."""

    backbone: str = "resnet18"
    """Any convolutional timm name with feature maps."""
    levels: tuple[int, ...] = Field((1, 2, 3), min_length=1)
    """Levels that learn; what lies behind the last one is cut off."""
    pictures: PretrainingPictures = PretrainingPictures()
    objective: DescriptorSettings = DescriptorSettings()
    training: PretrainingSettings = PretrainingSettings()


def load_pretraining(name_or_path: str = PRETRAIN, overrides: list[str] | None = None) -> PretrainingRecipe:
    """As `defectflow.recipe.settings.load_recipe`, for the recipe of a backbone."""
    return load(PretrainingRecipe, name_or_path, {PRETRAIN: CONFIGS / f"{PRETRAIN}.yaml"}, overrides or [])
