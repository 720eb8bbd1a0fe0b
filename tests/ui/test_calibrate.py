"""The page Calibrate: the recipe's rate is a promise, any other, or a dragged threshold, is an estimate."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from defectflow_ui.pages.calibrate_view import axis, histogram
from playwright.sync_api import expect
from running import Running, Watch, listening

from defectflow.bundle.bundle import open_bundle
from defectflow.data import find_pictures
from defectflow.gauge import PartScores
from defectflow.line import Inspector
from defectflow.store import Answer, Seen, Store
from defectflow.verdict.tradeoff import Costs, Tradeoff


@pytest.fixture(scope="module")
def answered(bundle_path: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of the ring, and its test parts inspected and answered."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(bundle_path, folder / "ring")
    with Store.open(str(folder / "inspections.db")) as store:
        answer_all(store, folder / "ring", sample)
    return folder


@pytest.fixture
def station(answered: Path, tmp_path: Path) -> Iterator[Running]:
    with listening(shutil.copytree(answered, tmp_path / "models")) as running:
        yield running


def answer_all(store: Store, bundle: Path, sample: Path) -> None:
    inspector = Inspector(bundle, threads=1)
    pictures = [picture for picture in find_pictures(sample) if picture.split == "test"]
    verdicts = inspector.inspect([picture.path for picture in pictures])
    judged = zip(pictures, verdicts, strict=True)
    seen = [Seen(one.path.name, item, part=one.part, picture=one.path) for one, item in judged]
    for picture, number in zip(pictures, store.record(inspector.card, seen, by="anna", source="test"), strict=True):
        said = Answer.GOOD if picture.label == "good" else Answer.DEFECTIVE
        store.reviews.answer(number, said, by="anna")


def test_what_counts_as_evidence(station: Running) -> None:
    """Every defective part; of the good ones those of the audit sample, and no calibration part twice."""
    bundle = open_bundle(station.station.settings.bundles / "ring")
    card, scores = bundle.card, PartScores.of(bundle, station.station.store)
    parts = station.station.store.reviews.parts(card.bundle_id)
    assert len(scores.calibration) == len(card.calibration_parts) == 19
    assert len(scores.defective) == sum(part.answer == Answer.DEFECTIVE for part in parts) == 18
    assert len(scores.audit_good) == sum(part.answer == Answer.GOOD and part.audit for part in parts)
    assert len(scores.audit_good) + len(scores.other_good) == 20
    assert len(scores.tradeoff.good) == 19 + len(scores.audit_good)


def test_a_rate_a_threshold_and_the_way_back(watch: Watch, station: Running) -> None:
    folder = station.station.settings.bundles / "ring"
    before = open_bundle(folder).card
    watched = watch(station)
    page = watched.page
    watched.visit("Calibrate")
    promise, table = page.locator("#calibrate-promise"), page.locator("#calibrate-table")
    expect(page.locator("#calibrate-histogram rect.good").first).to_be_visible()
    expect(page.locator("#calibrate-histogram rect.defective").first).to_be_visible()
    expect(table).to_contain_text("estimates, which promise nothing")

    rate = page.locator("#calibrate-rate input")
    rate.fill("1")
    rate.press("Enter")
    expect(promise).to_contain_text("19 good parts cannot support a false-reject rate of 1% (0.01)")
    rate.fill("10")
    rate.press("Enter")
    exact = before.calibrated(before.calibration_parts, 0.1, "expected", 0.1, beforehand=False)
    assert exact.calibration is not None
    expect(promise).to_contain_text(f"{exact.calibration.threshold.value:.4f}")
    expect(promise).to_contain_text("Chosen after looking: an estimate")
    rate.fill("5")
    rate.press("Enter")
    expect(promise).to_contain_text("On average at most 5.00% of good parts are called defective or invalid")
    rate.fill("10")
    rate.press("Enter")
    expect(promise).to_contain_text("no rate is promised")
    save(page, "ten", "fewer defects missed")
    assert open_bundle(folder).card.calibration == exact.calibration
    expect(page.locator("#calibrate-versions")).to_contain_text("chosen after looking: an estimate")
    expect(page.locator("#station-header")).to_contain_text("an estimate, nothing is promised")

    slider = page.locator("#calibrate-threshold input[type=range]")
    slider.focus()
    for _ in range(25):
        page.keyboard.press("ArrowLeft")
    expect(promise).to_contain_text("chosen after looking at scores: they are an estimate")
    chosen = float(slider.input_value())
    assert chosen < exact.calibration.threshold.value
    row = table.locator("tr[data-row='being chosen']")
    expect(row).to_contain_text(f"{chosen:.3f}")
    tradeoff = PartScores.of(open_bundle(folder), station.station.store).tradeoff
    rejected = int((tradeoff.good > chosen).sum())
    expect(row).to_contain_text(f"{rejected} of {len(tradeoff.good)}")
    save(page, "by hand", "to see")
    expect(page.locator("#station-header")).to_contain_text("an estimate, nothing is promised")
    by_hand = open_bundle(folder).card
    assert by_hand.calibration is not None
    assert by_hand.calibration.guarantee == "estimate"
    assert by_hand.promised is None

    page.locator("#calibrate-versions button", has_text="Use again").last.click()  # the oldest: as it was
    expect(page.locator("#calibrate-said")).to_contain_text("is in use from now on")
    assert open_bundle(folder).card.calibration == before.calibration
    names = [version.name for version in station.station.store.versions.all(before.bundle_id)]
    assert names[:2] == ["by hand", "ten"]
    assert len(names) == 3
    assert not watched.complaints


def test_an_uncalibrated_model_is_finished_here(watch: Watch, uncalibrated_path: Path, tmp_path: Path) -> None:
    """At the lowest rate that its 8 parts support, which no score decides; then it is the active one."""
    shutil.copytree(uncalibrated_path, tmp_path / "swatch")
    with listening(tmp_path) as running:
        watched = watch(running)
        page = watched.page
        watched.visit("Calibrate")
        expect(page.locator("#calibrate-promise")).to_contain_text("This model is uncalibrated")
        rate = page.locator("#calibrate-rate input")
        rate.fill("11.12")
        rate.press("Enter")
        expect(page.locator("#calibrate-promise")).to_contain_text("On average at most 11.11% of good")
        save(page, "first", "enough for now")
        expect(page.locator("#active-bundle")).to_have_text("swatch")
        assert open_bundle(tmp_path / "swatch").card.promised is not None
        watched.context.close()


def test_the_cheapest_threshold(watch: Watch, station: Running) -> None:
    bundle = open_bundle(station.station.settings.bundles / "ring")
    card, scores = bundle.card, PartScores.of(bundle, station.station.store)
    best = Tradeoff([*scores.calibration, *scores.audit_good], scores.defective).cheapest(Costs(1, 200, 0.05))
    watched = watch(station)
    page = watched.page
    watched.visit("Calibrate")
    expect(page.locator("#calibrate-histogram rect.good").first).to_be_visible()
    page.get_by_text("What mistakes cost").click()
    page.locator("#cost-escape input").fill("200")
    page.locator("#cost-share input").fill("5")
    page.locator("#calibrate-cheapest").click()
    expect(page.locator("#calibrate-cost")).to_contain_text(f"threshold {best.point.threshold:.3f}")
    expect(page.locator("tr[data-row='cheapest']")).to_contain_text(f"{best.point.threshold:.3f}")
    band = card.calibration.review.value if card.calibration is not None else best.point.threshold
    kept = page.locator("#calibrate-review input[type=range]")
    assert float(kept.input_value()) == pytest.approx(min(band, best.point.threshold), abs=0.01)
    told = "The grey band still begins" if band < best.point.threshold else "There is no grey band now"
    expect(page.locator("#calibrate-cost")).to_contain_text(told)
    page.locator("#calibrate-save").click()  # without a name: nothing is saved, and the fields say why
    expect(page.locator("#calibrate-name")).to_contain_text("Please fill this in")
    expect(page.locator("#calibrate-reason")).to_contain_text("Please fill this in")


def test_keys_of_calibrate_and_models(watch: Watch, station: Running) -> None:
    watched = watch(station)
    page = watched.page
    watched.visit("Calibrate")
    expect(page.locator("#calibrate-histogram rect.good").first).to_be_visible()
    focused = "document.activeElement.closest('[id]:is([id^=calibrate], #activate)')?.id"
    for key, place in (("r", "calibrate-rate"), ("t", "calibrate-threshold"), ("g", "calibrate-review")):
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press(key)
        assert page.evaluate(focused) == place
    slider = page.locator("#calibrate-review input[type=range]")
    before = float(slider.input_value())
    page.keyboard.press("ArrowLeft")
    assert float(slider.input_value()) < before
    page.keyboard.press("n")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")  # without a reason
    expect(page.locator("#calibrate-reason")).to_contain_text("Please fill this in")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert "grey band; then" in page.locator("#station-keys").inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Models").click()
    page.wait_for_selector("#card table")
    activations = len(station.station.store.versions.activations())
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("a")
    assert page.evaluate(focused) == "activate"
    assert len(station.station.store.versions.activations()) == activations, "one key alone puts nothing to work"
    page.keyboard.press("Enter")
    expect(page.locator("#models-said")).to_contain_text("is active")


def test_a_drag_builds_nothing_that_it_does_not_change(station: Running) -> None:
    """Neither the versions, which may be many, nor anything else below the histogram and its table."""
    config = station.client().get("/config").json()
    names = {one["id"]: one["props"].get("elem_id") for one in config["components"]}
    (drag,) = [
        one
        for one in config["dependencies"]
        if any(names.get(target) == "calibrate-threshold" and event == "input" for target, event in one["targets"])
    ]
    changed = {names[output] for output in drag["outputs"]}
    assert changed == {f"calibrate-{name}" for name in ("histogram", "table", "promise", "said", "review")}


def test_histogram_and_sliders_share_an_axis_that_no_gross_defect_stretches() -> None:
    """One part scores a hundred times as high as the others: it is told, and useful thresholds fill half the axis."""
    good = tuple(2 + n / 20 for n in range(20))
    scores = PartScores(good, (), (), (3.5, 300.0), 300.0)
    low, high, step = axis(scores, 2.9, 2.8)
    assert low <= min(good)
    assert 3.5 <= high < 4.0
    assert step == pytest.approx(0.001)
    drawn = histogram(scores, [("review", 2.8), ("cut", 2.9)], (low, high, step))
    assert f"Beyond {high:.2f}, drawn in the last bar: 1 defective." in drawn
    assert f"{low:.1f}</text>" in drawn, "the histogram begins where the sliders do"
    calm = PartScores(good, (), (), (), max(good))
    assert "Beyond" not in histogram(calm, [("cut", 2.9)], axis(calm, 2.9))


def test_no_bar_stands_on_both_sides_of_the_threshold() -> None:
    good = tuple(2 + n / 20 for n in range(20))
    scores = PartScores(good, (), (), (), 3.0)
    drawn = histogram(scores, [("cut", 2.72)], (2.0, 3.1, 0.001))
    (line,) = re.findall(r'<line class="cut" x1="([0-9.]+)"', drawn)
    bars = [
        (float(x), float(width))
        for x, width in re.findall(r'<rect class="good" x="([0-9.]+)"[^>]* width="([0-9.]+)"', drawn)
    ]
    assert len(bars) == len(good)
    assert not [x for x, width in bars if x < float(line) < x + width]
    assert sum(x > float(line) for x, _ in bars) == sum(score > 2.72 for score in good)


def save(page: Any, name: str, reason: str) -> None:
    page.locator("#calibrate-name").locator("input, textarea").fill(name)
    page.locator("#calibrate-reason").locator("input, textarea").fill(reason)
    page.locator("#calibrate-save").click()
    expect(page.locator("#calibrate-said")).to_contain_text(f"Saved as '{name}'")
