"""A folder of good pictures -> what to fix before a fit. No model is kept.

find -> read every picture -> divide as a fit would -> embed once
-> duplicates, siblings, pictures that do not belong, parts whose look changes with their order
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from defectflow.common import Progress, Watch, unwatched
from defectflow.data import (
    Checked,
    Pairs,
    Picture,
    Splits,
    find_siblings,
    fix_full_scale,
    fold_by_part,
    full_scale_notes,
    near_duplicates,
)
from defectflow.density import choose_device
from defectflow.embedding import Embedding, EmbeddingCache, embedding_key, extract, geometry_of
from defectflow.errors import DataError
from defectflow.fitting.align import align, laid_back
from defectflow.fitting.divide import look_at
from defectflow.fitting.embed import pooled_embeddings
from defectflow.fitting.findings import DataCheck, Format, Promise, Suspect
from defectflow.fitting.order import follow_order
from defectflow.fitting.suspects import Surprise, cross_fit
from defectflow.image import Geometry
from defectflow.recipe import Recipe, TilingSettings
from defectflow.score import Gate, build_detector
from defectflow.verdict import Guarantee, advised_rate, parts_needed

SUSPECTS = 24
"""How many of the most unusual pictures are named."""
GUARANTEES: tuple[Guarantee, ...] = ("expected", "confident")


def check_data(
    recipe: Recipe,
    source: Path,
    *,
    cache: EmbeddingCache,
    part_regex: str | None = None,
    product: str | None = None,
    watch: Watch = unwatched,
) -> DataCheck:
    """Look at good pictures as a fit with this recipe would, and say what stands in its way.

    `product`: of a source that names several, the one to look at.

    Raises DataError where there is nothing to look at, SettingsError or WeightsError as a fit does.
    """
    asked = recipe
    # Pictures that do not belong, duplicates and siblings show on the whole picture, even where defects need tiles.
    # Neither those nor the products of one bundle are aligned.
    image = recipe.image.model_copy(update={"tiling": TilingSettings()})
    if recipe.image.tiling.tile is not None or product is not None:
        image = image.model_copy(update={"align": "never"})
    recipe = recipe.model_copy(update={"image": image})
    watch(Progress("check pictures", 0, 1))
    material = look_at(recipe, source, part_regex, product)
    found, checked, geometry = material.found, material.checked, geometry_of(recipe.image)
    good = sorted(material.distinct.pictures, key=lambda picture: (picture.part, picture.path.as_posix()))
    parts = Counter(picture.part for picture in good)
    named = all(picture.part_known for picture in good)
    watch(Progress("check pictures", 1, 1, f"{len(good)} pictures of {len(parts)} parts"))

    splits, full_scale, failure = None, recipe.image.full_scale, None
    try:
        splits = material.divide(recipe)
        full_scale = full_scale or fix_full_scale(splits, checked)
    except DataError as error:
        failure = str(error)

    siblings, near, suspects, lie, order = None, Pairs(), list[Suspect](), None, None
    if failure is None and splits is not None:
        image = image.model_copy(update={"full_scale": full_scale})
        recipe = recipe.model_copy(update={"image": image})  # as a fit will use it, which finds the embeddings then
        detector, _ = build_detector(recipe)
        recipe, lie = align(detector.embedding, recipe, splits, watch)
        key = embedding_key(
            recipe,
            detector.embedding,
            [checked.pixel_digests[picture.path] for picture in good],
            aligned_to=[checked.pixel_digests[picture.path] for picture in splits.train],
        )
        paths = [picture.path for picture in good]
        device = choose_device(recipe.training)
        levels = extract(detector.embedding, paths, full_scale, cache=cache, key=key, device=device, watch=watch)
        detector.cpu()
        pooled = pooled_embeddings(detector, levels)
        part_numbers = np.unique([picture.part for picture in good], return_inverse=True)[1]
        near = near_duplicates(good, part_numbers, pooled)
        if not named:
            siblings = find_siblings(good, _whitened(detector.gate, pooled))
        watch(Progress("compare", 0, 1))
        folds = fold_by_part([picture.part for picture in good])
        surprise = cross_fit(detector, levels, pooled, folds)
        suspects = list(_suspects(good, surprise, checked, geometry, detector.embedding, full_scale))
        if siblings is None:  # else pictures of one part in a row would be taken for parts that look alike
            order = follow_order(detector, levels, [picture.part for picture in good], surprise, recipe.verdict.rate)
        watch(Progress("compare", 1, 1))
    given = any(picture.split in ("tune", "calibration") for picture in good)
    return DataCheck(
        source=str(source),
        pictures=len(good),
        parts=len(parts),
        pictures_per_part=(min(parts.values(), default=0), max(parts.values(), default=0)),
        parts_named=named,
        siblings=siblings,
        unreadable=checked.rejected,
        exact=_paths(material.distinct.repeats),
        near=_paths(near),
        formats=_formats(good, checked),
        stretched=recipe.image.aspect == "stretch",
        model_pixel_px=_model_pixel(asked, checked, good),
        suspects=tuple(suspects),
        wanted=recipe.verdict.guarantee,
        review_rate=recipe.verdict.review_rate,
        promises=tuple(_promises(recipe.verdict.rate, len(parts), splits if given else None)),
        given_splits=given,
        lie=lie,
        aligned=recipe.image.is_aligned,
        order=order,
        warnings=(*checked.left_out_notes(), *(splits.warnings if splits is not None else ())),
        full_scale=tuple(full_scale_notes(splits, checked, full_scale)) if splits is not None else (),
        failure=failure,
        used=tuple(found.summary()),
        folders_taken_for_good=found.folders_taken_for_good,
    )


@torch.no_grad()
def _whitened(gate: Gate, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D) -> (N, D): what differs from part to part is rare, and counts; what differs from shot to shot does not."""
    embeddings = torch.from_numpy(pooled)
    gate.fit(embeddings)
    return gate.whitened(embeddings).numpy()


