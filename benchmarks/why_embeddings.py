"""Why flows act on embeddings: the same pictures, 32 x 32, as pixels and as embeddings. Slow: about an hour on 2 cores.

    python benchmarks/why_embeddings.py --product fabric --foreign ring board --plot why.png

On pixels: RealNVP with each mask, and one Glow, learned on good parts; on embeddings of the very same small pictures:
the product's Glow, place by place. Each is asked how unlikely good test parts, the product's own defective parts and
another product's pictures are. Prints image AUROC against good test parts, bits per dimension, and the same after
subtracting the picture's PNG size (Serra 2020, arXiv:1909.11480); --plot draws histograms of the likelihoods, what each
flow draws by itself, and latent pictures. Published claims to be checked: Kirichenko 2020, arXiv:2006.08545.
"""

import argparse
import csv
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score
from torch import Tensor

from defectflow.embedding import Normalisation, build_embedding, position_condition
from defectflow.flows.families import build_flow
from defectflow.flows.spatial import MapFlow, build_map_flow
from defectflow.samples import PRODUCTS, draw_product
from defectflow.settings import EmbeddingSettings, ImageSettings

SIDE_PX = 32
EMBEDDED_SIDE_PX = 128
"""The small picture is enlarged to this for the backbone: no more is known, but its strides leave some places."""
PIXEL_FLOWS = {
    "pixels, RealNVP channel": ("realnvp", "channel"),
    "pixels, RealNVP checkerboard": ("realnvp", "checkerboard"),
    "pixels, RealNVP horizontal": ("realnvp", "horizontal"),
    "pixels, RealNVP cycle": ("realnvp", "cycle"),
    "pixels, Glow": ("glow", "channel"),
}
GROUPS = ("train", "good", "defective", "foreign")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """One model's surprise: bits per dimension of every picture of each group; and what it draws, if it can."""

    bits: dict[str, NDArray[np.float64]]
    drawn: Pixels | None = None
    latent: Pixels | None = None


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        groups = pictures(options.product, options.foreign, Path(scratch))
    seen = {name: on_pixels(groups, *kind, options.steps) for name, kind in PIXEL_FLOWS.items()}
    seen["embeddings, Glow"] = on_embeddings(groups, options.steps)
    png = {group: np.array([8 * png_bytes(one) for one in members]) for group, members in groups.items()}
    _show(seen, png)
    if options.json:
        bits = {name: {group: list(values) for group, values in one.bits.items()} for name, one in seen.items()}
        options.json.write_text(json.dumps(bits) + "\n", encoding="utf-8")
    if options.plot:
        _plot(seen, options.plot)


