"""Recipe -> frozen, typed settings. Read first: every number that shapes a model is here, with its unit.

A recipe is a YAML file; `load_recipe` turns it, with overrides such as `flow.layers=12`, into a `Recipe`.
Nothing else in the package reads YAML, and nothing changes a recipe after it has been read.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from defectflow.errors import SettingsError

_Tree = TypeVar("_Tree", bound=BaseModel)
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegionOfInterest(_Settings):
    """Where on the picture the part is: a rectangle (cut out), a mask file (scored inside), or both."""

    rectangle: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    """Left, top, width, height as fractions of the picture."""
    mask: Path | None = None
    """Grey picture of the (cut-out) part: white is scored, black is ignored."""

    @model_validator(mode="after")
    def _inside(self) -> RegionOfInterest:
        if self.rectangle is not None:
            left, top, width, height = self.rectangle
            if left + width > 1 or top + height > 1 or width * height == 0:
                raise ValueError(
                    f"rectangle {list(self.rectangle)} leaves the picture or is empty; "
                    "give left, top, width, height as fractions, with left + width and top + height at most 1"
                )
        return self


class TilingSettings(_Settings):
    """Large pictures in overlapping tiles, each brought to `image.size`, so that small defects stay visible."""

    tile: int | None = Field(None, ge=32, le=16384)
    """Side of a tile in pixels of the picture; null: the whole picture at once."""
    overlap: int = Field(64, ge=0)
    """Pixels that neighbours share, at least; at most half a tile. Their maps are blended there."""
    picture: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] | None = None
    """Width and height of the pictures that `tile` and `overlap` are meant for; null: the training parts' most common
    size. Pictures of other sizes are tiled in proportion."""

    @model_validator(mode="after")
    def _neighbours_differ(self) -> TilingSettings:
        if self.tile is not None and 2 * self.overlap > self.tile:
            raise ValueError(f"an overlap of {self.overlap} is more than half a tile; use at most {self.tile // 2}")
        return self


class ImageSettings(_Settings):
    """Raw pixels -> the square the backbone sees."""

    size: int = Field(256, ge=32, le=2048)
    """Side of the square the backbone sees, in pixels; a multiple of 32."""
    aspect: Literal["stretch", "letterbox", "crop"] = "stretch"
    """How a picture becomes square: stretched, padded with grey, or cut to its centre."""
    roi: RegionOfInterest = RegionOfInterest()
    tiling: TilingSettings = TilingSettings()
    full_scale: int | None = Field(None, ge=255, le=65535)
    """The 16-bit value that means white, e.g. 4095; null: fixed from the training parts."""

    @field_validator("size")
    @classmethod
    def _multiple_of_32(cls, size: int) -> int:
        if size % 32:
            raise ValueError(f"{size} is not a multiple of 32; use {size // 32 * 32} or {size // 32 * 32 + 32}")
        return size

    @model_validator(mode="after")
    def _tiles_are_squares_of_their_own(self) -> ImageSettings:
        if self.tiling.tile is not None and self.aspect != "stretch":
            raise ValueError(
                f"aspect: {self.aspect} is for pictures that are looked at whole; with tiling.tile use stretch, which "
                "leaves tiles as they are, and roi.rectangle to cut the picture"
            )
        if self.tiling.tile is not None and self.roi.mask is not None:
            raise ValueError(f"roi.mask: {self.roi.mask} cannot be combined with tiling.tile; use roi.rectangle")
        return self


class EmbeddingSettings(_Settings):
    """The frozen backbone and how its feature maps become vectors."""

    backbone: str = "resnet18"
    """Any timm name with feature maps."""
    levels: tuple[int, ...] = Field((1, 2, 3), min_length=1)
    """Which of the backbone's feature levels to use, counted from 0, fine to coarse."""
    weights: str = "builtin"
    """`builtin`, `hub`, or the path of a safetensors or torch file."""
    neighbourhood: int = Field(3, ge=1, le=9)
    """Side, in places, of the square over which each place's vector is averaged; odd."""
    spacing_px: int = Field(1, ge=1, le=64)
    """Pixels of the square between neighbouring places, at least: of finer levels, only so many are kept."""
    normalise: Literal["whiten", "standardise"] = "whiten"
    """`whiten` removes correlations between channels, `standardise` only their scale."""

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if list(levels) != sorted(set(levels)) or levels[0] < 0:
            raise ValueError(f"{list(levels)} must be ascending, without repeats, from 0 on")
        return levels

    @field_validator("neighbourhood")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"{side} is even; use {side - 1} or {side + 1}")
        return side


