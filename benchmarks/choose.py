"""Variants of a recipe on the development sets, leave-one-set-out: how defaults are chosen, and never per product.

    DEFECTFLOW_DATA=... python benchmarks/choose.py "flow.shrinkage=0.1" "flow.shrinkage=0.3" "flow.family=realnvp"

Each argument is one variant: settings apart by spaces, on top of --recipe. The development sets are pill, ballscrew,
cookies and dobot, and those with drawn defects, which count half: the sample products and `metal.py`'s tiles. The last
row shows what the variant that is best on the *other* sets finds on each. Embeddings are made once and kept in --cache;
nothing is exported, so a variant takes minutes. Figures are means over three divisions of the good parts (--seeds):
one division of few parts can hide what others lose. Escapes: defective parts below the threshold of 19 good parts for
5%, averaged over draws of those parts from all good ones that were not learned from.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from metal import make_metal_set
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from defectflow.common import unwatched
from defectflow.data import (
    Picture,
    Splits,
    check_readable,
    find_pictures,
    fold_by_part,
    meant_for_fitting,
    split_parts,
)
from defectflow.data import test_pictures as labelled_test_pictures
from defectflow.density import choose_device, learn_level
from defectflow.embedding import EmbeddingCache, embedding_key, geometry_of
from defectflow.evaluation import MAP_SIDE_PX, PixelStore
from defectflow.fitting import align, embed_pictures
from defectflow.image import size_px
from defectflow.recipe import Recipe, load_recipe
from defectflow.samples import PRODUCTS, draw_product
from defectflow.score import build_detector
from defectflow.verdict import Measurement

REAL = ("pill", "ballscrew", "cookies", "dobot")
METAL = "metal"
CALIBRATION_PARTS = 19
DRAWS = 400
MOST_TRAINING_PICTURES = 240
"""More teach little, and take memory: at most so many are learned from here."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one variant finds on one set."""

    auroc: float
    aupro_30: float | None
    aupro_05: float | None
    escapes: float

    def __str__(self) -> str:
        pixels = "" if self.aupro_30 is None else f" {self.aupro_30:.3f} {self.aupro_05:.3f}"
        return f"{self.auroc:.3f} {self.escapes:.2f}{pixels}"


