"""Parts that lie a little apart, from pictures to verdicts: when they are aligned, and where a defect is then found."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from support import Pixels, product_manifest, save
from torch import Tensor
from torch.nn import BatchNorm2d

from defectflow.bundle import FEATURES, Bundle, fitted_digests, open_bundle
from defectflow.common.progress import unwatched
from defectflow.convert.precision import export_precision
from defectflow.embedding.adapt import adapt
from defectflow.embedding.cache import EmbeddingCache
from defectflow.errors import SettingsError
from defectflow.fitting.align import align
from defectflow.fitting.check import check_data
from defectflow.fitting.divide import look_at
from defectflow.fitting.findings import Finding
from defectflow.fitting.fit import fit
from defectflow.fitting.fit_products import fit_products
from defectflow.image.decode import pixel_digest, read_image, read_raw
from defectflow.line import CPU, Inspector
from defectflow.recipe.settings import Recipe, load_recipe
from defectflow.score.detector import build_detector
from defectflow.verdict import Verdict

SIDE = 128
SPOT = (52, 70)
"""Where on the part the defect lies: x, y in pixels of a part that lies in the middle."""
RECIPE = (
    f"image.size={SIDE}",
    "embedding.levels=[1, 2]",
    "verdict.rate=0.25",
    "verdict.review_rate=0.5",
)


def part(shift_px: tuple[float, float], turn: float, seed: int, *, spotted: bool = False) -> Pixels:
    """A picture of a small board with a few components, (S, S, 3)."""
    random = np.random.default_rng(seed)
    canvas = np.full((SIDE, SIDE, 3), 30, np.uint8)
    for left, top, right, bottom, colour in (
        (24, 32, 104, 100, (40, 110, 60)),
        (36, 44, 64, 60, (200, 200, 190)),
        (72, 64, 96, 92, (60, 60, 70)),
        (76, 40, 92, 52, (190, 160, 90)),
    ):
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, -1)
    if spotted:
        cv2.circle(canvas, SPOT, 4, (230, 230, 60), -1)
    matrix = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), -np.degrees(turn), 1.0)
    matrix[:, 2] += shift_px
    lies = cv2.warpAffine(canvas, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(lies + random.normal(0, 3, lies.shape), 0, 255).astype(np.uint8)


def parts(folder: Path, count: int, *, apart_px: float) -> Path:
    random = np.random.default_rng(0)
    for number in range(count):
        shift = random.normal(0, apart_px, 2).clip(-2 * apart_px, 2 * apart_px)
        turn = random.normal(0, 0.01) if apart_px else 0.0
        save(folder / f"{number:02}.png", part(tuple(shift), turn, number))
    return folder


def recipe(*overrides: str) -> Recipe:
    return load_recipe("default", [*RECIPE, *overrides])


def fitted(source: Path, out: Path, *overrides: str) -> Bundle:
    return fit(recipe(*overrides), source, out, cache=EmbeddingCache(out.parent / "cache", 1)).bundle


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts(tmp_path_factory.mktemp("apart") / "good", 40, apart_px=2.0)


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts(tmp_path_factory.mktemp("alike") / "good", 24, apart_px=0.0)


@pytest.fixture(scope="module")
def aligned(apart: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return fitted(apart, tmp_path_factory.mktemp("models") / "aligned")


def verdict(bundle: Bundle, pixels: Pixels) -> Verdict:
    (item,) = Inspector(bundle).inspect([pixels])
    assert isinstance(item, Verdict)
    return item


def decided(source: Path, *overrides: str) -> str:
    """What a fit decides."""
    wanted = recipe(*overrides)
    splits = look_at(wanted, source, None).divide(wanted)
    return align(build_detector(wanted)[0].embedding, wanted, splits, unwatched)[0].image.align


def test_parts_that_lie_apart_are_aligned_and_the_card_says_so(aligned: Bundle) -> None:
    assert aligned.card.recipe["image"]["align"] == "small"


@pytest.fixture(scope="module")
def anyhow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("anyhow") / "good", np.random.default_rng(1)
    for number in range(40):
        pixels = part(tuple(random.normal(0, 1.5, 2)), random.uniform(0, 2 * np.pi), number)
        save(folder / f"{number:02}.png", pixels)
    return folder


def test_parts_that_lie_turned_any_way_are_laid_alike(anyhow: Path, tmp_path: Path) -> None:
    bundle = fitted(anyhow, tmp_path / "model")
    assert bundle.card.recipe["image"]["align"] == "turned"
    turn = 2.0
    found = verdict(bundle, part((0.0, 0.0), turn, 904, spotted=True))
    assert found.decision.word in ("defect", "review")
    assert verdict(bundle, part((0.0, 0.0), turn, 905)).score < found.score
    middle = SIDE / 2 - 0.5
    x, y = SPOT[0] - middle, SPOT[1] - middle
    lies = middle + x * np.cos(turn) - y * np.sin(turn), middle + x * np.sin(turn) + y * np.cos(turn)
    row, column = np.unravel_index(int(found.anomaly_map.argmax()), found.anomaly_map.shape)
    places = len(found.anomaly_map)
    assert np.hypot((column + 0.5) * SIDE / places - lies[0], (row + 0.5) * SIDE / places - lies[1]) <= 10


def test_areas_of_a_part_keep_it_from_being_turned(anyhow: Path) -> None:
    drawn = "image.roi={outlines: [{points: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}], picture: [128, 128]}"
    assert decided(anyhow) == "turned"
    assert decided(anyhow, drawn) == "never"
    with pytest.raises(SettingsError, match="align: turned lays parts as one of them lies"):
        recipe("image.align=turned", drawn)


def test_parts_that_lie_alike_are_left_as_they_lie(alike: Path) -> None:
    assert decided(alike) == "never"
    assert decided(alike, "image.align=small") == "small"


@pytest.mark.parametrize("shift_px", [(3.5, 3.0), (-3.5, -3.0), (3.0, -3.5)])
def test_a_defect_is_marked_where_it_lies_on_the_picture(aligned: Bundle, shift_px: tuple[float, float]) -> None:
    found = verdict(aligned, part(shift_px, 0.0, 900, spotted=True))
    assert found.decision.word in ("defect", "review")
    row, column = np.unravel_index(int(found.anomaly_map.argmax()), found.anomaly_map.shape)
    height, width = found.anomaly_map.shape
    peak = (column + 0.5) * SIDE / width, (row + 0.5) * SIDE / height
    lies = SPOT[0] + shift_px[0], SPOT[1] + shift_px[1]
    unshifted = SPOT[0] - shift_px[0], SPOT[1] - shift_px[1]
    assert np.hypot(peak[0] - lies[0], peak[1] - lies[1]) <= 8  # one place
    assert np.hypot(peak[0] - lies[0], peak[1] - lies[1]) < np.hypot(peak[0] - unshifted[0], peak[1] - unshifted[1])


def test_aligned_good_parts_score_lower_beside_the_same_defect(apart: Path, aligned: Bundle, tmp_path: Path) -> None:
    """The defect stands out more, counted in standard deviations of good parts' scores."""
    as_they_lie = fitted(apart, tmp_path / "never", "image.align=never")
    random = np.random.default_rng(5)
    shifts = [tuple(random.normal(0, 2, 2).clip(-4, 4)) for _ in range(12)]

    def apart_by(bundle: Bundle) -> float:
        good, bad = (
            np.array(
                [verdict(bundle, part(shift, 0.0, 700 + n, spotted=spotted)).score for n, shift in enumerate(shifts)]
            )
            for spotted in (False, True)
        )
        return float((bad.mean() - good.mean()) / good.std())

    assert apart_by(aligned) > 1.2 * apart_by(as_they_lie)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_align_as_finely(apart: Path, aligned: Bundle, tmp_path: Path, precision: str) -> None:
    other = export_precision(aligned, precision, [apart], tmp_path / precision).bundle
    pixels = part((3.0, -2.0), 0.01, 901, spotted=True)
    here, there = (verdict(bundle, pixels).anomaly_map for bundle in (aligned, other))
    assert np.unravel_index(here.argmax(), here.shape) == np.unravel_index(there.argmax(), there.shape)


