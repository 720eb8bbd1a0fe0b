"""PLAN.yaml -> products x recipes x seeds. Everything that can be checked without fitting is checked here.

out: models                      # or --out
products:
  - {name: bracket, good: data/bracket, test: data/bracket, part_regex: '(part\\d+)'}
  - {name: ring, good: data/ring}
recipes:
  - {name: default}
  - {name: large, recipe: default, set: [image.size=384]}
seeds: [0, 1]
each_fit: {cpus: 2, gpus: 0, memory_gb: 8}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from defectflow.data import look_through
from defectflow.errors import DataError, SettingsError
from defectflow.recipe import Recipe, Settings, load, load_recipe
from defectflow.scale.cluster import Needs

KIND = "plan"
NAME = r"[A-Za-z0-9][A-Za-z0-9_.+]*"
"""Names become folders, with a hyphen between them."""


class Product(Settings):
    """Pictures of one product. Paths are relative to the plan's folder."""

    name: str
    good: Path
    """What `fit` takes: a folder of good pictures, a tree, a manifest."""
    test: Path | None = None
    """What `evaluate` takes; without it, no accuracy is known."""
    part_regex: str | None = None


class Variant(Settings):
    """A recipe with changes."""

    name: str
    recipe: str | None = None
    """A built-in recipe's name, or a YAML file; by default the one of this name."""
    set: tuple[str, ...] = ()
    """As --set of `fit`."""


class EachFit(Settings):
    """What one fit takes of a node. On one machine without Ray, fits run one after another."""

    cpus: float = Field(2, gt=0)
    gpus: float = Field(0, ge=0)
    memory_gb: float = Field(0, ge=0)
    """0: not counted."""

    @property
    def needs(self) -> Needs:
        return Needs(self.cpus, self.gpus, round(self.memory_gb * 2**30))


class Plan(Settings):
    out: Path | None = None
    products: tuple[Product, ...] = Field(min_length=1)
    recipes: tuple[Variant, ...] = (Variant(name="default"),)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    each_fit: EachFit = EachFit()


@dataclass(frozen=True, slots=True)
class PlannedFit:
    """One bundle to be made."""

    product: str
    variant: str
    seed: int
    recipe: Recipe
    good: Path
    test: Path | None
    part_regex: str | None

    @property
    def name(self) -> str:
        return f"{self.product}-{self.variant}-{self.seed}"

    @property
    def key(self) -> str:
        """Of all that decides what the fit makes, but for the pictures."""
        said = [self.recipe.model_dump(mode="json"), str(self.good), str(self.test), self.part_regex]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def read_plan(file: Path) -> Plan:
    """Raises SettingsError naming the setting, the value and the remedy."""
    plan = load(Plan, str(file), {}, [], kind=KIND)
    for what, names in (
        ("product", [one.name for one in plan.products]),
        ("recipe", [one.name for one in plan.recipes]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                raise SettingsError(f"{file}: {count} {what}s are called {name!r}; give each its own name")
            if not re.fullmatch(NAME, name):
                raise SettingsError(
                    f"{file}: {what} {name!r} becomes part of a folder's name; use letters, digits, _ . + only, and "
                    "begin with a letter or digit"
                )
    for seed, count in Counter(plan.seeds).items():
        if count > 1:
            raise SettingsError(f"{file}: seeds: {seed} stands there {count} times; list each seed once")
    return plan


@contextmanager
def _named(plan: Path, what: str) -> Iterator[None]:
    """Errors say which entry of the plan they are about."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{plan}, {what}: {error}") from error
    except DataError as error:
        raise DataError(f"{plan}, {what}: {error}") from error


def planned_fits(plan: Plan, file: Path) -> list[PlannedFit]:
    """Every bundle to be made, product by product. Raises SettingsError, DataError: of a recipe, or of a folder."""
    fits = []
    for product in plan.products:
        good, test = (
            None if path is None else (file.parent / path).absolute() for path in (product.good, product.test)
        )
        assert good is not None
        with _named(file, f"product {product.name}"):
            look_through(good, label="good", part_regex=product.part_regex)
            if test is not None:
                from defectflow.evaluation import find_test_pictures  # which needs scipy

                find_test_pictures(look_through(test, usual_part_regex=product.part_regex), test)
        for variant in plan.recipes:
            of_file = file.parent / (variant.recipe or variant.name)
            named = str(of_file) if of_file.is_file() else variant.recipe or variant.name
            for seed in plan.seeds:
                with _named(file, f"recipe {variant.name}"):
                    recipe = load_recipe(named, [*variant.set, f"training.seed={seed}"])
                fits.append(PlannedFit(product.name, variant.name, seed, recipe, good, test, product.part_regex))
    return fits
