"""Why flows act on embeddings: the same parts as pixels, 32 x 32, and as embeddings. Slow: about an hour on 2 cores.

    python benchmarks/why_embeddings.py --product fabric --foreign ring board --plot why.png

On pixels: RealNVP with each mask, and one Glow, learned on good parts; on embeddings of the very same small pictures,
and of the pictures as large as a recipe takes them: the product's Glow, place by place. Of every model the step is kept
that knows a fifth of the parts best, which it does not learn from. Each is asked how unlikely good test parts, the
product's own defective parts and another product's pictures are. Prints image AUROC against good test parts, the median
of the bits per dimension (of the whole picture on pixels, of its worst tenth of places on embeddings), and the AUROC
after subtracting the picture's PNG size (Serra 2020, arXiv:1909.11480); --plot draws histograms of the likelihoods,
what each flow draws by itself, latent pictures, and likelihood against PNG size. Published claims to be checked:
Kirichenko 2020, arXiv:2006.08545.
"""

import argparse
import copy
import csv
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from spatial import MapFlow, build_map_flow
from torch import Tensor, nn

from defectflow.density import Normalisation, position_condition
from defectflow.embedding import build_embedding
from defectflow.flows import build_flow
from defectflow.recipe import EmbeddingSettings, ImageSettings
from defectflow.samples import PRODUCTS, draw_product
from defectflow.verdict import auroc

SIDE_PX = 32
ENLARGED_SIDE_PX = 128
"""The small picture is enlarged to this for the backbone: no more is known, but its strides leave some places."""
WHOLE_SIDE_PX = 224
TUNE_EVERY = 5
"""Of the parts to learn from, every fifth is for choosing the step."""
CHECK_EVERY = 50
PIXEL_FLOWS = {
    "pixels, RealNVP channel": ("realnvp", "channel"),
    "pixels, RealNVP checkerboard": ("realnvp", "checkerboard"),
    "pixels, RealNVP horizontal": ("realnvp", "horizontal"),
    "pixels, RealNVP cycle": ("realnvp", "cycle"),
    "pixels, Glow": ("glow", "channel"),
}
GROUPS = ("train", "good", "defective", "foreign")
Pixels = NDArray[np.uint8]
Groups = dict[str, Pixels]
"""Name -> pictures (n, S, S, 3); besides GROUPS, `tune`."""


@dataclass(frozen=True)
class Seen:
    """One model's surprise: bits per dimension of every picture of each group; and what it draws, if it can."""

    bits: dict[str, NDArray[np.float64]]
    step: int
    """The one that was kept."""
    drawn: Pixels | None = None
    latent: Pixels | None = None


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        whole = pictures(options.product, options.foreign, Path(scratch))
    small = {group: _resized(members, SIDE_PX) for group, members in whole.items()}
    seen = {name: on_pixels(small, *kind, options.steps) for name, kind in PIXEL_FLOWS.items()}
    seen["embeddings of these, Glow"] = on_embeddings(small, ENLARGED_SIDE_PX, options.steps)
    large = {group: _resized(members, WHOLE_SIDE_PX) for group, members in whole.items()}
    seen[f"embeddings at {WHOLE_SIDE_PX} px, Glow"] = on_embeddings(large, WHOLE_SIDE_PX, options.steps)
    png = {group: np.array([8 * png_bytes(one) for one in small[group]]) for group in GROUPS}
    _show(seen, png)
    if options.json:
        bits = {name: {group: list(values) for group, values in one.bits.items()} for name, one in seen.items()}
        options.json.write_text(json.dumps(bits) + "\n", encoding="utf-8")
    if options.plot:
        _plot(seen, png, options.plot)