def test_int8_takes_its_ranges_from_aligned_parts(apart: Path, aligned: Bundle, tmp_path: Path) -> None:
    """Feature by feature, and not those of the parts as they lie."""
    int8 = onnx.load(export_precision(aligned, "int8", [apart], tmp_path / "int8").bundle.model)
    fp32 = onnx.load(aligned.model)
    features = [value.name for value in fp32.graph.value_info if value.name.startswith(FEATURES)]
    looking = onnx.utils.Extractor(fp32).extract_model(["image"], features)
    session = onnxruntime.InferenceSession(looking.SerializeToString(), providers=[CPU])
    sides = fitted_digests(aligned)
    train = [path for path in apart.iterdir() if sides[pixel_digest(read_raw(path))] == "train"]
    seen = [session.run(features, {"image": read_image(path)[None]}) for path in train]
    for name, values in zip(features, zip(*seen, strict=True), strict=True):
        (scale,) = (value for value in int8.graph.initializer if value.name == f"backbone_{name}_scale")
        spans = max(0.0, float(np.max(values))) - min(0.0, float(np.min(values)))
        assert numpy_helper.to_array(scale).item() * 255 == pytest.approx(spans, rel=1e-4)


def test_batch_statistics_are_those_of_aligned_parts(apart: Path) -> None:
    wanted = recipe("image.align=small", "embedding.adapt=true")
    splits = look_at(wanted, apart, None).divide(wanted)
    detector, _ = build_detector(wanted)
    embedding, (first, *_) = (
        detector.embedding,
        [module for module in detector.embedding.backbone.modules() if isinstance(module, BatchNorm2d)],
    )
    align(embedding, wanted, splits, unwatched)
    paths = [picture.path for picture in splits.train]
    seen = list[Tensor]()
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        squares = [embedding.square(torch.from_numpy(read_image(path))[None]) for path in paths]
        for square in squares:
            embedding.backbone(embedding.aligned(square)[0])
    expected = torch.cat(seen).mean((0, 2, 3))
    adapt(embedding, None, wanted.image, paths, torch.device("cpu"))
    torch.testing.assert_close(first.running_mean, expected, rtol=1e-3, atol=1e-3)


