"""Studies of agreement: who is asked what, and what is made of the answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from store_support import card_of, record_parts, verdict
from support import Cli, save, swatch

from defectflow.bundle import file_digest, open_bundle
from defectflow.errors import DataError, StoreError
from defectflow.gauge import analyse, choose_parts, known_by_answers
from defectflow.gauge.agreement import AgainstReference, Rate
from defectflow.gauge.kappa import Kappa, cohen, fleiss
from defectflow.store import AgreementPart, AgreementStudy, Answer, Seen, Store
from defectflow.verdict import Share

CARD = card_of([number / 20 for number in range(19)])


def part(number: int, *, decision: str = "ok", defective: bool | None = None) -> AgreementPart:
    return AgreementPart(f"p{number}", (number + 1,), decision, 0.1, defective)  # type: ignore[arg-type]


def judge(store: Store, study: AgreementStudy, by: str, says: dict[str, tuple[bool, ...]]) -> None:
    """Answer as the page asks; `says`: part -> whether it is called defective, in each trial."""
    while (asked := store.agreement.next(study, by)) is not None:
        answer = Answer.DEFECTIVE if says[asked.part.part][asked.trial] else Answer.GOOD
        store.agreement.answer(study, asked.part.part, asked.trial, answer, by=by)


def test_the_order_is_everybody_s_own(store: Store) -> None:
    study = store.agreement.begin(CARD, "May", [part(number) for number in range(10)], trials=2, by="eva")
    orders = {}
    for name in ("anna", "bert"):
        order = []
        while (asked := store.agreement.next(study, name)) is not None:
            order.append((asked.trial, asked.part.part))
            assert asked.done == len(order) - 1 and asked.of == 20
            store.agreement.answer(study, asked.part.part, asked.trial, Answer.GOOD, by=name)
        orders[name] = order
        assert [trial for trial, _ in order] == [0] * 10 + [1] * 10, "all once, then all again"
        assert len(set(order)) == 20
    assert orders["anna"] != orders["bert"]
    assert orders["anna"][:10] != [(0, name) for _, name in orders["anna"][10:]]
    with pytest.raises(StoreError, match="you have judged it in this round already"):
        store.agreement.answer(study, "p1", 0, Answer.GOOD, by="anna")
    with pytest.raises(StoreError, match="is not asked about in study 'May'"):
        store.agreement.answer(study, "p99", 0, Answer.GOOD, by="anna")
    with pytest.raises(StoreError, match="good or defective, not 'skip'"):
        store.agreement.answer(study, "p1", 0, Answer.SKIP, by="carl")
    with pytest.raises(StoreError, match="exists already"):
        store.agreement.begin(CARD, "May", [part(1), part(2)], trials=2, by="eva")
    assert store.agreement.get(CARD.bundle_id).name == "May" and store.verify().passed
    with pytest.raises(StoreError, match="there is no study 'June' for this model; there are May"):
        store.agreement.get(CARD.bundle_id, "June")


def test_what_is_made_of_the_answers(tmp_path: Path) -> None:
    """Ten parts, of which five are defective; every figure by hand, or by the kappas that statsmodels has confirmed."""
    parts = [
        part(number, decision="defect" if number in (5, 6, 7, 8, 0) else "ok", defective=number >= 5)
        for number in range(10)
    ]
    truth = {one.part: bool(one.defective) for one in parts}
    anna = {name: (state, state) for name, state in truth.items()} | {"p9": (False, True)}
    bert = {name: (state, state) for name, state in truth.items()} | {"p0": (True, True), "p9": (False, False)}
    with Store.open(str(tmp_path / "a.db")) as store:
        study = store.agreement.begin(CARD, "May", parts, trials=2, by="eva")
        with pytest.raises(StoreError, match="nobody has begun"):
            analyse(store, study)
        judge(store, study, "anna", anna)
        judge(store, study, "bert", bert)
        store.agreement.answer(study, "p3", 0, Answer.GOOD, by="carl")
        result = analyse(store, study)
    a, b = result.appraisers
    assert (a.within.count, b.within.count) == (9, 10)
    assert a.reference is not None and b.reference is not None and result.system is not None
    assert (a.reference.effective.count, b.reference.effective.count) == (9, 8)
    assert (a.reference.missed.count, a.reference.missed.of) == (1, 10)
    assert (b.reference.missed.count, b.reference.false_alarm.count, b.reference.false_alarm.of) == (2, 2, 10)
    assert (a.reference.rating, b.reference.rating) == ("unacceptable", "unacceptable")
    assert (result.system.missed.count, result.system.missed.of) == (1, 5), "the system judges once"
    assert (result.system.false_alarm.count, result.system.effective.count) == (1, 8)
    assert result.all_agree is not None and result.all_agree.count == 8
    assert result.all_right is not None and result.all_right.count == 8
    names = [one.part for one in parts]
    first = {who: np.array([said[name][0] for name in names]) for who, said in (("a", anna), ("b", bert))}
    assert result.pairs[0].kappa == cohen(first["a"], first["b"])
    assert result.kappa == fleiss(np.stack([first["a"], first["b"]], axis=1))
    system = np.array([one.decision == "defect" for one in parts])
    assert a.system == cohen(first["a"], system)
    assert [(one.part.part, one.good, one.defective) for one in result.disputed] == [("p9", 3, 1), ("p0", 2, 2)]
    assert result.unfinished == (("carl", 1),)
    assert any("Left out, as they have not judged everything: carl (1 of 20)" in said for said in result.sentences())


def test_ratings_are_the_handbook_s() -> None:
    def rated(effective: int, missed: int, alarms: int) -> str:
        """Of 100 parts, 50 of them defective, judged twice."""
        counts = Share(effective, 100), Rate(missed, 100, 50), Rate(alarms, 100, 50)
        return AgainstReference(*counts, kappa=Kappa(None, None, 100)).rating

    assert rated(90, 2, 5) == "acceptable"
    assert rated(89, 2, 5) == rated(90, 3, 5) == rated(90, 2, 6) == rated(80, 5, 10) == "marginal"
    assert rated(79, 2, 5) == rated(90, 6, 5) == rated(90, 2, 11) == "unacceptable"


def test_an_interval_counts_parts_and_not_answers() -> None:
    twice = Rate(count=4, of=40, parts=20)
    assert twice.interval == Rate(count=2, of=20, parts=20).interval
    assert Rate(0, 0, 0).interval == (0, 1)
    odd = Rate(count=3, of=40, parts=20)
    assert odd.interval[0] == Rate(1, 20, 20).interval[0] and odd.interval[1] == Rate(2, 20, 20).interval[1]


def test_parts_are_chosen_from_both_sides_and_near_the_threshold(tmp_path: Path) -> None:
    with Store.open(str(tmp_path / "a.db")) as store:
        file = save(tmp_path / "a.png", swatch(1))
        cut = CARD.require_calibration().threshold.value
        scores = {f"g{n}": 0.01 * n for n in range(30)} | {f"d{n}": cut + 0.2 + n for n in range(30)}
        for name, score in scores.items():
            item = verdict(CARD, score, sha256=file_digest(file))
            store.record(CARD, [Seen(f"{name}.png", item, name, file)], by="x", source="test")
        record_parts(store, CARD, {"unseen": 0.3})
        chosen = choose_parts(store, CARD.bundle_id, parts=18, known={"d3": True}, only_known=False, threshold=cut)
        names = [one.part for one in chosen]
        assert len(set(names)) == 18 and "unseen" not in names, "its picture was not kept"
        nearest = sorted(scores, key=lambda name: abs(scores[name] - cut))[:6]
        assert set(nearest) <= set(names)
        assert sum(one.decision == "ok" for one in chosen) >= 6 and sum(one.decision != "ok" for one in chosen) >= 6
        with pytest.raises(DataError, match="has 1 parts whose state is known"):
            choose_parts(store, CARD.bundle_id, parts=18, known={"d3": True}, only_known=True, threshold=cut)
        inspection = store.reviews.parts(CARD.bundle_id)[0].worst
        store.reviews.answer(inspection.id, Answer.DEFECTIVE, by="anna")
        assert known_by_answers(store, CARD.bundle_id) == {"g0": True}


def test_from_the_command_line(cli: Cli, bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    store, out = tmp_path / "inspections.db", tmp_path / "agreement"
    done = cli("score", bundle_path, sample / "manifest.csv", "--out", tmp_path / "results", "--store", store)
    assert done.code == 0, done
    words = ("study", "agreement", bundle_path, "--store", store)
    assert "no study of agreement was begun" in cli(*words).err
    done = cli(*words, "--begin", "May", "--parts", "12", "--reference", sample / "manifest.csv")
    assert done.code == 0 and "12 parts, 2 trials; the state of 12 parts is known" in done.out, done
    random = np.random.default_rng(0)
    with Store.open(str(store)) as opened:
        study = opened.agreement.get(open_bundle(bundle_path).card.bundle_id)
        for name in ("anna", "bert"):
            says = {
                one.part: tuple(bool(one.defective) ^ bool(random.random() < 0.15) for _ in range(2))
                for one in study.parts
            }
            judge(opened, study, name, says)
        result = analyse(opened, study)
    done = cli(*words, "--out", out, "--json", tmp_path / "a.json")
    assert done.code == 0 and "anna and bert: kappa" in done.out and "the system" in done.out, done
    tree = json.loads((tmp_path / "a.json").read_text())
    assert tree == json.loads((out / "agreement.json").read_text())
    assert tree["fleiss_kappa"]["value"] == (result.kappa.value if result.kappa else None)
    page = (out / "agreement.html").read_text()
    assert "attribute agreement study" in page and "Within appraisers" in page and "<script" not in page
    assert page.count("data:image/jpeg") == min(12, len(result.disputed)) > 0
    assert len((out / "answers.csv").read_text().splitlines()) == 1 + 2 * 2 * 12
