"""What runs on the line: the same score in any company, every bad picture survived, every bad bundle refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from cards import measured
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from support import SAMPLE_RECIPE, marked, save

from defectflow.bundle import MODEL, Bundle, file_digest, open_bundle, read_core
from defectflow.bundle.tensors import THRESHOLDS, VERDICT_OUTPUTS
from defectflow.embedding.cache import EmbeddingCache
from defectflow.embedding.embedding import Embedding
from defectflow.errors import BundleError, ImageError, NotCalibrated
from defectflow.fitting.fit import fit
from defectflow.image.decode import read_image
from defectflow.image.geometry import Geometry
from defectflow.line import Inspector
from defectflow.line.recalibrate import recalibrate
from defectflow.recipe.settings import load_recipe
from defectflow.samples import draw_product
from defectflow.verdict import Decision, Measurement, Reason, Verdict
from defectflow.verdict.calibration import TOLERANCE

BATCHES = (1, 3, 16)


def measurements(inspector: Inspector, sources: Iterable[Any]) -> list[Measurement]:
    items = list(inspector.measure(sources))
    for item in items:
        assert isinstance(item, Measurement), item
    return items


def verdict_of(inspector: Inspector, source: Any) -> Verdict:
    (verdict,) = inspector.inspect([source])
    assert isinstance(verdict, Verdict), verdict
    return verdict


@pytest.fixture(scope="module")
def good_files(sample: Path) -> list[Path]:
    return sorted((sample / "test" / "good").glob("*.png"))


@pytest.fixture(scope="module")
def core(bundle_path: Path) -> Inspector:
    return Inspector(bundle_path, threads=1, core=True)


@pytest.fixture(scope="module")
def ring(good_files: list[Path]) -> NDArray[np.uint8]:
    return read_image(good_files[0])


# --- the same score in any company ---


def test_score_does_not_depend_on_batch_order_or_neighbours(
    bundle_path: Path, inspector: Inspector, good_files: list[Path], ring: NDArray[np.uint8]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    strange = [noise, 0 * noise, 0 * noise + 255, marked(ring)]
    smaller = [np.asarray(Image.fromarray(ring).resize(size)) for size in ((200, 300), (97, 64), (200, 300))]
    pictures = [*(read_image(file) for file in good_files[:12]), *strange, *smaller]
    alone = [measurements(inspector, [picture])[0] for picture in pictures]
    tolerance = 1e-4 * inspector.card.good_spread
    random = np.random.default_rng(0)
    for batch in BATCHES:
        company = Inspector(bundle_path, batch=batch, threads=1)
        for order in (np.arange(len(pictures)), np.arange(len(pictures))[::-1], random.permutation(len(pictures))):
            together = measurements(company, [pictures[i] for i in order])
            for index, item in zip(order, together, strict=True):
                # The strange pictures' scores are far larger than any good one's; there the error is relative.
                allowed = tolerance * max(1, abs(alone[index].score))
                assert item.score == pytest.approx(alone[index].score, abs=allowed)
                assert item.distance == pytest.approx(alone[index].distance, rel=1e-4)
                np.testing.assert_allclose(item.anomaly_map, alone[index].anomaly_map, rtol=1e-3, atol=10 * allowed)
                assert (item.height_px, item.width_px) == pictures[index].shape[:2]


def test_file_and_its_pixels_give_the_same(inspector: Inspector, good_files: list[Path]) -> None:
    files = measurements(inspector, good_files[:4])
    arrays = measurements(inspector, [np.asarray(Image.open(file)) for file in good_files[:4]])
    assert [item.score for item in files] == [item.score for item in arrays]
    assert [item.sha256 for item in arrays] == [None] * 4
    assert [item.sha256 for item in files] == [hashlib.sha256(file.read_bytes()).hexdigest() for file in good_files[:4]]


def test_inspect_and_measure_agree(inspector: Inspector, good_files: list[Path]) -> None:
    for verdict, measurement in zip(inspector.inspect(good_files), inspector.measure(good_files), strict=True):
        assert isinstance(verdict, Verdict)
        assert isinstance(measurement, Measurement)
        assert verdict.score == measurement.score
        assert verdict.p_value == pytest.approx(
            inspector.card.require_calibration().p_value(verdict.calibrated_score), abs=1e-6
        )
        assert verdict.threshold == inspector.card.require_calibration().threshold.value


def test_pictures_are_taken_as_they_come(inspector: Inspector, ring: NDArray[np.uint8]) -> None:
    """A camera's endless stream gives verdicts while it runs."""
    taken = []

    def camera() -> Iterable[NDArray[np.uint8]]:
        while True:
            assert len(taken) < 100, "the whole stream was awaited"
            taken.append(1)
            yield ring

    verdicts = inspector.inspect(camera())
    assert isinstance(next(iter(verdicts)), Verdict)


