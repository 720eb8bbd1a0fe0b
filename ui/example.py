"""A station in use: a sample product, a model trained on it, a week of inspections, and what people said about them.

Everything is made by the station's own parts, on drawn pictures; only the store's clock is set back, to fill the week.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from unittest import mock

from defectflow_ui.settings import Settings
from defectflow_ui.start import open_station
from defectflow_ui.station import Station
from defectflow_ui.tasks.background import Task
from defectflow_ui.tasks.sources import FOLDER
from defectflow_ui.tasks.training import Training, Wish

from defectflow.bundle import open_bundle
from defectflow.line import Inspector, recalibrate
from defectflow.samples import draw_product
from defectflow.store import Answer, Seen, Store, rows

PRODUCT, MODEL, EARLIER = "ring", "ring-2", "ring-1"
PART = r"(part\d+)"
DAYS, HOURS = 6, 8
AUDIT_RATE = 0.4
WAITING = 6
"""Parts that are left for somebody to answer."""
ANNA = "anna"


@dataclass(frozen=True)
class Part:
    """One picture from production, and what it really shows."""

    picture: Path
    part: str
    kind: str


def make_station(folder: Path, port: int) -> tuple[Station, list[Path]]:
    """A station to look at, and pictures to drop on it. Takes about a minute and a half on one core."""
    data, bundles = folder / "data", folder / "models"
    draw_product(PRODUCT, data / PRODUCT, good_parts=60, test_good_parts=15, defective_parts=12)
    (data / PRODUCT / "manifest.csv").unlink()  # as in most factories: only the file names say which part it is
    bundles.mkdir()
    station = open_station(Settings(bundles, port=port, data=data))
    train(station)
    bundle = station.bundles.find(MODEL)
    shutil.copytree(bundle.path, bundles / EARLIER)
    recalibrate(open_bundle(bundles / EARLIER), rate=0.1, guarantee="expected", review_rate=0.2)
    settings = station.store.settings
    review = settings.review.model_copy(update={"audit_rate": AUDIT_RATE})
    station.store.configure(settings.model_copy(update={"review": review}), by=ANNA)
    produced = produce(folder / "line")
    with clock(datetime.now(UTC) - timedelta(days=DAYS + 1)):
        station.bundles.activate(MODEL, by=ANNA, reason="found more defects than ring-1")
    inspect(station.store, Inspector(bundle), produced)
    answer(station.store, bundle.card.bundle_id, {part.part: part.kind for part in produced})
    return station, sorted((data / PRODUCT / "test").rglob("*.png"))


def train(station: Station) -> None:
    """As somebody would on the page Train."""
    training = Training(station.bundles, station.settings.data, station.store)
    wish = Wish(f"{FOLDER}{PRODUCT}", "fast", PART, 0.05)
    finish(training.check(wish, ANNA))
    finish(training.train(MODEL, wish, ANNA))


def finish(task: Task) -> None:
    while task.status().state == "running":
        time.sleep(0.5)
    if task.status().state != "done":
        raise SystemExit(f"{task.title}: {task.status()}\n{task.log()}")


def produce(folder: Path) -> list[Part]:
    """Other parts than the model was made from, good and defective mixed as they come."""
    draw_product(PRODUCT, folder / "drawn", seed=1, good_parts=0, test_good_parts=48, defective_parts=12)
    parts = []
    for picture in sorted((folder / "drawn" / "test").rglob("*.png")):
        number = 3000 + int(picture.name[4:8])
        renamed = picture.rename(folder / f"part{number}{picture.name[8:]}")
        parts.append(Part(renamed, f"part{number}", picture.parent.name))
    return sorted(parts, key=lambda part: (int(part.part[4:]) * 7 % 61, part.picture.name))


def inspect(store: Store, inspector: Inspector, produced: list[Part]) -> None:
    """Spread over the last days, in working hours."""
    items = list(inspector.inspect([part.picture for part in produced]))
    first = datetime.now(UTC).replace(hour=7, minute=0) - timedelta(days=DAYS)
    for number, (part, item) in enumerate(zip(produced, items, strict=True)):
        day, share = divmod(number * DAYS / len(produced), 1)
        with clock(first + timedelta(days=day, hours=share * HOURS)):
            seen = Seen(part.picture.name, item, part.part, part.picture)
            store.record(inspector.card, [seen], by="line 2", source="score")


def answer(store: Store, bundle_id: str, truth: dict[str, str]) -> None:
    """What there is to see is said, defects first; the last parts still wait."""
    parts = store.reviews.parts(bundle_id)
    asked = [part for part in parts if part.audit or part.decision in ("review", "defect")]
    for part in asked[:-WAITING]:
        kind = truth[part.part]
        said = Answer.GOOD if kind == "good" else Answer.DEFECTIVE
        with clock(part.pictures[-1].at + timedelta(hours=2)):
            store.reviews.answer(part.worst.id, said, by="ben", kind=None if kind == "good" else kind)


@contextmanager
def clock(moment: datetime) -> Iterator[None]:
    """What the store writes meanwhile, it writes as at that time."""

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Then:
            return cls.fromtimestamp(moment.timestamp(), tz)

    with mock.patch.object(rows, "datetime", Then):
        yield
