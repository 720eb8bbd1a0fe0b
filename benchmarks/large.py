"""Large pictures: what tiles cost in memory and time, and what they find that the whole picture at once misses.

    python benchmarks/large.py cost [--width 4096 --height 3000]
    DEFECTFLOW_DATA=... python benchmarks/large.py accuracy

`cost` fits the recipe `large` on a few drawn pictures, then inspects one, with overlay, in its own process with
nothing loaded but the runtime; its peak resident memory is what the system counted. `accuracy` compares the same recipe
looking at tiles and at the whole picture, at two sizes: on training parts of DeepPCB (640 px; its test set is not
touched), with faint flaws of 2 to 60 px drawn over some that no fit has seen, or on pictures of the sample fabric, put
together two by two, some with a defect.
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

from defectflow.data import find_pictures
from defectflow.embedding import EmbeddingCache
from defectflow.evaluation import auroc
from defectflow.fitting import fit
from defectflow.image import read_image
from defectflow.line import Inspector
from defectflow.recipe import load_recipe
from defectflow.samples import draw_product

SHORT = ("flow.layers=2", "flow.hidden=64")
LARGE_PX = 640
INSPECT = """
import sys, time
from pathlib import Path
from defectflow.line import Inspector
from defectflow.image import read_image
from defectflow.verdict import overlay

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
    parser.add_argument("--data", choices=("pcbs", "fabric"), default="pcbs")
    parser.add_argument("--size", type=int, default=256, help="image.size, in px")
    parser.add_argument("--tile", type=int, default=256, help="image.tiling.tile, in px")
    parser.add_argument("--parts", type=int, default=90, help="to fit on")
    parser.add_argument("--pictures", type=int, default=40, help="good ones to tell from as many flawed ones")
    parser.add_argument("--steps", type=int, default=200, help="training.steps")
    parser.add_argument("--arm", action="append", choices=("whole", "tiles", "large"), help="repeatable; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.what == "cost":
            cost(Path(scratch), options)
        else:
            accuracy(Path(scratch), options)


def cost(folder: Path, options: argparse.Namespace) -> None:
    width, height, threads = options.width, options.height, options.threads
    for number in range(9):
        draw_sheet(folder / "good" / f"{number}.png", width, height, np.random.default_rng(number))
    recipe = load_recipe(
        "large", [*SHORT, f"training.steps={options.steps}", "verdict.rate=0.25", "verdict.review_rate=0.5"]
    )
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


def accuracy(folder: Path, options: argparse.Namespace) -> None:
    make = _pcbs if options.data == "pcbs" else _fabric
    good, held_out, flawed = make(folder, options.parts, options.pictures)
    arms = {
        "whole": [f"image.size={options.size}"],
        "tiles": [f"image.size={options.size}", f"image.tiling.tile={options.tile}"],
        "large": [f"image.size={LARGE_PX}"],
    }
    table = Table("looks at", "places", "image AUROC", "fit s", "ms per picture")
    for arm in options.arm or arms:
        recipe = load_recipe("free", [*SHORT, f"training.steps={options.steps}", *arms[arm]])
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


def _pcbs(folder: Path, parts: int, pictures: int) -> tuple[Path, list[Path], list[Path]]:
    """A manifest of training parts to fit on; of others, so many pictures as they are and so many with a flaw."""
    random = np.random.default_rng(0)
    found = find_pictures(Path(os.environ["DEFECTFLOW_DATA"]) / "deeppcb.csv")
    found = [picture for picture in found if picture.split == "train" and picture.label == "good"]
    found = [found[index] for index in random.permutation(len(found))[: parts + 2 * pictures]]
    manifest = folder / "good.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "part"])
        rows.writerows([picture.path.resolve(), "good", picture.part] for picture in found[:parts])
    flawed = []
    for picture in found[parts + pictures :]:
        pixels = read_image(picture.path)
        top, left = (int(random.integers(side - SIDE_PX + 1)) for side in pixels.shape[:2])
        window = (slice(top, top + SIDE_PX), slice(left, left + SIDE_PX))
        pixels[window] = with_flaw(pixels[window], random)
        flawed.append(folder / f"{picture.path.stem}.png")
        Image.fromarray(pixels).save(flawed[-1])
    return manifest, [picture.path for picture in found[parts : parts + pictures]], flawed


def _fabric(folder: Path, parts: int, pictures: int) -> tuple[Path, list[Path], list[Path]]:
    """The same of the sample fabric: two by two pictures make one, and of a flawed one's four, one has a defect."""
    random = np.random.default_rng(0)
    tree = draw_product("fabric", folder / "fabric", good_parts=60, test_good_parts=40, defective_parts=pictures)
    to_learn, to_test = (sorted((tree / split / "good").glob("*.png")) for split in ("train", "test"))
    defects = sorted(path for path in (tree / "test").rglob("*.png") if path.parent.name != "good")[:pictures]

    def large(name: str, pool: list[Path], defect: Path | None = None) -> Path:
        four = [read_image(pool[index]) for index in random.permutation(len(pool))[:4]]
        if defect is not None:
            four[random.integers(4)] = read_image(defect)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])).save(path)
        return path

    for number in range(parts):
        large(f"good/{number}.png", to_learn)
    held_out = [large(f"held_out/{number}.png", to_test) for number in range(pictures)]
    flawed = [large(f"flawed/{number}.png", to_test, defect) for number, defect in enumerate(defects)]
    return folder / "good", held_out, flawed


if __name__ == "__main__":
    main()