@pytest.mark.parametrize("size", [(256, 256), (300, 200), (97, 64), (1024, 1400), (60, 900)])
def test_the_core_gives_the_same_verdicts(
    inspector: Inspector, core: Inspector, good_files: list[Path], size: tuple[int, int]
) -> None:
    """Resized by the runtime instead of the graph, larger and smaller than the square, of any aspect."""
    pictures = [np.asarray(Image.open(file).convert("RGB").resize(size)) for file in good_files[:3]]
    pictures.append(marked(np.asarray(Image.open(good_files[3]).convert("RGB").resize(size))))
    judged = list(zip(inspector.inspect(pictures), core.inspect(pictures), strict=True))
    for whole, square in judged:
        assert isinstance(whole, Verdict)
        assert isinstance(square, Verdict)
        # A picture blown up from a few pixels is strange; there the error is relative.
        allowed = 0.1 * TOLERANCE * inspector.card.good_spread * max(1, abs(whole.score))
        assert square.score == pytest.approx(whole.score, abs=allowed)
        assert square.distance == pytest.approx(whole.distance, rel=1e-4)
        assert (square.decision, square.p_value) == (whole.decision, whole.p_value)
        assert (square.height_px, square.width_px) == (whole.height_px, whole.width_px)


def test_the_core_takes_the_square_and_the_same_thresholds(inspector: Inspector) -> None:
    core = read_core(inspector.bundle)
    session = onnxruntime.InferenceSession(core)
    (square,) = session.get_inputs()
    assert (square.name, square.type, square.shape) == ("square", "tensor(float)", ["N", 3, 128, 128])
    assert {each.name for each in session.get_overridable_initializers()} == set(THRESHOLDS)
    assert [output.name for output in session.get_outputs()] == list(VERDICT_OUTPUTS)
    resizes = [node for node in onnx.load_from_string(core).graph.node if node.op_type == "Resize"]
    assert not any(attribute.name == "antialias" and attribute.i for node in resizes for attribute in node.attribute)


def test_a_core_of_an_earlier_release_goes_with_its_thresholds(bundle_copy: Path) -> None:
    """Bundles held it as a file; who calibrates one again must not leave old thresholds in it."""
    bundle = open_bundle(bundle_copy)
    file = bundle_copy / "model_core.onnx"
    file.write_bytes(read_core(bundle))
    old = bundle.card.model_copy(update={"checksums": {**bundle.card.checksums, file.name: file_digest(file)}})
    changed = recalibrate(Bundle(bundle_copy, old), rate=0.2, guarantee="expected", review_rate=0.4)
    assert not file.exists() and file.name not in changed.card.checksums
    assert Inspector(changed, core=True).card.calibration_id == changed.card.calibration_id


# --- bad pictures ---


