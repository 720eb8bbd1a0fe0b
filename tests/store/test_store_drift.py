"""The alarm's promise, its delay, and the guarantee after recalibration: by simulation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray
from store_support import card_of, record_parts, verdict

from defectflow.bundle import Card
from defectflow.errors import ImageError, StoreError
from defectflow.store import Query, Seen, Store, StoreSettings
from defectflow.store.drift import Course, drift, look_into
from defectflow.store.monitor import SHIFTS, Monitor
from defectflow.store.settings import DriftSettings
from defectflow.verdict.calibration import calibrate

CALIBRATION, FLAT = 100, 0.1


def run_until_alarm(
    seed: int, parts: int, *, run_length: float, shift: float = 0.0, begins: int = 0, defects: float = 0.0
) -> float:
    """Parts until the first alarm; infinity without one. Normal scores; `defects` is the share that lies far out."""
    random = np.random.default_rng(seed)
    monitor = Monitor(random.normal(size=CALIBRATION), flat=FLAT, run_length=run_length)
    scores = random.normal(size=parts) + shift * (np.arange(parts) >= begins)
    scores[random.random(parts) < defects] += 8
    for number, (score, coin) in enumerate(zip(scores, random.random(parts), strict=True), start=1):
        if monitor.see(score, coin)[2]:
            return number
    return np.inf


def delays(runs: int, begins: int, shift: float, run_length: float) -> NDArray[np.float64]:
    """Parts from the shift to the alarm, of runs that were silent before it."""
    ends = np.array(
        [
            run_until_alarm(seed, begins + 3000, run_length=run_length, shift=shift, begins=begins)
            for seed in range(runs)
        ]
    )
    return ends[ends > begins] - begins


def test_p_values_of_exchangeable_parts_are_uniform_and_independent() -> None:
    """Ties and all: many scores are equal here."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(300):
        monitor = Monitor(random.integers(0, 5, 10).astype(float), flat=FLAT, run_length=np.inf)
        found.append([monitor.see(float(random.integers(0, 5)), random.random())[0] for _ in range(30)])
    p_values = np.array(found)
    assert 0 <= p_values.min() <= p_values.max() <= 1
    below = [(p_values <= level).mean() for level in (0.05, 0.25, 0.5, 0.9)]
    assert below == pytest.approx([0.05, 0.25, 0.5, 0.9], abs=0.02), "9,000 draws: 4 standard errors"
    assert abs(np.corrcoef(p_values[:, :-1].ravel(), p_values[:, 1:].ravel())[0, 1]) < 0.045


def test_bets_are_fair_and_flat_below_the_review_rate() -> None:
    monitor = Monitor([], flat=FLAT, run_length=1)
    grid = (np.arange(20_000) + 0.5) / 20_000
    bets = np.array([monitor.bets(p_value) for p_value in grid])
    assert bets.shape == (20_000, len(SHIFTS))
    assert bets.mean(axis=0) == pytest.approx(np.ones(len(SHIFTS)), abs=1e-3)
    assert (bets[grid <= FLAT] == 1).all()
    assert bets.min() > 0
    assert all(np.isfinite(monitor.bets(edge)).all() for edge in (0.0, 1.0))


def test_the_alarm_is_silent_for_its_stated_run_length() -> None:
    """Over good parts: at least 200 parts apart on average; and within a tenth of the length in at most 1 run in 10."""
    lengths = [run_until_alarm(seed, 5000, run_length=200) for seed in range(200)]
    mean = np.minimum(lengths, 5000).mean()
    error = np.minimum(lengths, 5000).std() / np.sqrt(len(lengths))
    assert mean - 3 * error > 200 * 0.8
    assert mean + 3 * error > 200
    early = [run_until_alarm(seed, 2000, run_length=20_000) <= 2000 for seed in range(60)]
    assert sum(early) <= 14, "at most 1 in 10 of them: binomial(60, 0.1) is above 14 in fewer than 1 case in 1,000"


