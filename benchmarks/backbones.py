"""The same recipe and the same flow on the embeddings of several weights: what the backbone is worth.

    python benchmarks/backbones.py                                    the three sample products
    DEFECTFLOW_DATA=... python benchmarks/backbones.py --real         also every manifest in that folder
    python benchmarks/backbones.py --weights hub_resnet18.safetensors also weights that were brought from elsewhere

Always: the built-in weights, an untrained network (orthogonal filters, batch statistics measured on noise) and a
fixed bank of Gabor filters before an untrained rest. Each as it was trained; the built-in and brought ones also
adapted, with batch statistics of the training parts. Nothing is chosen on test pictures. About three minutes per
weights and set on 2 CPU cores; --json keeps every figure, and a set that is in the file already is not run again.
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
from accuracy import fit_and_evaluate, real_sets, sample_products
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from defectflow.bundle import open_bundle
from defectflow.embedding import EmbeddingCache, builtin_weights
from defectflow.line import Inspector
from defectflow.recipe import load_recipe

BACKBONE = "resnet18"
FIGURES = ("image_auroc", "pixel_auroc", "aupro_30")
TIMED_PICTURES = 30


def main() -> None:
    options = _options()
    results = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        candidates = {
            "untrained": (untrained(work / "untrained.safetensors", gabor=False), False),
            "gabor": (untrained(work / "gabor.safetensors", gabor=True), False),
        }
        trained = {"builtin": builtin_weights(BACKBONE)} | {path.stem: path for path in options.weights}
        for name, file in trained.items():
            candidates |= {name: (file, False), f"{name} adapted": (file, True)}
        sources = sample_products(work) | (real_sets() if options.real else {})
        for name, source in sources.items():
            for weights, (file, adapt) in candidates.items():
                if name in results.setdefault(weights, {}):
                    continue
                chosen = (f"embedding.weights={file}", f"embedding.adapt={str(adapt).lower()}")
                recipe = load_recipe(options.recipe, [*chosen, *options.set])
                out = work / "models" / f"{name}_{weights.replace(' ', '_')}"
                cache = EmbeddingCache(work / "cache", limit_gb=5)
                figures = fit_and_evaluate(recipe, source, out, cache)
                results[weights][name] = {key: figures[key] for key in (*FIGURES, "image_auroc_interval")} | {
                    "ms": _milliseconds(out),
                    "mb": (out / "model.onnx").stat().st_size / 1e6,
                }
                if options.json:
                    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    _show(results)


def untrained(out: Path, *, gabor: bool) -> Path:
    """Weights nobody trained: orthogonal filters, or Gabor ones in front; batch statistics measured on noise."""
    torch.manual_seed(0)
    net = timm.create_model(BACKBONE, features_only=True, out_indices=(1, 2, 3))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.orthogonal_(module.weight, gain=2**0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm starts residual branches at zero, which would leave them out
            module.momentum = None  # a plain average over the batches below
    if gabor:
        with torch.no_grad():
            net.conv1.weight.copy_(_gabor_bank(*net.conv1.weight.shape))
    net.train()
    with torch.no_grad():
        for _ in range(8):
            net(_noise(16))
    tensors = {name: tensor for name, tensor in net.state_dict().items() if tensor.is_floating_point()}
    safetensors.torch.save_file(tensors, out)
    return out


def _gabor_bank(filters: int, channels: int, height: int, width: int) -> Tensor:
    """Waves under a bell, at octaves of frequency, even turns and two phases; grey, unit length."""
    y, x = torch.meshgrid(torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij")
    bank = torch.empty(filters, channels, height, width)
    for index in range(filters):
        scale, rest = divmod(index, max(1, filters // 4))
        turn = math.pi * (rest // 2) / max(1, filters // 8)
        wave = 2 * math.pi * (x * math.cos(turn) + y * math.sin(turn)) / (2.5 * 2 ** (scale / 2))
        bell = torch.exp(-(x**2 + y**2) / (2 * (1 + scale / 2) ** 2))
        field = bell * torch.cos(wave + math.pi / 2 * (rest % 2))
        bank[index] = (field - field.mean()) / (field - field.mean()).norm()
    return bank / channels**0.5


def _noise(pictures: int, side_px: int = 256) -> Tensor:
    """Coloured noise with power laws from white to smooth, (N, 3, S, S), unit spread."""
    rows = side_px * torch.fft.fftfreq(side_px)[:, None]
    columns = side_px * torch.fft.rfftfreq(side_px)[None]
    frequency = torch.sqrt(rows**2 + columns**2) + 1
    exponent = 0.5 + 1.5 * torch.rand(pictures, 1, 1, 1)
    spectrum = torch.fft.rfft2(torch.randn(pictures, 3, side_px, side_px)) * frequency**-exponent
    noise = torch.fft.irfft2(spectrum, s=(side_px, side_px))
    return noise / noise.std((1, 2, 3), keepdim=True)


def _milliseconds(bundle: Path) -> float:
    """Median time to score one picture of 256 px; bundles of small sets are uncalibrated, and have no verdicts."""
    inspector = Inspector(open_bundle(bundle))
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    times = []
    for _ in range(TIMED_PICTURES):
        started = time.perf_counter()
        next(iter(inspector.measure([picture])))
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="*", type=Path, default=[], help="more weights files to compare")
    parser.add_argument("--recipe", default="free")
    parser.add_argument("--set", action="append", default=[], help="change one setting for all")
    parser.add_argument("--real", action="store_true", help="every manifest in the folder named by DEFECTFLOW_DATA")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _show(results: dict[str, dict[str, dict]]) -> None:
    for figure, title in (("image_auroc", "image AUROC"), ("pixel_auroc", "pixel AUROC"), ("aupro_30", "AUPRO to 30%")):
        sets = list(next(iter(results.values())))
        table = Table("weights", *sets, "mean", "ms", "MB", title=title)
        for weights, figures in results.items():
            values = [figures[name][figure] for name in sets]
            known = [value for value in values if value is not None]
            table.add_row(
                weights,
                *("-" if value is None else f"{value:.3f}" for value in values),
                f"{np.mean(known):.3f}",
                f"{np.median([entry['ms'] for entry in figures.values()]):.0f}",
                f"{np.median([entry['mb'] for entry in figures.values()]):.1f}",
            )
        Console(width=160).print(table)


if __name__ == "__main__":
    main()
