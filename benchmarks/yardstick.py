"""Does a yardstick from good parts alone rank a recipe's variants as real defects do? Spearman's correlation, by set.

    DEFECTFLOW_DATA=... python benchmarks/yardstick.py "flow.shrinkage=0.1" "score.by_place=0" ... --cache build/choose

Variants are given as to `choose.py`; the more, the surer. Good pictures that were not learned from are spoiled in three
ways: a real defect of *another* development set is transplanted onto them; a crack or a stain is drawn; a piece of the
part is exchanged, turned, removed or moved. (`metal` is no set for this: its own defects are made so.) Each way ranks
the variants by the image AUROC between good and spoiled pictures, and so does their mean; the set's test pictures rank
them by the real one. Below the correlations: what each yardstick would choose for every set, and what that finds there,
beside the recipe as it is.

A rule may choose something per product once its correlation is 0.7 or more on sets that it was not made for.
"""

import argparse
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from choose import REAL, divide, judge, source_of
from metal import crack, donors_of, stain, transplant
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from defectflow.common import atomic_write
from defectflow.data import Picture, find_pictures
from defectflow.data import test_pictures as labelled_test_pictures
from defectflow.embedding import EmbeddingCache
from defectflow.image import read_image
from defectflow.recipe import Recipe, load_recipe
from defectflow.samples import PRODUCTS

Pixels = NDArray[np.uint8]
Random = np.random.Generator
LARGEST_PX = 640
"""Pictures are spoiled at this size at most, as no model here sees more."""
HELD_OUT = 60
"""Good parts that are not learned from, where there are three times as many."""
LEAST_SPOILED = 40
"""Of each kind."""
MEAN = "mean of all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", help="settings of one variant")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--sets", nargs="*", default=[*REAL, *PRODUCTS])
    parser.add_argument("--cache", type=Path, required=True, help="folder for embeddings and spoiled pictures")
    options = parser.parse_args()
    if "DEFECTFLOW_DATA" not in os.environ:
        parser.error("DEFECTFLOW_DATA is not set; name the folder that holds the manifests of the real sets")
    variants = ["", *options.variants]
    measured = {
        name: {
            variant: measure(name, load_recipe(options.recipe, variant.split()), options.cache) for variant in variants
        }
        for name in options.sets
    }
    show(measured)


def measure(name: str, recipe: Recipe, cache: Path) -> dict[str, float]:
    """Of one variant on one set, image AUROCs: by each kind of spoiled pictures, and `real`."""
    pictures = find_pictures(source_of(name, cache))
    splits, test = divide(recipe, pictures, calibration_parts=HELD_OUT), labelled_test_pictures(pictures)
    good, spoiled = spoil(splits.calibration, name, cache / "spoiled" / name)
    judging = [*good, *test, *(one for kind in spoiled.values() for one in kind)]
    judged = judge(recipe, splits, judging, EmbeddingCache(cache / "embeddings", 40))
    found = {kind: _auroc(judged.score_of(good), judged.score_of(made)) for kind, made in spoiled.items()}
    found[MEAN] = float(np.mean(list(found.values())))
    defective = np.array([picture.label == "defective" for picture in test])
    scores = judged.score_of(test)
    found["real"] = _auroc(scores[~defective], scores[defective])
    print(f"{name:10} {' '.join(f'{kind} {auroc:.3f}' for kind, auroc in found.items())}", flush=True)
    return found