def test_unusable_pictures_are_reported_in_place(inspector: Inspector, good_files: list[Path], tmp_path: Path) -> None:
    content = good_files[0].read_bytes()
    broken = {"cut.png": content[:2000], "empty.png": b"", "text.png": b"not a picture", "wröng 图.png": content[:99]}
    for name, part in broken.items():
        (tmp_path / name).write_bytes(part)
    bad = [*(tmp_path / name for name in broken), tmp_path / "missing.png", tmp_path]
    tiny = save(tmp_path / "tiny.png", np.zeros((15, 300, 3), np.uint8))
    sources = [good_files[0], bad[0], good_files[1], *bad[1:], tiny, good_files[2]]
    items = list(inspector.inspect(sources))
    assert len(items) == len(sources)
    for source, item in zip(sources, items, strict=True):
        if source in good_files:
            assert isinstance(item, Verdict)
        else:
            assert isinstance(item, ImageError)
            assert str(item).startswith(f"{source}: ")
    assert "fewer than 16" in str(items[sources.index(tiny)])
    scores = [item.score for item in items if isinstance(item, Verdict)]
    alone = [item.score for item in measurements(inspector, good_files[:3])]
    assert scores == pytest.approx(alone, abs=1e-4 * inspector.card.good_spread)


@pytest.mark.parametrize("shape", [(256, 256), (256, 256, 4), (0, 0, 3), (15, 15, 3), (256, 256, 3, 1)])
def test_pixels_of_a_wrong_shape(inspector: Inspector, shape: tuple[int, ...]) -> None:
    (item,) = inspector.inspect([np.zeros(shape, np.uint8)])
    assert isinstance(item, ImageError)


def test_pixels_of_a_wrong_type(inspector: Inspector) -> None:
    (item,) = inspector.inspect([np.zeros((99, 99, 3), np.float32)])
    assert isinstance(item, ImageError)
    assert "give uint8 RGB pixels" in str(item)


def test_the_smallest_picture_is_judged(inspector: Inspector) -> None:
    assert verdict_of(inspector, np.zeros((16, 16, 3), np.uint8)).decision == Decision.INVALID


# --- is it the part at all? ---


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)])
def test_lens_cap_glare_and_plain_colours_are_invalid(inspector: Inspector, colour: tuple[int, int, int]) -> None:
    verdict = verdict_of(inspector, np.full((256, 256, 3), colour, np.uint8))
    assert verdict.decision == Decision.INVALID
    assert verdict.p_value == pytest.approx(1 / 20)
    assert not verdict.mask.any()
    assert verdict.regions() == []


@pytest.mark.parametrize("product", ["fabric", "board"])
def test_another_product_is_invalid(inspector: Inspector, tmp_path: Path, product: str) -> None:
    draw_product(product, tmp_path, good_parts=4, test_good_parts=0, defective_parts=0)
    verdicts = list(inspector.inspect(sorted((tmp_path / "train" / "good").glob("*.png"))))
    assert len(verdicts) >= 4
    assert {verdict.decision for verdict in verdicts if isinstance(verdict, Verdict)} == {Decision.INVALID}


def test_noise_and_saturated_pictures_are_invalid(inspector: Inspector, ring: NDArray[np.uint8]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, ring.shape, dtype=np.uint8)
    saturated = np.clip(ring.astype(int) * 6, 0, 255).astype(np.uint8)
    for picture in (noise, saturated, 255 - ring):
        assert verdict_of(inspector, picture).decision == Decision.INVALID


