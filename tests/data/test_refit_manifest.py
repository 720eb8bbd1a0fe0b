"""What a model is fitted again on: the sides of the first fit, and answers that may train."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import save, swatch

from defectflow.bundle import Bundle, fitted_parts, open_bundle
from defectflow.data import find_pictures
from defectflow.data.refit_manifest import plan_refit
from defectflow.data.splits import split_parts
from defectflow.errors import DataError
from defectflow.line import Inspector
from defectflow.line.recalibrate import recalibrate
from defectflow.store import Answer, Seen, Store
from defectflow.verdict import Verdict

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
    names = {Path(picture.name).name for picture in plan_refit(bundle, swatch_folder, log).pictures}
    assert "nobody.png" in names
    assert "700 a.png" not in names
    known = plan_refit(with_parts(bundle), swatch_folder, log)
    assert "nobody.png" not in {Path(picture.name).name for picture in known.pictures}


def test_pictures_that_are_gone_are_reported(bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / "left" / f"{number:03}.png", swatch(number))
    save(tmp_path / "left" / "stranger.png", swatch(900))
    refit = plan_refit(bundle, tmp_path / "left", log)
    assert (refit.parts, refit.missing, refit.strangers) == (20, ("020", "021", "022", "023"), 1)
    with pytest.raises(DataError, match="none of the 24 parts that swatch was fitted on is here any more"):
        plan_refit(bundle, tmp_path / "in", log)


def test_a_fit_that_knew_no_parts_is_fitted_again_knowing_none(
    bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path
) -> None:
    """Its card must continue to say that the guarantee fails where several pictures show one part."""
    (again,) = (part for part in log.reviews.parts(bundle.card.bundle_id) if part.part.startswith("picture "))
    refit = plan_refit(bundle, swatch_folder, log)
    assert (refit.joined, refit.parts_known) == (1, False)
    refit.write(tmp_path / "refit.csv")
    assert not list(tmp_path.glob("*.partial"))
    splits = split_parts(
        find_pictures(tmp_path / "refit.csv", label="good"), calibration_parts=8, tune_share=0.15, seed=0
    )
    assert not splits.parts_known
    sides = {picture.part: side for side, pictures in splits.by_side.items() for picture in pictures}
    assert sides == {**fitted_parts(bundle), f"{again.part}/nobody": "train"}


def test_pictures_that_name_no_part_join_under_names_of_their_own(
    bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path
) -> None:
    """Another day's picture of the same name is another part; the same picture, wherever it lies, is the same."""
    before = {part.part for part in log.reviews.parts(bundle.card.bundle_id)}
    (seen,) = (log.picture(shot) for shot in log.history.search() if shot.file == "nobody.png")
    assert seen is not None
    copy = tmp_path / "copy" / "nobody.png"
    copy.parent.mkdir()
    shutil.copy(seen, copy)
    other = next(file for file in sorted((tmp_path / "in").iterdir(), reverse=True) if file != seen)
    fitted = next(swatch_folder / f"{part}.png" for part, side in fitted_parts(bundle).items() if side == "train")
    for file, name in ((copy, "nobody.png"), (other, "nobody.png"), (fitted, fitted.name)):
        (item,) = Inspector(bundle).inspect([file])
        assert isinstance(item, Verdict)
        (number,) = log.record(bundle.card, [Seen(name, item, None, file)], by="t", source="t")
        log.reviews.answer(number, Answer.GOOD, by="anna")
    added = {part.part for part in log.reviews.parts(bundle.card.bundle_id)} - before
    assert len(added) == 2
    refit = plan_refit(bundle, swatch_folder, log)
    assert refit.joined == 2, "the one that was fitted on is there already"
    refit.write(tmp_path / "refit.csv")
    found = find_pictures(tmp_path / "refit.csv", label="good")
    assert len(found) == 24 + 2
    assert len({picture.part for picture in found}) == len(found)


def test_the_manifest_names_parts_where_the_fit_s_own_did(
    bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path
) -> None:
    by_manifest = replace(bundle, card=bundle.card.model_copy(update={"parts_known": True}))
    plan_refit(by_manifest, swatch_folder, log).write(tmp_path / "refit.csv")
    found = find_pictures(tmp_path / "refit.csv", label="good")
    assert all(picture.part_known for picture in found)
    assert {p.part: p.split for p in found} == {**fitted_parts(bundle), "700": "train", "800": "train"}


def test_a_part_that_its_pictures_do_not_name_is_left_out_and_reported(
    bundle: Bundle, log: Store, swatch_folder: Path, tmp_path: Path
) -> None:
    """A controller may name parts otherwise than the names of files do: one of them must not stop the next fit."""
    for file, name, part in zip(
        sorted((tmp_path / "in").iterdir()), ("a.png", "901.png"), ("A17", "A18"), strict=False
    ):
        (item,) = Inspector(bundle).inspect([file])
        assert isinstance(item, Verdict)
        (number,) = log.record(bundle.card, [Seen(name, item, part, file)], by="t", source="t")
        log.reviews.answer(number, Answer.GOOD, by="anna")
    refit = plan_refit(with_parts(bundle), swatch_folder, log)
    assert (refit.joined, refit.unnamed) == (2, 2)
    refit.write(tmp_path / "refit.csv")
    found = find_pictures(tmp_path / "refit.csv", label="good", part_regex=refit.part_regex)
    assert {p.part for p in found} == {*fitted_parts(bundle), "700", "800"}