class _FlowSettings(_Settings):
    base: Literal["normal", "student_t"] = "normal"
    """What the flow carries good vectors to; `student_t` learns how heavy the tails are."""
    hidden: int = Field(128, ge=8, le=4096)
    """Width of the networks inside."""


class NiceSettings(_FlowSettings):
    """Additive couplings and one scale for all (Dinh 2014): the Jacobian is the same everywhere."""

    family: Literal["nice"] = "nice"
    layers: int = Field(4, ge=1, le=64)
    """Coupling layers per level."""


class _ScalingSettings(_FlowSettings):
    clamp: float = Field(2.0, gt=0, le=10)
    """Largest |log scale| of one layer."""


class GaussianSettings(_ScalingSettings):
    """No flow: each place's mean and spread, on whitened vectors. What every flow has to beat."""

    family: Literal["gaussian"] = "gaussian"


class PlanarSettings(_ScalingSettings):
    """Bends along one direction each (Rezende 2015). Cheap, weak."""

    family: Literal["planar"] = "planar"
    layers: int = Field(16, ge=1, le=256)
    """Bends per level."""


class _LayeredSettings(_ScalingSettings):
    layers: int = Field(4, ge=1, le=64)
    """Layers per level."""


class RealNVPSettings(_LayeredSettings):
    """Affine couplings with fixed permutations between them (Dinh 2016)."""

    family: Literal["realnvp"] = "realnvp"


class GlowSettings(_LayeredSettings):
    """ActNorm, learned invertible mixing and affine couplings (Kingma 2018)."""

    family: Literal["glow"] = "glow"


class MAFSettings(_LayeredSettings):
    """Masked autoregressive layers (Papamakarios 2017): scores in one pass, samples value by value."""

    family: Literal["maf"] = "maf"


class IAFSettings(_LayeredSettings):
    """The inverse (Kingma 2016): samples in one pass, scores value by value, so it cannot be exported."""

    family: Literal["iaf"] = "iaf"


class SplineSettings(_LayeredSettings):
    """Couplings through monotone rational-quadratic curves (Durkan 2019)."""

    family: Literal["spline"] = "spline"
    bins: int = Field(8, ge=2, le=64)
    """Pieces of each curve."""
    bound: float = Field(4.0, gt=0, le=100)
    """Beyond this, in standard deviations of good vectors, a curve is the identity."""


class ContinuousSettings(_ScalingSettings):
    """A differential equation (Grathwohl 2018), scored with Runge-Kutta of fixed steps."""

    family: Literal["cnf"] = "cnf"
    steps: int = Field(8, ge=1, le=256)
    """Runge-Kutta steps when scoring."""
    objective: Literal["likelihood", "matching"] = "likelihood"
    """`likelihood` solves the equation in every step of training; `matching` never does (Lipman 2022)."""
    trace: Literal["exact", "gaussian", "rademacher"] = "exact"
    """How training by likelihood finds the divergence: in closed form, or estimated (Hutchinson)."""
    kinetic: float = Field(0.01, ge=0, le=100)
    """Weight of the mean square velocity, which keeps paths short (Finlay 2020)."""
    jacobian: float = Field(0.01, ge=0, le=100)
    """Weight of the velocity's mean square derivative along a random direction, which keeps paths straight."""
    tolerance: float = Field(1e-3, gt=0, le=0.1)
    """Of the adaptive solver, in training."""
    augmented: int = Field(0, ge=0, le=256)
    """Dimensions of noise beside the vector's own (Dupont 2019): paths may cross; the likelihood becomes a bound."""


FlowSettings = Annotated[
    NiceSettings
    | RealNVPSettings
    | GlowSettings
    | MAFSettings
    | IAFSettings
    | PlanarSettings
    | SplineSettings
    | ContinuousSettings
    | GaussianSettings,
    Field(discriminator="family"),
]


