"""Recipe -> frozen, typed settings. Read first: every number that shapes a model is here, with its unit.

A recipe is a YAML file; `load_recipe` turns it, with overrides such as `flow.layers=12`, into a `Recipe`.
Nothing changes a recipe after it has been read.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from defectflow.recipe.flow_settings import FlowSettings, GaussianSettings
from defectflow.recipe.tree import Fraction, Settings, load, validated

_PACKAGE = Path(str(resources.files("defectflow")))
CONFIGS = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
"""Where the built-in recipes are: inside the package of a wheel, at the top of a checkout."""
PRETRAIN = "pretrain"
"""The recipe that makes a backbone, not a detector."""


Align = Literal["auto", "never", "small", "turned"]


class Area(Settings):
    """An area drawn on a picture: a filled outline, or a line as a brush leaves it."""

    points: tuple[tuple[Fraction, Fraction], ...] = Field(min_length=1)
    """Corners or the line's course: x and y as fractions of the picture's width and height."""
    width: float | None = Field(None, gt=0, le=1)
    """Of a line, as a fraction of the picture's width; null: the points are corners of an outline, which is filled."""

    @model_validator(mode="after")
    def _has_corners(self) -> Area:
        if self.width is None and len(self.points) < 3:
            raise ValueError(f"an outline of {len(self.points)} points; give at least 3, or the width of a line")
        return self


class RegionOfInterest(Settings):
    """Where on the picture the part is: a rectangle (cut out); drawn areas or a mask file, scored inside."""

    rectangle: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    """Left, top, width, height as fractions of the picture."""
    mask: Path | None = None
    """Grey picture of the (cut-out) part: white is scored, black is ignored."""
    outlines: tuple[Area, ...] = ()
    """Areas of the whole picture that are scored; none: everywhere."""
    ignored: tuple[Area, ...] = ()
    """Areas of the whole picture that are not scored, also inside the outlines."""
    picture: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] | None = None
    """Width and height in pixels of the picture that `outlines` and `ignored` were drawn on. Of other pictures they
    are the same fractions."""

    @property
    def is_of_a_part(self) -> bool:
        """Whether there are areas of the part, which lie as it lies."""
        return self.is_drawn or self.mask is not None

    @model_validator(mode="after")
    def _was_drawn_on_a_picture(self) -> RegionOfInterest:
        if self.is_drawn and self.picture is None:
            raise ValueError("picture: is missing; give [width, height] of the picture that the areas were drawn on")
        return self

    @property
    def is_drawn(self) -> bool:
        """Whether areas were drawn."""
        return bool(self.outlines or self.ignored)

    @model_validator(mode="after")
    def _inside(self) -> RegionOfInterest:
        if self.rectangle is not None:
            left, top, width, height = self.rectangle
            if left + width > 1 or top + height > 1 or width * height == 0:
                raise ValueError(
                    f"rectangle {list(self.rectangle)} is partly outside the picture or empty; "
                    "give left, top, width, height as fractions, with left + width and top + height at most 1"
                )
        return self


class TilingSettings(Settings):
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


class ImageSettings(Settings):
    """Raw pixels -> the square the backbone sees."""

    size: int = Field(320, ge=32, le=2048)
    """Side of the square the backbone sees, in pixels; a multiple of 32."""
    aspect: Literal["stretch", "letterbox", "crop"] = "stretch"
    """How a picture becomes square: stretched, padded with grey, or cut to its centre."""
    align: Align = "auto"
    """How parts are laid alike: not, by small shifts and turns, or from any turn; `auto` decides from training and
    tune parts. Never for tiles."""
    roi: RegionOfInterest = RegionOfInterest()
    tiling: TilingSettings = TilingSettings()
    full_scale: int | None = Field(None, ge=255, le=65535)
    """The 16-bit value that means white, e.g. 4095; null: fixed from the training parts."""

    @property
    def is_aligned(self) -> bool:
        """Whether parts are laid alike, whatever the pictures show; `auto` does not say so yet."""
        return self.align in ("small", "turned")

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
        if self.tiling.tile is not None and self.is_aligned:
            raise ValueError(
                f"align: {self.align} is for pictures that are looked at whole; with tiling.tile use never, or auto"
            )
        if self.roi.is_of_a_part and self.align == "turned":
            raise ValueError(
                "align: turned lays parts as one of them lies, and roi's areas were drawn on another; use small or "
                "never, or roi.rectangle"
            )
        for name in ("mask", "outlines", "ignored"):
            if self.tiling.tile is not None and (said := getattr(self.roi, name)):
                told = said if name == "mask" else f"{len(said)} areas"
                raise ValueError(f"roi.{name}: {told} cannot be combined with tiling.tile; use roi.rectangle")
        return self


