"""YAML -> frozen, typed settings: every number that shapes a model, with its unit."""

from defectflow.recipe.flow_settings import FlowSettings
from defectflow.recipe.settings import (
    CONFIGS,
    PRETRAIN,
    Align,
    Area,
    EmbeddingSettings,
    ImageSettings,
    LearningSettings,
    Recipe,
    RegionOfInterest,
    TilingSettings,
    TrainingSettings,
    builtin_recipes,
    load_recipe,
    parse_recipe,
)
from defectflow.recipe.tree import Fraction, Settings, load, override, validated

__all__ = [
    "CONFIGS",
    "PRETRAIN",
    "Align",
    "Area",
    "EmbeddingSettings",
    "FlowSettings",
    "Fraction",
    "ImageSettings",
    "LearningSettings",
    "Recipe",
    "RegionOfInterest",
    "Settings",
    "TilingSettings",
    "TrainingSettings",
    "builtin_recipes",
    "load",
    "load_recipe",
    "override",
    "parse_recipe",
    "validated",
]
