"""New thresholds without training: right, on the line's install, only on new evidence, and all or nothing."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import digests, save, swatch, swatches

from defectflow.bundle import Bundle, Card, fitted_parts, open_bundle
from defectflow.data import Picture
from defectflow.errors import BundleError, CalibrationError, DataError, ImageError
from defectflow.line import Inspector
from defectflow.line.recalibrate import recalibrate
from defectflow.line.verify import verify
from defectflow.verdict import Decision, Verdict


def further(folder: Path, count: int, first_seed: int = 100) -> list[tuple[Path, str]]:
    swatches(folder, count, first_seed)
    return [(path, f"new/{path.stem}") for path in sorted(folder.glob("*.png"))]


def refused(
    bundle: Path, error: type[Exception], pattern: str, more: list[tuple[Path, str]], rate: float = 0.2
) -> None:
    """Refused with this message, and nothing in the bundle has changed."""
    before = digests(bundle)
    with pytest.raises(error, match=pattern):
        recalibrate(
            open_bundle(bundle),
            rate=rate,
            guarantee="expected",
            review_rate=max(rate, 0.3),
            more_good=named(bundle, more),
        )
    assert digests(bundle) == before


def named(bundle: Path, more: list[tuple[Path, str]]) -> list[Picture]:
    """Good pictures of parts that are known, or not, as the bundle has it."""
    known = open_bundle(bundle).card.parts_known
    return [Picture(path, part, "good", "good", part_known=known) for path, part in more]


def stored_thresholds(bundle: Path, file: str = "model.onnx") -> dict[str, float]:
    graph = onnx.load(bundle / file).graph
    return {each.name: float(numpy_helper.to_array(each)) for each in graph.initializer if "threshold" in each.name}


def test_another_rate_on_the_same_parts(bundle_copy: Path, sample: Path) -> None:
    before, files = open_bundle(bundle_copy).card, digests(bundle_copy)
    after = recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4)
    scores = sorted(part.score for part in before.calibration_parts if part.score is not None)
    assert len(scores) == 19
    threshold, review = np.mean(scores[15:17]), np.mean(scores[11:13])  # 4 and 8 of 20 may lie above: k = 16, 12
    assert after.card.calibration is not None
    assert after.card.calibration.threshold.value == pytest.approx(threshold)
    assert after.card.calibration.review.value == pytest.approx(review)
    assert stored_thresholds(bundle_copy)["threshold"] == pytest.approx(threshold, rel=1e-6)
    assert stored_thresholds(bundle_copy)["review_threshold"] == pytest.approx(review, rel=1e-6)
    assert after.card.bundle_id == before.bundle_id
    assert after.card.calibration_id != before.calibration_id
    changed = {name for name, digest in digests(bundle_copy).items() if files[name] != digest}
    assert changed == {"model.onnx", "card.json"}
    assert verify(open_bundle(bundle_copy)).passed
    # The graph applies what the card says.
    pictures = sorted((sample / "test" / "good").glob("*.png"))
    for verdict in Inspector(bundle_copy, threads=1).inspect(pictures):
        assert isinstance(verdict, Verdict)
        wanted = Decision.DEFECT if verdict.score > threshold else Decision.REVIEW if verdict.score > review else 0
        assert verdict.decision == wanted
    back = recalibrate(open_bundle(bundle_copy), rate=0.05, guarantee="expected", review_rate=0.10)
    assert back.card.calibration == before.calibration
    assert digests(bundle_copy) == files, "the way back leads to the same bytes"


def test_a_rate_that_the_parts_cannot_support(bundle_copy: Path) -> None:
    refused(
        bundle_copy,
        CalibrationError,
        r"^19 good parts cannot support .* 1% \(0\.01\) on average; add 80 more",
        [],
        rate=0.01,
    )
    before = digests(bundle_copy)
    with pytest.raises(CalibrationError, match="add 40 more"):
        recalibrate(open_bundle(bundle_copy), rate=0.05, guarantee="confident", review_rate=0.1)
    assert digests(bundle_copy) == before


def test_further_parts_calibrate_a_bundle_without_torch(uncalibrated_copy: Path, tmp_path: Path) -> None:
    """In a process of its own, in which importing torch fails as it does on the line."""
    swatches(tmp_path / "more", 12, first_seed=100)
    program = f"""
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys(("torch", "timm", "sklearn", "scipy")))  # None: importing them fails
from defectflow.bundle.bundle import open_bundle
from defectflow.data import find_pictures
from defectflow.line.recalibrate import recalibrate
more = find_pictures(Path({str(tmp_path / "more")!r}), label="good")
bundle = open_bundle(Path({str(uncalibrated_copy)!r}))
recalibrate(bundle, rate=0.05, guarantee="expected", review_rate=0.1, more_good=more)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    bundle = open_bundle(uncalibrated_copy)
    assert bundle.card.calibration is not None
    assert len(bundle.card.calibration_parts) == 8 + 12
    measured = [item.calibrated_score for item in Inspector(bundle, threads=1).measure(sorted(tmp_path.glob("more/*")))]
    stored = [part.score for part in bundle.card.calibration_parts[8:]]
    assert stored == pytest.approx(measured, abs=1e-3 * bundle.card.good_spread)
    everything = sorted(part.score for part in bundle.card.calibration_parts if part.score is not None)
    assert bundle.card.calibration.threshold.rank == 20
    assert everything[-1] < bundle.card.calibration.threshold.value < everything[-1] + 0.01 * np.std(everything)
    assert "Calibrated on 20 good pictures." in bundle.card.guarantee()
    assert verify(bundle).passed


