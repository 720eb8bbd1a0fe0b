"""fp32, fp16 and int8 of one model side by side: size, speed, and what they find on labelled pictures.

    python benchmarks/precision.py                                one sample product
    python benchmarks/precision.py a.csv b.csv --recipe fast      any manifests or MVTec-style trees
    DEFECTFLOW_DATA=... python benchmarks/precision.py --real     also every manifest in that folder

Each precision is exported from one fit, as `defectflow export` does it, and calibrated through its own graph. The
graphs take turns, so that all meet the same noise of the machine. On real sets, nothing is chosen on test pictures.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from accuracy import real_sets
from rich.console import Console
from rich.table import Table
from speed import take_turns

from defectflow.bundle import Bundle
from defectflow.convert.precision import export_precision
from defectflow.data import find_pictures
from defectflow.data import test_pictures as labelled_test_pictures
from defectflow.embedding import EmbeddingCache
from defectflow.evaluation import evaluate
from defectflow.fitting import fit
from defectflow.line import Inspector
from defectflow.recipe import load_recipe
from defectflow.samples import PRODUCTS, draw_product

PRECISIONS = ("fp32", "fp16", "int8")


onnxruntime.set_default_logger_severity(3)  # errors only


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="manifests or MVTec-style trees")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--set", action="append", default=[], help="change one setting, e.g. --set flow.layers=12")
    parser.add_argument("--product", action="append", choices=PRODUCTS, help="repeatable; by default fabric")
    parser.add_argument("--real", action="store_true", help="every manifest in the folder named by DEFECTFLOW_DATA")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, options.set)
    results: dict[str, dict[str, dict]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        sources = {source.stem: source for source in options.sources}
        if options.product or not (options.sources or options.real):
            for product in options.product or ["fabric"]:
                sources[product] = draw_product(product, work / product)
        sources |= real_sets() if options.real else {}
        cache = EmbeddingCache(work / "cache", limit_gb=10)
        for name, source in sources.items():
            fitted = fit(recipe, source, work / "models" / name, cache=cache)
            results[name] = measure(fitted.bundle, source, work / "models", options.turns)
            print(f"{name}: done", file=sys.stderr)
            if options.json:
                options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    show(results)


def measure(bundle: Bundle, source: Path, folder: Path, turns: int) -> dict[str, dict]:
    """One row per precision."""
    exported = {
        precision: export_precision(bundle, precision, [source], folder / f"{bundle.path.name}-{precision}")
        for precision in PRECISIONS
    }
    size = bundle.card.image.size_px
    sessions = [onnxruntime.InferenceSession(made.bundle.model) for made in exported.values()]
    times = {}
    for batch in (1, 8):
        image = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        times[batch] = [ms / batch for ms in take_turns([(session, image) for session in sessions], turns)]
    pictures = labelled_test_pictures(find_pictures(source))
    rows = {}
    for number, (precision, made) in enumerate(exported.items()):
        figures = evaluate(Inspector(made.bundle), pictures).to_json()
        rows[precision] = {
            "megabytes": made.bundle.model.stat().st_size / 1e6,
            "ms_1": times[1][number],
            "ms_8": times[8][number],
            "mean_score_difference": made.mean_score_difference,
            "largest_score_difference": made.bundle.card.export_parity["score"],
            **{key: figures[key] for key in ("image_auroc", "aupro_30", "overkill", "escape")},
        }
    return rows


def show(results: dict[str, dict[str, dict]]) -> None:
    table = Table("set", "precision", "MB", "ms alone", "ms of 8", "score difference, mean / largest")
    for column in ("image AUROC", "AUPRO 30%", "overkill", "escape"):
        table.add_column(column)
    for name, rows in results.items():
        for precision, row in rows.items():
            table.add_row(
                name,
                precision,
                f"{row['megabytes']:.1f}",
                f"{row['ms_1']:.1f}",
                f"{row['ms_8']:.1f}",
                f"{row['mean_score_difference']:.2g} / {row['largest_score_difference']:.2g}",
                *("-" if row[key] is None else f"{row[key]:.3f}" for key in ("image_auroc", "aupro_30")),
                *(
                    "-" if row[key] is None else f"{row[key]['count']}/{row[key]['of']}"
                    for key in ("overkill", "escape")
                ),
            )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
