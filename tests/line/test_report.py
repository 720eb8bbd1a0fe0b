"""The page that a quality engineer opens: complete, self-contained, safe, and honest about what is missing."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cards import calibrated_card, measured, uncalibrated_card

from defectflow.bundle.card import Card
from defectflow.errors import BundleError, DataError, ImageError
from defectflow.line import report, report_charts
from defectflow.line.journal import read_journal
from defectflow.line.report import write_report
from defectflow.verdict import Costs, Tradeoff
from defectflow.verdict.calibration import Calibration
from defectflow.verdict.verdict import Decision, Verdict

LIMIT = 8.0
KINDS = ("scratch", "dent", "stain")


def card_of(calibrated: bool = True) -> Card:
    values = {
        "distance_limit": LIMIT,
        "recipe": {"image": {"size": 256}, "flow": {"family": "realnvp", "layers": 8}},
        "versions": {"defectflow": "0.1.0", "onnxruntime": "1.20"},
        "checksums": {"model.onnx": "ab" * 32},
    }
    if not calibrated:
        return uncalibrated_card(**values)
    return calibrated_card(np.sort(np.random.default_rng(1).normal(2.0, 0.5, 59)), **values)


class StandIn:
    """Marks the dark spot that `make_run` paints."""

    def __init__(self, bundle: Path) -> None:
        self.card = Card.model_validate_json((bundle / "card.json").read_text())

    def inspect(self, sources: Iterable[Path]) -> Iterator[Verdict | ImageError]:
        return self._inspect(self.card.require_calibration(), sources)

    def _inspect(self, calibration: Calibration, sources: Iterable[Path]) -> Iterator[Verdict | ImageError]:
        for source in sources:
            content = source.read_bytes() if source.exists() else b""
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
            if picture is None:
                yield ImageError(f"{source}: no such file")
                continue
            dark = (cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA).mean(axis=2) < 80).astype(np.float32)
            values = cv2.GaussianBlur(dark, (0, 0), 2) * 2.2 * calibration.pixel_threshold
            values += np.random.default_rng(0).random((64, 64), np.float32) * 0.5
            seen = measured(
                score=float(values.max()),
                anomaly_map=np.asarray(values, np.float32),
                distance_limit=LIMIT,
                height_px=picture.shape[0],
                width_px=picture.shape[1],
                sha256=hashlib.sha256(content).hexdigest(),
                decision=Decision.DEFECT,
                p_value=0.02,
                threshold=calibration.threshold.value,
                review_threshold=calibration.review.value,
                pixel_threshold=calibration.pixel_threshold,
                mask=values > calibration.pixel_threshold,
            )
            yield Verdict(**seen)


def paint(path: Path, spot: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    picture = np.full((300, 400, 3), (130, 150, 120), np.uint8)
    cv2.circle(picture, (200, 150), 120, (190, 195, 200), -1)
    cv2.circle(picture, (200, 150), 35, (120, 130, 135), -1)
    if spot:
        x, y = (int(v) for v in generator.integers([130, 90], [270, 110]))
        cv2.ellipse(picture, (x, y), (26, 12), float(generator.integers(180)), 0, 360, (20, 20, 25), -1)
    noisy = np.clip(picture + generator.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), noisy)


def make_run(
    folder: Path, *, good: int = 40, defective: int = 12, calibrated: bool = True, labelled: bool = True
) -> Path:
    """A folder as `defectflow score` leaves it, with its pictures and a bundle that has a card only."""
    card = card_of(calibrated)
    calibration = card.require_calibration() if calibrated else None
    source, bundle, results = folder / "pictures", folder / "bundle", folder / "results"
    bundle.mkdir()
    results.mkdir()
    (bundle / "card.json").write_text(card.to_json())
    generator = np.random.default_rng(5)
    rows = []
    for index in range(good + defective):
        bad = index >= good
        kind = KINDS[index % 3] if bad else "good"
        file = f"{kind}/{index:03d}.png"
        paint(source / file, bad, index)
        score = float(generator.gamma(3.0, 2.5) + 2 if bad else generator.normal(2.0, 0.5))
        distance = 20.0 if bad and index == good + defective - 1 else 1.0
        decision = None
        if calibration is not None:
            above = int(score > calibration.review.value) + int(score > calibration.threshold.value)
            decision = "invalid" if distance > LIMIT else Decision(above).word
        rows.append(
            row_of(
                file,
                part=f"part-{index:03d}",
                decision=decision,
                score=score,
                p_value=calibration.p_value(score) if calibration else None,
                threshold=calibration.threshold.value if calibration else None,
                distance=distance,
                regions=[{"left_px": 1, "top_px": 1, "width_px": 9, "height_px": 9, "area_px": 50, "peak": 9.0}]
                if decision == "defect"
                else [],
                sha256=hashlib.sha256((source / file).read_bytes()).hexdigest(),
                calibration_id=card.calibration_id,
                label=("defective" if bad else "good") if labelled else None,
                kind=kind if labelled else None,
            )
        )
    rows.append(row_of("good/torn.png", decision="error", error="good/torn.png: damaged or cut short", label="good"))
    write_run(results, rows, card, source, bundle)
    return results


def row_of(file: str, **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"file": file, "part": file, "decision": "ok", "score": None, "p_value": None}
    row |= {"threshold": None, "review_threshold": None, "distance": None, "distance_limit": LIMIT}
    row |= {"regions": [], "mask_is_top_fraction": False, "milliseconds": 12.0, "bundle_id": "0123456789ab"}
    return row | {"calibration_id": None, "sha256": None, "error": None, "label": None, "kind": None} | values


def write_run(results: Path, rows: list[dict[str, Any]], card: Card, source: Path, bundle: Path) -> None:
    run = {
        "bundle": str(bundle),
        "card": json.loads(card.to_json()),
        "source": str(source),
        "started": "2026-02-03T08:00:00+00:00",
        "finished": "2026-02-03T08:01:30+00:00",
        "pictures": len(rows),
    }
    (results / "run.json").write_text(json.dumps(run))
    (results / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_run(results: Path, **values: Any) -> None:
    run = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps(run | values))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "Inspector", StandIn)


class Page(HTMLParser):
    """Tags, what they load, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + " "


