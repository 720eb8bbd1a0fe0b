"""The page Masters: new pictures of the master parts are dropped, and the model is released or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from desk import Desk
from support import marked, save

from defectflow.data import find_pictures
from defectflow.gauge import register_masters
from defectflow.image import read_image
from defectflow.store import GoldenSettings, StoreSettings


@pytest.fixture
def desk(bundles: Callable[[], Path]) -> Iterator[Desk]:
    made = Desk(bundles())
    made.station.bundles.activate("ring", by="test", reason="test")
    yield made
    made.station.close()


def masters(folder: Path, sample: Path, *, bad_is_good: bool = False, first_grey: int = 0) -> list[Path]:
    """Today's pictures of two master parts."""
    good = sorted((sample / "test" / "good").glob("*.png"))
    pixels = [
        np.clip(read_image(file).astype(int) + first_grey, 0, 255).astype(np.uint8) for file in (good[0], good[4])
    ]
    spoiled = pixels[1] if bad_is_good else marked(pixels[1])
    return [save(folder / "good" / "m1.png", pixels[0]), save(folder / "defect" / "bad.png", spoiled)]


def test_a_shift_begins(desk: Desk, sample: Path, tmp_path: Path) -> None:
    station = desk.station
    before = desk.call("page-masters", "select")
    assert "No master parts yet" in before["masters-standing"] and "called good and defective" in before["masters-drop"]
    masters(tmp_path / "0", sample)
    register_masters(station.store, station.bundles.inspector(), find_pictures(tmp_path / "0"), by="anna")
    station.store.configure(StoreSettings(golden=GoldenSettings(hours=8)), by="anna")
    shown = desk.call("page-masters", "select")
    assert "bad, m1" in shown["masters-drop"] and "A check holds for 8 hours" in shown["masters-standing"]

    good = list(desk.call("masters-drop", "dropped", said=desk.drop(*masters(tmp_path / "1", sample, first_grey=1))))
    last = {one.elem_id: value for one, value in good[-1].items()}
    assert "Every master part was judged as expected" in last["masters-said"]
    assert "Released" in last["masters-standing"] and last["masters-standing"].count("<svg") == 2
    wrong = masters(tmp_path / "2", sample, bad_is_good=True, first_grey=2)
    *_, updates = desk.call("masters-drop", "dropped", said=desk.drop(*wrong))
    last = {one.elem_id: value for one, value in updates.items()}
    assert "Not released" in last["masters-standing"] and "instead of defect" in last["masters-standing"]
    assert len(station.store.masters.runs(station.store.masters.current(station.bundles.active().card.bundle_id))) == 3  # type: ignore[arg-type]

    stranger = save(tmp_path / "x7.png", read_image(wrong[0]))
    *_, updates = desk.call("masters-drop", "dropped", said=desk.drop(stranger))
    assert "is no master part" in {one.elem_id: str(value) for one, value in updates.items()}["masters-said"]
    assert not desk.session.drops


def test_an_engineer_registers_master_parts_by_dropping_their_folders(desk: Desk, sample: Path, tmp_path: Path) -> None:
    """What is dropped into a folder called good must be ok, and from then on each as it was judged."""
    store, card = desk.station.store, desk.station.bundles.active().card
    first = desk.drop(*masters(tmp_path / "0", sample), folder=tmp_path / "0")
    *_, updates = desk.call("masters-drop", "dropped", said=first)
    last = {one.elem_id: value for one, value in updates.items()}
    assert "2 master parts are registered" in last["masters-said"] and "bad, m1" in last["masters-drop"]
    assert [part.name for part in store.masters.current(card.bundle_id).parts] == ["bad", "m1"]  # type: ignore[union-attr]

    swapped = masters(tmp_path / "1", sample, bad_is_good=True, first_grey=1)
    assert "called good and defective" in desk.call("masters-anew", "input", True)["masters-drop"]
    *_, updates = desk.call("masters-drop", "dropped", said=desk.drop(*swapped, folder=tmp_path / "1"))
    refused = {one.elem_id: str(value) for one, value in updates.items()}["masters-said"]
    assert re.search(r"bad: is judged (ok|review), and should be defect or invalid", refused)
    assert "bad, m1" in desk.call("masters-anew", "input", False)["masters-drop"]
