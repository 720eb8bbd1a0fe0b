"""Fit, calibrate and evaluate one recipe on many sets: the table behind every accuracy figure we state.

    python benchmarks/accuracy.py                                 the three sample products
    python benchmarks/accuracy.py a.csv b.csv --recipe texture    any manifests or MVTec-style trees
    DEFECTFLOW_DATA=... python benchmarks/accuracy.py --real      also every manifest in that folder

Nothing is chosen on test pictures: constants come from tune parts, the threshold from calibration parts. Prints a table
and, per set, one row per kind of defect; --json keeps everything. --peers adds what the heads of PaDiM and PatchCore
find on the same embeddings of the same training pictures.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peer_heads import padim, patchcore
from rich.console import Console
from rich.table import Table

from defectflow.bundle import fitted_digests, open_bundle
from defectflow.data import check_readable, find_pictures
from defectflow.data import test_pictures as labelled_test_pictures
from defectflow.density import choose_device
from defectflow.embedding import EmbeddingCache, embedding_key, extract
from defectflow.evaluation import evaluate
from defectflow.fitting import fit
from defectflow.line import Inspector
from defectflow.recipe import Recipe, load_recipe, parse_recipe
from defectflow.samples import PRODUCTS, draw_product
from defectflow.score import build_detector
from defectflow.verdict import auroc


def main() -> None:
    options = _options()
    recipe = load_recipe(options.recipe, options.set)
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        sources = {Path(source).stem: Path(source) for source in options.sources}
        sources |= sample_products(work) if options.samples else {}
        sources |= real_sets() if options.real else {}
        cache = EmbeddingCache(work / "cache", limit_gb=options.cache_limit)
        for name, source in sources.items():
            results[name] = fit_and_evaluate(recipe, source, work / "models" / name, cache)
            if options.peers:
                results[name]["peers"] = peers(work / "models" / name, source, cache)
            print(f"{name}: image AUROC {_figure(results[name]['image_auroc'])}", file=sys.stderr)
            if options.json:
                options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    _show(results)


def fit_and_evaluate(recipe: Recipe, source: Path, out: Path, cache: EmbeddingCache) -> dict:
    """The figures of one recipe on one set, as `evaluate --json` gives them, with the fit's seconds and parts."""
    started = time.perf_counter()
    fitted = fit(recipe, source, out, cache=cache)
    fit_s = time.perf_counter() - started
    evaluation = evaluate(Inspector(fitted.bundle), labelled_test_pictures(find_pictures(source)))
    return evaluation.to_json() | {"fit_s": fit_s, "fit_parts": fitted.bundle.card.parts.model_dump()}


def peers(bundle: Path, source: Path, cache: EmbeddingCache) -> dict[str, float]:
    """Image AUROC of other heads on the bundle's embeddings: learned from its training and tune pictures."""
    card = open_bundle(bundle).card
    recipe = parse_recipe(card.recipe)
    pictures = find_pictures(source)
    sides = fitted_digests(open_bundle(bundle))
    checked = check_readable(pictures)
    digests = checked.pixel_digests
    train = [p for p in pictures if sides.get(digests.get(p.path, "")) in ("train", "tune") and p.label == "good"]
    test = labelled_test_pictures(pictures)
    detector, _ = build_detector(recipe)
    everything = [*train, *test]
    key = embedding_key(recipe, detector.embedding, [digests[picture.path] for picture in everything])
    levels = extract(
        detector.embedding,
        [picture.path for picture in everything],
        recipe.image.full_scale,
        cache=cache,
        key=key,
        device=choose_device(recipe.training),
    )
    learn, look = ([level[rows] for level in levels] for rows in (slice(len(train)), slice(len(train), None)))
    defective = np.array([picture.label == "defective" for picture in test])
    return {
        "PaDiM": auroc(*_apart(padim(learn, look, recipe.image.size), defective)),
        "PatchCore": auroc(*_apart(patchcore(learn[-2:], look[-2:]), defective)),
    }


def _apart(scores: np.ndarray, defective: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scores[~defective], scores[defective]


def sample_products(folder: Path) -> dict[str, Path]:
    """Name -> tree of each built-in sample product, drawn into the folder."""
    return {product: draw_product(product, folder / product) for product in PRODUCTS}


def real_sets() -> dict[str, Path]:
    """Name -> manifest of every set in the folder that DEFECTFLOW_DATA names."""
    folder = os.environ.get("DEFECTFLOW_DATA")
    if not folder:
        sys.exit("--real: DEFECTFLOW_DATA is not set; name the folder that holds the manifests")
    return {manifest.stem: manifest for manifest in sorted(Path(folder).glob("*.csv"))}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", help="manifests or MVTec-style trees")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", action="append", default=[], help="change one setting, e.g. --set flow.layers=12")
    parser.add_argument("--real", action="store_true", help="every manifest in the folder named by DEFECTFLOW_DATA")
    parser.add_argument("--no-samples", dest="samples", action="store_false", help="leave the sample products out")
    parser.add_argument("--peers", action="store_true", help="also the heads of PaDiM and PatchCore: takes minutes")
    parser.add_argument("--cache-limit", type=float, default=10.0, help="GB of embeddings kept while running")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _show(results: dict[str, dict]) -> None:
    figures = ["image AUROC", "95%", "AP", "pixel AUROC", "AUPRO 30%", "AUPRO 5%", "overkill", "escape", "fit s"]
    whole = Table("set", "fit parts", *figures, "PaDiM", "PatchCore")
    kinds = Table("set", "kind", "pictures", "image AUROC", "AUPRO 30%", "escape")
    for name, result in results.items():
        fit_parts = "/".join(str(count) for count in result["fit_parts"].values())
        interval = result["image_auroc_interval"]
        whole.add_row(
            name,
            fit_parts,
            _figure(result["image_auroc"]),
            f"{_figure(interval[0])}-{_figure(interval[1])}" if interval else "-",
            _figure(result["image_ap"]),
            _figure(result["pixel_auroc"]),
            _figure(result["aupro_30"]),
            _figure(result["aupro_05"]),
            _share(result["overkill"])
            + {True: " (as promised)", False: " (NOT as promised)"}.get(result["overkill_inside"], ""),
            _share(result["escape"]),
            f"{result['fit_s']:.0f}",
            *(_figure(result.get("peers", {}).get(peer)) for peer in ("PaDiM", "PatchCore")),
        )
        for kind in result["per_kind"]:
            kinds.add_row(
                name,
                kind["kind"],
                str(kind["pictures"]),
                _figure(kind["image_auroc"]),
                _figure(kind["aupro_30"]),
                _share(kind["escape"]),
            )
    console = Console(width=180)
    console.print(whole)
    console.print(kinds)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(share: dict | None) -> str:
    return "-" if share is None else f"{share['count']}/{share['of']}"


if __name__ == "__main__":
    main()
