"""Answers, and the way back from them to thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from store_support import card_of, record_parts, verdict
from support import save, swatch

from defectflow.bundle import file_digest, fitted_digests, fitted_parts, open_bundle
from defectflow.bundle.card import Card
from defectflow.errors import AnsweredMeanwhile, CalibrationError, ImageError, StoreError
from defectflow.image.decode import pixel_digest, read_raw
from defectflow.line import Inspector
from defectflow.store import Answer, Query, Seen, Store, StoreSettings
from defectflow.store.audit import AuditDraw
from defectflow.store.recalibration import apply, flips, propose, rejudged, training_parts
from defectflow.store.settings import ReviewSettings
from defectflow.verdict import Decision, Verdict

CARD = card_of(np.linspace(0, 1, 39))


def audit(store: Store, rate: float) -> None:
    store.configure(StoreSettings(review=ReviewSettings(audit_rate=rate)), by="tester")


def test_the_queue_holds_the_grey_band_and_the_audit_sample(store: Store) -> None:
    audit(store, 0.3)
    names = [f"part{number}" for number in range(40)]
    record_parts(store, CARD, dict.fromkeys(names, 0.1) | {"grey": 0.95, "bad": 9.0})
    drawn = [name for name in names if AuditDraw(store.database).draws(name, 0.3)]
    assert 0 < len(drawn) < 40
    asked = {part.part: part for part in store.reviews.queue(CARD.bundle_id, limit=100)}
    assert set(drawn) | {"grey"} <= set(asked) <= set(drawn) | {"grey", "bad"}
    assert asked["grey"].decision == "review"
    assert [part.part for part in store.reviews.queue(CARD.bundle_id, limit=2)] == drawn[:2], "the longest waiting"
    assert store.reviews.queue("x" * 12) == []


def test_answers_leave_the_queue_and_an_undo_brings_them_back(store: Store) -> None:
    audit(store, 1.0)
    numbers = record_parts(store, CARD, {"1": 0.1, "2": 0.2, "3": 0.3})

    def waiting(*, skipped: bool = False) -> list[str]:
        return [part.part for part in store.reviews.queue(CARD.bundle_id, skipped=skipped)]

    first = store.reviews.answer(numbers["1"], Answer.GOOD, by="anna")
    store.reviews.answer(numbers["2"], Answer.SKIP, by="anna")
    store.reviews.comment(numbers["3"], "odd light", by="bert")
    assert waiting() == ["3"]
    assert waiting(skipped=True) == ["2"]
    second = store.reviews.answer(numbers["1"], Answer.DEFECTIVE, kind="scratch", comment="see left", by="bert")
    part = store.reviews.parts(CARD.bundle_id)[0]
    assert (part.answer, part.review.kind, part.review.by, part.review.comment) == (
        Answer.DEFECTIVE,
        "scratch",
        "bert",
        "see left",
    )
    assert store.reviews.kinds() == ["scratch"]
    store.reviews.undo(second, by="bert")
    assert store.reviews.parts(CARD.bundle_id)[0].answer is Answer.GOOD, "the answer before it stands again"
    assert [said.id for said in store.reviews.latest(bundle_id=CARD.bundle_id, by="anna")][-1] == first
    assert store.reviews.latest(bundle_id="x" * 12) == []
    store.reviews.undo(first, by="anna")
    assert waiting() == ["1", "3"]
    assert len(store.reviews.of_part(CARD.bundle_id, "1")) == 4, "nothing was erased"
    with pytest.raises(StoreError, match="taken back already"):
        store.reviews.undo(first, by="anna")


def test_what_a_review_cannot_be(store: Store) -> None:
    (number,) = record_parts(store, CARD, {"1": 0.1}).values()
    with pytest.raises(StoreError, match="belongs to the answer defective"):
        store.reviews.answer(number, Answer.GOOD, kind="scratch", by="a")
    with pytest.raises(StoreError, match="inspection 999"):
        store.reviews.answer(999, Answer.GOOD, by="a")
    with pytest.raises(StoreError, match="none to take back"):
        store.reviews.undo(number, by="a")
    with pytest.raises(StoreError, match="empty"):
        store.reviews.comment(number, " ", by="a")
    with pytest.raises(StoreError, match="kind of defect has 201 characters; at most 200"):
        store.reviews.answer(number, Answer.DEFECTIVE, kind="x" * 201, by="a")


# --- with a real bundle: its fit, its pictures, its file ---


def real(folder: Path, inspector: Inspector, seeds: range, *, named: bool = True) -> list[Seen]:
    """Good swatches that the fit has not seen, judged by the graph: one part each."""
    paths = [save(folder / f"new{seed}.png", swatch(seed)) for seed in seeds]
    return [
        Seen(path.name, item, path.stem if named else None, path)
        for path, item in zip(paths, inspector.inspect(paths), strict=True)
    ]


@pytest.fixture
def bundle(uncalibrated_copy: Path) -> Path:
    """Calibrated on its 8 parts for 1 in 4 good parts."""
    from defectflow.line.recalibrate import recalibrate

    recalibrate(open_bundle(uncalibrated_copy), rate=0.25, guarantee="expected", review_rate=0.4)
    return uncalibrated_copy


@pytest.fixture
def log(tmp_path: Path, bundle: Path) -> Store:
    """60 good parts inspected with the bundle, all of them drawn for the audit."""
    store = Store.open(str(tmp_path / "log.db"))
    audit(store, 1.0)
    store.record(
        open_bundle(bundle).card, real(tmp_path, Inspector(bundle), range(100, 160), named=False), by="a", source="t"
    )
    return store


def answer_all(store: Store, card: Card, answer: Answer = Answer.GOOD, *, but: int = 0) -> None:
    queue = store.reviews.queue(card.bundle_id, limit=1000)
    for part in queue[: len(queue) - but]:
        store.reviews.answer(part.worst.id, answer, by="anna")


def test_from_answers_to_thresholds_and_back(log: Store, bundle: Path) -> None:
    opened = open_bundle(bundle)
    model, before = file_digest(bundle / "model.onnx"), opened.card
    answer_all(log, before)
    proposal = propose(log, opened, rate=0.05, review_rate=0.1)
    assert (proposal.audit.parts, proposal.audit.good, proposal.added) == (60, 60, 60)
    assert len(proposal.card.calibration_parts) == 8 + 60
    scores = [part.score for part in before.calibration_parts] + [
        part.score for part in log.reviews.parts(before.bundle_id)
    ]
    assert sorted(row.score for row in proposal.card.calibration_parts) == sorted(scores)
    k = 68 + 1 - 3
    expected = np.sort(scores)[k - 1 : k + 1].mean()
    assert proposal.card.require_calibration().threshold.value == pytest.approx(expected, abs=1e-12)
    assert file_digest(bundle / "model.onnx") == model, "a preview changes nothing"
    # Every flip, by judging the pictures again with the new file.
    was = {item.file: item.decision for item in log.history.search(Query(limit=1000))}
    version = apply(log, proposal, name="June", reason="too many false alarms", by="anna")
    paths = [log.picture(part.worst) for part in log.reviews.parts(before.bundle_id)]
    now = {path.name: item.decision.word for path, item in zip(paths, Inspector(bundle).inspect(paths), strict=True)}
    assert {(flip.part.worst.file, flip.before, flip.after) for flip in proposal.flips} == {
        (name, was[name], now[name]) for name in was if was[name] != now[name]
    }
    assert proposal.flips, "or this would prove nothing"
    assert open_bundle(bundle).card.calibration_id == version.calibration_id == log.versions.active().calibration_id
    # And back.
    found = log.versions.all(before.bundle_id)
    assert [item.name for item in found] == ["June", f"found {before.calibration_id}"]
    restored = log.versions.apply(open_bundle(bundle), found[1], by="anna", reason="June was wrong")
    assert restored.card == before
    assert file_digest(bundle / "model.onnx") == model, "to the byte"
    assert log.versions.active().reason == "June was wrong"
    assert log.verify().passed


def test_without_answers_it_refuses(log: Store, bundle: Path) -> None:
    opened = open_bundle(bundle)
    answer_all(log, opened.card, but=4)
    with pytest.raises(CalibrationError, match=r"4 of 60 sampled parts have no answer \(4 waiting, 0 skipped"):
        propose(log, opened)
    (first, *_) = log.reviews.queue(opened.card.bundle_id)
    log.reviews.answer(first.worst.id, Answer.SKIP, by="anna")
    with pytest.raises(CalibrationError, match="3 waiting, 1 skipped"):
        propose(log, opened)
    log.reviews.answer(first.worst.id, Answer.GOOD, by="anna")
    proposal = propose(log, opened)
    assert (proposal.audit.missing, proposal.audit.parts) == (3, 60), "exactly 5%"
    said = proposal.sentences()[-1]
    assert said.startswith("3 of 60 sampled parts have no answer")
    n, k = 8 + 57, proposal.card.require_calibration().threshold.rank
    assert f"{(n + 1 - k + 3) / (n + 1 + 3):.2%}" in said


def test_only_good_audit_parts_that_are_new_calibrate(log: Store, bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    card = opened.card
    answer_all(log, card, but=3)
    bad, foreign, good = log.reviews.queue(card.bundle_id)
    log.reviews.answer(bad.worst.id, Answer.DEFECTIVE, kind="hole", by="anna")
    log.reviews.answer(foreign.worst.id, Answer.NOT_THIS_PART, by="anna")
    log.reviews.answer(good.worst.id, Answer.GOOD, by="anna")
    # Pictures of the fit, under other names; and one of the audit's own pictures again, as another part.
    inspector = Inspector(bundle)
    path = save(tmp_path / "again.png", swatch(3))
    (item,) = inspector.inspect([path])
    twin = log.picture(good.worst)
    log.record(card, [Seen("again.png", item, "again", path)], by="a", source="t")
    log.record(card, [Seen("twin.png", next(iter(inspector.inspect([twin]))), "twin", twin)], by="a", source="t")
    # Not drawn: the grey band's answers never calibrate.
    audit(log, 0.0)
    grey = replace(real(tmp_path, inspector, range(200, 201))[0], part="grey")
    log.record(card, [grey], by="a", source="t")
    for part in log.reviews.parts(card.bundle_id):
        if part.answer is None:
            log.reviews.answer(part.worst.id, Answer.GOOD, by="anna")
    proposal = propose(log, opened)
    assert (proposal.audit.good, proposal.audit.defective, proposal.audit.not_this_part) == (60, 1, 1)
    assert proposal.added == 58
    assert {name for name, _ in proposal.audit.left_out} == {"again", "twin"}
    joined = {row.part for row in proposal.card.calibration_parts} - {row.part for row in card.calibration_parts}
    assert not joined & {bad.part, foreign.part, "grey", "again", "twin"}
    # Applied once, the same parts are no new evidence.
    apply(log, proposal, name="June", reason="audit", by="anna")
    with pytest.raises(
        CalibrationError, match="62 that were randomly sampled, 60 are answered good, and none of these"
    ):
        propose(log, open_bundle(bundle))


def test_no_part_both_trains_and_calibrates(log: Store, bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    calibrated = next(name for name, side in fitted_parts(opened).items() if side == "calibration")
    inspector = Inspector(bundle)
    audit(log, 0.0)
    pictures = real(tmp_path, inspector, range(300, 303))
    named = [replace(seen, part=part) for seen, part in zip(pictures, ("g1", "g2", calibrated), strict=True)]
    grey = [_as(seen, Decision.REVIEW) for seen in named]
    log.record(opened.card, grey, by="a", source="t")
    for item in log.history.search(Query(limit=3)):
        log.reviews.answer(item.id, Answer.GOOD, by="anna")
    answer_all(log, opened.card)
    training = {part.part for part, _ in training_parts(log, opened)}
    assert training == {"g1", "g2"}, "neither an audit part nor one that calibrates"
    calibrating = {row.part for row in propose(log, opened).card.calibration_parts}
    assert not training & calibrating


def test_a_calibration_picture_under_another_name_does_not_train(log: Store, bundle: Path, swatch_folder: Path) -> None:
    """Whoever drops the fit's own folder on the page finds some of its parts in the grey band, under names of files."""
    opened = open_bundle(bundle)
    sides = fitted_digests(opened)
    paths = {side: path for path in swatch_folder.glob("*.png") if (side := sides.get(pixel_digest(read_raw(path))))}
    audit(log, 0.0)
    again = [Seen(path.name, item, None, path) for path, item in _inspected(bundle, list(paths.values()))]
    log.record(opened.card, [_as(seen, Decision.REVIEW) for seen in again], by="a", source="t")
    for item in log.history.search(Query(limit=len(again))):
        log.reviews.answer(item.id, Answer.GOOD, by="anna")
    assert set(paths) == {"train", "tune", "calibration"}
    assert [shots for _, shots in training_parts(log, opened)] == [((paths["train"], paths["train"].name),)]


