"""What a model is fitted again on: the sides of the first fit, and answers that may train."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from support import save, swatch

from defectflow.dataset import find_pictures
from defectflow.errors import DataError
from defectflow.refit import plan_refit
from defectflow.runtime import Inspector, Verdict
from defectflow.runtime.bundle import Bundle, fitted_parts, open_bundle
from defectflow.runtime.recalibrate import recalibrate
from defectflow.store import Answer, Seen, Store

NUMBER = r"(\d{3})"


@pytest.fixture
def bundle(uncalibrated_copy: Path) -> Bundle:
    """With a wide grey band."""
    recalibrate(open_bundle(uncalibrated_copy), rate=0.25, guarantee="expected", review_rate=0.85)
    return open_bundle(uncalibrated_copy)


@pytest.fixture
def log(tmp_path: Path, bundle: Bundle) -> Store:
    """In the grey band, and answered good: two shots of part 700, one of 800, one of a calibration part, and one that
    names no part."""
    store = Store.open(str(tmp_path / "log.db"))
    settings = store.settings
    review = settings.review.model_copy(update={"audit_rate": 0})
    store.configure(settings.model_copy(update={"review": review}), by="t")
    calibrating = next(part for part, side in fitted_parts(bundle).items() if side == "calibration")
    shots = [("700 a.png", "700"), ("700 b.png", "700"), ("800 a.png", "800"), ("again.png", calibrating)]
    shots.append(("nobody.png", None))
    files = [save(tmp_path / "in" / f"{seed}.png", swatch(seed)) for seed in range(500, 530)]
    judged = zip(files, Inspector(bundle).inspect(files), strict=True)
    grey = [(file, item) for file, item in judged if isinstance(item, Verdict) and item.decision.word == "review"]
    seen = [Seen(name, item, part, file) for (name, part), (file, item) in zip(shots, grey, strict=False)]
    assert len(seen) == len(shots), "the grey band is too narrow for this test"
    store.record(bundle.card, seen, by="t", source="t")
    for part in store.reviews.parts(bundle.card.bundle_id):
        store.reviews.answer(part.worst.id, Answer.GOOD, by="anna")
    return store


def with_parts(bundle: Bundle) -> Bundle:
    """As if it had been fitted with a part regex."""
    return replace(bundle, card=bundle.card.model_copy(update={"part_regex": NUMBER, "parts_known": True}))


def test_answers_join_by_part_and_never_calibrate(
    bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path
) -> None:
    refit = plan_refit(with_parts(bundle), swatch_folder, log)
    assert (refit.parts, refit.joined, refit.missing, refit.part_regex) == (24, 2, (), NUMBER)
    refit.write(tmp_path / "refit.csv")
    found = find_pictures(tmp_path / "refit.csv", label="good", part_regex=refit.part_regex)
    sides = fitted_parts(bundle)
    assert {(p.part, p.split) for p in found} == {*sides.items(), ("700", "train"), ("800", "train")}
    assert {p.name for p in found if p.part == "700"} == {"700 a.png", "700 b.png"}
    assert all(picture.part_known for picture in found)


def test_a_picture_that_names_no_part_may_be_anybody_s(bundle: Bundle, log: Store, swatch_folder: Path) -> None:
    """Where pictures count as parts it joins; where they do not, it may show a calibration part."""
    names = [name for _, name, _, _ in plan_refit(bundle, swatch_folder, log).rows]
    assert "nobody.png" in names
    assert "700 a.png" not in names
    assert "nobody.png" not in [name for _, name, _, _ in plan_refit(with_parts(bundle), swatch_folder, log).rows]


def test_pictures_that_are_gone_are_told(bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / "left" / f"{number:03}.png", swatch(number))
    save(tmp_path / "left" / "stranger.png", swatch(900))
    refit = plan_refit(bundle, tmp_path / "left", log)
    assert (refit.parts, refit.missing, refit.strangers) == (20, ("020", "021", "022", "023"), 1)
    with pytest.raises(DataError, match="none of the 24 parts that swatch was fitted on is here any more"):
        plan_refit(bundle, tmp_path / "in", log)


def test_the_manifest_names_parts_where_no_expression_does(
    bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path
) -> None:
    plan_refit(bundle, swatch_folder, log).write(tmp_path / "refit.csv")
    with (tmp_path / "refit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} > set(fitted_parts(bundle))