def spoil(good: list[Picture], name: str, folder: Path) -> tuple[list[Picture], dict[str, list[Picture]]]:
    """Good pictures, no larger than LARGEST_PX, and spoiled copies of them by kind. Both are written once."""
    donors = donors_of(Path(os.environ["DEFECTFLOW_DATA"]), but=name)

    def drawn(grey: Pixels, random: Random) -> Pixels:
        return (crack if random.random() < 0.5 else stain)(grey, random)[0]

    kinds: dict[str, Callable[[Pixels, Random], Pixels]] = {
        "transplants": lambda pixels, random: _in_grey(pixels, lambda grey: transplant(grey, donors, random)[0]),
        "drawn": lambda pixels, random: _in_grey(pixels, lambda grey: drawn(grey, random)),
        "structural": _structural,
    }
    folder.mkdir(parents=True, exist_ok=True)
    unspoiled = [_written(picture, "good", folder, lambda pixels, random: pixels) for picture in good]
    copies = range(-(-LEAST_SPOILED // len(good)))
    spoiled = {
        kind: [_written(picture, f"{kind} {copy}", folder, change) for picture in good for copy in copies]
        for kind, change in kinds.items()
    }
    return unspoiled, spoiled


def _written(picture: Picture, kind: str, folder: Path, change: Callable[[Pixels, Random], Pixels]) -> Picture:
    """The picture, changed; the same each time."""
    seed = hashlib.sha256(f"{picture.path} {kind}".encode()).digest()
    file = folder / f"{kind} {seed.hex()[:12]}.png"
    if not file.is_file():
        changed = change(_small(picture), np.random.default_rng(list(seed)))
        with atomic_write(file) as partial:
            Image.fromarray(changed).save(partial, format="png")
    return replace(picture, path=file, name=None)


def _small(picture: Picture) -> Pixels:
    pixels = read_image(picture.path)
    scale = LARGEST_PX / max(pixels.shape[:2])
    return pixels if scale >= 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _in_grey(pixels: Pixels, change: Callable[[Pixels], Pixels]) -> Pixels:
    """What a change adds to the grey picture, added to each colour."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    added = change(grey).astype(np.float32) - grey
    return np.clip(pixels + added[:, :, None], 0, 255).astype(np.uint8)


def _structural(pixels: Pixels, random: Random) -> Pixels:
    """A soft-edged ellipse of the part shows another place, itself upside down, nothing, or itself a little aside."""
    height, width = pixels.shape[:2]
    top, left, tall, wide = _piece(pixels, random)
    place = np.s_[top : top + tall, left : left + wide]
    soft = np.zeros((tall, wide), np.float32)
    cv2.ellipse(soft, (wide // 2, tall // 2), (max(1, wide // 2 - 2), max(1, tall // 2 - 2)), 0, 0, 360, 1, -1)
    soft = cv2.GaussianBlur(soft, (0, 0), 1.5)[:, :, None]
    match random.integers(4):
        case 0:
            y, x = random.integers(height - tall), random.integers(width - wide)
            shown = pixels[y : y + tall, x : x + wide]
        case 1:
            shown = np.rot90(pixels[place], 2)
        case 2:
            gone = np.zeros((height, width), np.uint8)
            gone[place] = (soft[:, :, 0] > 0.3) * 255
            shown = cv2.inpaint(pixels, gone, 3, cv2.INPAINT_TELEA)[place]
        case _:
            far = max(2, round(0.03 * max(height, width)))
            motion = np.array([[1, 0, random.choice([-far, far])], [0, 1, random.choice([-far, far])]], np.float32)
            shown = cv2.warpAffine(pixels, motion, (width, height), borderMode=cv2.BORDER_REFLECT)[place]
    spoiled = pixels.copy()
    spoiled[place] = (soft * shown + (1 - soft) * pixels[place]).astype(np.uint8)
    return spoiled


def _piece(pixels: Pixels, random: Random) -> tuple[int, int, int, int]:
    """Top, left, height and width of a piece, 5 to 20% of the side long, that shows more than the background."""
    height, width = pixels.shape[:2]
    side = random.uniform(0.05, 0.2) * height
    tall, wide = (max(6, round(side * random.uniform(0.6, 1.4))) for _ in range(2))
    border = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    for _ in range(50):
        top, left = int(random.integers(height - tall)), int(random.integers(width - wide))
        if np.abs(pixels[top : top + tall, left : left + wide] - border).mean() > 12:
            break
    return top, left, tall, wide


def _auroc(good: np.ndarray, defective: np.ndarray) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [len(good), len(defective)]), np.concatenate([good, defective])))


def show(measured: dict[str, dict[str, dict[str, float]]]) -> None:
    sets, variants = list(measured), list(next(iter(measured.values())))
    yardsticks = [key for key in measured[sets[0]][""] if key != "real"]
    correlations = Table("Spearman", *sets, "mean", title="Do they rank variants as real defects do?")
    chosen = Table("chosen by", *sets, "mean", title="Image AUROC on real defects")
    for yardstick in yardsticks:
        ranks = [
            spearmanr(
                *([measured[name][variant][key] for variant in variants] for key in (yardstick, "real"))
            ).statistic
            for name in sets
        ]
        correlations.add_row(yardstick, *(f"{rank:.2f}" for rank in ranks), f"{np.mean(ranks):.2f}")
        best = {name: max(variants, key=lambda variant, at=measured[name]: at[variant][yardstick]) for name in sets}
        _add(chosen, yardstick, [measured[name][best[name]]["real"] for name in sets])
    _add(chosen, "nobody: the recipe as it is", [measured[name][""]["real"] for name in sets])
    _add(chosen, "hindsight", [max(found["real"] for found in measured[name].values()) for name in sets])
    for table in (correlations, chosen):
        Console(width=200).print(table)


def _add(table: Table, label: str, aurocs: list[float]) -> None:
    table.add_row(label, *(f"{auroc:.3f}" for auroc in aurocs), f"{np.mean(aurocs):.4f}")


if __name__ == "__main__":
    main()
