"""Large pictures: what tiles cost in memory and time, and what they find that a look at the whole picture misses.

    python benchmarks/large.py cost [--width 4096 --height 3000]
    DEFECTFLOW_DATA=... python benchmarks/large.py accuracy

`cost` fits the recipe `large` on a few drawn pictures, then inspects one, with overlay, in a process of its own with
nothing loaded but the runtime; its peak resident memory is what the system counted. `accuracy` takes training parts of
DeepPCB (640 px; its test set is not touched), draws faint flaws of 2 to 60 px over some that no fit has seen, and
compares the same recipe looking at tiles of the picture's own pixels and at the whole picture, at two sizes.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from development import SIDE_PX, with_flaw
from PIL import Image
from rich.console import Console
from rich.table import Table

from defectflow.cache import EmbeddingCache
from defectflow.dataset import find_pictures
from defectflow.fitting import fit
from defectflow.metrics import auroc
from defectflow.runtime.image import read_image
from defectflow.runtime.inspector import Inspector
from defectflow.settings import load_recipe

SHORT = ("training.steps=200", "flow.layers=2", "flow.hidden=64")
ARMS = {
    "whole, 256 px": (),
    "tiles of 256 px": ("image.tiling.tile=256", "image.tiling.overlap=64"),
    "whole, 640 px": ("image.size=640",),
}
INSPECT = """
import sys, time
from pathlib import Path
from defectflow.runtime import Inspector
from defectflow.runtime.image import read_image
from defectflow.runtime.overlay import overlay

def peak_mib():
    # Not getrusage, which in a child also counts what its parent held.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024

started = time.perf_counter()
inspector = Inspector(Path(sys.argv[1]), threads=int(sys.argv[3]))
loaded = time.perf_counter()
for _ in range(3):
    before = time.perf_counter()
    (verdict,) = inspector.inspect([Path(sys.argv[2])])
    seconds = time.perf_counter() - before
peak = peak_mib()
regions = len(verdict.regions())
overlay(read_image(Path(sys.argv[2])), verdict)
assert "torch" not in sys.modules
print(f"load {loaded - started:.2f} s; picture {seconds:.2f} s; {verdict.decision.word}, {regions} regions; "
      f"peak {peak} MiB, with overlay {peak_mib()} MiB")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "accuracy"))
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--arm", action="append", choices=list(ARMS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.what == "cost":
            cost(Path(scratch), options.width, options.height, options.threads)
        else:
            accuracy(Path(scratch), options.arm or list(ARMS))


def cost(folder: Path, width: int, height: int, threads: int) -> None:
    for number in range(9):
        draw_sheet(folder / "good" / f"{number}.png", width, height, np.random.default_rng(number))
    recipe = load_recipe("large", [*SHORT, "verdict.rate=0.25", "verdict.review_rate=0.5"])
    started = time.perf_counter()
    bundle = fit(recipe, folder / "good", folder / "model", cache=EmbeddingCache(folder / "cache")).bundle
    print(f"fit on 9 pictures: {time.perf_counter() - started:.0f} s; {bundle.card.image.tiling}")
    print(f"embeddings on disk: {sum(f.stat().st_size for f in (folder / 'cache').rglob('*.npy')) / 1e6:.0f} MB")
    draw_sheet(folder / "seen.jpg", width, height, np.random.default_rng(99))
    command = [sys.executable, "-c", INSPECT, str(bundle.path), str(folder / "seen.jpg"), str(threads)]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def draw_sheet(path: Path, width: int, height: int, random: np.random.Generator) -> None:
    """A brushed metal sheet."""
    streaks = cv2.GaussianBlur(random.normal(0, 40, (height, width)).astype(np.float32), (0, 0), sigmaX=25, sigmaY=1)
    light = np.linspace(-15, 15, width, dtype=np.float32)[None] * random.uniform(0.7, 1.3)
    grey = 130 + 3 * streaks + light + random.normal(0, 2, (height, width)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB").save(path)


def accuracy(folder: Path, arms: list[str]) -> None:
    good, held_out, flawed = _pcbs(folder)
    table = Table("looks at", "places", "image AUROC", "fit s", "ms per picture")
    for arm in arms:
        recipe = load_recipe("default", [*SHORT, *ARMS[arm]])
        started = time.perf_counter()
        bundle = fit(recipe, good, folder / "models" / arm, cache=EmbeddingCache(folder / "cache")).bundle
        fit_s = time.perf_counter() - started
        seen = list(Inspector(bundle).measure_all([*held_out, *flawed]))
        labels = np.repeat([False, True], [len(held_out), len(flawed)])
        figure = auroc(labels, np.array([item.score for item in seen]))
        milliseconds = float(np.median([item.milliseconds for item in seen]))
        table.add_row(
            arm, "x".join(map(str, seen[0].anomaly_map.shape)), f"{figure:.3f}", f"{fit_s:.0f}", f"{milliseconds:.0f}"
        )
        print(json.dumps({"arm": arm, "image_auroc": figure, "fit_s": fit_s, "ms": milliseconds}), file=sys.stderr)
    Console(width=120).print(table)


def _pcbs(folder: Path) -> tuple[Path, list[Path], list[Path]]:
    """A manifest of 90 training parts to fit on; of 80 others, 40 as they are and 40 with a flaw."""
    random = np.random.default_rng(0)
    found = find_pictures(Path(os.environ["DEFECTFLOW_DATA"]) / "deeppcb.csv")
    found = [picture for picture in found if picture.split == "train" and picture.label == "good"]
    found = [found[index] for index in random.permutation(len(found))[:170]]
    manifest = folder / "good.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "part"])
        rows.writerows([picture.path.resolve(), "good", picture.part] for picture in found[:90])
    flawed = []
    for picture in found[130:]:
        pixels = read_image(picture.path)
        top, left = (int(random.integers(side - SIDE_PX + 1)) for side in pixels.shape[:2])
        window = (slice(top, top + SIDE_PX), slice(left, left + SIDE_PX))
        pixels[window] = with_flaw(pixels[window], random)
        flawed.append(folder / f"{picture.path.stem}.png")
        Image.fromarray(pixels).save(flawed[-1])
    return manifest, [picture.path for picture in found[90:130]], flawed


if __name__ == "__main__":
    main()
