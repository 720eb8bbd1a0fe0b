"""Every flow family as the density head, on the same embeddings with the same budget of steps.

    python benchmarks/heads.py                                  the three sample products
    DEFECTFLOW_DATA=... python benchmarks/heads.py --real       also every manifest in that folder
    python benchmarks/heads.py --budgets epoch recipe           one pass over the vectors, and the recipe's own steps

`epoch` is as many vectors, in batches of 1,024, as the finest level has in the good pictures outside the test set.

Per family and set: nats per dimension on tune parts (the mean over levels; higher is better), image and pixel AUROC,
AUPRO, seconds to fit from cached embeddings; per family: parameters, and microseconds to score one vector in torch and
in ONNX Runtime; of `iaf`, which is not used as a density head, only the cost. A table, --json with all
figures (a run with the same settings continues from it), and --plot for two plots: accuracy against cost, likelihood
against AUROC. Nothing is chosen on test pictures.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import torch
from accuracy import fit_and_evaluate, real_sets, sample_products
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from defectflow.bundle import open_bundle
from defectflow.data import find_pictures
from defectflow.density import CONDITION_WIDTH
from defectflow.embedding import EmbeddingCache, build_embedding
from defectflow.flows import Family, Flow, build_flow
from defectflow.recipe import Recipe, load_recipe

TIMED_WIDTH = 128
"""Width of the vectors whose scoring is timed: level 2 of resnet18."""
TIMED_VECTORS = 1024
REPEATS = 10
EPOCH_BATCH = 1024
MORE_SETTINGS = {"cnf": ", objective: matching"}
"""By likelihood, a step of `cnf` takes some forty times as long as one of `glow`."""
FIGURES = ("image_auroc", "pixel_auroc", "aupro_30", "fit_s")


def main() -> None:
    options = _options()
    made_with = {"recipe": options.recipe, "set": options.set}
    results: dict[str, dict] = _results_so_far(options.json, made_with)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        sources = sample_products(work) | (real_sets() if options.real else {})
        if options.sets:
            sources = {name: sources[name] for name in options.sets}
        cache, cached = EmbeddingCache(options.cache or work / "cache", limit_gb=20), set[str]()
        for family in options.families:
            result = results.setdefault(family, {})
            result.setdefault("cost", _cost(family))
            for (name, source), budget in product(sources.items(), options.budgets):
                if family == "iaf" or name in result.get(budget, {}):
                    continue
                if name not in cached:  # the first family would pay for all of them
                    one_step = load_recipe(
                        options.recipe, ["flow={family: gaussian}", "training.steps=1", *options.set]
                    )
                    fit_and_evaluate(one_step, source, work / "models" / f"{name}_cached", cache)
                    cached.add(name)
                overrides = [f"flow={{family: {family}{MORE_SETTINGS.get(family, '')}}}", *options.set]
                if budget == "epoch":
                    steps = _steps_of_an_epoch(source, load_recipe(options.recipe, options.set))
                    overrides += [f"training.batch={EPOCH_BATCH}", f"training.steps={steps}"]
                out = work / "models" / f"{family}_{name}_{budget}"
                figures = fit_and_evaluate(load_recipe(options.recipe, overrides), source, out, cache)
                training = open_bundle(out).card.training.values()
                nats = -float(np.mean([level["tune_nats_per_dim"] for level in training]))
                result.setdefault(budget, {})[name] = {figure: figures[figure] for figure in FIGURES} | {"nats": nats}
                print(f"{family}, {budget}, {name}: {figures['image_auroc']:.3f}, {nats:.3f} nats", file=sys.stderr)
                if options.json:
                    kept = {"made_with": made_with, "families": results}
                    options.json.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    for budget in options.budgets:
        _show(results, budget)
    if options.plot:
        _plot(results, options.budgets[-1], options.plot)


def _results_so_far(path: Path | None, made_with: dict) -> dict[str, dict]:
    """Family -> its figures, of an earlier run with the same settings."""
    if path is None or not path.is_file():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["made_with"] != made_with:
        sys.exit(f"--json {path}: was made with {kept['made_with']}, this run has {made_with}; name another file")
    return dict(kept["families"])


class LogProb(nn.Module):
    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.flow.log_prob(x, context)


def _cost(family: Family) -> dict[str, float | None]:
    """Parameters, and microseconds for each vector in torch and in ONNX Runtime."""
    settings = load_recipe("free", [f"flow={{family: {family}}}"]).flow.of_layers()
    flow = build_flow(width=TIMED_WIDTH, context_width=CONDITION_WIDTH, **settings).eval()
    x, context = torch.randn(TIMED_VECTORS, TIMED_WIDTH), torch.randn(TIMED_VECTORS, CONDITION_WIDTH)
    with torch.no_grad():
        in_torch = _microseconds(lambda: flow.log_prob(x, context))
    in_onnx = None
    if family != "iaf":
        program = torch.onnx.export(
            LogProb(flow).eval(), (x, context), dynamo=True, input_names=["x", "context"], verbose=False
        )
        file = io.BytesIO()
        program.save(file)
        session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
        feed = {"x": x.numpy(), "context": context.numpy()}
        in_onnx = _microseconds(lambda: session.run(None, feed))
    parameters = sum(parameter.numel() for parameter in flow.parameters())
    return {"parameters": parameters, "us_torch": in_torch, "us_onnx": in_onnx}


def _microseconds(score) -> float:
    """Median for one vector."""
    score()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        score()
        times.append(time.perf_counter() - started)
    return 1e6 * float(np.median(times)) / TIMED_VECTORS


def _steps_of_an_epoch(source: Path, recipe: Recipe) -> int:
    pictures = sum(p.label == "good" and p.split != "test" for p in find_pictures(source))
    height, width, _ = build_embedding(recipe.image, recipe.embedding)[0].shapes[0]
    return round(pictures * height * width / EPOCH_BATCH)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", choices=get_args(Family), default=list(get_args(Family)))
    parser.add_argument("--recipe", default="free")
    parser.add_argument("--set", action="append", default=[], help="change one setting for all")
    parser.add_argument("--budgets", nargs="+", choices=("epoch", "recipe"), default=["epoch"])
    parser.add_argument("--real", action="store_true", help="every manifest in the folder named by DEFECTFLOW_DATA")
    parser.add_argument("--sets", nargs="+", help="only these, in this order")
    parser.add_argument("--cache", type=Path, help="folder for cached embeddings, to be kept for another run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="a PNG file with two plots (needs matplotlib)")
    return parser.parse_args()


def _show(results: dict, budget: str) -> None:
    sets = sorted({name for result in results.values() for name in result.get(budget, {})})
    cost = Table("family", "parameters", "us torch", "us ONNX", title=f"One vector of {TIMED_WIDTH} values")
    for family, result in results.items():
        onnx = result["cost"]["us_onnx"]
        cells = (f"{result['cost']['parameters']:,}", f"{result['cost']['us_torch']:.2f}", onnx and f"{onnx:.2f}")
        cost.add_row(family, *(cell or "-" for cell in cells))
    tables = [cost]
    for figure in ("nats", *FIGURES):
        table = Table("family", *sets, "mean", title=f"{figure}, {budget}")
        for family, result in results.items():
            values = [result.get(budget, {}).get(name, {}).get(figure) for name in sets]
            if any(value is not None for value in values):
                mean = "-" if None in values else f"{np.mean(values):.3f}"
                table.add_row(family, *("-" if value is None else f"{value:.3f}" for value in values), mean)
        tables.append(table)
    for table in tables:
        Console(width=180).print(table)


def _plot(results: dict, budget: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5))
    for family, result in results.items():
        runs = list(result.get(budget, {}).values())
        if not runs:
            continue
        aurocs = [run["image_auroc"] for run in runs]
        left.scatter(result["cost"]["us_onnx"], np.mean(aurocs), label=family)
        right.scatter([run["nats"] for run in runs], aurocs, label=family)
    left.set(xscale="log", xlabel="microseconds per vector, ONNX Runtime", ylabel="image AUROC, mean over sets")
    right.set(xlabel="nats per dimension on tune parts", ylabel="image AUROC, each set")
    left.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