def test_the_core_aligns_as_the_whole_graph_does(aligned: Bundle) -> None:
    pixels = part((-3.0, 2.0), 0.01, 902, spotted=True)
    whole = verdict(aligned, pixels)
    (core,) = Inspector(aligned, core=True).inspect([pixels])
    assert isinstance(core, Verdict)
    assert core.score == pytest.approx(whole.score, abs=1e-3)


def position(source: Path, tmp_path: Path, *overrides: str) -> list[Finding]:
    found = check_data(recipe(*overrides), source, cache=EmbeddingCache(tmp_path / "cache", 1))
    return [finding for finding in found.findings() if finding.topic == "position"]


def test_check_data_says_how_parts_lie(apart: Path, anyhow: Path, alike: Path, tmp_path: Path) -> None:
    (finding,) = position(apart, tmp_path)
    assert finding.said.endswith(
        "of the picture's side apart; a fit shifts and turns each a little, so that all lie alike."
    )
    assert finding.gravity == "fine"
    (finding,) = position(anyhow, tmp_path)
    assert finding.said == "Parts lie turned any way; a fit turns each, so that all lie alike."
    (finding,) = position(alike, tmp_path)
    assert finding.said == "All parts lie alike."
    assert position(apart, tmp_path, "image.align=never") == []


def test_check_data_names_the_picture_that_keeps_the_others_from_being_aligned(apart: Path, tmp_path: Path) -> None:
    source = shutil.copytree(apart, tmp_path / "good")
    save(source / "lid.png", np.random.default_rng(0).integers(60, 120, (SIDE, SIDE, 3)).astype(np.uint8))
    (finding,) = position(source, tmp_path)
    assert finding.gravity == "note"
    assert finding.said.endswith(f" In no position like the others: 1 of 38, most of all {source / 'lid.png'}.")


def test_tiles_are_never_aligned() -> None:
    with pytest.raises(SettingsError, match="align: small is for pictures that are looked at whole"):
        recipe("image.align=small", "image.tiling.tile=64", "image.tiling.overlap=16")


def test_several_products_are_not_aligned(apart: Path, tmp_path: Path) -> None:
    rows = [(str(path), "board", path.stem) for path in sorted(apart.glob("*.png"))]
    manifest = product_manifest(tmp_path, rows)
    with pytest.raises(SettingsError, match=r"image\.align: small would lay all pictures as one product's parts lie"):
        fit_products(
            recipe("image.align=small"), manifest, tmp_path / "all", cache=EmbeddingCache(tmp_path / "cache", 1)
        )
    fit_products(recipe(), manifest, tmp_path / "all", cache=EmbeddingCache(tmp_path / "cache", 1))
    assert open_bundle(tmp_path / "all" / "products" / "board").card.recipe["image"]["align"] == "never"


def test_what_is_found_is_marked_even_in_a_small_region(apart: Path, tmp_path: Path) -> None:
    """Laid back on the picture, a map's peaks are lower; what marks them is measured there, too."""
    drawn = "image.roi={outlines: [{points: [[0.3, 0.4], [0.55, 0.4], [0.55, 0.7], [0.3, 0.7]]}], picture: [128, 128]}"
    bundle = fitted(apart, tmp_path / "model", drawn)
    assert bundle.card.recipe["image"]["align"] == "small"
    random, verdicts = np.random.default_rng(3), list[Verdict]()
    for number in range(12):
        shift = random.normal(0, 2, 2).clip(-4, 4)
        pixels = part(tuple(shift), 0.0, 800 + number)
        x, y = np.add(SPOT, shift).astype(int)
        pixels[y : y + 2, x : x + 2] += np.uint8(8 + number)  # faint: what is plainer is taken for another part
        verdicts.append(verdict(bundle, pixels))
    flagged = [found for found in verdicts if found.decision.word in ("defect", "review")]
    assert flagged
    assert all(found.mask.any() for found in flagged)
