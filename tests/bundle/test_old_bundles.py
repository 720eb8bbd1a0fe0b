"""Bundles of earlier versions stay readable, keep their verdicts, and can be calibrated and examined.

`old/format1-87df86c.tar.xz` was fitted by that commit on 24 swatches: image.size=64, embedding.levels=[1], a RealNVP
of two layers, rate 15%. A bundle that this test no longer opens needs a migration, or a message that says what to do.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from support import swatch

from defectflow.bundle import open_bundle
from defectflow.density import examine, open_heads
from defectflow.line import Inspector, recalibrate, verify
from defectflow.verdict import Verdict

OLD = sorted((Path(__file__).parent / "old").glob("*.tar.xz"))


@pytest.fixture(params=OLD, ids=lambda file: file.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    (bundle,) = tmp_path.iterdir()
    return bundle


def test_there_are_old_bundles() -> None:
    assert OLD


def test_it_gives_the_verdicts_that_it_was_recorded_with(old: Path) -> None:
    assert verify(open_bundle(old)).passed


def test_it_judges_new_pictures(old: Path) -> None:
    good, scratched = Inspector(old).inspect([swatch(99), swatch(99, scratched=True)])
    assert isinstance(good, Verdict) and isinstance(scratched, Verdict)
    assert scratched.score > good.score


def test_its_flow_can_be_examined(old: Path) -> None:
    heads = open_heads(open_bundle(old))
    assert len(heads) == 1
    assert all(check.finding != "unfit" for check in examine(heads))


def test_it_can_be_calibrated_again(old: Path) -> None:
    before = open_bundle(old).card.require_calibration().threshold
    recalibrate(open_bundle(old), rate=0.3, guarantee="expected", review_rate=0.4)
    assert open_bundle(old).card.require_calibration().threshold.value < before.value
