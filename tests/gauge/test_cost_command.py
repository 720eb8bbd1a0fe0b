"""`defectflow cost`: the cheapest threshold, printed and put into the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Cli

from defectflow.bundle import open_bundle
from defectflow.data import find_pictures
from defectflow.line import Inspector
from defectflow.store import Answer, Seen, Store
from defectflow.verdict import Costs, Tradeoff


def test_the_cheapest_threshold(cli: Cli, bundle_copy: Path, sample: Path, tmp_path: Path) -> None:
    before = open_bundle(bundle_copy).card
    words = ("cost", bundle_copy, "--escape", "50", "--defective-share", "0.02", "--false-reject", "2")
    done = cli(*words, "--data", sample / "manifest.csv", "--json", tmp_path / "cost.json")
    assert done.code == 0 and "Counted on 20 good and 18 defective parts" in done.out, done
    tree = json.loads((tmp_path / "cost.json").read_text())
    scores: dict[str, dict[str, float]] = {"good": {}, "defective": {}}
    pictures = [one for one in find_pictures(sample) if one.split == "test"]
    inspector = Inspector(bundle_copy, threads=1)
    for picture, item in zip(pictures, inspector.inspect([one.path for one in pictures]), strict=True):
        group = scores[str(picture.label)]
        group[picture.part] = max(item.calibrated_score, group.get(picture.part, item.calibrated_score))
    tradeoff = Tradeoff(list(scores["good"].values()), list(scores["defective"].values()))
    best = tradeoff.cheapest(Costs(2, 50, 0.02))
    assert tree["cheapest"]["threshold"] == pytest.approx(best.point.threshold)
    assert tree["cheapest"]["cost_per_part"] == pytest.approx(best.cost_per_part)
    assert tree["now"]["threshold"] == before.require_calibration().threshold.value
    assert open_bundle(bundle_copy).card.calibration == before.calibration, "it was only asked about"

    done = cli(*words, "--data", sample / "manifest.csv", "--review", "0.1", "--apply")
    after = open_bundle(bundle_copy).card
    assert done.code == 0 and after.calibration is not None and after.calibration.guarantee == "estimate"
    banded = tradeoff.cheapest(Costs(2, 50, 0.02, review=0.1)).point
    assert after.calibration.threshold.value == pytest.approx(banded.threshold)
    assert after.calibration.review.value == pytest.approx(banded.review)


def test_from_answered_parts(cli: Cli, bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    words = ("cost", bundle_path, "--escape", "50", "--defective-share", "0.02")
    assert cli(*words).code == 2, "of which parts?"
    good_only = cli(*words, "--data", sample / "test" / "good")
    assert good_only.code == 2 and "is defective, so escapes cannot be weighed" in good_only.err
    inspector, store = Inspector(bundle_path, threads=1), str(tmp_path / "inspections.db")
    bad = [one for one in find_pictures(sample) if one.label == "defective"][:4]
    with Store.open(store) as opened:
        items = inspector.inspect([one.path for one in bad])
        seen = [Seen(one.path.name, item, one.part) for one, item in zip(bad, items, strict=True)]
        for number in opened.record(inspector.card, seen, by="anna", source="test"):
            opened.reviews.answer(number, Answer.DEFECTIVE, by="anna")
    done = cli(*words, "--store", store)
    assert done.code == 0 and "Counted on 19 good and 4 defective parts" in done.out, done