def mean_of(found: Sequence[Found]) -> Found:
    """Of the same set in several divisions, so that either all of them have pixel figures or none has."""
    figures = [[getattr(one, field.name) for one in found] for field in fields(Found)]
    return Found(*(None if None in values else float(np.mean(values)) for values in figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "variants", nargs="+", help='settings of one variant, e.g. "flow.place=full flow.shrinkage=0.3"'
    )
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--sets", nargs="*", default=[*REAL, METAL, *PRODUCTS])
    parser.add_argument("--first", type=int, help="learn from so many good pictures alone, the first by their names")
    parser.add_argument("--seeds", type=int, default=3, help="so many divisions of the good parts, 3 unless told")
    parser.add_argument("--cache", type=Path, required=True, help="folder for embeddings and drawn products")
    options = parser.parse_args()
    cache = EmbeddingCache(options.cache / "embeddings", 40)
    table = {variant: dict[str, Found]() for variant in options.variants}
    for name in options.sets:
        pictures = find_pictures(source_of(name, options.cache))
        if options.first is not None:
            pictures = without_later(pictures, options.first)
        for variant in options.variants:
            recipes = [
                load_recipe(options.recipe, [*variant.split(), f"splits.seed={seed}"]) for seed in range(options.seeds)
            ]
            table[variant][name] = mean_of([find(recipe, pictures, cache) for recipe in recipes])
            print(f"{name:10} {table[variant][name]}   {variant}", flush=True)
    _show(table, options.sets)


def without_later(pictures: list[Picture], count: int) -> list[Picture]:
    """Of those meant for fitting, the first so many by their names: what is there after a first day at the line."""
    later = sorted(meant_for_fitting(pictures), key=lambda picture: picture.path.as_posix())[count:]
    return [picture for picture in pictures if picture not in later]


@dataclass(frozen=True, slots=True)
class Judged:
    """One variant's scores and maps of pictures that it has not learned from."""

    pictures: list[Picture]
    scores: np.ndarray
    """(pictures,)."""
    maps: np.ndarray
    """(pictures, h, w)."""

    def score_of(self, pictures: Sequence[Picture]) -> np.ndarray:
        """(pictures,)."""
        row_of = {picture.path: row for row, picture in enumerate(self.pictures)}
        return self.scores[[row_of[picture.path] for picture in pictures]]


def divide(recipe: Recipe, pictures: list[Picture], *, calibration_parts: int = CALIBRATION_PARTS) -> Splits:
    """As a fit divides the good pictures meant for it; at most MOST_TRAINING_PICTURES to learn from."""
    checked = check_readable(meant_for_fitting(pictures), geometry=geometry_of(recipe.image))
    splits = split_parts(
        checked.readable,
        calibration_parts=calibration_parts,
        tune_share=recipe.splits.tune,
        seed=recipe.splits.seed,
    )
    return replace(splits, train=splits.train[:MOST_TRAINING_PICTURES])


def find(recipe: Recipe, pictures: list[Picture], cache: EmbeddingCache) -> Found:
    """Learn from the good pictures meant for it, and measure the others."""
    splits, test = divide(recipe, pictures), labelled_test_pictures(pictures)
    judged = judge(recipe, splits, [*splits.calibration, *test], cache)
    defective = np.array([picture.label == "defective" for picture in judged.pictures])
    return Found(
        float(roc_auc_score([picture.label == "defective" for picture in test], judged.score_of(test))),
        *_pixels(recipe, test, judged.maps[-len(test) :]),
        _escapes(judged.scores[~defective], judged.scores[defective]),
    )


@torch.no_grad()
def judge(recipe: Recipe, splits: Splits, pictures: list[Picture], cache: EmbeddingCache) -> Judged:
    """Learn from training and tune parts, as `fit` does but without exporting anything, and judge the pictures."""
    train = splits.train
    everything = [*train, *splits.tune, *pictures]
    pixel_digests = check_readable(everything, geometry=geometry_of(recipe.image)).pixel_digests
    digests = [pixel_digests[picture.path] for picture in everything]
    detector, _ = build_detector(recipe)
    recipe, _ = align(detector.embedding, recipe, splits, unwatched)
    key = embedding_key(recipe, detector.embedding, digests, aligned_to=digests[: len(train)])
    device = choose_device(recipe.training)
    paths = [picture.path for picture in everything]
    levels, _ = embed_pictures(detector, recipe.image, paths, cache=cache, key=key, device=device, watch=unwatched)
    detector.cpu()
    folds = fold_by_part([picture.part for picture in train])
    tune = slice(len(train), len(train) + len(splits.tune))
    maps, by_place = [], []
    with tempfile.TemporaryDirectory(dir=cache.folder) as scratch:
        for number, (density, vectors) in enumerate(zip(detector.levels, levels, strict=True)):
            with torch.enable_grad():
                _, unseen = learn_level(
                    density,
                    vectors.rows(0, tune.start),
                    vectors.rows(tune.start, tune.stop),
                    folds,
                    recipe,
                    device=device,
                    checkpoint=Path(scratch) / f"{number}.safetensors",
                )
            by_place.append(unseen)
            rows = [torch.from_numpy(row.astype(np.float32))[None] for row in vectors.maps]
            maps.append(torch.cat([density(row) for row in rows]))
    detector.score.fit([level[tune].flatten(1) for level in maps], by_place)
    anomaly = detector.score.anomaly_map(maps)[tune.stop :]
    return Judged(pictures, detector.score.image_score(anomaly)[0].numpy(), anomaly.numpy())


def _escapes(good: np.ndarray, defective: np.ndarray) -> float:
    random = np.random.default_rng(0)
    count = min(CALIBRATION_PARTS, len(good))
    limits = [random.choice(good, count, replace=False).max() for _ in range(DRAWS)]
    return float(np.mean([(defective <= limit).mean() for limit in limits]))


def _pixels(recipe: Recipe, test: list[Picture], maps: np.ndarray) -> tuple[float | None, float | None]:
    if not any(picture.mask for picture in test):
        return None, None
    store = PixelStore(MAP_SIDE_PX // 2)
    geometry = geometry_of(recipe.image)
    nothing = {"score": 0.0, "distance": 0.0, "distance_limit": 1.0, "sha256": None, "milliseconds": 0.0}
    for picture, anomaly_map in zip(test, maps, strict=True):
        width, height = size_px(picture.path)
        seen = {"embedding": maps[0], "height_px": height, "width_px": width, "geometry": geometry}
        store.add(picture, Measurement(anomaly_map=anomaly_map, **seen, **nothing))
    figures, _ = store.figures()
    return (None, None) if figures is None else (figures.aupro_30, figures.aupro_05)


def source_of(name: str, folder: Path) -> Path:
    """A development set; what is drawn lies in the folder."""
    if name in PRODUCTS:
        tree = folder / "products" / name
        return tree if tree.is_dir() else draw_product(name, tree)
    data = os.environ.get("DEFECTFLOW_DATA")
    if data is None:
        raise SystemExit("DEFECTFLOW_DATA is not set; name the folder that holds the manifests of the real sets")
    return make_metal_set(Path(data), folder / METAL) if name == METAL else Path(data) / f"{name}.csv"


def _show(table: dict[str, dict[str, Found]], sets: list[str]) -> None:
    weights = {name: 1.0 if name in REAL else 0.5 for name in sets}

    def mean(variant: str, without: str = "") -> float:
        kept = [name for name in sets if name != without]
        total = sum(weights[name] for name in kept)
        return sum(weights[name] * table[variant][name].auroc for name in kept) / total

    shown = Table("variant", *sets, "mean", title="image AUROC, escapes, AUPRO to 30% and 5%")
    for variant in sorted(table, key=mean, reverse=True):
        shown.add_row(variant, *(str(table[variant][name]) for name in sets), f"{mean(variant):.4f}")
    if len(sets) > 1:
        chosen = {name: max(table, key=lambda variant, name=name: mean(variant, without=name)) for name in sets}
        found = [f"{table[chosen[name]][name].auroc:.3f}" for name in sets]
        left_out = sum(weights[name] * table[chosen[name]][name].auroc for name in sets) / sum(weights.values())
        shown.add_row("chosen by the other sets", *found, f"{left_out:.4f}")
    Console(width=200).print(shown)


if __name__ == "__main__":
    main()