def _inspected(bundle: Path, paths: list[Path]) -> Iterator[tuple[Path, Verdict]]:
    return zip(paths, Inspector(bundle).inspect(paths), strict=True)


def _as(seen: Seen, decision: Decision) -> Seen:
    assert isinstance(seen.item, Verdict)
    return replace(seen, item=replace(seen.item, decision=decision))


def test_a_preview_that_has_been_overtaken_is_refused(log: Store, bundle: Path) -> None:
    answer_all(log, open_bundle(bundle).card)
    first, second = (propose(log, open_bundle(bundle), rate=rate) for rate in (0.05, 0.1))
    apply(log, first, name="June", reason="audit", by="anna")
    with pytest.raises(StoreError, match="calibrated since this preview"):
        apply(log, second, name="July", reason="audit", by="anna")
    with pytest.raises(StoreError, match="exists already"):
        log.versions.add(first.card, name="June", reason="again", by="anna", origin="rate")
    with pytest.raises(StoreError, match="name and a reason"):
        log.versions.add(first.card, name="July", reason=" ", by="anna", origin="rate")
    assert log.versions.active().calibration_id == first.card.calibration_id


def test_audit_parts_alone_can_calibrate(log: Store, bundle: Path) -> None:
    answer_all(log, open_bundle(bundle).card)
    proposal = propose(log, open_bundle(bundle), keep_earlier=False, rate=0.45)
    assert len(proposal.card.calibration_parts) == 60
    assert proposal.card.require_calibration().review_rate == 0.45, "no band is left between rates of 45% and 40%"