def pictures(product: str, foreign: list[str], folder: Path) -> dict[str, Pixels]:
    """(n, 32, 32, 3) of each group; `foreign` are good parts of other products."""
    groups: dict[str, list[Pixels]] = {group: [] for group in GROUPS}
    for name in (product, *foreign):
        tree = draw_product(name, folder / name)
        with (tree / "manifest.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if name != product:
                    group = "foreign" if row["label"] == "good" and row["split"] == "test" else None
                elif row["split"] == "train":
                    group = "train"
                else:
                    group = "good" if row["label"] == "good" else "defective"
                if group:
                    whole = cv2.cvtColor(cv2.imread(str(tree / row["path"])), cv2.COLOR_BGR2RGB)
                    small = cv2.resize(whole, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
                    groups[group].append(small.astype(np.uint8))
    return {group: np.stack(members) for group, members in groups.items()}


def on_pixels(groups: dict[str, Pixels], family: str, mask: str, steps: int) -> Seen:
    """Bits per dimension under a multi-scale flow of dequantised pixels."""
    torch.manual_seed(0)
    flow = build_map_flow((SIDE_PX, SIDE_PX, 3), family=family, mask=mask, scales=3, layers=6, hidden=64)
    train = torch.from_numpy(groups["train"])
    flow.initialise(_dequantised(train))
    optimiser = torch.optim.Adam(flow.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = _dequantised(train[torch.randint(len(train), (64,))])
        optimiser.zero_grad()
        (-flow.log_prob(batch).mean() / batch[0].numel()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        bits = {group: _bits_per_dim(flow, torch.from_numpy(members)) for group, members in groups.items()}
        drawn = _to_pixels(flow.sample(8, torch.Generator().manual_seed(0)))
        latents, _ = flow.latent(_dequantised(torch.from_numpy(groups["defective"][:8])))
        latent = _to_pixels(latents[0][..., :3] / SCALE / 4)
    return Seen(bits, drawn, latent)


SCALE = 4.0
"""Pixels become -2 .. 2, about as wide as a standard normal."""


def _dequantised(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) -> (N, H, W, 3), uniform noise filling each step."""
    return ((pixels.float() + torch.rand(pixels.shape)) / 256 - 0.5) * SCALE


def _to_pixels(maps: Tensor) -> Pixels:
    return ((maps / SCALE + 0.5).clamp(0, 1) * 255).round().byte().numpy()


def _bits_per_dim(flow: MapFlow, pixels: Tensor) -> NDArray[np.float64]:
    nats = -flow.log_prob(_dequantised(pixels)) / pixels[0].numel() - np.log(SCALE / 256)
    return (nats / np.log(2)).double().numpy()


def on_embeddings(groups: dict[str, Pixels], steps: int) -> Seen:
    """Bits per dimension of the worst tenth of the places of level 2, under a Glow of whitened vectors."""
    torch.manual_seed(0)
    embedding, _ = build_embedding(ImageSettings(size=EMBEDDED_SIDE_PX), EmbeddingSettings(levels=(2,)))
    with torch.no_grad():
        maps = {group: embedding(torch.from_numpy(members))[0] for group, members in groups.items()}
    flat = maps["train"].flatten(0, 2).double()
    normalise = Normalisation(flat.shape[1])
    normalise.fit(flat.mean(0).float(), torch.cov(flat.T), "whiten")
    height, width = maps["train"].shape[1:3]
    context = position_condition(height, width)
    flow = build_flow("glow", flat.shape[1], context.shape[-1])
    vectors = normalise(maps["train"]).flatten(1, 2)  # (N, places, D)
    contexts = context.flatten(0, 1)
    flow.initialise(vectors[:, ::4].flatten(0, 1), contexts[::4].repeat(len(vectors), 1))
    optimiser = torch.optim.AdamW(flow.parameters(), 1e-3, weight_decay=1e-5)
    for _ in range(steps):
        picture, place = torch.randint(len(vectors), (2048,)), torch.randint(len(contexts), (2048,))
        optimiser.zero_grad()
        flow.loss(vectors[picture, place], contexts[place]).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
    bits = {}
    with torch.no_grad():
        for group, levels in maps.items():
            nats = -flow.log_prob(normalise(levels), context).flatten(1) / flow.width
            worst = nats.topk(max(1, nats.shape[1] // 10), dim=1).values.mean(1)
            bits[group] = (worst / np.log(2)).double().numpy()
    return Seen(bits)


def png_bytes(pixels: Pixels) -> int:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return len(file.getvalue())


def _show(seen: dict[str, Seen], png: dict[str, NDArray[np.int64]]) -> None:
    table = Table(
        "model",
        "bits per dimension: train",
        "good",
        "defective",
        "foreign",
        "AUROC defective",
        "foreign",
        "with PNG size: defective",
        "foreign",
    )
    for name, one in seen.items():
        excess = {group: one.bits[group] - png[group] / (SIDE_PX * SIDE_PX * 3) for group in one.bits}
        table.add_row(
            name,
            *(f"{one.bits[group].mean():.3f}" for group in GROUPS),
            *(f"{_auroc(one.bits, group):.3f}" for group in ("defective", "foreign")),
            *(f"{_auroc(excess, group):.3f}" if "pixels" in name else "-" for group in ("defective", "foreign")),
        )
    Console(width=180).print(table)
    for name, one in seen.items():
        if "pixels" in name:
            everything = np.concatenate([one.bits[group] for group in GROUPS])
            sizes = np.concatenate([png[group] for group in GROUPS])
            print(f"{name}: correlation of bits per dimension with PNG size {np.corrcoef(everything, sizes)[0, 1]:.2f}")


def _auroc(values: dict[str, NDArray[np.float64]], group: str) -> float:
    labels = np.repeat([0, 1], [len(values["good"]), len(values[group])])
    return float(roc_auc_score(labels, np.concatenate([values["good"], values[group]])))


def _plot(seen: dict[str, Seen], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(seen), 3, figsize=(14, 2.4 * len(seen)))
    for (left, middle, right), (name, one) in zip(axes, seen.items(), strict=True):
        everything = np.concatenate(list(one.bits.values()))
        # Foreign pictures may be a billion times as surprising as the others.
        above = {group: one.bits[group] - everything.min() + 0.1 for group in GROUPS}
        edges = np.geomspace(0.1, np.quantile(everything, 0.995) - everything.min() + 0.1, 50)
        for group in GROUPS:
            shares = np.full(len(above[group]), 1 / len(above[group]))
            left.hist(above[group].clip(max=edges[-1]), edges, weights=shares, alpha=0.5, label=group)
        left.set_xscale("log")
        left.set_title(f"{name}: bits per dimension above the least")
        for axis, strip, title in ((middle, one.drawn, "drawn"), (right, one.latent, "latent of defective parts")):
            axis.axis("off")
            if strip is not None:
                axis.imshow(np.concatenate(list(strip), axis=1))
                axis.set_title(title)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--product", choices=PRODUCTS, default="fabric")
    parser.add_argument("--foreign", nargs="+", choices=PRODUCTS, default=["ring", "board"])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="a PNG file (needs matplotlib)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