@pytest.mark.parametrize("begins", [500, 5000])
def test_a_shift_of_half_a_standard_deviation_is_found(begins: int) -> None:
    found = delays(12, begins, 0.5, 100_000)
    assert len(found) >= 9
    assert np.median(found) < 300
    assert found.max() < 1500


def test_ordinary_defects_do_not_fire_it() -> None:
    """Not even a burst of them: what is rejected anyway is no evidence."""
    monitor = Monitor(np.random.default_rng(0).normal(size=CALIBRATION), flat=FLAT, run_length=10)
    assert not any(monitor.see(50.0 + number, 0.5)[2] for number in range(9))
    runs = [run_until_alarm(seed, 2000, run_length=20_000, defects=0.05) <= 2000 for seed in range(60)]
    assert sum(runs) <= 14


def test_ranks_against_one_fixed_set_would_alarm_falsely() -> None:
    """Why parts join the ranks: with the same bets, one sample of 100 for all p-values fires in many runs."""
    false = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        fixed = np.sort(random.normal(size=CALIBRATION))
        monitor = Monitor([], flat=FLAT, run_length=100_000)
        evidence = np.zeros(len(SHIFTS))
        for score, coin in zip(random.normal(size=4000), random.random(4000), strict=True):
            p_value = (CALIBRATION - np.searchsorted(fixed, score) + coin) / (CALIBRATION + 1)
            evidence = (1 + evidence) * monitor.bets(float(p_value))
            if evidence.mean() >= 100_000:
                false += 1
                break
    assert false >= 3, "the promise would be at most 1 run in 25"


def test_the_course_of_a_store(store: Store) -> None:
    random = np.random.default_rng(1)
    card = card_of(random.normal(size=39))
    store.configure(StoreSettings(drift=DriftSettings(run_length=1000)), by="tester")
    quiet = drift(store, card)
    assert "No part has been inspected" in quiet.sentence()
    scores = random.normal(size=60) + 2.0 * (np.arange(60) >= 20)
    record_parts(store, card, {f"part{number}": score for number, score in enumerate(scores)})
    course = drift(store, card)
    assert len(course.points) == 60
    assert course == drift(store, card), "the same log always gives the same course"
    assert course.points[0].at < course.points[-1].at
    assert all(0 <= point.p_value <= 1 for point in course.points)
    lax = card.estimated(threshold=100.0, review_threshold=100.0)
    assert lax.require_calibration().review_rate == 0, (
        "where a person has chosen thresholds, the review rate once wanted stays flat"
    )
    assert drift(store, lax).points == course.points


def test_parts_seen_before_production_began_are_no_reference(store: Store) -> None:
    """Trial parts with the light set otherwise would make the shift look ordinary: left out, the course is another."""
    random = np.random.default_rng(2)
    card = card_of(random.normal(size=39))
    record_parts(store, card, {f"trial{number}": score for number, score in enumerate(random.normal(size=12) + 1)})
    kept = Course(store, card.bundle_id)
    assert len(kept.look(card).points) == 12
    store.configure(StoreSettings(drift=DriftSettings(since=datetime.now(UTC))), by="tester")
    record_parts(store, card, {f"part{number}": score for number, score in enumerate(random.normal(size=8))})
    course = kept.look(card)
    assert [point.part for point in course.points] == [f"part{number}" for number in range(8)]
    first, calibrated = course.points[0], [row.calibrated_score for row in card.calibration_parts]
    score = next(part.score for part in store.reviews.parts(card.bundle_id) if part.part == "part0")
    above, coin = sum(one > score for one in calibrated), store.fair_coin("drift", card.bundle_id, "part0")
    assert first.p_value == pytest.approx((above + coin) / (len(calibrated) + 1)), "ranked among the calibration alone"


