"""A recipe and good pictures of several products -> one bundle; and a product that joins a bundle later.

Each product is fitted by itself, on its own parts, with the very steps of `fit`: nothing that one product learns, and
no limit of it, depends on the others. Then its graph joins that of all, and all golden pictures are judged through it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defectflow.bundle import (
    PRODUCTS,
    Bundle,
    Family,
    bundles_of,
    check_name,
    finish_publishing,
    open_bundle,
    open_family,
    partial_of,
    publish,
)
from defectflow.bundle.products import add_product
from defectflow.common import Progress, Watch, claimed, unwatched
from defectflow.data import Rejected, fix_full_scale, look_through
from defectflow.embedding import EmbeddingCache
from defectflow.errors import BundleError, DataError, DefectFlowError, ExportError, SettingsError
from defectflow.fitting.divide import Material
from defectflow.fitting.fit import check_exported, check_place, divide, look, make_bundle
from defectflow.line import CPU, verify
from defectflow.recipe import Recipe, parse_recipe


@dataclass(frozen=True, slots=True)
class FittedProducts:
    """What a fit of several products has made, and what its user should know."""

    family: Family
    bundles: tuple[Bundle, ...]
    """Of the products that were fitted now."""
    rejected: tuple[Rejected, ...]


def fit_products(
    recipe: Recipe,
    source: Path,
    out: Path,
    *,
    cache: EmbeddingCache,
    part_regex: str | None = None,
    product: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = unwatched,
) -> FittedProducts:
    """Learn each product that the manifest `source` names, and write one bundle of all to `out`.

    `product`: this one only; of a source that names none, all pictures show it. Raises as `fit` does.
    """
    check_exported(recipe)
    _check_shared(recipe)
    names = _products(source, part_regex, product)
    out.parent.mkdir(parents=True, exist_ok=True)
    with claimed(out, out.with_name(f"{out.name}.lock")):
        finish_publishing(out)
        check_place(out, overwrite)
        folder = partial_of(out)
        shutil.rmtree(folder, ignore_errors=True)
        return _fit(recipe, source, out, names, cache, part_regex, resume, watch)


def add_products(
    source: Path,
    bundle: Path,
    *,
    cache: EmbeddingCache,
    part_regex: str | None = None,
    product: str | None = None,
    resume: bool = False,
    watch: Watch = unwatched,
) -> FittedProducts:
    """Learn products with the recipe of a bundle of several, and add them to it. No other product's verdict changes.

    Raises as `fit_products` does; BundleError for another kind of bundle. Then the bundle is as it was.
    """
    with claimed(bundle, bundle.with_name(f"{bundle.name}.lock")):
        finish_publishing(bundle)
        family = open_family(bundle)
        if family is None:
            raise BundleError(
                f"{bundle}: is no bundle of several products, so none can be added; fit one from a manifest with a "
                "column 'product', or with --product NAME"
            )
        names = _products(source, part_regex, product)
        known = [name for name in names if name in family.names]
        if known:
            raise SettingsError(
                f"{bundle}: has {', '.join(known)} already; leave its pictures out, or choose another with --product"
            )
        recipe = parse_recipe(bundles_of(family)[0].card.recipe, source=str(bundle))
        folder = partial_of(bundle)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle, folder)
        return _fit(recipe, source, bundle, names, cache, part_regex, resume, watch)


def _products(source: Path, part_regex: str | None, product: str | None) -> Sequence[str]:
    """Which products a source has, by name. Raises DataError where it names none, SettingsError."""
    names = (product,) if product is not None else look_through(source, label="good", part_regex=part_regex).products
    if not names:
        raise DataError(f"{source}: names no products; give a manifest with a column 'product', or --product NAME")
    for name in names:
        check_name(name)
    folded = {name.casefold(): name for name in names}
    if len(folded) < len(names):
        twice = next(name for name in names if folded[name.casefold()] != name)
        raise DataError(
            f"{source}: products {twice!r} and {folded[twice.casefold()]!r} differ in case only; spell each one way"
        )
    return names


def _check_shared(recipe: Recipe) -> None:
    """Raises SettingsError for what would make the backbone, which all products share, one product's own."""
    if recipe.embedding.adapt:
        raise SettingsError(
            "embedding.adapt: true measures the network on one product's parts, and several products share it; set it "
            "to false, or fit each product alone"
        )
    if recipe.image.is_aligned:
        raise SettingsError(
            f"image.align: {recipe.image.align} would lay all pictures as one product's parts lie, and several "
            "products share the graph; set it to auto or never, or fit each product alone"
        )
    if recipe.image.tiling.tile is not None:
        raise SettingsError(
            "image.tiling.tile: tiles are not supported with several products; set it to null, or fit each product "
            "alone"
        )