class EmbeddingSettings(Settings):
    """The frozen backbone and how its feature maps become vectors."""

    backbone: str = "tf_efficientnet_lite0"
    """Any timm name with feature maps."""
    levels: tuple[int, ...] = Field((1, 2, 3), min_length=1)
    """Which of the backbone's feature levels to use, counted from 0, fine to coarse."""
    weights: str = "imagenet"
    """`imagenet` (tf_efficientnet_lite0 to 2), `builtin` (resnet18), `hub`, or the path of a safetensors or
    torch file."""
    adapt: bool = False
    """Whether the backbone's batch statistics are measured again on training parts."""
    neighbourhood: int = Field(3, ge=1, le=9)
    """Side, in places, of the square over which each place's vector is averaged; odd."""
    averaged_to_px: int = Field(8, ge=1, le=64)
    """Levels whose places lie farther apart than this, in pixels of the square, are not averaged."""
    weighting: Literal["box", "binomial"] = "binomial"
    """`box`: all places of that square count alike; `binomial`: near ones count more, as 1 2 1 along each axis."""
    spacing_px: int = Field(8, ge=1, le=64)
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


class LearningSettings(Settings):
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


class ScoreSettings(Settings):
    """Level maps -> anomaly map -> image score."""

    kind: Literal["likelihood", "latent_norm", "typicality"] = "likelihood"
    """What makes a place unusual: a low likelihood; a z far from the middle, whatever the flow's stretch; or a
    likelihood unlike that of good places, lower or higher."""
    compression: Literal["none", "log"] = "log"
    """`log`: of each level's standardised map v, sign(v) log(1 + |v|), so that no level outweighs the others."""
    by_place: float = Field(1.0, ge=0, le=1)
    """Share of each place's own mean and spread, over training parts and its surroundings, in what its likelihood is
    compared with; the rest is that of all places. Few pictures lower it: 20 by half, 60 by a quarter. Not for tiled
    parts."""
    smoothing_px: float = Field(4.0, ge=0, le=64)
    """Standard deviation of the Gaussian that smooths the map, in pixels of the square."""
    top_fraction: float = Field(0.01, gt=0, le=1)
    """Share of the map whose mean is the image score."""


class VerdictSettings(Settings):
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
            raise ValueError(
                f"review_rate {self.review_rate:g} must not be below rate {self.rate:g}; set verdict.review_rate to "
                f"{self.rate:g} or more, too"
            )
        return self


class SplitSettings(Settings):
    """Good parts -> train, tune, calibration. Always by part."""

    tune: float = Field(0.15, gt=0, le=0.5)
    """Share of the parts that are not for calibration which steer early stopping and the score's constants."""
    seed: int = Field(0, ge=0)


class Recipe(Settings):
    """Everything that shapes a model. Frozen; saved in the bundle as it was used."""

    image: ImageSettings = ImageSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    flow: FlowSettings = GaussianSettings()
    training: TrainingSettings = TrainingSettings()
    score: ScoreSettings = ScoreSettings()
    verdict: VerdictSettings = VerdictSettings()
    splits: SplitSettings = SplitSettings()

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, tree: Any) -> Any:
        """A group whose lines are all commented out means its defaults; a flow without a family is a Gaussian."""
        if not isinstance(tree, dict):
            return tree
        if isinstance(tree.get("flow"), str):
            raise ValueError(f"flow is a group of settings; choose its family with flow.family: {tree['flow']}")
        tree = {key: {} if value is None and key in cls.model_fields else value for key, value in tree.items()}
        if isinstance(tree.get("flow"), dict):
            tree["flow"] = {"family": "gaussian", **tree["flow"]}
        return tree


def builtin_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with DefectFlow, to fit with."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.yaml")) if path.stem != PRETRAIN}


def load_recipe(name_or_path: str = "default", overrides: list[str] | None = None) -> Recipe:
    """Read a recipe by name or path and apply overrides such as `flow.layers=12`.

    Raises SettingsError naming the file, the key's path, the value, what is allowed and the nearest spelling.
    """
    return load(Recipe, name_or_path, builtin_recipes(), overrides or [])


def parse_recipe(tree: dict[str, Any], source: str = "recipe") -> Recipe:
    """A recipe as a bundle's card keeps it -> settings. What earlier versions did not know is as it was then."""
    for group, settings in EARLIER.items():
        if isinstance(tree.get(group), dict):
            tree = {**tree, group: {**settings, **tree[group]}}
    return validated(Recipe, tree, source)


EARLIER: dict[str, dict[str, Any]] = {
    "embedding": {"averaged_to_px": 64, "weighting": "box"},
    "flow": {"place": "none"},
    "score": {"compression": "none", "by_place": 0.0},
}
"""What version 0.1.0 did, which had no such settings."""