def test_a_rate_typed_after_looking_at_answers_is_an_estimate(log: Store, bundle: Path) -> None:
    """The rate in force and the recipe's are promises, and any other is one if it was fixed beforehand."""
    answer_all(log, open_bundle(bundle).card)
    card = open_bundle(bundle).card
    assert (card.rule[0], card.wanted_rate) == (0.25, 0.05)
    promised = {rate: propose(log, open_bundle(bundle), rate=rate).card.promised for rate in (0.25, 0.05, 0.1)}
    assert promised[0.25] is not None and promised[0.05] is not None
    assert promised[0.1] is None
    assert propose(log, open_bundle(bundle), rate=0.1, beforehand=True).card.promised is not None


def test_after_chosen_thresholds_the_wanted_promise_comes_back(log: Store, bundle: Path) -> None:
    answer_all(log, open_bundle(bundle).card)
    chosen = open_bundle(bundle).card.estimated(threshold=100.0, review_threshold=100.0)
    version = log.versions.add(chosen, name="chosen", reason="by eye", by="anna", origin="threshold")
    proposal = propose(log, log.versions.apply(open_bundle(bundle), version, by="anna", reason="by eye"))
    promised = proposal.card.require_calibration()
    assert (promised.rate, promised.guarantee, promised.review_rate) == (0.05, "expected", 0.1)


