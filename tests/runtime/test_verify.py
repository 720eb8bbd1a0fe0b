"""Does verify notice what it is there for: any altered file, and a machine that computes something else?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import digests

from defectflow.errors import BundleError
from defectflow.runtime.bundle import CARD, EXPECTED, file_digest, open_bundle, save_bundle
from defectflow.runtime.calibration import TOLERANCE
from defectflow.runtime.verify import verify


def test_an_untouched_bundle_passes(bundle_path: Path) -> None:
    before = digests(bundle_path)
    result = verify(open_bundle(bundle_path))
    assert result.passed
    assert result.flips == 0
    assert result.largest_score_difference <= TOLERANCE
    assert result.pictures == len(json.loads((bundle_path / EXPECTED).read_text())) >= 4
    assert result.files == len(before), "every file is covered, the card by its own digest"
    assert digests(bundle_path) == before, "verify only looks"


def test_an_uncalibrated_bundle_passes(uncalibrated_path: Path) -> None:
    assert verify(open_bundle(uncalibrated_path)).passed


def test_any_altered_or_missing_file_is_noticed(bundle_copy: Path) -> None:
    for file in sorted(path for path in bundle_copy.rglob("*") if path.is_file()):
        content = file.read_bytes()
        altered = bytearray(content)
        # Not whitespace, whose change would leave a card the same card.
        place = next(i for i in range(len(content) // 2, len(content)) if not content[i : i + 1].isspace())
        altered[place] ^= 1
        file.write_bytes(altered)
        with pytest.raises(BundleError) as refused:
            verify(open_bundle(bundle_copy))
        assert str(refused.value).startswith(str(file))
        assert "opy the bundle again" in str(refused.value)
        file.unlink()
        with pytest.raises(BundleError):
            verify(open_bundle(bundle_copy))
        file.write_bytes(content)
    assert verify(open_bundle(bundle_copy)).passed


def remembering(bundle: Path, score: float, distance: float | None = None) -> None:
    """As if the golden pictures had once given other values: on this machine the bundle computes something else."""
    expected = json.loads((bundle / EXPECTED).read_text())
    first = next(iter(expected))
    expected[first]["score"] += score
    if distance is not None:
        expected[first]["distance"] = distance
    reseal(bundle, expected)


def reseal(bundle: Path, expected: dict[str, dict[str, float]]) -> None:
    """Put another record into a bundle, with the checksums that belong to it."""
    (bundle / EXPECTED).write_text(json.dumps(expected))
    card = open_bundle(bundle).card
    others = {name: digest for name, digest in card.checksums.items() if name != CARD}
    save_bundle(bundle, card.model_copy(update={"checksums": {**others, EXPECTED: file_digest(bundle / EXPECTED)}}))


def test_another_score_than_recorded(bundle_copy: Path) -> None:
    spread = open_bundle(bundle_copy).card.good_spread
    remembering(bundle_copy, 0.5 * TOLERANCE * spread)
    assert verify(open_bundle(bundle_copy)).passed, "numerical noise is no evidence"
    remembering(bundle_copy, 1.5 * TOLERANCE * spread)
    result = verify(open_bundle(bundle_copy))
    assert not result.passed
    assert result.largest_score_difference == pytest.approx(2 * TOLERANCE, rel=0.1)


def test_a_flipped_verdict(bundle_copy: Path) -> None:
    card = open_bundle(bundle_copy).card
    assert card.calibration is not None
    remembering(bundle_copy, 0, distance=card.distance_limit + 1)
    result = verify(open_bundle(bundle_copy))
    assert result.flips == 1
    assert not result.passed


def test_the_huge_score_of_a_foreign_picture_is_no_alarm(bundle_copy: Path) -> None:
    """Of a picture far from all parts only the decision is recorded truth: its score is rounding noise."""
    expected = json.loads((bundle_copy / "golden" / "expected.json").read_text())
    limit = open_bundle(bundle_copy).card.distance_limit
    foreign = [record for record in expected.values() if record["distance"] > limit]
    assert len(foreign) == 1, "one golden picture is noise"
    foreign[0]["score"] *= 1 + 1e-6
    reseal(bundle_copy, expected)
    assert verify(open_bundle(bundle_copy)).passed
