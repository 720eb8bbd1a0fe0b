"""What a fit costs, and what the whole graph costs against its backbone alone and against itself unfolded, in one run.

    python benchmarks/speed.py [--recipe fast --recipe default] [--pictures 300]

Machines are noisy, so the ratio is what counts: the graphs take turns, and the median of many turns is shown.
The resize from large pictures is reported apart: it is the time by which they are slower than pictures that
already have the model's size. Parts are looked at as they lie, since aligning them is no part of the head.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from defectflow.bundle import MODEL
from defectflow.embedding import EmbeddingCache
from defectflow.fitting import fit
from defectflow.recipe import load_recipe
from defectflow.samples import draw_product
from defectflow.score import build_detector

AS_THEY_LIE = ["image.align=never"]
LARGE_PX = ((512, 512), (1024, 1024), (2048, 2448))


class BackboneAlone(torch.nn.Module):
    """What nobody can do without: uint8 pictures of the model's size -> the backbone's levels."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return self.backbone(image.permute(0, 3, 1, 2).float())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", help="repeatable; by default fast and default")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        # A third of the sample parts are shot again; draw enough parts and keep as many pictures as wanted.
        ring = draw_product("ring", work / "ring", good_parts=options.pictures, test_good_parts=0, defective_parts=0)
        good = ring / "train" / "good"
        for extra in sorted(good.glob("*.png"))[options.pictures :]:
            extra.unlink()
        for recipe in options.recipe or ["fast", "default"]:
            model = work / recipe
            arguments = (recipe, good, model)
            with multiprocessing.get_context("spawn").Pool(1) as fresh:  # its own process, for its peak memory
                results[recipe] = fresh.apply(measure_fit, arguments)
            results[recipe] |= measure_graph(recipe, model / MODEL, work, options.turns)
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def measure_fit(recipe: str, good: Path, out: Path) -> dict[str, float]:
    """Seconds and peak resident memory of one fit, nothing cached."""
    started = time.perf_counter()
    fit(load_recipe(recipe, AS_THEY_LIE), good, out, cache=EmbeddingCache(out.parent / f"{out.name}_cache"))
    seconds = time.perf_counter() - started
    return {"fit_s": seconds, "fit_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure_graph(recipe: str, model: Path, scratch: Path, turns: int) -> dict[str, float]:
    """Nodes, and median milliseconds per picture, one at a time and eight: the bundle's graph, the same detector
    exported as it is trained, with nothing folded, and the backbone alone.
    """
    settings = load_recipe(recipe)
    size = settings.image.size
    detector, _ = build_detector(settings)
    plain = exported(detector, scratch / f"{recipe}_plain.onnx", size)
    alone = exported(BackboneAlone(detector.embedding.backbone), scratch / f"{recipe}_backbone.onnx", size)
    whole = onnxruntime.InferenceSession(model)
    figures: dict[str, float] = {
        "nodes": len(onnx.load(model).graph.node),
        "plain_nodes": len(onnx.load(scratch / f"{recipe}_plain.onnx").graph.node),
        "megabytes": model.stat().st_size / 1e6,
    }
    for batch in (1, 8):
        image = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        whole_ms, plain_ms, alone_ms = take_turns([(whole, image), (plain, image), (alone, image)], turns)
        figures |= {f"whole_ms_{batch}": whole_ms / batch, f"plain_ms_{batch}": plain_ms / batch}
        figures |= {f"backbone_ms_{batch}": alone_ms / batch}
        figures |= {f"ratio_{batch}": whole_ms / alone_ms, f"plain_ratio_{batch}": plain_ms / alone_ms}
    small = np.zeros((1, size, size, 3), np.uint8)
    for height, width in LARGE_PX:
        large = np.zeros((1, height, width, 3), np.uint8)
        small_ms, large_ms = take_turns([(whole, small), (whole, large)], max(10, turns // 4))
        figures[f"resize_ms_{width}x{height}"] = large_ms - small_ms
    return figures


def exported(module: torch.nn.Module, file: Path, size: int) -> onnxruntime.InferenceSession:
    """A module that takes pictures (N, S, S, 3), in ONNX Runtime."""
    torch.onnx.export(
        module.eval(),
        (torch.zeros(2, size, size, 3, dtype=torch.uint8),),
        str(file),
        dynamo=True,
        input_names=["image"],
        dynamic_shapes={"image": {0: torch.export.Dim("N")}},
        verbose=False,
    )
    return onnxruntime.InferenceSession(file)


def take_turns(runs: list[tuple[onnxruntime.InferenceSession, np.ndarray]], turns: int) -> list[float]:
    """Median milliseconds of each, measured alternately so that both meet the same noise."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(turns + 3):
        for (session, image), taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            session.run(None, {"image": image})
            if turn >= 3:  # warm by then
                taken.append(1000 * (time.perf_counter() - started))
    return [statistics.median(taken) for taken in times]


def show(results: dict[str, dict[str, float]]) -> None:
    table = Table("figure", *results)
    for key in next(iter(results.values())):
        table.add_row(key, *(f"{result[key]:.2f}" for result in results.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