def _fit(
    recipe: Recipe,
    source: Path,
    out: Path,
    names: Sequence[str],
    cache: EmbeddingCache,
    part_regex: str | None,
    resume: bool,
    watch: Watch,
) -> FittedProducts:
    """All are read and divided before any is learned, so that what is missing is said at once.

    None is aligned: the graph, which all share, would lay the others' pictures as one product's parts lie.
    """
    recipe = recipe.model_copy(update={"image": recipe.image.model_copy(update={"align": "never"})})
    folder, materials, divided = partial_of(out), dict[str, Material](), {}
    for name in names:
        try:
            materials[name] = look(recipe, source, part_regex, name, watch)
            divided[name] = divide(recipe, materials[name], _of(name, watch))
        except DataError as error:
            raise DataError(f"product {name!r}: {error}") from error
    if recipe.image.full_scale is None:
        scales = {name: fix_full_scale(divided[name], materials[name].checked) for name in names}
        recipe = _with_full_scale(recipe, scales, new=not folder.exists())
    for name in names:
        own = folder / PRODUCTS / name
        try:
            left = make_bundle(
                recipe,
                materials[name],
                divided[name],
                own,
                out,
                f"{out.name}/{name}",
                cache,
                part_regex,
                None if resume else False,
                _of(name, watch),
            )
        except DefectFlowError as error:
            raise type(error)(f"product {name!r}: {error}") from error
        family = add_product(folder, out.name, name)
    _check_golden(family, watch)
    publish(out)
    shutil.rmtree(left, ignore_errors=True)
    made = open_family(out)
    if made is None:
        raise BundleError(f"{out}: has been replaced meanwhile by another bundle; fit again")
    bundles = tuple(open_bundle(made.folder(name)) for name in names)
    return FittedProducts(made, bundles, tuple(one for name in names for one in materials[name].checked.rejected))


def _of(product: str, watch: Watch) -> Watch:
    """Progress that names the product."""
    return lambda step: watch(Progress(f"{product}: {step.stage}", step.done, step.total, step.note, step.detail))


def _with_full_scale(recipe: Recipe, scales: dict[str, int | None], *, new: bool) -> Recipe:
    """One value means white for all products, since a picture is read before its product is known."""
    deep = {name: scale for name, scale in scales.items() if scale is not None}
    if not deep:
        return recipe
    if len(set(deep.values())) > 1 or not new:
        said = ", ".join(f"{name} {scale}" for name, scale in deep.items())
        raise DataError(
            f"image.full_scale: 16-bit pictures of these products have another white than the others' ({said}); set "
            "image.full_scale to the value that means white for all, and fit all together"
        )
    image = recipe.image.model_copy(update={"full_scale": next(iter(deep.values()))})
    return recipe.model_copy(update={"image": image})


def _check_golden(family: Family, watch: Watch) -> None:
    """Every product's golden pictures through the joined graph: its own graph's scores and maps, or ExportError."""
    for done, name in enumerate(family.names):
        found = verify(open_bundle(family.folder(name)), providers=[CPU], core=False, quick=True)
        if not found.passed:
            raise ExportError(f"product {name!r}: the graph of all products differs: {'; '.join(found.problems)}")
        watch(Progress("compare", done + 1, len(family.names)))
