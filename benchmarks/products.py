"""One model for all products against one each: image AUROC, size, fit time, latency, and whether `auto` finds them.

    DEFECTFLOW_DATA=... python benchmarks/products.py                 pill, ballscrew, cookies, dobot and the samples
    python benchmarks/products.py --parts 60 --test 30                fewer pictures of each; samples only without data

Every product is fitted twice on the same parts, alone and in one bundle with the others, each time with an empty cache;
with --join once, and then the bundle is made of the single fits, as `fit` makes it of each product's.
Scores of the same test pictures are compared: alone, in the bundle under their own product's name, and with `auto`.
"""

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from defectflow.bundle.products import add_product
from defectflow.data import Picture, find_pictures
from defectflow.data import test_pictures as labelled_test_pictures
from defectflow.embedding import EmbeddingCache
from defectflow.fitting import fit, fit_products
from defectflow.line import Inspector
from defectflow.recipe import Recipe, load_recipe
from defectflow.samples import PRODUCTS, draw_product
from defectflow.verdict import auroc

REAL = ("ballscrew", "cookies", "dobot", "pill")
TIMED = 30


@dataclass(frozen=True)
class Chosen:
    """What one product is fitted and tested on."""

    fitted: list[Picture]
    test: list[Picture]

    @property
    def paths(self) -> list[Path]:
        return [picture.path for picture in self.test]

    def auroc(self, scores: Iterable[float]) -> float:
        values, good = np.array(list(scores)), np.array([picture.label == "good" for picture in self.test])
        return auroc(values[good], values[~good])


def main() -> None:
    options = _options()
    recipe = load_recipe(options.recipe, options.set)
    with tempfile.TemporaryDirectory() if options.work is None else nullcontext(options.work) as scratch:
        work = Path(scratch)
        chosen = {name: choose(find_pictures(source), options) for name, source in sources(work, options).items()}
        took_s = {name: fitted_alone_s(recipe, name, own, work) for name, own in chosen.items()}
        started = time.perf_counter()
        if options.join:
            for name in chosen:
                shutil.copytree(work / "alone" / name, work / "all" / "products" / name)
                add_product(work / "all", "all", name)
        else:
            source = manifest(work / "all.csv", chosen, named=True)
            fit_products(recipe, source, work / "all", cache=EmbeddingCache(work / "cache-all"))
        together_s = time.perf_counter() - started
        print(f"all together: {together_s:.0f} s", file=sys.stderr)
        way = "joining them" if options.join else "one for all"
        results = compare(work, chosen) | {"fit_s": {"one each": sum(took_s.values()), way: together_s}}
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(results)


def fitted_alone_s(recipe: Recipe, name: str, own: Chosen, work: Path) -> float:
    """Seconds of the fit of one product alone; of an earlier run in the same folder, as it noted them."""
    noted = work / "alone" / f"{name}.seconds"
    if not noted.exists():
        source = manifest(work / f"{name}.csv", {name: own}, named=False)
        started = time.perf_counter()
        fit(recipe, source, work / "alone" / name, cache=EmbeddingCache(work / "cache-alone"), overwrite=True)
        noted.write_text(str(time.perf_counter() - started))
    print(f"{name} alone: {float(noted.read_text()):.0f} s", file=sys.stderr)
    return float(noted.read_text())


def compare(work: Path, chosen: dict[str, Chosen]) -> dict:
    """Figures of each product, and of the bundles."""
    several = Inspector(work / "all", threads=1)
    products, latency = {}, {"one each": [], "one for all, named": [], "one for all, auto": []}
    for name, own in chosen.items():
        single = Inspector(work / "alone" / name, threads=1)
        alone = list(single.measure_all(own.paths))
        named = list(several.of(name).measure_all(own.paths))
        nearest = list(several.measure_all(own.paths))
        good = [found for picture, found in zip(own.test, nearest, strict=True) if picture.label == "good"]
        products[name] = {
            "fitted": len(own.fitted),
            "test": len(own.test),
            "auroc_alone": own.auroc(one.score for one in alone),
            "auroc_named": own.auroc(one.score for one in named),
            "auroc_auto": own.auroc(one.score for one in nearest),
            "largest_difference": max(abs(a.score - b.score) for a, b in zip(alone, named, strict=True)),
            "auto_right": float(np.mean([one.product == name for one in nearest])),
            "auto_right_of_good": float(np.mean([one.product == name for one in good])),
        }
        for way, inspector in zip(latency, (single, several.of(name), several), strict=True):
            latency[way].append(median_ms(inspector, own.paths[0]))
        print(f"{name}: {products[name]}", file=sys.stderr)
    alone_mb = sum(megabytes(work / "alone" / name) for name in chosen)
    return {
        "products": products,
        "latency_ms": {way: float(np.mean(values)) for way, values in latency.items()},
        "megabytes": {"one each": alone_mb, "one for all": megabytes(work / "all")},
        "graph_megabytes": {
            "one each": sum((work / "alone" / name / "model.onnx").stat().st_size for name in chosen) / 1e6,
            "one for all": (work / "all" / "model.onnx").stat().st_size / 1e6,
        },
        "load_s": {
            "one of each": loaded_s(work / "alone" / next(iter(chosen))),
            "one for all": loaded_s(work / "all"),
        },
    }