@pytest.mark.parametrize("product", [pytest.param("fabric", marks=pytest.mark.slow), "board"])
def test_what_is_foreign_to_the_other_sample_products_is_invalid(product: str, sample: Path, tmp_path: Path) -> None:
    data = draw_product(product, tmp_path / product, good_parts=40, test_good_parts=6, defective_parts=0)
    recipe = load_recipe("free", list(SAMPLE_RECIPE))
    fitted = fit(recipe, data, tmp_path / "bundle", cache=EmbeddingCache(tmp_path / "cache"))
    inspector = Inspector(fitted.bundle, threads=1)
    good = sorted((data / "test" / "good").glob("*.png"))
    assert not any(item.gated for item in measurements(inspector, good))
    part = read_image(good[0])
    foreign = {
        "black": np.zeros_like(part),
        "white": np.full_like(part, 255),
        "saturated": np.clip(part.astype(int) * 6, 0, 255).astype(np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, part.shape, dtype=np.uint8),
        "ring": read_image(min((sample / "test" / "good").glob("*.png"))),
    }
    passed = [
        name for name, item in zip(foreign, measurements(inspector, foreign.values()), strict=True) if not item.gated
    ]
    assert not passed


def test_a_gross_defect_is_told_from_a_wrong_picture_and_marked(inspector: Inspector, ring: NDArray[np.uint8]) -> None:
    stain = np.zeros(ring.shape[:2], bool)
    side = round(len(ring) * 0.45)  # a fifth of the picture
    stain[20 : 20 + side, 20 : 20 + side] = True
    stained = np.where(stain[:, :, None], np.uint8(15), ring)
    gross = verdict_of(inspector, stained)
    assert (gross.decision, gross.reason) == (Decision.INVALID, Reason.GROSS_DEFECT)
    marks = gross.mask_at_full_size()
    assert (marks & stain).sum() > 0.6 * marks.sum() > 0, "the stain is marked, and little else"
    assert gross.regions()
    for wrong in (np.full_like(ring, 0), np.random.default_rng(0).integers(0, 256, ring.shape, dtype=np.uint8)):
        foreign = verdict_of(inspector, wrong)
        assert (foreign.reason, foreign.regions()) == (Reason.WRONG_PICTURE, [])
    assert verdict_of(inspector, ring).reason is None


def test_good_parts_are_valid_and_mostly_ok(inspector: Inspector, good_files: list[Path]) -> None:
    """24 pictures at 5%: more than 6 rejected would happen by chance once in ten thousand calibrations."""
    counts = Counter(item.decision for item in inspector.inspect(good_files) if isinstance(item, Verdict))
    assert counts[Decision.INVALID] == 0
    assert counts[Decision.OK] >= len(good_files) - 6


# --- bundles that cannot be trusted ---


def test_missing_provider_names_the_available_ones(bundle_path: Path) -> None:
    with pytest.raises(BundleError, match=r"NoSuchProvider is not in this ONNX Runtime, which has .*CPU"):
        Inspector(bundle_path, providers=["CPUExecutionProvider", "NoSuchProvider"])


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle here .* copy the whole folder again"):
        Inspector(tmp_path / "nothing")


def test_damaged_model(bundle_copy: Path) -> None:
    model = bundle_copy / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx: is damaged or was altered .*copy the bundle again"):
        Inspector(bundle_copy)
    model.write_bytes(content[:1000])
    with pytest.raises(BundleError, match=r"model\.onnx: is damaged"):
        Inspector(bundle_copy)
    model.unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: is missing; copy the bundle again"):
        Inspector(bundle_copy)


def test_a_model_that_onnx_runtime_cannot_load(bundle_copy: Path) -> None:
    bundle = open_bundle(bundle_copy)
    bundle.model.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"model\.onnx: is damaged or was altered"):
        Inspector(bundle)
    card = bundle.card.model_copy(update={"checksums": bundle.card.checksums | {MODEL: file_digest(bundle.model)}})
    with pytest.raises(BundleError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        Inspector(Bundle(bundle_copy, card))


@pytest.mark.parametrize(
    ("key", "value"),
    [("distance_limit", 99.0), ("name", "another"), ("part_regex", "(.)"), ("format", 2), ("unknown", 1)],
)
def test_altered_card(bundle_copy: Path, key: str, value: Any) -> None:
    card = bundle_copy / "card.json"
    tree = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(tree), encoding="utf-8")
    assert Inspector(bundle_copy).card, "another layout of the same content does no harm"
    card.write_text(json.dumps({**tree, key: value}), encoding="utf-8")
    with pytest.raises(BundleError, match=r"card\.json: "):
        Inspector(bundle_copy)


