"""The page Agreement: everybody judges each part twice, blind, in an order of their own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from desk import Desk

from defectflow.gauge import analyse, choose_parts
from defectflow.store import Answer, Seen

TOKEN = re.compile(r'data-answer="(?:good|defective) (\S+)"')


@pytest.fixture
def desk(bundles: Callable[[], Path], sample: Path, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(bundles())
    station = made.station
    station.bundles.activate("ring", by="test", reason="test")
    inspector = station.bundles.inspector()
    found = [
        *sorted((sample / "test" / "good").glob("*shot1.png"))[:3],
        *sorted((sample / "test" / "hole").glob("*"))[:3],
    ]
    for number, path in enumerate(found):
        file = Path(shutil.copy(path, tmp_path / f"{number}.png"))
        (item,) = inspector.inspect([file])
        station.store.record(inspector.card, [Seen(file.name, item, f"p{number}", file)], by="test", source="test")
    yield made
    station.close()


def test_everybody_judges_everything_twice(desk: Desk) -> None:
    store, card = desk.station.store, desk.station.bundles.active().card
    assert "No blind double reviews have been set up" in str(desk.call("page-agreement", "select")["agreement-part"])
    known = {f"p{number}": number > 2 for number in range(6)}
    parts = choose_parts(store, card.bundle_id, parts=6, known=known, only_known=True, threshold=1.0)
    study = store.agreement.begin(card, "May", parts, trials=2, by="test")
    shown = str(desk.call("page-agreement", "select")["agreement-part"])
    seen: list[str] = []
    for done in range(12):
        assert f"Study May: {done} of 12 judged, round {1 + done // 6} of 2" in shown
        assert not re.search(r"\bp\d\b|defect\b|\.png|score", shown), "nothing that could sway the witness"
        token = TOKEN.findall(shown)[0]
        seen.append(token)
        truth = known[study.parts[int(token.rpartition("-")[2])].part]
        shown = desk.call("agreement-part", "answer", said={"answer": f"{'defective' if truth else 'good'} {token}"})
    assert "You have judged everything" in shown and len(set(seen)) == 12
    assert [one.rpartition("-")[2] for one in seen[:6]] != [one.rpartition("-")[2] for one in seen[6:]], "another order"
    result = analyse(store, study)
    assert result.appraisers[0].reference is not None and result.appraisers[0].reference.effective.count == 6
    assert not store.reviews.parts(card.bundle_id)[0].answer, "a study stands for no part"
    with pytest.raises(gr.Error, match="no longer the one shown"):
        desk.call("agreement-part", "answer", said={"answer": f"good {seen[0]}"})
    assert [one.answer for one in store.agreement.answers(study)].count(Answer.GOOD) == 6


def test_an_engineer_begins_a_study_and_has_its_report(desk: Desk) -> None:
    """Not while the report would sway answers of the same person."""
    store, card = desk.station.store, desk.station.bundles.active().card
    assert desk.call("agreement-begin", "click", " ", 6)["agreement-name"].info, "the name is missing"
    first = store.history.search()[-1]
    store.reviews.answer(first.id, Answer.GOOD, by="anna")
    begun = desk.call("agreement-begin", "click", "June", 6)
    assert "Study June has begun: 6 parts, of which answers tell the state of 1" in begun["agreement-told"]
    with pytest.raises(gr.Error, match="nobody has judged all parts yet"):
        desk.call("agreement-report", "click")
    shown = str(begun["agreement-part"])
    for done in range(12):
        if done == 5:
            with pytest.raises(gr.Error, match="7 judgements of yours are missing"):
                desk.call("agreement-report", "click")
        token = TOKEN.findall(shown)[0]
        shown = str(desk.call("agreement-part", "answer", said={"answer": f"good {token}"}))
    link = str(desk.call("agreement-report", "click"))
    (address,) = re.findall(r"href=\"([^\"]+)\"", link)
    page = desk.session.served.take(address.rpartition("/")[2]).make().decode()  # type: ignore[union-attr]
    assert "June" in page and card.name in page