def test_a_picture_of_the_fit_is_no_evidence(uncalibrated_copy: Path, swatch_folder: Path, tmp_path: Path) -> None:
    more = further(tmp_path / "more", 12)
    calibrated_on = {part.part for part in open_bundle(uncalibrated_copy).card.calibration_parts}
    for picture in sorted(swatch_folder.glob("*.png"))[::4]:
        side = "calibration" if picture.stem in calibrated_on else "train|tune"
        # Under another name and in another format: the pixels are what counts.
        copy = save(tmp_path / "copies" / f"renamed {picture.stem}.bmp", swatch(int(picture.stem)))
        refused(
            uncalibrated_copy,
            CalibrationError,
            rf"renamed {picture.stem}\.bmp: .*in the fit \(({side})\)",
            [*more, (copy, "x")],
        )


def test_a_picture_counts_once(uncalibrated_copy: Path, tmp_path: Path) -> None:
    more = further(tmp_path / "more", 12)
    twin = save(tmp_path / "twin.png", swatch(100))
    refused(uncalibrated_copy, CalibrationError, r"twin\.png: .*already, as .*000\.png", [*more, (twin, "twin")])
    recalibrate(
        open_bundle(uncalibrated_copy),
        rate=0.1,
        guarantee="expected",
        review_rate=0.2,
        more_good=named(uncalibrated_copy, more),
    )
    refused(uncalibrated_copy, CalibrationError, r"000\.png: .*in an earlier calibration", more)
    refused(uncalibrated_copy, CalibrationError, r"twin\.png: .*in an earlier calibration", [(twin, "twin")])


def test_a_part_that_is_in_the_table_already(bundle_copy: Path, sample: Path) -> None:
    known = open_bundle(bundle_copy).card.calibration_parts[0].part
    picture = min((sample / "test" / "good").glob("*.png"))
    refused(bundle_copy, CalibrationError, rf"part '{known}' is already used \(calibration\)", [(picture, known)])


def test_an_unreadable_picture_stops_it(uncalibrated_copy: Path, tmp_path: Path) -> None:
    """A part must not look better because its worst picture is missing."""
    more = further(tmp_path / "more", 12)
    broken = tmp_path / "broken.png"
    broken.write_bytes(more[0][0].read_bytes()[:500])
    refused(uncalibrated_copy, ImageError, r"broken\.png: ", [*more, (broken, "broken")])
    refused(uncalibrated_copy, DataError, r"gone\.png: no such file", [*more, (tmp_path / "gone.png", "gone")])


def test_the_worst_picture_is_the_part_and_a_gated_one_counts_as_infinite(bundle_copy: Path, sample: Path) -> None:
    """Three new parts: one with two pictures, one that shows something else, one ordinary."""
    good = sorted((sample / "test" / "good").glob("*.png"))[:3]
    foreign = save(bundle_copy.parent / "black.png", np.zeros((256, 256, 3), np.uint8))
    more = [(good[0], "A"), (foreign, "B"), (good[1], "A"), (good[2], "C")]
    bundle = recalibrate(
        open_bundle(bundle_copy),
        rate=0.1,
        guarantee="expected",
        review_rate=0.2,
        more_good=named(bundle_copy, more),
    )
    scores = [item.score for item in Inspector(bundle, threads=1).measure(good) if not isinstance(item, ImageError)]
    a, b, c = bundle.card.calibration_parts[-3:]
    assert (a.part, a.pictures, b.part, b.score, c.part) == ("A", 2, "B", None, "C")
    assert [a.score, c.score] == pytest.approx([max(scores[:2]), scores[2]], abs=1e-3 * bundle.card.good_spread)
    assert bundle.card.require_calibration().gated == 1
    assert isinstance(open_bundle(bundle_copy), Bundle)
    five_more = [(save(bundle_copy.parent / f"{n}.png", np.full((99, 99, 3), n, np.uint8)), f"{n}") for n in range(5)]
    refused(bundle_copy, CalibrationError, r"^6 of 27 calibration parts .*\(invalid\)", five_more, rate=0.1)


