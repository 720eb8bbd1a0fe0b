"""The short path, for notebooks and scripts: a folder of good pictures -> a model -> verdicts that show themselves.

    model = fit("good/")
    model.inspect("a.png")              # one verdict
    model.evaluate("testset/").overkill
    model.save("models/bracket")

Nothing is decided here: recipes, guarantees and refusals are those of the commands.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defectflow.bundle import Bundle, Card
from defectflow.common import Progress, Watch
from defectflow.errors import ImageError, SettingsError
from defectflow.line import Inspector, Source
from defectflow.recipe import Recipe, load_recipe
from defectflow.verdict import Verdict

if TYPE_CHECKING:  # what only training needs is imported where it is used: a saved model is inspected without torch
    from defectflow.evaluation import Evaluation

NAME = "model"
"""A model that was given no folder is called so until it is saved."""
REDRAWN_EVERY_S = 0.2
LISTED = 5


class Model:
    """A fitted model, ready to inspect. Raises BundleError if its bundle cannot be trusted or run."""

    def __init__(self, bundle: Path | str | Bundle) -> None:
        """`bundle`: the folder that `fit` or `save` has written."""
        self.inspector = Inspector(bundle)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def card(self) -> Card:
        """What the bundle says of itself: calibration, guarantee, recipe, versions."""
        return self.inspector.card

    def __repr__(self) -> str:
        return f"<Model {self.card.name}: {' '.join(self.card.guarantee())}>"

    def inspect(self, picture: Source) -> Verdict:
        """One picture file, or its pixels (H, W, 3) uint8 RGB -> its verdict.

        Raises ImageError if the picture cannot be used, NotCalibrated if the model has no thresholds. The verdict keeps
        pixels that came from no file, so that it can show them.
        """
        (result,) = self.inspector.inspect([picture])
        if isinstance(result, ImageError):
            raise result
        pixels = picture[0] if isinstance(picture, tuple) else picture
        return result if isinstance(pixels, Path | str) else replace(result, picture=pixels)

    def inspect_many(self, pictures: Iterable[Source]) -> Iterator[Verdict | ImageError]:
        """One verdict per picture, in order; for one that cannot be used, the error instead. Keeps no pixels."""
        return self.inspector.inspect(pictures)

    def evaluate(self, data: Path | str, *, part_regex: str | None = None) -> Evaluation:
        """Figures on labelled pictures, at the calibrated thresholds. Nothing is chosen by them.

        `data`: an MVTec-style tree, its test/ folder, or a manifest with labels. Raises DataError.
        """
        with _train_extra("evaluate"):
            from defectflow.data import look_through
            from defectflow.evaluation import evaluate, find_test_pictures
        usual = self.inspector.card.part_regex
        found = look_through(Path(data), part_regex=part_regex, usual_part_regex=usual)
        found = found.showing(self.inspector.bundle.product, Path(data))
        pictures = find_test_pictures(found, Path(data))
        with _progress() as watch:
            return evaluate(self.inspector, pictures, watch=watch)

    def save(self, out: Path | str) -> Path:
        """The bundle, copied to a folder that does not exist yet. Raises SettingsError if it does."""
        self.inspector.bundle.check_alone("a copy")
        out = Path(out)
        if out.exists():
            raise SettingsError(f"{out}: exists already; choose another folder, or remove it first")
        return shutil.copytree(self.inspector.bundle.path, out)


def fit(
    good: Path | str,
    out: Path | str | None = None,
    *,
    recipe: Recipe | Path | str = "default",
    settings: Sequence[str] = (),
    part_regex: str | None = None,
    overwrite: bool = False,
) -> Model:
    r"""Learn from pictures of good parts.

    `good`: a folder, an MVTec-style tree or a manifest.
    `out`: where the bundle goes; by default a temporary folder that is deleted with the model, so save what is to stay.
    `recipe`: a built-in one's name, a YAML file, or what `load_recipe` gave.
    `settings`: changes such as "flow.layers=12".
    `part_regex`: finds the part's name in a picture's path, as r"(part\d+)"; without it, and without a manifest that
    names parts, every picture counts as a separate part.

    Raises DataError, SettingsError, WeightsError, TrainingError or ExportError. What the user should know, unusable
    pictures included, is warned of.
    """
    if isinstance(recipe, Recipe) and settings:
        raise SettingsError("settings cannot change a recipe that was already read; give them to load_recipe")
    with _train_extra("fit"):
        from defectflow.embedding import EmbeddingCache
        from defectflow.fitting import fit as run_fit
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe), list(settings))
    scratch = tempfile.TemporaryDirectory(prefix="defectflow-") if out is None else None
    folder = Path(scratch.name, NAME) if scratch else Path(str(out))
    with _progress() as watch:
        fitted = run_fit(
            chosen, Path(good), folder, cache=EmbeddingCache(), part_regex=part_regex, overwrite=overwrite, watch=watch
        )
    for rejected in fitted.rejected[:LISTED]:
        warnings.warn(f"left out: {rejected.path}: {rejected.reason}", stacklevel=2)
    if len(fitted.rejected) > LISTED:
        warnings.warn(f"left out: {len(fitted.rejected) - LISTED} more pictures", stacklevel=2)
    for warning in fitted.bundle.card.warnings:
        warnings.warn(warning, stacklevel=2)
    model = Model(fitted.bundle)
    model._scratch = scratch
    return model


def evaluate(model: Model | Bundle | Path | str, data: Path | str, *, part_regex: str | None = None) -> Evaluation:
    """Figures of a model on labelled pictures; see `Model.evaluate`."""
    return (model if isinstance(model, Model) else Model(model)).evaluate(data, part_regex=part_regex)


@contextmanager
def _train_extra(what: str) -> Iterator[None]:
    """Around imports that the line's install lacks."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{what} needs {error.name}, which the line's install leaves out: pip install 'defectflow[train]'"
        ) from error


@contextmanager
def _progress() -> Iterator[Watch]:
    """One line on the error stream, written over: of a terminal's codes, notebooks know the carriage return."""
    stage, width, drawn_at = "", 0, 0.0

    def watch(step: Progress) -> None:
        nonlocal stage, width, drawn_at
        if step.stage == stage and step.done < step.total and time.monotonic() - drawn_at < REDRAWN_EVERY_S:
            return
        begin = "\n" if stage and step.stage != stage else "\r"
        line = f"{step.stage}: {step.done}/{step.total} {step.note}".rstrip()
        sys.stderr.write(begin + line.ljust(width if begin == "\r" else 0))
        sys.stderr.flush()
        stage, width, drawn_at = step.stage, len(line), time.monotonic()

    try:
        yield watch
    finally:
        if stage:
            sys.stderr.write("\n")