def broken(name: str, part: str | None) -> Seen:
    return Seen(name, ImageError(f"{name}: cut short"), part)


@pytest.fixture
def half_read(log: Store, bundle: Path, tmp_path: Path) -> list[Seen]:
    """4 audit parts more, two pictures each, of which one could not be read; all 64 are answered good."""
    card = open_bundle(bundle).card
    views = real(tmp_path, Inspector(bundle), range(600, 608))
    for number in range(4):
        first = replace(views[number], file="top.png", part=f"half{number}")
        log.record(card, [first, broken("side.png", f"half{number}")], by="a", source="t")
    answer_all(log, card)
    return [replace(view, part=f"half{number}") for number, view in enumerate(views[4:])]


def test_a_part_must_not_look_better_for_an_unreadable_picture(log: Store, bundle: Path, half_read: list[Seen]) -> None:
    with pytest.raises(CalibrationError, match=r"4 of 64 sampled parts .*0 waiting, 0 skipped, 4 unreadable"):
        propose(log, open_bundle(bundle))
    card = open_bundle(bundle).card
    for view in half_read:  # another view, even a readable one, does not say what the unreadable one would have scored
        log.record(card, [replace(view, file="top.png")], by="a", source="t")
    with pytest.raises(CalibrationError, match="4 unreadable"):
        propose(log, open_bundle(bundle))


