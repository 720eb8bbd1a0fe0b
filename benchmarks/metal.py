"""A development set of textured metal: good training tiles with real defects of other products transplanted onto them.

    DEFECTFLOW_DATA=... python benchmarks/metal.py build/metal

`choose.py` makes it by itself, under the name `metal`.
Only *training* tiles of mtd_by_tile.csv are used, whose test pictures are reported. A third of the tiles becomes the
test side: of their pictures every other one stays good, and the rest get, in turn, two defects cut from pills, ball
screws and cookies by their masks (what a defect adds to its inpainted surroundings, resized, turned, added), a drawn
crack, and a diffuse stain that takes the texture away.
"""

import argparse
import csv
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Donor = tuple[Path, Path]
"""Picture and mask."""
DONORS = ("pill", "ballscrew", "cookies")
WITHOUT_SHAPE = ("color", "pill_type", "faulty_imprint")
"""Kinds of pills that are no local change."""
LEAST_CONTRAST = 10.0
SOFT_PX = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    data = Path(os.environ.get("DEFECTFLOW_DATA") or parser.error("DEFECTFLOW_DATA is not set"))
    print(make_metal_set(data, out))


def make_metal_set(data: Path, out: Path) -> Path:
    """Write pictures, masks and metal.csv into `out`; returns the manifest. Always the same for the same data."""
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    pictures: dict[str, list[Path]] = {}
    for row in _rows(data / "mtd_by_tile.csv"):
        if row["split"] == "train" and row["label"] == "good":
            pictures.setdefault(row["part"], []).append(data / row["path"])
    tiles = sorted(pictures)
    random.shuffle(tiles)
    tested = tiles[: len(tiles) // 3]
    donors = donors_of(data)
    rows = [(path, "good", "", "", tile, "train") for tile in tiles[len(tested) :] for path in pictures[tile]]
    made = 0
    for number, tile in enumerate(tested):
        for shot, path in enumerate(pictures[tile]):
            if (shot + number) % 2 == 0:
                rows.append((path, "good", "", "", tile, "test"))
                continue
            kind = ("transplant", "transplant", "crack", "stain")[made % 4]
            good = _grey(path)
            match kind:
                case "transplant":
                    spoiled, mask = transplant(good, donors, random)
                case "crack":
                    spoiled, mask = crack(good, random)
                case _:
                    spoiled, mask = stain(good, random)
            picture, drawn = out / f"{kind}_{made}.png", out / f"{kind}_{made}_mask.png"
            cv2.imwrite(str(picture), spoiled)
            cv2.imwrite(str(drawn), mask)
            rows.append((picture.resolve(), "defective", kind, drawn.resolve(), tile, "test"))
            made += 1
    with (out / "metal.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "kind", "mask", "part", "split"), *rows])
    return out / "metal.csv"


def donors_of(data: Path, but: str = "") -> list[Donor]:
    """Real defects of the development sets, but of one."""
    return [
        (data / row["path"], data / row["mask"])
        for name in DONORS
        if name != but
        for row in _rows(data / f"{name}.csv")
        if row["label"] == "defective" and row["mask"] and row["kind"] not in WITHOUT_SHAPE
    ]


def transplant(tile: Grey, donors: list[Donor], random: np.random.Generator) -> tuple[Grey, Grey]:
    """One connected defect of a donor, added to the tile; 3 to 25% of its side long."""
    height, width = tile.shape
    while True:
        picture, mask = (_grey(path) for path in donors[random.integers(len(donors))])
        count, labels, boxes, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
        if count < 2:
            continue
        which = 1 + random.integers(count - 1)
        left, top, wide, tall, area = boxes[which]
        around = max(4, max(wide, tall) // 4)
        cut = np.s_[max(0, top - around) : top + tall + around, max(0, left - around) : left + wide + around]
        shape = (labels[cut] == which).astype(np.uint8)
        ground = cv2.inpaint(picture[cut], cv2.dilate(shape, np.ones((5, 5))), 3, cv2.INPAINT_TELEA)
        added = picture[cut].astype(np.float32) - ground
        scale = np.exp(random.uniform(np.log(0.03), np.log(0.25))) * max(height, width) / max(wide, tall)
        size = max(3, round(added.shape[1] * scale)), max(3, round(added.shape[0] * scale))
        turns = int(random.integers(4))
        changed = np.rot90(cv2.resize(added, size, interpolation=cv2.INTER_AREA), turns)
        where = np.rot90(cv2.resize(shape, size, interpolation=cv2.INTER_NEAREST), turns)
        fits = changed.shape[0] < height and changed.shape[1] < width
        if area >= 40 and fits and where.sum() >= 12 and np.abs(added[shape > 0]).mean() >= LEAST_CONTRAST:
            break
    soft = cv2.GaussianBlur(cv2.dilate(where.astype(np.float32), np.ones((3, 3))), (0, 0), SOFT_PX)
    y, x = random.integers(height - changed.shape[0]), random.integers(width - changed.shape[1])
    place = np.s_[y : y + changed.shape[0], x : x + changed.shape[1]]
    values, drawn = tile.astype(np.float32), np.zeros_like(tile)
    values[place] += changed * soft * random.uniform(0.5, 1.0)
    drawn[place] = where * 255
    return _bytes(values), drawn


def crack(tile: Grey, random: np.random.Generator) -> tuple[Grey, Grey]:
    """A dark wandering line, 8 to 40% of the tile's side long."""
    height, width = tile.shape
    line = np.zeros(tile.shape, np.float32)
    point = np.array([random.uniform(0.1, 0.9) * width, random.uniform(0.1, 0.9) * height])
    angle = random.uniform(0, 2 * np.pi)
    for _ in range(int(random.uniform(0.08, 0.4) * max(height, width) / 3)):
        following = point + 3 * np.array([np.cos(angle), np.sin(angle)])
        ends = [(int(x), int(y)) for x, y in (point, following)]
        cv2.line(line, ends[0], ends[1], 1.0, int(random.integers(1, 3)))
        point, angle = following, angle + random.normal(0, 0.35)
    darker = cv2.GaussianBlur(line, (0, 0), 0.8) * random.uniform(25, 70)
    return _bytes(tile - darker), _bytes((line > 0) * np.float32(255))


def stain(tile: Grey, random: np.random.Generator) -> tuple[Grey, Grey]:
    """A soft spot, lighter or darker, under which half of the time the texture is lost."""
    height, width = tile.shape
    rough = cv2.resize(random.normal(size=(5, 5)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:height, :width]
    centre = random.uniform(0.2, 0.8) * height, random.uniform(0.2, 0.8) * width
    radius = random.uniform(0.12, 0.3) * min(height, width)
    inside = radius - np.hypot(y - centre[0], x - centre[1]) - 0.4 * radius * rough
    share = 1 / (1 + np.exp(-inside / (0.12 * radius)))
    values = tile.astype(np.float32)
    if random.random() < 0.5:
        values += share * (cv2.GaussianBlur(values, (0, 0), 3) - values)
    values += share * random.choice([-1, 1]) * random.uniform(8, 25)
    return _bytes(values), _bytes((share > 0.5) * np.float32(255))


def _rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _grey(path: Path) -> Grey:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def _bytes(values: NDArray[np.floating]) -> Grey:
    return np.clip(values, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