def plain_course(store: Store, card: Card) -> list[tuple[str, float, float, bool]]:
    """(part, p-value, evidence, alarm) as the definition says, from all parts at once, with a list that is sorted anew
    for each."""
    parts = [part for part in store.reviews.parts(card.bundle_id) if part.score is not None]
    known = [row.calibrated_score for row in card.calibration_parts if row.part not in {part.part for part in parts}]
    bets = Monitor([], flat=card.rule[2], run_length=np.inf).bets
    evidence, course = np.zeros(len(SHIFTS)), []
    for part in parts:
        coin = store.fair_coin("drift", card.bundle_id, part.part)
        above, equal = sum(one > part.score for one in known), sum(one == part.score for one in known)
        known.append(part.score)
        p_value = (above + coin * (1 + equal)) / len(known)
        evidence = (1 + evidence) * bets(p_value)
        alarm = bool(evidence.mean() >= store.settings.drift.run_length)
        course.append((part.part, p_value, float(evidence.mean()), alarm))
        evidence = evidence * (not alarm)
    return course


@pytest.mark.parametrize("seed", range(3))
def test_a_course_that_is_kept_is_the_one_that_is_computed_anew(store: Store, seed: int) -> None:
    """Whatever is written between two looks: new parts, further pictures of old ones, unreadable ones that are read
    later, calibration parts that turn up, other thresholds, and rows that retention removes."""
    random = np.random.default_rng(seed)
    card = card_of(np.round(random.normal(size=30), 1))
    store.configure(StoreSettings(drift=DriftSettings(run_length=100)), by="tester")
    kept, alarms, number = Course(store, card.bundle_id), 0, 0
    for look in range(12):
        for _ in range(int(random.integers(0, 15))):
            number += int(random.random() < 0.7)
            name = f"cal{number % 30}" if random.random() < 0.05 else f"part{number}"
            gated = 99.0 if random.random() < 0.05 else 1.0
            broken = ImageError(f"{name}: damaged") if random.random() < 0.1 else None
            item = broken or verdict(card, float(np.round(random.normal() - 0.3 * look, 1)), distance=gated)
            store.record(card, [Seen(f"{name}.png", item, name)], by="t", source="t")
        if look == 5:
            card = card.calibrated(card.calibration_parts, 0.1, "expected", 0.3)
        if look == 8:
            store.configure(StoreSettings(drift=DriftSettings(run_length=100), keep_rows_days=1), by="tester")
            oldest = store.history.search(Query(limit=1000))[len(store.history.search(Query(limit=1000))) // 2].at
            store.retain(by="tester", now=oldest + timedelta(days=1))
        seen, anew = kept.look(card), plain_course(store, card)
        assert seen == drift(store, card)
        assert [(one.part, one.alarm) for one in seen.points] == [(part, alarm) for part, _, _, alarm in anew]
        assert [one.p_value for one in seen.points] == pytest.approx([p for _, p, _, _ in anew])
        assert [one.evidence for one in seen.points] == pytest.approx([evidence for _, _, evidence, _ in anew])
        alarms += len(seen.alarms)
    assert alarms and len(seen.points) > 20


def test_an_alarm_stands_until_the_thresholds_are_set_anew(store: Store) -> None:
    random = np.random.default_rng(1)
    card = card_of(random.normal(size=39))
    store.configure(StoreSettings(drift=DriftSettings(run_length=100)), by="tester")
    record_parts(store, card, {f"part{number}": -2 - 0.01 * number for number in range(60)})
    moved = drift(store, card)
    assert moved.standing == moved.alarms != []
    assert "Production has moved" in moved.sentence()
    anew = card.calibrated(card.calibration_parts, 0.08, "expected", 0.1)
    assert drift(store, anew).standing == []
    assert drift(store, anew).alarms == moved.alarms
    assert "No alarm since the thresholds were set again" in drift(store, anew).sentence()


def test_an_alarm_that_was_looked_into_stands_no_longer(store: Store) -> None:
    random = np.random.default_rng(1)
    card = card_of(random.normal(size=39))
    store.configure(StoreSettings(drift=DriftSettings(run_length=100)), by="tester")
    record_parts(store, card, {f"part{number}": -2 - 0.01 * number for number in range(60)})
    with pytest.raises(StoreError, match="needs a reason"):
        look_into(store, card, by="anna", reason="  ")
    assert drift(store, card).standing != []
    look_into(store, card, by="anna", reason="a new lamp")
    seen = drift(store, card)
    assert seen.standing == [] and seen.alarms != []
    assert "No alarm since anna looked into it on" in seen.sentence()
    assert "(a new lamp)" in seen.sentence()
    assert store.verify().passed
    record_parts(store, card, {f"later{number}": -4 - 0.01 * number for number in range(60)})
    again = drift(store, card)
    assert 0 < len(again.standing) < len(again.alarms)
    assert "Production has moved" in again.sentence()


def realised(seed: int, shares: tuple[float, float]) -> float:
    """The share of good parts rejected after recalibration: 19 parts, then a line with defects, an audit, answers."""
    random = np.random.default_rng(seed)
    earlier = random.normal(size=19)
    parts = int(200 / shares[0])
    scores, defective = random.normal(size=parts), random.random(parts) < shares[1]
    scores[defective] += 3
    audited = random.random(parts) < shares[0]  # whatever the score
    joined = scores[audited & ~defective]
    table = np.concatenate([earlier, joined])
    made = calibrate(table, rate=0.05, guarantee="expected", review_rate=0.1)
    return 1 - NormalDist().cdf(made.threshold.value)


def test_the_guarantee_holds_after_recalibration_from_the_audit_sample() -> None:
    rates = np.array([realised(seed, (0.1, 0.1)) for seed in range(400)])
    error = rates.std() / np.sqrt(len(rates))
    assert rates.mean() <= 0.05 + 3 * error
    assert rates.mean() > 0.04, "and it is not merely lax"


def test_grey_band_answers_would_spoil_it() -> None:
    """Why they never calibrate: a review band made for 10% of good parts would be passed by far too many."""
    random = np.random.default_rng(0)
    good = random.normal(size=4000)
    asked = good[(good > 1.28) & (good < 1.64)]
    table = np.concatenate([random.normal(size=39), asked])
    made = calibrate(table, rate=0.05, guarantee="expected", review_rate=0.1)
    assert 1 - NormalDist().cdf(made.review.value) < 0.07


@pytest.mark.slow
def test_the_figures_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/store.md states these; run with `-m slow -s`."""
    with capsys.disabled():
        for run_length in (10_000, 100_000):
            silent = np.array([run_until_alarm(seed, 10_000, run_length=run_length) for seed in range(200)])
            alarmed = np.isfinite(silent).mean()
            print(f"\nrun length {run_length}: {alarmed:.1%} of 200 runs alarm within 10,000 good parts")
            assert alarmed <= 10_000 / run_length + 0.07
            for begins in (500, 5000):
                for shift in (0.5, -0.5):
                    found = delays(100, begins, shift, run_length)
                    print(
                        f"  shift {shift:+} at {begins}: delay median {np.median(found):.0f}, "
                        f"90% {np.quantile(found, 0.9):.0f}, never {np.isinf(found).sum()} ({len(found)} runs)"
                    )
        lengths = np.array([run_until_alarm(seed, 40_000, run_length=1000) for seed in range(200)])
        print(f"stated 1,000: mean run length {np.minimum(lengths, 40_000).mean():.0f}")
        assert np.minimum(lengths, 40_000).mean() > 1000
        rates = np.array([realised(seed, (0.1, 0.1)) for seed in range(5000)])
        print(f"rejected after recalibration: {rates.mean():.4f} +- {rates.std() / np.sqrt(len(rates)):.4f}")
        assert rates.mean() <= 0.05 + 3 * rates.std() / np.sqrt(len(rates))