class LearningSettings(_Settings):
    """What every training loop needs to know."""

    steps: int = Field(ge=1)
    """Optimiser steps, at most."""
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0, le=1)
    warmup: int = Field(ge=0)
    """Steps over which the learning rate rises to its full value."""
    clip: float = Field(5.0, gt=0)
    """Largest gradient norm."""
    check_every: int = Field(50, ge=1)
    """Steps between reports and between checkpoints."""
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class TrainingSettings(LearningSettings):
    """How the flows are learned from cached embeddings, one level after another."""

    steps: int = Field(600, ge=1)
    batch: int = Field(4096, ge=16)
    """Vectors per step, drawn over all pictures and places."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    weight_decay: float = Field(1e-5, ge=0, le=1)
    warmup: int = Field(50, ge=0)
    patience: int = Field(4, ge=1)
    """Looks at the tune parts, one every `check_every` steps, without improvement after which a level stops."""
    deterministic: bool = False
    """Bit-identical repeats on the same machine, at some cost in speed."""


class ScoreSettings(_Settings):
    """Level maps -> anomaly map -> image score."""

    kind: Literal["likelihood", "latent_norm", "typicality"] = "likelihood"
    """What makes a place unusual: a low likelihood; a z far from the middle, whatever the flow's stretch; or a
    likelihood unlike that of good places, lower or higher."""
    smoothing_px: float = Field(4.0, ge=0, le=64)
    """Standard deviation of the Gaussian that smooths the map, in pixels of the square."""
    top_fraction: float = Field(0.01, gt=0, le=1)
    """Share of the map whose mean is the image score."""


class VerdictSettings(_Settings):
    """The promise made about good parts."""

    rate: float = Field(0.05, gt=0, lt=1)
    """Largest share of good parts that may be called defective."""
    guarantee: Literal["expected", "confident"] = "expected"
    """`expected`: the rate holds on average; `confident`: with 95% confidence."""
    review_rate: float = Field(0.10, gt=0, lt=1)
    """Largest share of good parts that may be called anything but ok; above `rate`."""
    gate_margin: float = Field(1.0, ge=0, le=10)
    """How much further than the tune parts' largest distance a picture may lie before it is invalid."""

    @model_validator(mode="after")
    def _review_above_rate(self) -> VerdictSettings:
        if self.review_rate < self.rate:
            raise ValueError(f"review_rate {self.review_rate:g} must not be below rate {self.rate:g}")
        return self


class SplitSettings(_Settings):
    """Good parts -> train, tune, calibration. Always by part."""

    tune: float = Field(0.15, gt=0, le=0.5)
    """Share of the parts that are not for calibration which steer early stopping and the score's constants."""
    seed: int = Field(0, ge=0)


class Recipe(_Settings):
    """Everything that shapes a model. Frozen; saved in the bundle as it was used."""

    image: ImageSettings = ImageSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    flow: FlowSettings = GlowSettings()
    training: TrainingSettings = TrainingSettings()
    score: ScoreSettings = ScoreSettings()
    verdict: VerdictSettings = VerdictSettings()
    splits: SplitSettings = SplitSettings()

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, tree: Any) -> Any:
        """A group whose lines are all commented out means its defaults; a flow without a family is a Glow."""
        if not isinstance(tree, dict):
            return tree
        if isinstance(tree.get("flow"), str):
            raise ValueError(f"flow is a group of settings; choose its family with flow.family: {tree['flow']}")
        tree = {key: {} if value is None and key in cls.model_fields else value for key, value in tree.items()}
        if isinstance(tree.get("flow"), dict):
            tree["flow"] = {"family": "glow", **tree["flow"]}
        return tree


class PretrainingPictures(_Settings):
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


class DescriptorSettings(_Settings):
    """Places of the same spot must agree, of different spots differ."""

    width: int = Field(64, ge=8, le=1024)
    """Values in a place's descriptor."""
    temperature: float = Field(0.1, gt=0, le=1)
    """Divides the similarities; smaller looks harder at the most similar wrong places."""
    places: int = Field(3072, ge=16)
    """Places per step and level that are told from one another."""
    average: float = Field(0.998, ge=0, lt=1)
    """Memory of the running average of the weights, which is what is kept."""


class PretrainingSettings(LearningSettings):
    """How a backbone is learned."""

    steps: int = Field(7000, ge=1)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    weight_decay: float = Field(0.02, ge=0, le=1)
    warmup: int = Field(100, ge=0)
    check_every: int = Field(100, ge=1)


class PretrainingRecipe(_Settings):
    """Everything that shapes the weights of a built-in backbone."""

    backbone: str = "resnet18"
    """Any convolutional timm name with feature maps."""
    levels: tuple[int, ...] = Field((1, 2, 3), min_length=1)
    """Levels that learn; what lies behind the last one is cut off."""
    pictures: PretrainingPictures = PretrainingPictures()
    objective: DescriptorSettings = DescriptorSettings()
    training: PretrainingSettings = PretrainingSettings()


