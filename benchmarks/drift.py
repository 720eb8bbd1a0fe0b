"""What a look at drift costs, the first one and those after it.

    python benchmarks/drift.py [--parts 200000] [--looks 20] [--between 100]

The first look reads every part; each later one, as the station takes it, what was written since. Parts are written as
the store writes them, without pictures, so that nothing but the look is measured.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from sqlalchemy import insert

from defectflow.bundle import CalibrationPart, Card, ImageCard, PartCounts
from defectflow.store import Store, schema
from defectflow.store.drift import Course

CARD = Card(
    name="bracket",
    created="2026-01-01T00:00:00+00:00",
    bundle_id="b" * 12,
    image=ImageCard(size_px=64, aspect="stretch", rectangle=None, full_scale=None),
    top_fraction=0.01,
    distance_limit=10.0,
    good_spread=1.0,
    parts=PartCounts(train=50, tune=9, calibration=99),
    part_regex=None,
    wanted_rate=0.05,
    wanted_guarantee="expected",
    wanted_review_rate=0.1,
    parts_known=True,
    calibration_parts=(),
    calibration=None,
    recipe={},
    training={},
    export_parity={},
    versions={},
    checksums={},
)


def calibrated(scores: np.ndarray) -> Card:
    rows = [
        CalibrationPart(part=f"cal{number}", score=float(score), peak=float(score), pictures=1)
        for number, score in enumerate(scores)
    ]
    return CARD.calibrated(tuple(rows), 0.05, "expected", 0.1)


def write(store: Store, card: Card, scores: np.ndarray, first: int) -> None:
    """Inspections of one part each, straight into their table: chaining 200,000 rows would take minutes."""
    shared = {"at": "2026-01-01T00:00:00.000000+00:00", "by": "b", "source": "b", "model": card.name, "part_known": 1}
    shared |= {"bundle_id": card.bundle_id, "calibration_id": str(card.calibration_id), "decision": "ok", "audit": 0}
    rows = [
        shared
        | {"id": first + number, "file": f"{first + number}.png", "part": f"{first + number}", "score": float(one)}
        for number, one in enumerate(scores)
    ]
    with store.database.writing() as connection:
        connection.execute(insert(schema.inspections), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=200_000)
    parser.add_argument("--looks", type=int, default=20)
    parser.add_argument("--between", type=int, default=100, help="parts between two looks")
    asked = parser.parse_args()
    random = np.random.default_rng(0)
    card = calibrated(random.normal(size=99))
    with tempfile.TemporaryDirectory() as folder, Store.open(str(Path(folder) / "store.db")) as store:
        write(store, card, random.normal(size=asked.parts), 1)
        course, took = Course(store, card.bundle_id), list[float]()
        for _ in range(asked.looks + 1):
            began = time.perf_counter()
            seen = course.look(card)
            took.append(time.perf_counter() - began)
            write(store, card, random.normal(size=asked.between), len(seen.points) + 1)
    Console().print(
        f"{asked.parts:,} parts: first look {took[0]:.2f} s; then, after {asked.between} parts more each, median "
        f"{1000 * statistics.median(took[1:]):.1f} ms, longest {1000 * max(took[1:]):.1f} ms"
    )


if __name__ == "__main__":
    main()
