"""How names tell parts, said on Inspect: without it a model fitted by part could never be recalibrated from answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from desk import Desk
from support import save, swatch

from defectflow.bundle.bundle import open_bundle, save_bundle
from defectflow.errors import CalibrationError
from defectflow.line.recalibrate import recalibrate
from defectflow.store import Answer, Query, StoreSettings
from defectflow.store.recalibration import propose
from defectflow.store.settings import ReviewSettings

SHOTS = 2
RULE = r"^(p\d+)_"


@pytest.fixture
def desk(tmp_path: Path, bundles: Callable[[], Path]) -> Iterator[Desk]:
    """The swatches' model, as if a manifest's column had named its parts; every part inspected is asked about."""
    folder = bundles()
    recalibrate(open_bundle(folder / "swatch"), rate=0.25, guarantee="expected", review_rate=0.4)
    save_bundle(folder / "swatch", open_bundle(folder / "swatch").card.model_copy(update={"parts_known": True}))
    made = Desk(folder)
    made.station.bundles.activate("swatch", by="test", reason="test")
    made.station.store.configure(StoreSettings(review=ReviewSettings(audit_rate=1.0)), by="test")
    yield made
    made.station.close()


def inspect(desk: Desk, folder: Path, parts: range) -> None:
    """Every part twice, and somebody says that each is good."""
    folder.mkdir()
    shots = [save(folder / f"p{part}_{shot}.png", swatch(10 * part + shot)) for part in parts for shot in range(SHOTS)]
    list(desk.call("drop-zone", "dropped", said=desk.drop(*shots)))
    store = desk.station.store
    bundle_id = desk.station.bundles.active().card.bundle_id
    for part in store.reviews.queue(bundle_id, limit=100):
        store.reviews.answer(part.worst.id, Answer.GOOD, by="anna")


def test_parts_are_told_by_an_expression_and_their_answers_calibrate(desk: Desk, tmp_path: Path) -> None:
    store, before = desk.station.store, desk.station.bundles.active().card
    assert before.parts_known
    assert before.part_regex is None
    inspect(desk, tmp_path / "first", range(30, 34))
    with pytest.raises(CalibrationError, match=r"none of these can be counted(.|\n)*8: counted by picture"):
        propose(store, desk.station.bundles.active())
    drawn = str(desk.call("review-skipped", "input", False)["review-drawn"])
    assert "none of those answered good can be counted" in drawn
    assert "8: counted by picture" in drawn

    examples = str(desk.call("parts-expression", "change", RULE))
    assert "8 pictures of 4 parts" in examples
    assert "it finds nothing" in str(desk.call("parts-expression", "change", "(x[0-9])"))
    assert "not a regular expression" in str(desk.call("parts-expression", "change", "(p"))
    kept = desk.call("parts-keep", "click", RULE)
    card = desk.station.bundles.active().card
    assert card.part_regex == RULE
    assert (card.bundle_id, card.calibration_id) == (before.bundle_id, before.calibration_id), "judges as before"
    assert not kept["parts-told"]
    assert RULE in store.versions.active().reason

    inspect(desk, tmp_path / "second", range(40, 50))
    found = {item.part for item in store.history.search(Query(limit=SHOTS * 10))}
    assert found == {f"p{part}" for part in range(40, 50)}, "two shots are one part"
    assert propose(store, desk.station.bundles.active()).added == 10