def builtin_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with DefectFlow, to fit with."""
    return {path.stem: path for path in sorted(_configs().glob("*.yaml")) if path.stem != PRETRAIN}


PRETRAIN = "pretrain"
"""The recipe that makes a backbone, not a detector."""


def _configs() -> Path:
    return Path(str(resources.files("defectflow") / "configs"))


def load_recipe(name_or_path: str = "default", overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by name or path and apply overrides such as `flow.layers=12`.

    Raises SettingsError naming the file, the key's path, the value, what is allowed and the nearest spelling.
    """
    tree, source = _read_tree(name_or_path, builtin_recipes(), overrides or [])
    return parse_recipe(tree, source=source)


def load_pretraining(name_or_path: str = PRETRAIN, overrides: list[str] | None = None) -> PretrainingRecipe:
    """The same for the recipe of a backbone."""
    builtin = {PRETRAIN: _configs() / f"{PRETRAIN}.yaml"}
    tree, source = _read_tree(name_or_path, builtin, overrides or [])
    return _validated(PretrainingRecipe, tree, source)


def parse_recipe(tree: dict[str, Any], source: str = "recipe") -> Recipe:
    """A tree of plain values -> Recipe. Raises SettingsError with one line per problem."""
    return _validated(Recipe, tree, source)


def override(model: type[_Tree], tree: dict[str, Any], overrides: list[str]) -> _Tree:
    """A tree of plain values with overrides such as `review.audit_rate=0.1` -> settings. Raises SettingsError."""
    for change in overrides:
        _apply_override(tree, change)
    return _validated(model, tree, " ".join(f"--set {change}" for change in overrides))


def _read_tree(name_or_path: str, builtin: dict[str, Path], overrides: list[str]) -> tuple[dict[str, Any], str]:
    """A recipe's settings as plain values, and where they come from, for messages."""
    path = builtin.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        hint = _nearest(name_or_path, list(builtin))
        raise SettingsError(f"recipe {name_or_path!r} is neither a file nor built in ({', '.join(builtin)}){hint}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: a recipe is a tree of settings, not {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    return tree, " ".join([str(path), *(f"--set {override}" for override in overrides)])


def _validated(model: type[_Tree], tree: dict[str, Any], source: str) -> _Tree:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(model, tree, problem) for problem in error.errors()]
        raise SettingsError("\n".join([f"{source}: {len(lines)} setting(s) cannot be used", *lines])) from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key. The value is read as YAML, so `[1, 2]`, `null` and `0.5` mean what they say."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SettingsError(f"--set {override!r} is not KEY=VALUE; for example --set flow.layers=12")
    *parents, leaf = key.split(".")
    node = tree
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        child = node[parent]
        if not isinstance(child, dict):
            raise SettingsError(f"--set {override!r}: {parent!r} is a value, not a group of settings")
        node = child
    try:
        node[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {override!r}: {text!r} is not valid YAML: {error}") from error


def _explain(model: type[BaseModel], tree: dict[str, Any], problem: Any) -> str:
    """One pydantic problem -> path, value, limit and, for a misspelt key, the nearest spelling."""
    families = {get_args(flow.model_fields["family"].annotation)[0] for flow in get_args(get_args(FlowSettings)[0])}
    location = list(problem["loc"])
    if location[:1] == ["flow"]:
        del location[1:2]  # pydantic puts the union's tag ("realnvp") into the path; the user never wrote it
    path = ".".join(str(part) for part in location)
    value, kind = problem["input"], problem["type"]
    if kind == "extra_forbidden":
        allowed = _fields_beside(model, tree, [str(part) for part in location])
        return f"  {path}: no such setting{_nearest(str(location[-1]), allowed)}; allowed: {', '.join(allowed)}"
    if kind == "union_tag_invalid":
        allowed = sorted(families)
        family = value.get("family") if isinstance(value, dict) else value
        return f"  {path}.family: {family!r} is not one of {', '.join(allowed)}{_nearest(str(family), allowed)}"
    if kind == "literal_error":
        expected = problem["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"  {path}: {value!r} is not one of {', '.join(expected)}{_nearest(str(value), expected)}"
    said = problem["msg"].removeprefix("Value error, ")
    return f"  {path}: {said}" if isinstance(value, dict) else f"  {path}: {value!r}: {said}"  # a group names its own


def _fields_beside(model: Any, tree: dict[str, Any], location: list[str]) -> list[str]:
    """The settings that may stand where the unknown key stands."""
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation
        if get_origin(annotation) is not None:  # the union of flow families
            family = tree.get("flow", {}).get("family", "glow")
            members = get_args(annotation)
            annotation = next(m for m in members if get_args(m.model_fields["family"].annotation)[0] == family)
        model = annotation
    return list(model.model_fields)


def _nearest(word: str, candidates: list[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