def test_another_shot_of_a_fitted_part_is_no_new_evidence(bundle_copy: Path, sample: Path) -> None:
    fitted = fitted_parts(open_bundle(bundle_copy))
    part = next(part for part, side in fitted.items() if side == "train")
    picture = min((sample / "test" / "good").glob("*.png"))
    refused(bundle_copy, CalibrationError, rf"part '{part}' is already used \(train\)", [(picture, part)])


def test_pictures_that_name_no_part_cannot_join_parts(bundle_copy: Path, tmp_path: Path) -> None:
    """Five parts shot twice would count as ten: a promise of 5% would be realised as 9%."""
    before = digests(bundle_copy)
    more = [Picture(path, part, "good", "good") for path, part in further(tmp_path / "more", 4)]
    with pytest.raises(CalibrationError, match=r"^4 of 4 pictures name no part, the first is .*000\.png.*--part-regex"):
        recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4, more_good=more)
    assert digests(bundle_copy) == before


def test_parts_cannot_join_pictures(uncalibrated_copy: Path, tmp_path: Path) -> None:
    more = [Picture(path, "7", "good", "good", part_known=True) for path, _ in further(tmp_path / "more", 4)]
    with pytest.raises(CalibrationError, match=r"^4 of 4 pictures name their part, .* picture by picture"):
        recalibrate(open_bundle(uncalibrated_copy), rate=0.2, guarantee="expected", review_rate=0.4, more_good=more)


def test_a_rate_chosen_after_looking_is_an_estimate(bundle_copy: Path) -> None:
    card = open_bundle(bundle_copy).card
    assert card.fixed_beforehand(*card.rule[:2])
    assert not card.fixed_beforehand(0.2, "expected")
    looked = recalibrate(
        open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4, beforehand=False
    ).card
    promised = recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4).card
    assert looked.calibration is not None and promised.calibration is not None
    assert looked.calibration.threshold.value == promised.calibration.threshold.value
    assert looked.promised is None and promised.promised is not None
    assert "chosen after looking at scores: they are an estimate, and no rate is promised" in looked.guarantee()[0]
    assert "at most" in looked.guarantee()[1]
    assert promised.fixed_beforehand(0.2, "expected"), "what is promised now was fixed before"
    assert promised.fixed_beforehand(*card.rule[:2]), "and so was the recipe's"
    assert not looked.fixed_beforehand(0.2, "expected")


def test_a_review_rate_chosen_after_looking_leaves_the_promise_about_rejected_parts(bundle_copy: Path) -> None:
    before = open_bundle(bundle_copy).card
    rate, guarantee, review_rate = before.rule

    def with_review_rate(wanted: float) -> Card:
        return recalibrate(
            open_bundle(bundle_copy), rate=rate, guarantee=guarantee, review_rate=wanted, beforehand=False
        ).card

    looked = with_review_rate(0.6)
    assert before.calibration is not None and looked.calibration is not None
    assert looked.promised == before.promised
    assert looked.calibration.review.value < before.calibration.review.value
    assert looked.guarantee()[:3] == before.guarantee()[:3]
    assert "review rate was chosen after looking at scores: it is an estimate" in looked.guarantee()[3]
    assert f"{looked.calibration.review.rank} are called ok" in looked.guarantee()[3]
    assert "anything but ok" in before.guarantee()[3]
    assert not looked.review_fixed_beforehand(0.6, rate), "saying it twice makes no promise of it"
    again = with_review_rate(review_rate)
    assert (again.guarantee(), again.calibration_id) == (before.guarantee(), before.calibration_id)