def _suspects(
    good: Sequence[Picture],
    surprise: Surprise,
    checked: Checked,
    geometry: Geometry,
    embedding: Embedding,
    full_scale: int | None,
) -> Iterator[Suspect]:
    """The most unusual pictures, most unusual first."""
    for rank, row in enumerate(np.argsort(-surprise.most, kind="stable")[:SUSPECTS], start=1):
        picture, where = good[row], None
        if surprise.places[row] >= surprise.whole[row] / 2:  # else the worst place would be an arbitrary one
            width, height = checked.sizes_px[picture.path]
            on_square = laid_back(embedding, surprise.maps[row], picture.path, full_scale)
            on_picture = geometry.place(on_square, height, width)
            y, x = np.unravel_index(int(on_picture.argmax()), on_picture.shape)
            where = float((x + 0.5) / width), float((y + 0.5) / height)
        unusual = float(surprise.most[row])
        yield Suspect(picture.path, picture.part, rank, unusual, unusual > surprise.limit, where)


def _formats(good: Sequence[Picture], checked: Checked) -> tuple[Format, ...]:
    """Sizes and depths, the most frequent first."""
    kinds: dict[tuple[int, int, int], list[Path]] = {}
    for picture in good:
        bits = 16 if picture.path in checked.brightest else 8
        kinds.setdefault((*checked.sizes_px[picture.path], bits), []).append(picture.path)
    by_count = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return tuple(Format(*kind, pictures=len(paths), example=paths[0]) for kind, paths in by_count)


def _model_pixel(recipe: Recipe, checked: Checked, good: Sequence[Picture]) -> tuple[float, float] | None:
    """Width and height, in pixels of the most frequent size, of what the model sees as one pixel."""
    if not good:
        return None
    size_px, tile_px = recipe.image.size, recipe.image.tiling.tile
    if tile_px is not None:
        return tile_px / size_px, tile_px / size_px
    width, height = Counter(checked.sizes_px[picture.path] for picture in good).most_common(1)[0][0]
    geometry = geometry_of(recipe.image)
    cut = geometry.cut(height, width)
    square = geometry.square(cut.bottom - cut.top, cut.right - cut.left)
    return (square.right - square.left) / size_px, (square.bottom - square.top) / size_px


def _promises(rate: float, parts: int, given: Splits | None) -> Iterator[Promise]:
    available = parts // 3 if given is None else given.part_counts["calibration"]
    for guarantee in GUARANTEES:
        lowest = advised_rate(available, guarantee)
        yield Promise(guarantee, rate, parts_needed(rate, guarantee), available, lowest)


def _paths(pairs: Iterable[tuple[Picture, Picture]]) -> tuple[tuple[Path, Path], ...]:
    return tuple((first.path, second.path) for first, second in pairs)