def test_altered_threshold_or_guarantee(bundle_copy: Path) -> None:
    """Otherwise the card would state a threshold that the graph does not apply."""
    card = bundle_copy / "card.json"
    content = card.read_text(encoding="utf-8")
    tree = json.loads(content)
    tree["calibration"]["threshold"]["value"] += 1
    card.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(BundleError, match=r"card\.json: is damaged or was altered"):
        Inspector(bundle_copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", None])
def test_card_that_cannot_be_read(bundle_copy: Path, content: bytes | None) -> None:
    card = bundle_copy / "card.json"
    card.write_bytes(card.read_bytes()[:3000] if content is None else content)
    with pytest.raises(BundleError, match=r"card\.json: cannot be read as a card .*Copy the bundle again"):
        Inspector(bundle_copy)


def test_uncalibrated_bundle_measures_but_does_not_judge(uncalibrated_path: Path, swatch_folder: Path) -> None:
    inspector = Inspector(uncalibrated_path, threads=1)
    with pytest.raises(
        NotCalibrated, match=r"(?s)is uncalibrated.*lowest rate .* 11\.12%.*defectflow calibrate .* 0\.1112"
    ):
        inspector.inspect([])
    assert measurements(inspector, sorted(swatch_folder.glob("*.png"))[:2])[0].score < 100


# --- regions and geometry ---


def bilinear(square_map: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """The textbook's resize: pixel centres at half numbers, edges repeated."""
    rows, columns = square_map.shape
    y = np.clip((np.arange(height) + 0.5) * rows / height - 0.5, 0, rows - 1)
    x = np.clip((np.arange(width) + 0.5) * columns / width - 0.5, 0, columns - 1)
    grid = np.meshgrid(y, x, indexing="ij")
    placed: NDArray[np.float64] = ndimage.map_coordinates(square_map.astype(float), grid, order=1)
    return placed


@pytest.mark.parametrize("aspect", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("rectangle", [None, (1234, 777, 5003, 8001)])
@pytest.mark.parametrize("size", [(40, 40), (60, 97), (97, 60), (301, 46)])
def test_map_lies_where_the_square_was_cut(
    aspect: Any, rectangle: tuple[int, int, int, int] | None, size: tuple[int, int]
) -> None:
    height, width = size
    square_map = np.random.default_rng(0).normal(0, 1, (16, 16)).astype(np.float32)
    left, top, w, h = rectangle or (0, 0, 10_000, 10_000)
    x0, x1, y0, y1 = (
        left * width // 10_000,
        (left + w) * width // 10_000,
        top * height // 10_000,
        (top + h) * height // 10_000,
    )
    cut_height, cut_width = y1 - y0, x1 - x0
    expected = np.zeros(size)
    if aspect == "stretch":
        expected[y0:y1, x0:x1] = bilinear(square_map, cut_height, cut_width)
    elif aspect == "letterbox":
        side = max(cut_height, cut_width)
        dy, dx = (side - cut_height) // 2, (side - cut_width) // 2
        expected[y0:y1, x0:x1] = bilinear(square_map, side, side)[dy : dy + cut_height, dx : dx + cut_width]
    else:
        side = min(cut_height, cut_width)
        dy, dx = y0 + (cut_height - side) // 2, x0 + (cut_width - side) // 2
        expected[dy : dy + side, dx : dx + side] = bilinear(square_map, side, side)
    np.testing.assert_allclose(Geometry(aspect, rectangle).place(square_map, height, width), expected, atol=1e-5)


@pytest.mark.parametrize("aspect", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("rectangle", [None, (2000, 1000, 6000, 8000)])
def test_what_the_model_sees_somewhere_is_drawn_there(aspect: Any, rectangle: tuple[int, int, int, int] | None) -> None:
    """A bright dot through the model's own square and back onto the picture."""
    geometry = Geometry(aspect, rectangle)
    eyes: Any = SimpleNamespace(geometry=geometry, size_px=128)
    for height, width in ((256, 256), (200, 310), (333, 180)):
        for y, x in ((0.5, 0.5), (0.4, 0.6), (0.55, 0.35)):
            picture = np.full((height, width, 3), 114, np.uint8)  # as a letterbox is padded
            row, column = round(y * height), round(x * width)
            picture[row - 4 : row + 5, column - 4 : column + 5] = 255
            square = Embedding.square(eyes, torch.from_numpy(picture[None]))[0, 0].numpy()
            placed = geometry.place(np.maximum(square - 114, 0), height, width)
            found = ndimage.center_of_mass(placed**2)
            np.testing.assert_allclose(found, (row, column), atol=1.0)


@pytest.mark.parametrize("aspect", ["stretch", "letterbox", "crop"])
def test_regions_are_the_marked_places(inspector: Inspector, ring: NDArray[np.uint8], aspect: Any) -> None:
    """Boxes, areas and peaks against SciPy's, on an invented map with several marked places."""
    height, width = 287, 331
    noise = np.random.default_rng(0).normal(0, 1, (32, 32))
    anomaly_map = ndimage.gaussian_filter(noise, 1.5).astype(np.float32)
    anomaly_map /= anomaly_map.std()
    verdict = dataclasses.replace(
        verdict_of(inspector, marked(ring)),
        anomaly_map=anomaly_map,
        mask=anomaly_map > 1.2,
        height_px=height,
        width_px=width,
        geometry=Geometry(aspect),
    )
    mask, values = verdict.mask_at_full_size(), verdict.map_at_full_size()  # placing is tested above
    if aspect == "stretch":
        np.testing.assert_array_equal(mask, bilinear(verdict.mask, height, width) > 0.5)
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    assert count >= 4
    expected = {
        (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start): (
            int((labels == index).sum()),
            values[labels == index].max(),
        )
        for index, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
    }
    regions = verdict.regions()
    found = {(each.left_px, each.top_px, each.width_px, each.height_px): (each.area_px, each.peak) for each in regions}
    assert found == expected
    assert len(regions) == count
    assert [each.peak for each in regions] == sorted((each.peak for each in regions), reverse=True)


def test_a_mark_is_found_where_it_is(inspector: Inspector, ring: NDArray[np.uint8]) -> None:
    verdict = verdict_of(inspector, marked(ring))
    assert verdict.decision == Decision.DEFECT
    region = verdict.regions()[0]
    assert region.left_px < 40 + 30 < region.left_px + region.width_px
    assert region.top_px < 105 < region.top_px + region.height_px
    row, column = np.unravel_index(verdict.map_at_full_size().argmax(), (256, 256))
    assert 90 <= row <= 120
    assert 30 <= column <= 110


def test_a_bundle_that_was_calibrated_since_it_was_opened_is_refused(bundle_copy: Path) -> None:
    """Its graph would decide by new thresholds, and the verdict would name the old ones."""
    opened = open_bundle(bundle_copy)
    recalibrate(opened, rate=0.5, guarantee="expected", review_rate=0.9)
    with pytest.raises(BundleError, match=r"model\.onnx: is damaged or was altered"):
        Inspector(opened)


def test_the_gate_is_the_graphs_to_the_last_bit() -> None:
    """A limit in double precision that float32 rounds up: the graph lets through what lies between the two."""
    limit = 1.0 - 2.0**-30
    assert np.float32(limit) == 1.0
    item = Measurement(**measured(distance=1.0, distance_limit=limit))
    assert not item.gated
    assert dataclasses.replace(item, distance=float(np.nextafter(np.float32(1), np.float32(2)))).gated
    assert dataclasses.replace(item, distance=float("nan")).gated