def test_the_page_loads_nothing_from_outside(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path)))
    assert page.loads and all(load.startswith("data:image/jpeg;base64,") for load in page.loads)
    assert not re.search(r"https?://|url\(|@import", page.html)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)


def test_counts_are_those_of_the_journal(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    rows, _ = read_journal(results / "results.jsonl")
    page = Page(write_report(results))
    text = page.text
    ok = sum(row.decision == "ok" for row in rows)
    defect = sum(row.decision == "defect" for row in rows)
    assert f"{ok} of {len(rows) - 1} parts ok" in text
    assert f"✕ defect {defect} parts · {defect} pictures" in text
    assert f"! unreadable 1 of {len(rows)} pictures" in text
    escapes = sum(row.decision == "ok" and row.label == "defective" for row in rows)
    assert f"Escapes: defective parts called ok {escapes} of 12" in text
    for sentence in card_of().guarantee():
        assert sentence in text
    assert "family: realnvp" in text and "ab" * 32 in text and "0123456789ab" in text


def test_auroc_is_the_share_of_pairs_in_order(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    rows, _ = read_journal(results / "results.jsonl")
    good = [row.score for row in rows if row.label == "good" and row.score is not None]
    defective = [row.score for row in rows if row.label == "defective" and row.score is not None]
    expected = np.mean([a > b for a in defective for b in good])
    assert f"AUROC {expected:.4f}" in Page(write_report(results)).text


def test_roc_corners_enclose_the_auroc_even_with_ties() -> None:
    generator = np.random.default_rng(0)
    good, defective = (np.sort(generator.integers(low, high, 40)).astype(np.float64) for low, high in ((0, 6), (2, 9)))
    x, y = np.array([*report_charts.roc_corners(good, defective)], np.float64).T
    area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
    pairs = defective[:, None] - good[None]
    assert area == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def test_names_from_disk_cannot_become_markup(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=2, defective=1)
    evil = "<script>alert(1)</script>\"'.png"
    with (results / "results.jsonl").open("a") as journal:
        journal.write(json.dumps(row_of(evil, decision="defect", score=99.0, label="defective", kind=evil)) + "\n")
        journal.write(json.dumps(row_of("b.png", decision="error", error=evil)) + "\n")
    page = Page(write_report(results))
    assert "script" not in page.tags and evil in page.text


def test_a_killed_runs_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=5, defective=2)
    journal = results / "results.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    edit_run(results, finished=None)
    rows, truncated = read_journal(journal)
    assert truncated and len(rows) == 7
    text = Page(write_report(results)).text
    assert "cut short, as a killed run leaves it" in text and "7 of 8 pictures have a result" in text


def test_a_broken_line_elsewhere_is_refused(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=2, defective=1)
    lines = (results / "results.jsonl").read_text().splitlines()
    (results / "results.jsonl").write_text("\n".join([lines[0], lines[1][:20], lines[2]]))
    with pytest.raises(DataError, match=r"results\.jsonl, line 2"):
        write_report(results)


def test_a_picture_scored_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(row_of("a.png", score=1.0)) + "\n" + json.dumps(row_of("a.png", score=2.0)) + "\n")
    rows, _ = read_journal(path)
    assert [row.score for row in rows] == [2.0]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run\.json"):
        write_report(tmp_path)