def pictures(product: str, foreign: list[str], folder: Path) -> Groups:
    """Of each group, as large as they are; `foreign` are good parts of other products."""
    groups: dict[str, list[Pixels]] = {group: [] for group in ("tune", *GROUPS)}
    for name in (product, *foreign):
        tree = draw_product(name, folder / name)
        with (tree / "manifest.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        parts = sorted({row["part"] for row in rows if row["split"] == "train"})
        for row in rows:
            if name != product:
                group = "foreign" if row["label"] == "good" and row["split"] == "test" else None
            elif row["split"] == "train":
                group = "tune" if parts.index(row["part"]) % TUNE_EVERY == 0 else "train"
            else:
                group = "good" if row["label"] == "good" else "defective"
            if group:
                groups[group].append(cv2.cvtColor(cv2.imread(str(tree / row["path"])), cv2.COLOR_BGR2RGB))
    return {group: np.stack(members) for group, members in groups.items()}


def _resized(members: Pixels, side_px: int) -> Pixels:
    return np.stack([cv2.resize(one, (side_px, side_px), interpolation=cv2.INTER_AREA) for one in members])


def learn(flow: nn.Module, loss: Callable[[], Tensor], tune_loss: Callable[[], Tensor], rate: float, steps: int) -> int:
    """Leaves the flow as it was at the step that knew the tune parts best, and returns that."""
    optimiser = torch.optim.AdamW(flow.parameters(), rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, best_step, best_state = np.inf, 0, copy.deepcopy(flow.state_dict())
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if step % CHECK_EVERY == 0:
            with torch.no_grad():
                now = tune_loss().item()
            if now < best:
                best, best_step, best_state = now, step, copy.deepcopy(flow.state_dict())
    flow.load_state_dict(best_state)
    return best_step


def on_pixels(groups: Groups, family: str, mask: str, steps: int) -> Seen:
    """Bits per dimension under a multi-scale flow of dequantised pixels."""
    torch.manual_seed(0)
    flow = build_map_flow((SIDE_PX, SIDE_PX, 3), family=family, mask=mask, scales=3, layers=6, hidden=64)
    train, tune = torch.from_numpy(groups["train"]), torch.from_numpy(groups["tune"])
    flow.initialise(_dequantised(train))

    def loss() -> Tensor:
        batch = _dequantised(train[torch.randint(len(train), (64,))])
        return -flow.log_prob(batch).mean() / batch[0].numel()

    step = learn(flow, loss, lambda: -flow.log_prob(_dequantised(tune)).mean(), 1e-3, steps)
    with torch.no_grad():
        bits = {group: _bits_per_dim(flow, torch.from_numpy(groups[group])) for group in GROUPS}
        drawn = _to_pixels(flow.sample(8, torch.Generator().manual_seed(0)))
        latents, _ = flow.latent(_dequantised(torch.from_numpy(groups["defective"][:8])))
        latent = _to_pixels(latents[0][..., :3] / SCALE / 4)
    return Seen(bits, step, drawn, latent)


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


def on_embeddings(groups: Groups, side_px: int, steps: int) -> Seen:
    """Bits per dimension of the worst tenth of the places of level 2, under a Glow of whitened vectors."""
    torch.manual_seed(0)
    embedding, _ = build_embedding(
        ImageSettings(size=side_px), EmbeddingSettings(backbone="resnet18", weights="builtin", levels=(2,))
    )
    with torch.no_grad():
        maps = {group: embedding(torch.from_numpy(members))[0] for group, members in groups.items()}
    flat = maps["train"].flatten(0, 2).double()
    normalise = Normalisation(flat.shape[1])
    normalise.fit(flat.mean(0).float(), torch.cov(flat.T), "whiten")
    height, width = maps["train"].shape[1:3]
    context = position_condition(height, width)
    flow = build_flow("glow", flat.shape[1], context.shape[-1])
    train, tune = (normalise(maps[group]).flatten(1, 2) for group in ("train", "tune"))  # (N, places, D)
    contexts = context.flatten(0, 1)
    flow.initialise(train[:, ::4].flatten(0, 1), contexts[::4].repeat(len(train), 1))

    def loss() -> Tensor:
        picture, place = torch.randint(len(train), (2048,)), torch.randint(len(contexts), (2048,))
        return flow.loss(train[picture, place], contexts[place])

    step = learn(flow, loss, lambda: -flow.log_prob(tune, contexts).mean(), 1e-3, steps)
    bits = {}
    with torch.no_grad():
        for group in GROUPS:
            nats = -flow.log_prob(normalise(maps[group]), context).flatten(1) / flow.width
            worst = nats.topk(max(1, nats.shape[1] // 10), dim=1).values.mean(1)
            bits[group] = (worst / np.log(2)).double().numpy()
    return Seen(bits, step)


def png_bytes(pixels: Pixels) -> int:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return len(file.getvalue())


def _show(seen: dict[str, Seen], png: dict[str, NDArray[np.int64]]) -> None:
    table = Table(
        "model",
        "step",
        "bits per dimension, median: train",
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
            str(one.step),
            *(f"{np.median(one.bits[group]):.4g}" for group in GROUPS),
            *(f"{auroc(one.bits['good'], one.bits[group]):.3f}" for group in ("defective", "foreign")),
            *(
                f"{auroc(excess['good'], excess[group]):.3f}" if "pixels" in name else "-"
                for group in ("defective", "foreign")
            ),
        )
    Console(width=180).print(table)
    for name, one in seen.items():
        if "pixels" in name:
            everything = np.concatenate([one.bits[group] for group in GROUPS])
            sizes = np.concatenate([png[group] for group in GROUPS])
            print(f"{name}: correlation of bits per dimension with PNG size {np.corrcoef(everything, sizes)[0, 1]:.2f}")


def _plot(seen: dict[str, Seen], png: dict[str, NDArray[np.int64]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(seen), 4, figsize=(18, 2.4 * len(seen)))
    for (left, middle, right, last), (name, one) in zip(axes, seen.items(), strict=True):
        everything = np.concatenate(list(one.bits.values()))
        # Foreign pictures may be a billion times as surprising as the others.
        above = {group: one.bits[group] - everything.min() + 0.1 for group in GROUPS}
        edges = np.geomspace(0.1, np.quantile(everything, 0.995) - everything.min() + 0.1, 50)
        for group in GROUPS:
            shares = np.full(len(above[group]), 1 / len(above[group]))
            left.hist(above[group].clip(max=edges[-1]), edges, weights=shares, alpha=0.5, label=group)
            last.scatter(png[group] / 8, above[group].clip(max=edges[-1]), s=4, alpha=0.5, label=group)
        left.set_xscale("log")
        left.set_title(f"{name}: bits/dim above the least", fontsize=9)
        last.set_yscale("log")
        last.set_title("the same against bytes as PNG", fontsize=9)
        for axis, strip, title in ((middle, one.drawn, "drawn"), (right, one.latent, "latent of defective parts")):
            axis.axis("off")
            if strip is not None:
                axis.imshow(np.concatenate(list(strip), axis=1))
                axis.set_title(title, fontsize=9)
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