def test_the_most_unusual_calibration_parts_are_named_and_a_narrow_review_band_is_said(bundle_copy: Path) -> None:
    bundle = open_bundle(bundle_copy)
    rows = sorted(bundle.card.calibration_parts, key=lambda part: part.calibrated_score)
    wide = recalibrate(bundle, rate=0.2, guarantee="expected", review_rate=0.6).card
    (named,) = wide.hints()
    assert ", ".join(f"{part.part} ({part.score:.2f})" for part in rows[:-4:-1]) in named
    narrow = recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.2).card
    assert "the review band is narrow" in narrow.hints()[1]
    assert "--false-reject-rate 0.2 --review-rate 0.4" in narrow.hints()[1]


def test_the_advised_command_keeps_what_is_promised(bundle_copy: Path) -> None:
    """Its rate to the last digit, since another one would make an estimate, and its guarantee."""
    rate = 0.2123456789
    confident = recalibrate(open_bundle(bundle_copy), rate=0.45, guarantee="confident", review_rate=0.45).card
    assert "--false-reject-rate 0.45 --review-rate 0.5 --guarantee confident" in confident.hints()[1]
    exact = recalibrate(open_bundle(bundle_copy), rate=rate, guarantee="expected", review_rate=rate).card
    assert f"--false-reject-rate {rate} " in exact.hints()[1]
    assert exact.fixed_beforehand(float(exact.hints()[1].split("--false-reject-rate ")[1].split()[0]), "expected")


def test_a_kill_between_model_and_card_is_completed(bundle_copy: Path) -> None:
    old_card = (bundle_copy / "card.json").read_bytes()
    recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4)
    after = digests(bundle_copy)
    (bundle_copy / "card.json").rename(bundle_copy / "card.json.partial")
    (bundle_copy / "card.json").write_bytes(old_card)
    assert open_bundle(bundle_copy).card.calibration is not None
    assert digests(bundle_copy) == after


def test_who_may_not_complete_it_is_reported_what_is_wrong(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who may only read the folder; or, on Windows, a file that somebody else has open."""
    old_card, before = (bundle_copy / "card.json").read_bytes(), open_bundle(bundle_copy).card
    model = (bundle_copy / "model.onnx").read_bytes()
    recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4)
    (bundle_copy / "card.json").rename(bundle_copy / "card.json.partial")
    (bundle_copy / "card.json").write_bytes(old_card)

    def denied(file: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "replace", denied)
    with pytest.raises(BundleError, match=r"model\.onnx: is damaged or was altered"):
        open_bundle(bundle_copy)
    (bundle_copy / "model.onnx").rename(bundle_copy / "model.onnx.partial")
    (bundle_copy / "model.onnx").write_bytes(model)
    assert open_bundle(bundle_copy).card == before, "nothing was moved yet, so the old one is whole"


def test_a_card_cut_short_by_a_kill_is_left_aside(bundle_copy: Path) -> None:
    before = open_bundle(bundle_copy).card
    (bundle_copy / "card.json.partial").write_text('{"checksums": {"model')
    assert open_bundle(bundle_copy).card == before


def test_a_bundle_can_be_opened_while_it_is_saved(uncalibrated_copy: Path) -> None:
    """A page looks at the bundles while an engineer saves: each has either the old thresholds or the new ones."""
    wanted = {0.25, 0.3, 0.35, 0.4}
    recalibrate(open_bundle(uncalibrated_copy), rate=0.25, guarantee="expected", review_rate=0.5)

    def opened_until(done: Event) -> set[float]:
        found = set()
        while not done.is_set():
            calibration = open_bundle(uncalibrated_copy).card.calibration
            assert calibration is not None
            found.add(calibration.rate)
        return found

    done = Event()
    with ThreadPoolExecutor() as readers:
        reading = [readers.submit(opened_until, done) for _ in range(2)]
        try:
            for rate in sorted(wanted) * 3:
                recalibrate(open_bundle(uncalibrated_copy), rate=rate, guarantee="expected", review_rate=0.5)
        finally:
            done.set()
        assert all(one.result() <= wanted for one in reading)
    assert not list(uncalibrated_copy.glob("*.partial"))


def test_all_pictures_that_were_used_before_are_named_at_once(uncalibrated_copy: Path, swatch_folder: Path) -> None:
    known = sorted(swatch_folder.glob("*.png"))[:3]
    with pytest.raises(CalibrationError) as caught:
        recalibrate(
            open_bundle(uncalibrated_copy),
            rate=0.2,
            guarantee="expected",
            review_rate=0.3,
            more_good=[Picture(path, f"new/{path.stem}", "good", "good") for path in known],
        )
    assert all(path.name in str(caught.value) for path in known)