def sources(work: Path, options: argparse.Namespace) -> dict[str, Path]:
    """The development sets: samples, drawn here, and the real ones where DEFECTFLOW_DATA names their folder."""
    counts = {
        "good_parts": min(200, options.parts),
        "test_good_parts": min(60, options.test),
        "defective_parts": min(90, options.test),
    }
    drawn = {product: work / "drawn" / product for product in PRODUCTS}
    found = {name: path if path.exists() else draw_product(name, path, **counts) for name, path in drawn.items()}
    folder = os.environ.get("DEFECTFLOW_DATA")
    if not folder:
        print("DEFECTFLOW_DATA is not set: sample products only", file=sys.stderr)
        return found
    return found | {name: Path(folder) / f"{name}.csv" for name in REAL}


def choose(pictures: list[Picture], options: argparse.Namespace) -> Chosen:
    """By part for the fit, at random for the test; always the same ones."""
    random = np.random.default_rng(0)
    fitted = [one for one in pictures if one.label == "good" and one.split != "test"]
    parts = sorted({one.part for one in fitted})
    wanted = {parts[index] for index in random.permutation(len(parts))[: options.parts]}
    test = labelled_test_pictures(pictures)
    groups = [[one for one in test if (one.label == "good") is good] for good in (True, False)]
    picked = [group[i] for group in groups for i in sorted(random.permutation(len(group))[: options.test])]
    return Chosen([one for one in fitted if one.part in wanted], picked)


def manifest(file: Path, chosen: dict[str, Chosen], *, named: bool) -> Path:
    """The pictures of a fit, with or without the column `product`."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "part", "product"][: 2 + named])
        for name, own in chosen.items():
            table.writerows([one.path.resolve(), one.part, name][: 2 + named] for one in own.fitted)
    return file


def median_ms(inspector: Inspector, picture: Path) -> float:
    """From file to score, one picture at a time."""
    took = []
    for _ in range(TIMED + 1):
        started = time.perf_counter()
        list(inspector.measure([picture]))
        took.append(1000 * (time.perf_counter() - started))
    return float(np.median(took[1:]))


def loaded_s(bundle: Path) -> float:
    started = time.perf_counter()
    Inspector(bundle, threads=1)
    return time.perf_counter() - started


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def show(results: dict) -> None:
    console = Console(width=150)
    table = Table(
        "product", "pictures fitted", "test", "AUROC alone", "in one, named", "in one, auto", "max diff", "auto right"
    )
    for name, row in results["products"].items():
        table.add_row(
            name,
            str(row["fitted"]),
            str(row["test"]),
            *(f"{row[f'auroc_{way}']:.4f}" for way in ("alone", "named", "auto")),
            f"{row['largest_difference']:.0e}",
            f"{row['auto_right']:.1%} ({row['auto_right_of_good']:.1%} of good)",
        )
    console.print(table)
    for what in ("fit_s", "megabytes", "graph_megabytes", "latency_ms", "load_s"):
        console.print(f"{what}: " + ", ".join(f"{way} {value:.1f}" for way, value in results[what].items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], help="change one setting, e.g. --set image.size=256")
    parser.add_argument("--parts", type=int, default=100_000, help="of each product, at most so many parts are fitted")
    parser.add_argument("--test", type=int, default=100_000, help="of each product, at most so many good and defective")
    parser.add_argument("--join", action="store_true", help="join the single fits instead of fitting all again")
    parser.add_argument("--work", type=Path, help="keep everything in this folder, and go on there another time")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