def test_an_unreadable_picture_shown_again_is_settled(log: Store, bundle: Path, half_read: list[Seen]) -> None:
    opened = open_bundle(bundle)
    log.record(opened.card, [replace(view, file="side.png") for view in half_read], by="a", source="t")
    by_part = replace(opened, card=opened.card.model_copy(update={"parts_known": True}))
    proposal = propose(log, by_part)
    assert (proposal.audit.parts, proposal.audit.missing, proposal.added) == (64, 0, 4), "the unnamed 60 do not count"
    rows = {row.part: row for row in proposal.card.calibration_parts}
    for part in log.reviews.parts(opened.card.bundle_id):
        if part.part.startswith("half"):
            scores = [picture.score for picture in part.pictures if picture.score is not None]
            assert len(scores) == rows[part.part].pictures == 2
            assert rows[part.part].score == max(scores), "the worst view is what is ranked"
    assert "None" not in proposal.card.added_digests


@pytest.mark.parametrize("answer", [Answer.NOT_THIS_PART, Answer.DEFECTIVE])
def test_an_answer_settles_an_unreadable_picture(
    log: Store, bundle: Path, half_read: list[Seen], answer: Answer
) -> None:
    """What calibrates nothing anyway is not missing."""
    opened = open_bundle(bundle)
    for part in log.reviews.parts(opened.card.bundle_id)[-4:]:
        log.reviews.answer(part.worst.id, answer, by="anna")
    proposal = propose(log, opened)
    assert (proposal.audit.parts, proposal.audit.missing, proposal.added) == (64, 0, 60)


def test_what_is_no_picture_is_never_drawn_and_blocks_nothing(log: Store, bundle: Path) -> None:
    """A note in the dropped folder, alone or beside a part's pictures; and a part of which nothing could be read."""
    opened = open_bundle(bundle)
    known = log.reviews.parts(opened.card.bundle_id)[0].part
    stray = [broken("Thumbs.db", None), broken("17/note.txt", known), *(broken(f"{n}.png", f"b{n}") for n in range(9))]
    log.record(opened.card, stray, by="a", source="t")
    assert not any(item.audit for item in log.history.search(Query(limit=len(stray))))
    assert len(log.reviews.queue(opened.card.bundle_id, limit=1000)) == 60
    answer_all(log, opened.card)
    proposal = propose(log, opened)
    assert (proposal.audit.parts, proposal.audit.missing, proposal.added) == (60, 0, 60)
    assert next(row.pictures for row in proposal.card.calibration_parts if row.part == known) == 1


