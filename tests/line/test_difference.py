"""Whose verdict changes from one bundle to another: counted by hand, from the scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import save

from defectflow.bundle.bundle import open_bundle
from defectflow.errors import NotCalibrated
from defectflow.line import Inspector
from defectflow.line.difference import Difference, difference
from defectflow.line.recalibrate import recalibrate
from defectflow.verdict import Verdict


@pytest.fixture(scope="module")
def pictures(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Good and defective parts, a black picture and one that cannot be read."""
    folder = tmp_path_factory.mktemp("more")
    (folder / "broken.png").write_bytes(b"no picture")
    black = save(folder / "black.png", np.zeros((256, 256, 3), np.uint8))
    tests = sample / "test"
    return [
        *sorted((tests / "good").glob("*.png"))[:12],
        *sorted((tests / "scratch").glob("*.png"))[:3],
        black,
        folder / "broken.png",
    ]


def test_between_calibrations(bundle_path: Path, bundle_copy: Path, pictures: list[Path]) -> None:
    recalibrate(open_bundle(bundle_copy), rate=0.5, guarantee="expected", review_rate=0.9)
    old, new = Inspector(bundle_path, threads=1), Inspector(bundle_copy, threads=1)
    result = difference(old, new, pictures)
    calibration, spread = new.card.require_calibration(), new.card.good_spread
    changed = {}
    for path, was in zip(pictures, old.inspect(pictures), strict=True):
        if not isinstance(was, Verdict):
            continue
        margin = (was.score - calibration.threshold.value) / spread
        now = "defect" if margin > 0 else "review" if was.score > calibration.review.value else "ok"
        now = "invalid" if was.gated else now
        if now != was.decision.word:
            changed[str(path)] = (was.decision.word, now, margin)
    assert len(changed) >= 3
    assert {c.picture: (c.old.decision, c.new.decision) for c in result.changes} == {
        name: change[:2] for name, change in changed.items()
    }
    for change in result.changes:
        assert change.new.to_threshold == pytest.approx(changed[change.picture][2], abs=1e-4)
        assert change.old.to_threshold is not None
        assert change.old.score == pytest.approx(change.new.score, rel=1e-5)
        assert (change.old.to_threshold > 0) == (change.old.decision == "defect")
    assert result.pictures == len(pictures)
    assert result.unusable == (str(pictures[-1]),)
    assert result.verdicts["invalid -> invalid"] == 1
    assert sum(result.verdicts.values()) == len(pictures) - 1
    assert (result.old.bundle_id, result.old.calibration_id) != (result.new.bundle_id, result.new.calibration_id)
    assert Difference.model_validate_json(result.to_json()) == result


def test_a_bundle_does_not_differ_from_itself(bundle_path: Path, pictures: list[Path]) -> None:
    result = difference(Inspector(bundle_path, threads=1), Inspector(bundle_path, threads=1, batch=1), pictures)
    assert result.changes == ()
    assert all(verdict.split(" -> ")[0] == verdict.split(" -> ")[1] for verdict in result.verdicts)


def test_between_fits_each_has_its_own_unit(bundle_path: Path, uncalibrated_copy: Path, pictures: list[Path]) -> None:
    """Models of two products: what is ok to one is foreign to the other."""
    other = recalibrate(open_bundle(uncalibrated_copy), rate=0.2, guarantee="expected", review_rate=0.3)
    result = difference(Inspector(bundle_path, threads=1), Inspector(other, threads=1), pictures[:4])
    for change in result.changes:
        assert change.new.decision == "invalid"
        assert change.new.to_gate is not None
        assert change.new.to_gate > 1
    assert len(result.changes) == 4
    assert result.old.bundle_id != result.new.bundle_id


def test_without_thresholds_there_is_nothing_to_compare(bundle_path: Path, uncalibrated_path: Path) -> None:
    with pytest.raises(NotCalibrated):
        difference(Inspector(bundle_path, threads=1), Inspector(uncalibrated_path, threads=1), [])


def test_only_one_of_them_can_use_a_picture(bundle_path: Path, bundle_copy: Path, tmp_path: Path) -> None:
    """A model that knows 16-bit pictures against one that does not."""
    opened = open_bundle(bundle_copy)
    image = opened.card.image.model_copy(update={"full_scale": 4095})
    knows = Inspector(type(opened)(opened.path, opened.card.model_copy(update={"image": image})), threads=1)
    deep = save(tmp_path / "deep.png", np.full((64, 64), 2000, np.uint16))
    result = difference(Inspector(bundle_path, threads=1), knows, [deep])
    assert [change.old.decision for change in result.changes] == ["unusable"]
    assert result.unusable == ()
    assert json.loads(result.to_json())["changes"][0]["old"]["score"] is None
