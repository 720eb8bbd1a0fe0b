"""What an engineer reads off an evaluation, counted by hand on a small set through a stand-in Inspector."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import cv2
import numpy as np
import pytest
from cards import calibrated_card, measured, uncalibrated_card
from numpy.typing import NDArray
from rich.console import Console
from support import swatches

from defectflow.bundle import INDEX, Bundle, file_digest, open_bundle
from defectflow.bundle.card import Card, ImageCard
from defectflow.cli.tables import tables
from defectflow.data import find_pictures
from defectflow.data.pictures import Picture
from defectflow.errors import DataError, ImageError
from defectflow.evaluation.evaluate import evaluate
from defectflow.evaluation.figures import Evaluation
from defectflow.evaluation.masks import check_masks
from defectflow.evaluation.metrics import PixelCurve, rejected_interval, split_pixels
from defectflow.evaluation.pixels import shrink_mask
from defectflow.image.geometry import Geometry
from defectflow.line.inspector import Inspector
from defectflow.line.recalibrate import recalibrate
from defectflow.verdict.verdict import Decision, Measurement, Verdict

SIDE = 16


def card_of(calibrated: bool = True) -> Card:
    values = {"image": ImageCard(size_px=SIDE, aspect="stretch", rectangle=None, full_scale=None)}
    return calibrated_card(range(1, 21), **values) if calibrated else uncalibrated_card(**values)


FOLDER = TemporaryDirectory()
INDEX_FILE = Path(FOLDER.name) / INDEX
INDEX_FILE.parent.mkdir()
INDEX_FILE.write_text('{"fitted": {}, "parts": {}}')
DIGEST = file_digest(INDEX_FILE)


class StandIn:
    """Gives each picture the score, distance and map written down for its name."""

    def __init__(self, results: dict[str, tuple[float, float, NDArray[np.float32]]], calibrated: bool) -> None:
        self.card = card_of(calibrated)
        self.bundle = Bundle(INDEX_FILE.parents[1], self.card.model_copy(update={"checksums": {INDEX: DIGEST}}))
        self.results = results

    def look(self, sources: Iterable[Path]) -> Iterator[Measurement | ImageError]:
        return self.measure(sources) if self.card.calibration is None else self.inspect(sources)

    def measure(self, sources: Iterable[Path]) -> Iterator[Measurement | ImageError]:
        for source in sources:
            yield self._measured(source) or ImageError(f"{source}: is empty (0 bytes)")

    def inspect(self, sources: Iterable[Path]) -> Iterator[Verdict | ImageError]:
        calibration = self.card.require_calibration()
        for item in self.measure(sources):
            if isinstance(item, ImageError):
                yield item
                continue
            decision = (
                Decision.INVALID
                if item.gated
                else Decision(
                    int(item.score > calibration.review.value) + int(item.score > calibration.threshold.value)
                )
            )
            values = {name: getattr(item, name) for name in Measurement.__dataclass_fields__}
            yield Verdict(
                **values,
                decision=decision,
                p_value=calibration.p_value(item.calibrated_score),
                threshold=calibration.threshold.value,
                review_threshold=calibration.review.value,
                pixel_threshold=calibration.pixel_threshold,
                mask=np.zeros((SIDE, SIDE), bool),
            )

    def _measured(self, source: Path) -> Measurement | None:
        if source.stem not in self.results:
            return None
        score, distance, anomaly_map = self.results[source.stem]
        size = {"height_px": 40, "width_px": 60}
        return Measurement(**measured(score=score, anomaly_map=anomaly_map, distance=distance, **size))


Row = tuple[str, str, str, float]
"""Name, part, kind, score."""


def run(
    rows: Sequence[Row],
    *,
    calibrated: bool = True,
    masks: dict[str, Path] | None = None,
    maps: dict[str, NDArray[np.float32]] | None = None,
    far: Sequence[str] = (),
    **options: Any,
) -> Evaluation:
    flat = np.zeros((SIDE, SIDE), np.float32)
    results = {
        name: (score, 99.0 if name in far else 1.0, (maps or {}).get(name, flat + score))
        for name, _, _, score in rows
        if not math.isnan(score)
    }
    pictures = [
        Picture(
            Path(f"{name}.png"),
            part,
            "good" if kind == "good" else "defective",
            kind,
            (masks or {}).get(name),
        )
        for name, part, kind, _ in rows
    ]
    return evaluate(cast(Inspector, StandIn(results, calibrated)), pictures, **options)


ROWS: list[Row] = [
    ("g1", "G1", "good", 5.0),
    ("g2", "G2", "good", 6.0),
    ("g3a", "G3", "good", 7.0),
    ("g3b", "G3", "good", 30.0),  # the worst picture decides: overkill
    ("g4", "G4", "good", 19.7),  # review
    ("g5", "G5", "good", 1.0),  # far away: invalid, so overkill
    ("d1", "D1", "scratch", 50.0),
    ("d2a", "D2", "scratch", 2.0),
    ("d2b", "D2", "scratch", 40.0),  # the part is caught by its second picture
    ("d3", "D3", "dent", 4.0),  # escape
    ("d4", "D4", "dent", 19.8),  # review is not an escape
    ("x", "X", "good", math.nan),  # unreadable
]


def test_overkill_review_and_escape_count_parts() -> None:
    result = run(ROWS, far=["g5"])
    assert (result.pictures_good, result.pictures_defective) == (6, 5)
    assert (result.parts_good, result.parts_defective) == (5, 4)
    assert result.overkill is not None and (result.overkill.count, result.overkill.of) == (2, 5)
    assert result.review is not None and (result.review.count, result.review.of) == (1, 5)
    assert result.escape is not None and (result.escape.count, result.escape.of) == (1, 4)
    assert (result.invalid_good, result.invalid_defective) == (1, 0)
    assert [path.name for path, _ in result.unreadable] == ["x.png"]
    assert result.overkill_expected == rejected_interval(20, 20, 5)
    assert result.overkill_inside is True and rejected_interval(20, 20, 5) == (0, 2)


def test_a_part_that_nobody_saw_whole_counts_neither_as_good_nor_as_passed() -> None:
    """Its other pictures may show its better side. What it cannot say by part, a picture still says by itself."""
    unseen = [("g2b", "G2", "good", math.nan), ("d3b", "D3", "dent", math.nan)]
    result = run([*ROWS, *unseen], far=["g5"])
    assert (result.parts_good, result.parts_defective, result.parts_not_whole) == (4, 3, 2)
    assert result.overkill is not None and (result.overkill.count, result.overkill.of) == (2, 4)
    assert result.escape is not None and (result.escape.count, result.escape.of) == (0, 3)
    (dent,) = (kind for kind in result.per_kind if kind.kind == "dent")
    assert dent.escape is not None and (dent.escape.count, dent.escape.of) == (0, 1)
    assert (result.pictures_good, result.pictures_defective) == (6, 5)
    assert any("2 parts are left out of the figures by part, the first is 'D3'" in note for note in result.notes)


def test_kinds_are_compared_with_all_good_pictures() -> None:
    dent, scratch = run(ROWS).per_kind
    assert (dent.kind, dent.pictures, dent.parts) == ("dent", 2, 2)
    assert (scratch.kind, scratch.pictures, scratch.parts) == ("scratch", 3, 2)
    good = [5.0, 6.0, 7.0, 30.0, 19.7, 1.0]
    assert dent.image_auroc == pytest.approx(np.mean([a > b for a in (4.0, 19.8) for b in good]))
    assert dent.escape is not None and (dent.escape.count, dent.escape.of) == (1, 2)
    assert scratch.escape is not None and scratch.escape.count == 0


def test_part_auroc_ranks_the_worst_picture_of_each_part() -> None:
    good, defective = [5.0, 6.0, 30.0, 19.7, 1.0], [50.0, 40.0, 4.0, 19.8]
    assert run(ROWS).part_auroc == pytest.approx(np.mean([a > b for a in defective for b in good]))


def test_an_uncalibrated_bundle_gives_scores_but_no_counts() -> None:
    result = run(ROWS, calibrated=False).to_json()
    for key in (
        "overkill",
        "review",
        "escape",
        "overkill_expected_interval",
        "overkill_inside",
        "calibration_id",
    ):
        assert result[key] is None
    assert result["image_auroc"] is not None and result["per_kind"][0]["escape"] is None
    assert any("uncalibrated" in note for note in result["notes"])
    assert any("cannot support" in sentence for sentence in result["guarantee"])


def test_json_has_every_promised_key_and_nothing_that_json_lacks() -> None:
    result = json.loads(json.dumps(run(ROWS).to_json(), allow_nan=False))
    promised = "image_auroc image_ap image_f1_max pixel_auroc pixel_ap aupro_30 aupro_05 overkill review escape"
    promised += " overkill_expected_interval overkill_inside per_kind invalid unreadable bundle_id calibration_id"
    promised += " image_auroc_interval image_ap_interval image_f1_max_interval part_auroc guarantee notes"
    assert set(promised.split()) <= set(result)
    assert set(result["overkill"]) == {"count", "of", "rate", "interval"}
    assert result["aupro_30"] is None and any("no picture has a mask" in note for note in result["notes"])


def test_good_pictures_only_still_tell_the_overkill() -> None:
    result = run([row for row in ROWS if row[2] == "good"])
    assert result.image is None and result.part_auroc is None and result.per_kind == ()
    assert result.overkill is not None and result.overkill.count == 1
    assert result.escape is not None and result.escape.rate is None
    assert any("need good and defective" in note for note in result.notes)


def test_nothing_readable_is_reported_not_raised() -> None:
    result = run([("x", "X", "good", math.nan)])
    assert result.pictures_good == 0 and len(result.unreadable) == 1
    assert result.overkill is not None and result.overkill.rate is None
    json.dumps(result.to_json(), allow_nan=False)


def test_pictures_without_label_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 of 1 pictures have no label.*a\.png"):
        evaluate(cast(Inspector, StandIn({}, True)), [Picture(Path("a.png"), "a", None, "")])


def draw_mask(path: Path, size: tuple[int, int] = (40, 60), box: tuple[int, int, int, int] = (8, 20, 10, 30)) -> Path:
    mask = np.zeros(size, np.uint8)
    mask[box[0] : box[1], box[2] : box[3]] = 255
    assert cv2.imwrite(str(path), mask)
    return path


def test_pixel_figures_equal_those_of_full_size_maps_and_masks(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    maps = {name: generator.normal(size=(SIDE, SIDE)).astype(np.float32) for name, *_ in ROWS}
    for name in ("d1", "d2a", "d3"):
        maps[name][4:8, 3:9] += 2
    masks = {name: draw_mask(tmp_path / f"{name}.png") for name in ("d1", "d2a", "d3")}
    result = run(ROWS, masks=masks, maps=maps)
    truth = np.zeros((40, 60), bool)
    truth[8:20, 10:30] = True
    good, regions = [], []
    for name, _, kind, score in ROWS:
        if math.isnan(score) or (kind != "good" and name not in masks):
            continue
        full = Geometry().place(maps[name], 40, 60)
        found = split_pixels(full, truth if name in masks else np.zeros_like(truth))
        good.append(np.sort(found[0]))
        regions += found[1]
    curve = PixelCurve.count(good, regions)
    assert result.pixel is not None
    assert result.pixel.auroc == pytest.approx(curve.auroc())
    assert result.pixel.aupro_30 == pytest.approx(curve.aupro(0.30))
    assert result.pixel.aupro_05 == pytest.approx(curve.aupro(0.05))
    assert result.without_mask == 2
    dent, scratch = result.per_kind
    assert dent.pixel is not None and scratch.pixel is not None and dent.pixel != scratch.pixel


def test_smaller_maps_change_pixel_figures_little_and_say_so(tmp_path: Path) -> None:
    maps = {name: np.zeros((SIDE, SIDE), np.float32) for name, *_ in ROWS}
    for value, name in enumerate(("d1", "d2a", "d3"), start=1):
        maps[name][3:8, 3:8] = value
    masks = {name: draw_mask(tmp_path / f"{name}.png") for name in ("d1", "d2a", "d3")}
    full, small = run(ROWS, masks=masks, maps=maps), run(ROWS, masks=masks, maps=maps, map_side_px=32)
    assert full.pixel is not None and small.pixel is not None
    assert small.pixel.auroc == pytest.approx(full.pixel.auroc, abs=0.02)
    assert small.to_json()["map_side_px"] == 32 and any("at most 32 px" in note for note in small.notes)


def test_many_pictures_lower_the_map_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[evaluate.__module__], "PIXEL_BUDGET", 100 * 100 * len(ROWS))
    assert run(ROWS).map_side_px == 100


def test_a_mask_of_another_size_names_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"20 x 30 px.*60 x 40 px"):
        run(ROWS, masks={"d1": draw_mask(tmp_path / "m.png", size=(30, 20), box=(1, 5, 1, 5))})


def test_a_mask_that_marks_nothing_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    assert cv2.imwrite(str(path), np.zeros((40, 60), np.uint8))
    result = run(ROWS, masks={"d1": path})
    assert result.pixel is None and result.without_mask == 5
    assert any("one that is black all over" in note for note in result.notes)


@pytest.mark.parametrize("size", [(7, 11), (16, 23), (50, 71), (13, 71)])
def test_a_shrunk_mask_keeps_every_touched_pixel(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random((50, 71)) < 0.02
    # Brute force on a grid fine enough for both sizes: each pixel of either is a whole number of cells.
    fine = np.kron(mask, np.ones((size[0], size[1]), bool))  # (50 h, 71 w)
    blocks = fine.reshape(size[0], 50, size[1], 71)
    assert (shrink_mask(mask, *size) == blocks.any(axis=(1, 3))).all()


def test_tables_show_the_figures() -> None:
    console = Console(record=True, width=120)
    for table in tables(run(ROWS, far=["g5"])):
        console.print(table)
    text = console.export_text()
    assert "2 of 5" in text and "1 of 4" in text and "scratch" in text and "image AUROC" in text


def test_pictures_that_calibrate_are_no_test(uncalibrated_copy: Path, swatch_folder: Path, tmp_path: Path) -> None:
    """Those of the fit, and those that a calibration has added since."""
    added = min(swatches(tmp_path / "added", 1, 100).glob("*.png"))
    unseen = min(swatches(tmp_path / "unseen", 1, 200).glob("*.png"))
    bundle = recalibrate(
        open_bundle(uncalibrated_copy),
        rate=0.2,
        guarantee="expected",
        review_rate=0.3,
        more_good=find_pictures(added, label="good"),
    )
    fitted = min(swatch_folder.glob("*.png"))
    pictures = [Picture(path, path.stem, "good", "") for path in (fitted, added, unseen)]
    found = evaluate(Inspector(bundle), pictures)
    assert found.seen_in_fit == (fitted, added)
    assert found.to_json()["seen_in_fit"] == 2


def labelled_with_mask(folder: Path, mask: NDArray[np.uint8]) -> Picture:
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 60, 3), np.uint8))
    cv2.imwrite(str(folder / "a_mask.png"), mask)
    return Picture(folder / "a.png", "a", "defective", "crack", folder / "a_mask.png")


def test_masks_are_checked_before_anything_is_judged(tmp_path: Path) -> None:
    right = labelled_with_mask(tmp_path / "right", np.eye(40, 60, dtype=np.uint8))
    small = labelled_with_mask(tmp_path / "small", np.eye(20, 30, dtype=np.uint8))
    damaged = labelled_with_mask(tmp_path / "damaged", np.eye(40, 60, dtype=np.uint8))
    assert damaged.mask is not None
    damaged.mask.write_bytes(b"\x89PNG\r\n\x1a\n123")
    assert check_masks([right]) == []
    with pytest.raises(DataError) as error:
        check_masks([right, small, damaged])
    first, *lines = str(error.value).splitlines()
    assert first == "2 mask(s) cannot be used:"
    assert lines[0] == (
        f"  {small.mask}: the mask has 30 x 20 px, its picture a.png has 60 x 40 px; they must be equal"
    )
    assert lines[1].startswith(f"  {damaged.mask}: damaged or cut short")


def test_an_inverted_mask_is_warned_about(tmp_path: Path) -> None:
    inverted = labelled_with_mask(tmp_path / "inverted", 255 - 255 * np.eye(40, 60, dtype=np.uint8))
    (warning,) = check_masks([inverted])
    assert warning.startswith(f"1 masks mark more than 50% of their picture, the first is {inverted.mask} (98%)")
