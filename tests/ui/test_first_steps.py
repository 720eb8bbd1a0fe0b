"""A new station says what to do first, and what was done; and does not judge before the master parts were checked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from desk import Desk

from defectflow.data import find_pictures
from defectflow.gauge import register_masters
from defectflow.store import Answer, StoreSettings
from defectflow.store.settings import GoldenSettings


@pytest.fixture
def desk(bundles: Callable[[], Path]) -> Iterator[Desk]:
    made = Desk(bundles())
    yield made
    made.station.close()


def steps(desk: Desk) -> tuple[int, str]:
    """How many are done, and the page of the next one."""
    shown = desk.call("page-inspect", "select")["first-steps"]
    following = re.search(r'data-page="(\w+)"', shown)
    return shown.count("</b> done"), following[1] if following else ""


def test_each_step_is_seen_once_it_is_taken(desk: Desk, pictures: list[Path]) -> None:
    folder, away = desk.station.bundles.folder, desk.station.bundles.folder.with_name("away")
    away.mkdir()
    for name in ("ring", "swatch"):
        shutil.move(folder / name, away)
    assert steps(desk) == (0, "Train")
    shutil.move(away / "swatch", folder)
    assert steps(desk) == (1, "Calibrate")
    shutil.move(away / "ring", folder)
    assert steps(desk) == (2, "Models"), "the only model judges, but nobody has activated it"
    assert "nobody has activated it" in desk.call("page-models", "select", "")["bundles"]
    assert desk.call("page-models", "select", "")["activate"].interactive is True
    desk.station.bundles.activate("ring", by="test", reason="test")
    assert "nobody has activated it" not in desk.call("page-models", "select", "")["bundles"]
    assert desk.call("page-models", "select", "")["activate"].interactive is False, "it is at work already"
    assert steps(desk) == (3, ""), "the next one is on this very page"
    judged = list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[:2])))
    made_room = [update["first-steps"] for update in map(_named(desk), judged) if "first-steps" in update]
    assert made_room and set(made_room) == {""}
    assert "Review" in desk.call("inspect-clear", "click")["first-steps"], "and come back"
    assert steps(desk) == (4, "Review")
    desk.station.store.reviews.answer(desk.station.store.history.search()[0].id, Answer.GOOD, by="ben")
    assert steps(desk) == (0, ""), "all were taken"


def test_they_can_be_hidden(desk: Desk) -> None:
    assert desk.call("page-inspect", "select")["first-steps"]
    desk.call("first-steps", "hide", said={"hide": "1"})
    assert steps(desk) == (0, "")


def test_no_verdict_counts_before_the_master_parts_were_checked(desk: Desk, pictures: list[Path]) -> None:
    """A trial may go on; and once they were, all is as before."""
    station = desk.station
    station.bundles.activate("ring", by="test", reason="test")
    station.store.configure(StoreSettings(golden=GoldenSettings(hours=8)), by="test")
    (refused,) = desk.call("drop-zone", "dropped", said=desk.drop(pictures[0]))
    assert "ring is not released: no master parts of ring were ever judged" in str(*refused.values())
    said = desk.drop(pictures[0])
    desk.call("inspect-trial", "input", True)
    list(desk.call("drop-zone", "dropped", said=said))
    assert station.store.history.count() == 0
    inspector = station.bundles.inspector()
    (judged,) = inspector.inspect([pictures[0]])
    register_masters(
        station.store, inspector, find_pictures(pictures[0]), by="anna", expect={pictures[0].stem: judged.decision.word}
    )
    list(desk.call("drop-zone", "dropped", said=desk.drop(pictures[1])))
    assert station.store.history.count() == 1


def _named(desk: Desk) -> Callable[[dict[Any, Any]], dict[str, Any]]:
    return lambda update: {one.elem_id: value for one, value in update.items()}