def test_a_part_read_at_the_second_look_is_drawn_then(log: Store, bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    (view,) = real(tmp_path, Inspector(bundle), range(650, 651))
    log.record(opened.card, [broken("17.png", "17")], by="a", source="t")
    log.record(opened.card, [replace(view, file="17.png", part="17")], by="a", source="t")
    (part,) = (part for part in log.reviews.queue(opened.card.bundle_id, limit=100) if part.part == "17")
    assert part.audit and not part.unread


def test_parts_that_cannot_be_answered_any_more_block_no_later_ones(log: Store, bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    later = log.reviews.parts(opened.card.bundle_id)[-1].pictures[0].at + timedelta(microseconds=1)
    log.record(opened.card, real(tmp_path, Inspector(bundle), range(700, 730), named=False), by="a", source="t")
    for part in log.reviews.parts(opened.card.bundle_id):
        if part.pictures[0].at >= later:
            log.reviews.answer(part.worst.id, Answer.GOOD, by="anna")
    with pytest.raises(CalibrationError, match=r"60 of 90 sampled parts have no answer.* since a later day"):
        propose(log, opened)
    proposal = propose(log, opened, since=later)
    assert (proposal.audit.parts, proposal.audit.missing, proposal.added) == (30, 0, 30)
    with pytest.raises(CalibrationError, match="60 of 60 sampled parts"):
        propose(log, opened, until=later)
    version = apply(log, proposal, name="July", reason="moved", by="anna")
    said = f"moved (sampled parts first seen from {later:%Y-%m-%d %H:%M:%S} UTC)"
    assert version.reason == said, "the time shapes the thresholds"
    with pytest.raises(StoreError, match="needs a name and a reason"):
        apply(log, replace(proposal, bundle=open_bundle(bundle)), name="August", reason=" ", by="anna")


def test_contradicting_a_verdict_trains_and_never_calibrates(log: Store, bundle: Path, tmp_path: Path) -> None:
    """A false alarm, not drawn and not in the grey band: nobody was asked about it, and somebody answered."""
    opened = open_bundle(bundle)
    audit(log, 0.0)
    seen = replace(real(tmp_path, Inspector(bundle), range(400, 401))[0], part="false alarm")
    (alarm,) = log.record(opened.card, [_as(seen, Decision.DEFECT)], by="a", source="t")
    assert "false alarm" not in {part.part for part in log.reviews.asked(opened.card.bundle_id)}
    assert log.reviews.standing(opened.card.bundle_id, "false alarm") is None
    wrong = log.reviews.answer(alarm, Answer.DEFECTIVE, by="bert")
    assert training_parts(log, opened) == []
    log.reviews.answer(alarm, Answer.GOOD, comment="only dust", by="anna")
    standing = log.reviews.standing(opened.card.bundle_id, "false alarm")
    assert standing is not None
    assert (standing.answer, standing.by, standing.comment) == (Answer.GOOD, "anna", "only dust")
    ((part, shots),) = training_parts(log, opened)
    assert (part.part, shots) == ("false alarm", ((seen.picture, seen.file),))
    answer_all(log, opened.card)
    assert "false alarm" not in {row.part for row in propose(log, opened).card.calibration_parts}
    log.reviews.undo(standing.id, by="anna")
    again = log.reviews.standing(opened.card.bundle_id, "false alarm")
    assert again is not None
    assert (again.id, again.answer) == (wrong, Answer.DEFECTIVE)
    assert training_parts(log, opened) == []


def test_a_good_part_of_which_nobody_knows_whether_it_is_new_counts_as_missing(
    log: Store, bundle: Path, tmp_path: Path
) -> None:
    """A line that moves rejected pictures away before they are recorded must not thin out the unusual ones."""
    card = open_bundle(bundle).card
    moved = [replace(seen, picture=None) for seen in real(tmp_path, Inspector(bundle), range(500, 504), named=False)]
    log.record(card, moved, by="a", source="t")
    answer_all(log, card)
    with pytest.raises(CalibrationError, match=r"4 of 64 sampled parts .* 4 answered good but uncountable"):
        propose(log, open_bundle(bundle))


def test_another_audit_rate_draws_no_part_that_was_seen_before(store: Store) -> None:
    """Mostly rejected parts come back for another look; drawn then, they would crowd the sample with high scores."""
    audit(store, 0.0)
    record_parts(store, CARD, {"1": 0.1, "2": 9.0})
    audit(store, 1.0)
    record_parts(store, CARD, {"2": 9.5, "3": 0.3})
    audit(store, 0.0)
    record_parts(store, CARD, {"3": 0.4})
    assert {part.part: part.audit for part in store.reviews.parts(CARD.bundle_id)} == {
        "1": False,
        "2": False,
        "3": True,
    }


def test_a_version_of_another_model_is_refused(log: Store, bundle: Path) -> None:
    log.record(CARD, [Seen("a.png", verdict(CARD, 0.1), "1")], by="a", source="t")
    version = log.versions.all(CARD.bundle_id)[0]
    with pytest.raises(StoreError, match="belongs to bundle bbbbbbbbbbbb"):
        log.versions.apply(open_bundle(bundle), version, by="anna", reason="mistake")
    with pytest.raises(StoreError, match="there is none of this name"):
        log.versions.get(CARD.bundle_id, "no such")


def test_stored_scores_are_judged_as_the_graph_would(store: Store) -> None:
    """Worst picture first, the gate before everything; a part of which a picture cannot be read is not ok."""
    scores = {"ok": 0.1, "grey": 0.95, "bad": 9.0}
    record_parts(store, CARD, scores)
    store.record(CARD, [Seen("f.png", verdict(CARD, 0.1, distance=99.0), "foreign")], by="a", source="t")
    store.record(CARD, [Seen("e.png", ImageError("e"), "broken")], by="a", source="t")
    store.record(CARD, [Seen("e.png", ImageError("e"), "ok")], by="a", source="t")
    lenient = card_of(np.linspace(0, 20, 39)).require_calibration()
    parts = store.reviews.parts(CARD.bundle_id)
    calibration = CARD.require_calibration()
    assert [rejudged(part, calibration) for part in parts] == [part.decision for part in parts]
    assert [
        (flip.part.part, flip.before, flip.after) for flip in flips(parts, CARD.require_calibration(), lenient)
    ] == [
        ("grey", "review", "ok"),
        ("bad", "defect", "ok"),
    ]
    assert {part.part: part.decision for part in parts} == {
        "ok": "error",
        "grey": "review",
        "bad": "defect",
        "foreign": "invalid",
        "broken": "error",
    }
    assert sum(day.error for day in store.history.counts()) == 2
    store.record(CARD, [Seen("e.png", verdict(CARD, 0.1), "ok")], by="a", source="t")  # the same view, read now
    assert next(part for part in store.reviews.parts(CARD.bundle_id) if part.part == "ok").decision == "ok"
    assert [(day.ok, day.error) for day in store.history.counts()] == [(1, 1)]


def test_parts_answered_defective_that_would_pass_are_named_first(store: Store) -> None:
    """So that nobody applies thresholds that let pass what was just called defective."""
    record_parts(store, CARD, {"grey": 0.95, "bad": 9.0, "ok": 0.1})
    for seen in store.history.search():
        if seen.part in ("bad", "ok"):
            store.reviews.answer(seen.id, Answer.DEFECTIVE, by="anna")
    lenient = card_of(np.linspace(0, 20, 39)).require_calibration()
    found = flips(store.reviews.parts(CARD.bundle_id), CARD.require_calibration(), lenient)
    assert [(flip.part.part, flip.lets_pass) for flip in found] == [("bad", True), ("grey", False)]


def test_of_answers_over_the_same_one_only_the_first_counts(store: Store) -> None:
    """However close together they come: nobody answers over what they have not seen."""
    (number,) = record_parts(store, CARD, {"1": 0.1}).values()
    together = Barrier(4)

    def answer(by: str) -> int | None:
        together.wait()
        try:
            return store.reviews.answer(number, Answer.GOOD, by=by, over=0)
        except AnsweredMeanwhile:
            return None

    with ThreadPoolExecutor(4) as pool:
        written = [one for one in pool.map(answer, "abcd") if one is not None]
    assert len(written) == len(store.reviews.of_part(CARD.bundle_id, "1")) == 1
    with pytest.raises(AnsweredMeanwhile, match="part 1: was answered meanwhile"):
        store.reviews.answer(number, Answer.DEFECTIVE, by="e", over=0)
    second = store.reviews.answer(number, Answer.DEFECTIVE, by="e", over=written[0])
    store.reviews.undo(second, by="e")
    store.reviews.answer(number, Answer.SKIP, by="e", over=written[0])