def test_worst_picture_of_a_part_decides(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=1, defective=0)
    rows = [
        row_of("a1.png", part="A", decision="ok", score=9.0),
        row_of("a2.png", part="A", decision="defect", score=3.0),
        row_of("b1.png", part="B", decision="ok", score=1.0),
        row_of("b2.png", part="B", decision="error", error="torn"),
        row_of("c.png", part="C", decision="error", error="torn"),
    ]
    write_run(results, rows, card_of(), tmp_path / "pictures", tmp_path / "bundle")
    assert "0 of 1 parts ok" in Page(write_report(results)).text  # nobody saw the whole of B and C


def test_without_the_bundle_rows_and_pictures_are_still_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(bundle: Path) -> StandIn:
        raise BundleError(f"{bundle}: no such bundle")

    monkeypatch.setattr(report, "Inspector", gone)
    page = Page(write_report(make_run(tmp_path, good=5, defective=3)))
    assert "No overlays" in page.text and "no such bundle" in page.text
    assert page.loads and "part-006" in page.text


def test_gone_and_changed_pictures_are_said(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=0, defective=3)
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    files[0].unlink()
    paint(files[1], spot=False, seed=99)
    text = Page(write_report(results)).text
    assert "no such file" in text and "has changed since it was scored" in text


def test_another_bundle_in_its_place_draws_nothing(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=3, defective=1)
    other = card_of().model_copy(update={"bundle_id": "ffffffffffff"})
    (tmp_path / "bundle" / "card.json").write_text(other.to_json())
    assert "has changed since these pictures were scored" in Page(write_report(results)).text


def test_uncalibrated_and_unlabelled_runs_say_what_is_missing(tmp_path: Path) -> None:
    text = Page(write_report(make_run(tmp_path, good=5, defective=2, calibrated=False, labelled=False))).text
    assert "uncalibrated" in text and "Nothing is guaranteed yet" in text and "not judged" in text
    assert "Against the labels" not in text  # the label of an unreadable picture alone tells nothing


def test_thresholds_chosen_after_looking_are_called_an_estimate(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=5, defective=2)
    edit_run(results, card=json.loads(card_of().estimated(3.0, 2.5).to_json()))
    text = Page(write_report(results)).text
    assert "Chosen after looking: an estimate, nothing is guaranteed" in text and "no rate is promised" in text
    assert "What is guaranteed" not in text and "On average at most" not in text


def test_an_empty_run_gives_a_page(tmp_path: Path) -> None:
    results = make_run(tmp_path, good=1, defective=0)
    (results / "results.jsonl").write_text("")
    out = write_report(results, tmp_path / "new" / "empty.html")
    assert "0 of 2 pictures have a result" in Page(out).text


def test_one_outlier_does_not_flatten_the_histogram(tmp_path: Path) -> None:
    rows = [report.Row(**row_of(f"{i}.png", score=2.0 + i / 100)) for i in range(100)]
    rows.append(report.Row(**row_of("far.png", score=1e6)))
    histogram = report_charts.histogram_of(rows, card_of())
    assert histogram is not None
    assert histogram.high < 10 and histogram.clipped_high == 1
    assert sum(histogram.panels[0].bars) == 101
    assert all(0 <= histogram.across(value) <= 1 for _, value in histogram.lines)


def test_at_most_24_parts_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    class Counting(StandIn):
        def inspect(self, sources: Iterable[Path]) -> Iterator[Verdict | ImageError]:
            seen.extend(paths := list(sources))
            return super().inspect(paths)

    monkeypatch.setattr(report, "Inspector", Counting)
    write_report(make_run(tmp_path, good=60, defective=40))
    assert 0 < len(seen) == len(set(seen)) <= 24


def test_a_gallery_says_how_many_there_are(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path, good=30, defective=20)))
    assert re.search(r"The highest scores; .* The first 8 of \d+\.", page.text)


def test_what_mistakes_cost(tmp_path: Path) -> None:
    results = make_run(tmp_path)
    rows = [row for row in read_journal(results / "results.jsonl")[0] if row.score is not None]
    costs = Costs(overkill=1, escape=40, defective_share=0.02, review=0.2)
    page = Page(write_report(results, costs=costs))
    assert "What mistakes cost: an estimate" in page.text and "2% of all parts are defective" in page.text
    good = [row.score for row in rows if row.label == "good"]
    defective = [math.inf if row.decision == "invalid" else row.score for row in rows if row.label == "defective"]
    found = Tradeoff(good, defective).cheapest(costs)
    assert f"{found.cost_per_part:.4g}" in page.text and f"{found.point.threshold:.4f}" in page.text
    assert "promise nothing about good parts" in page.text and "12 defective parts are few" in page.text
    assert "What mistakes cost" not in Page(write_report(results)).text


def test_costs_without_labels_are_said_to_be_unknown(tmp_path: Path) -> None:
    page = Page(write_report(make_run(tmp_path, labelled=False), costs=Costs(1, 40, 0.02)))
    assert "It cannot be weighed here" in page.text
