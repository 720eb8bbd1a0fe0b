"""Does verify notice what it is there for: any altered file, and a machine that computes something else?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import digests, marked, save

from defectflow.bundle import CARD, EXPECTED, GOLDEN_MAPS, Bundle, file_digest, open_bundle, save_bundle
from defectflow.data import find_pictures
from defectflow.errors import BundleError, ImageError
from defectflow.export.write_golden import write_golden
from defectflow.image.decode import read_image
from defectflow.line import Inspector
from defectflow.line.certificate import Certificate, certificate_file, read_certificate
from defectflow.line.comparison import MAP_TOLERANCE
from defectflow.line.golden import record_golden
from defectflow.line.providers import CPU, check_runs_on, find_providers
from defectflow.line.recalibrate import recalibrate
from defectflow.line.verify import LOSSY_TOLERANCE, verify
from defectflow.verdict.calibration import TOLERANCE

VERIFYING = sys.modules[verify.__module__]

FORMS = {
    *(f"native-{number}.png" for number in range(4)),
    *("larger.png", "smaller.png", "wide.png", "tall.png", "noise.png"),
    *("grey.png", "grey.jpg", "colour.jpg", "grey-16-bit.png", "colour-16-bit.tif"),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch size and two timed pictures: enough to see what is compared."""
    monkeypatch.setattr(VERIFYING, "BATCHES", (3,))
    monkeypatch.setattr(VERIFYING, "TIMED_PICTURES", 2)


def test_an_untouched_bundle_passes(bundle_path: Path, sample: Path) -> None:
    before = digests(bundle_path)
    images = sorted((sample / "test").rglob("*.png"))[:20]
    result = verify(open_bundle(bundle_path), images=images, threads=1)
    assert result.passed
    assert not result.problems
    assert set(result.checksums) == set(before), "every file is covered, the card by its own digest"
    assert digests(bundle_path) == before, "verify only looks"
    rows = [(row.source, row.backend, row.pictures, row.refused) for row in result.comparisons]
    assert rows == [
        ("golden", "CPU", len(FORMS), 2),
        ("golden", "CPU, core", len(FORMS), 2),
        ("images", "CPU", 20, 0),
        ("images", "CPU, core", 20, 0),
    ]
    for row in result.comparisons:
        assert (row.flips, row.flipped) == (0, ())
        assert row.mean_difference <= row.largest_difference <= TOLERANCE
        assert row.map_correlation == pytest.approx(1, abs=1e-6)
        assert 0 < row.p95_ms < 10_000
    assert result.machine.packages["numpy"] == np.__version__
    assert "onnxruntime" in result.machine.packages


@pytest.mark.usefixtures("quick")
def test_an_uncalibrated_bundle_passes(uncalibrated_path: Path, swatch_folder: Path) -> None:
    result = verify(open_bundle(uncalibrated_path), images=sorted(swatch_folder.glob("*.png"))[:2])
    assert result.passed
    assert result.calibration_id is None


def test_any_altered_cut_or_missing_file_is_noticed(bundle_copy: Path) -> None:
    thumbnails = sorted((bundle_copy / "reference").glob("*.jpg"))[3:]  # one is like the other
    for file in sorted({path for path in bundle_copy.rglob("*") if path.is_file()} - {*thumbnails}):
        content = file.read_bytes()
        altered = bytearray(content)
        # Not whitespace, whose change would leave a card the same card.
        place = next(i for i in range(len(content) // 2, len(content)) if not content[i : i + 1].isspace())
        altered[place] ^= 1
        for damaged in (bytes(altered), content[: len(content) // 2], b""):
            file.write_bytes(damaged)
            with pytest.raises(BundleError) as refused:
                verify(open_bundle(bundle_copy))
            assert str(refused.value).startswith(str(file))
            assert "opy the bundle again" in str(refused.value)
        file.unlink()
        with pytest.raises(BundleError):
            verify(open_bundle(bundle_copy))
        file.write_bytes(content)
    assert verify(open_bundle(bundle_copy)).passed


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_what_inspection_reads_is_refused_before_it_runs(bundle_copy: Path, name: str) -> None:
    content = (bundle_copy / name).read_bytes()
    (bundle_copy / name).write_bytes(content[:-100])
    with pytest.raises(BundleError, match=name):
        Inspector(bundle_copy)


# --- what is recorded ---


def test_golden_pictures_come_in_every_form(bundle_path: Path) -> None:
    golden = bundle_path / "golden"
    assert {file.name for file in golden.iterdir()} == FORMS | {"expected.json", "maps.npy"}
    sizes = {}
    for name in FORMS - {"colour-16-bit.tif"}:
        with Image.open(golden / name) as picture:
            sizes[name] = picture.size
            assert picture.format == ("JPEG" if name.endswith(".jpg") else "PNG")
            assert picture.mode == {"grey.png": "L", "grey.jpg": "L", "grey-16-bit.png": "I;16"}.get(name, "RGB")
    side = open_bundle(bundle_path).card.image.size_px
    assert min(sizes["larger.png"]) > side > max(sizes["smaller.png"])
    assert sizes["wide.png"][0] > 1.5 * sizes["wide.png"][1]
    assert sizes["tall.png"][1] > 1.5 * sizes["tall.png"][0]
    expected = json.loads((golden / "expected.json").read_text())
    assert set(expected) == FORMS
    assert {name for name, record in expected.items() if record is None} == {"grey-16-bit.png", "colour-16-bit.tif"}
    assert len(np.load(golden / "maps.npy")) == len(FORMS) - 2
    limit = open_bundle(bundle_path).card.distance_limit
    assert expected["noise.png"]["distance"] > limit
    assert expected["native-0.png"]["distance"] < limit


@pytest.mark.parametrize(("full_scale", "rectangle"), [(4095, None), (None, (4500, 4500, 900, 900))])
def test_golden_pictures_of_other_cameras_and_regions(
    bundle_copy: Path, sample: Path, tmp_path: Path, full_scale: int | None, rectangle: tuple[int, int, int, int] | None
) -> None:
    """16-bit pictures carry the same values where the model knows the scale; none is too small for the region."""
    opened = open_bundle(bundle_copy)
    image = opened.card.image.model_copy(update={"full_scale": full_scale, "rectangle": rectangle})
    bundle = Bundle(tmp_path / "other", opened.card.model_copy(update={"image": image}))
    bundle_copy.rename(bundle.path)
    (bundle.path / "golden").rename(tmp_path / "before")
    pictures = find_pictures(sample / "test" / "good")[:3]
    measured = list(Inspector(bundle).measure_all([picture.path for picture in pictures]))
    write_golden(bundle, pictures, measured)
    expected = json.loads((bundle.path / EXPECTED).read_text())
    refused = {name for name, record in expected.items() if record is None}
    if full_scale is None:
        assert refused == {"grey-16-bit.png", "colour-16-bit.tif"}
    else:
        assert not refused
        assert expected["grey-16-bit.png"] == expected["grey.png"], "the same pixels, by digest and by score"
        assert expected["colour-16-bit.tif"]["score"] == pytest.approx(
            next(
                Inspector(bundle).measure_all(
                    [read_image(bundle.path / "golden" / "colour-16-bit.tif", full_scale=4095)]
                )
            ).score
        )


def test_what_the_camera_gave_cannot_be_recorded_as_refused(bundle_copy: Path) -> None:
    """Otherwise whatever broke at the fit would be what every machine had to do."""
    (bundle_copy / "golden" / "native-1.png").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"native-1\.png"):
        record_golden(open_bundle(bundle_copy))


# --- what it notices ---


def remembering(bundle: Path, by: float, name: str = "native-0.png", **record: Any) -> None:
    """As if a golden picture's score had differed `by` so much: on this machine the bundle computes something else."""
    expected = json.loads((bundle / EXPECTED).read_text())
    expected[name]["score"] += by
    expected[name] |= record
    reseal(bundle, expected)


def reseal(bundle: Path, expected: dict[str, Any]) -> None:
    """Put another record into a bundle, with the checksums that belong to it."""
    (bundle / EXPECTED).write_text(json.dumps(expected))
    card = open_bundle(bundle).card
    others = {name: digest for name, digest in card.checksums.items() if name != CARD}
    save_bundle(bundle, card.model_copy(update={"checksums": {**others, EXPECTED: file_digest(bundle / EXPECTED)}}))


def verified(bundle: Path, **options: Any) -> Certificate:
    return verify(open_bundle(bundle), **({"core": False, "threads": 1} | options))


@pytest.mark.usefixtures("quick")
def test_another_score_than_recorded(bundle_copy: Path) -> None:
    spread = open_bundle(bundle_copy).card.good_spread
    remembering(bundle_copy, 0.5 * TOLERANCE * spread)
    assert verified(bundle_copy).passed, "numerical noise is no evidence"
    remembering(bundle_copy, 1.5 * TOLERANCE * spread)
    result = verified(bundle_copy)
    assert not result.passed
    assert result.flips == 0
    assert result.comparisons[0].largest_difference == pytest.approx(2 * TOLERANCE, rel=0.1)
    assert "no verdict flips, but 1 pictures differ by more" in result.problems[0]
    assert "scores by up to 0.002 and maps by up to 0 " in result.problems[0]
    assert "--tolerance" in result.problems[0]
    assert verified(bundle_copy, tolerance=3 * TOLERANCE).passed, "who says so may accept more"


@pytest.mark.usefixtures("quick")
def test_a_score_that_is_not_a_number_is_no_agreement(bundle_copy: Path) -> None:
    remembering(bundle_copy, 0, score=1e30)
    assert not verified(bundle_copy).passed
    remembering(bundle_copy, 0, score=float("nan"))
    result = verified(bundle_copy)
    assert not result.passed
    assert np.isnan(Certificate.model_validate_json(result.to_json()).comparisons[0].largest_difference)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("wrong", [1.5, float("nan")])
def test_another_map_than_recorded(bundle_copy: Path, wrong: float) -> None:
    """At one place outside the top fraction, where no score changes."""
    card = open_bundle(bundle_copy).card
    maps = np.load(bundle_copy / GOLDEN_MAPS)
    lowest = np.unravel_index(maps[0].argmin(), maps[0].shape)
    for much, passes in ((0.5, True), (wrong, False)):
        spoiled = maps.copy()
        spoiled[0][lowest] -= much * MAP_TOLERANCE * TOLERANCE * card.good_spread
        np.save(bundle_copy / GOLDEN_MAPS, spoiled)
        digests_now = card.checksums | {GOLDEN_MAPS: file_digest(bundle_copy / GOLDEN_MAPS)}
        del digests_now[CARD]
        save_bundle(bundle_copy, card.model_copy(update={"checksums": digests_now}))
        result = verified(bundle_copy)
        assert result.passed is passes
        assert result.flips == 0
        assert not result.comparisons[0].largest_map_difference <= 0.1 * MAP_TOLERANCE * TOLERANCE


@pytest.mark.usefixtures("quick")
def test_another_distance_than_recorded(bundle_copy: Path) -> None:
    """Far within the gate, where no verdict changes."""
    limit = open_bundle(bundle_copy).card.distance_limit
    distance = json.loads((bundle_copy / EXPECTED).read_text())["native-0.png"]["distance"]
    remembering(bundle_copy, 0, distance=distance + 0.5 * TOLERANCE * limit)
    assert verified(bundle_copy).passed
    remembering(bundle_copy, 0, distance=distance + 2 * TOLERANCE * limit)
    result = verified(bundle_copy)
    assert (result.passed, result.flips) == (False, 0)
    assert result.comparisons[0].largest_distance_difference == pytest.approx(2 * TOLERANCE, rel=0.1)
    assert "distances by up to 0.002 of the gate's limit" in result.problems[0]


def test_a_quick_look_is_no_less_strict(bundle_copy: Path) -> None:
    result = verified(bundle_copy, quick=True, core=None)
    assert result.passed
    assert [(row.backend, row.pictures, row.p95_ms) for row in result.comparisons] == [
        ("CPU", len(FORMS), None),
        ("CPU, core", len(FORMS), None),
    ]
    remembering(bundle_copy, 0, distance=2 * open_bundle(bundle_copy).card.distance_limit)
    assert verified(bundle_copy, quick=True).flips == 1


@pytest.mark.usefixtures("quick")
def test_a_flipped_verdict(bundle_copy: Path) -> None:
    limit = open_bundle(bundle_copy).card.distance_limit
    remembering(bundle_copy, 0, distance=limit + 1)
    result = verified(bundle_copy)
    assert result.flips == 1
    assert result.comparisons[0].flipped == ("native-0.png",)
    assert not result.passed
    assert "flips on native-0.png" in result.problems[0]
    remembering(bundle_copy, 0, distance=limit * (1 + 0.5 * TOLERANCE))
    result = verified(bundle_copy)
    assert (result.flips, result.comparisons[0].borderline) == (0, 1), "within the tolerance of the gate's limit"


@pytest.mark.usefixtures("quick")
def test_a_picture_near_a_threshold_is_borderline(bundle_copy: Path) -> None:
    """Thresholds moved to just below a golden picture's score: another machine may well call it ok."""
    card = open_bundle(bundle_copy).card
    assert card.calibration is not None
    score = json.loads((bundle_copy / EXPECTED).read_text())["native-3.png"]["score"]
    below = card.calibration.threshold.model_copy(update={"value": score - 0.1 * TOLERANCE * card.good_spread})
    calibration = card.calibration.model_copy(update={"threshold": below, "review": below})
    save_bundle(bundle_copy, card.model_copy(update={"calibration": calibration}))
    remembering(bundle_copy, -0.2 * TOLERANCE * card.good_spread, "native-3.png")  # recorded as ok, is a defect here
    result = verified(bundle_copy)
    assert (result.flips, result.comparisons[0].borderline) == (0, 1)
    assert result.passed


@pytest.mark.usefixtures("quick")
def test_near_a_threshold_only_the_verdicts_beside_it_are_borderline(bundle_copy: Path) -> None:
    """A score just below the threshold may come out as a defect elsewhere, but never as a foreign picture."""
    card = open_bundle(bundle_copy).card
    assert card.calibration is not None
    score = json.loads((bundle_copy / EXPECTED).read_text())["native-3.png"]["score"]
    above = card.calibration.threshold.model_copy(update={"value": score + 0.1 * TOLERANCE * card.good_spread})
    calibration = card.calibration.model_copy(update={"threshold": above, "review": above})
    save_bundle(bundle_copy, card.model_copy(update={"calibration": calibration}))
    remembering(bundle_copy, 0, "native-3.png", distance=2 * card.distance_limit)
    result = verified(bundle_copy)
    assert (result.flips, result.comparisons[0].flipped) == (1, ("native-3.png",))
    assert not result.passed


@pytest.mark.usefixtures("quick")
def test_without_thresholds_there_is_still_a_gate(uncalibrated_copy: Path) -> None:
    limit = open_bundle(uncalibrated_copy).card.distance_limit
    remembering(uncalibrated_copy, 0, distance=2 * limit)
    assert verified(uncalibrated_copy).comparisons[0].flipped == ("native-0.png",)


@pytest.mark.usefixtures("quick")
def test_the_huge_score_of_a_foreign_picture_is_no_alarm(bundle_copy: Path) -> None:
    """Good scores are no measure of a score far from all parts: there, rounding noise exceeds their spread."""
    expected = json.loads((bundle_copy / EXPECTED).read_text())
    expected["noise.png"]["score"] *= 1 + 1e-6
    reseal(bundle_copy, expected)
    assert verified(bundle_copy).passed
    expected["noise.png"]["score"] *= 1.01
    reseal(bundle_copy, expected)
    assert not verified(bundle_copy).passed, "but another number altogether is one"


@pytest.mark.usefixtures("quick")
def test_another_jpeg_decoder_is_allowed_a_little_another_png_decoder_nothing(bundle_copy: Path) -> None:
    spread = open_bundle(bundle_copy).card.good_spread
    remembering(bundle_copy, 0.5 * LOSSY_TOLERANCE * spread, "colour.jpg")
    assert not verified(bundle_copy).passed, "of the same pixels the same is expected"
    remembering(bundle_copy, 0, "colour.jpg", pixels="0" * 64)
    result = verified(bundle_copy)
    assert result.passed
    assert "decodes colour.jpg to slightly different pixels" in result.notes[0]
    remembering(bundle_copy, LOSSY_TOLERANCE * spread, "colour.jpg")
    assert not verified(bundle_copy).passed
    remembering(bundle_copy, -1.5 * LOSSY_TOLERANCE * spread, "colour.jpg")
    remembering(bundle_copy, 0, "grey.png", pixels="0" * 64)
    result = verified(bundle_copy)
    assert not result.passed
    (problem,) = result.problems
    assert problem.startswith("grey.png: is lossless but decodes to different pixels here")


@pytest.mark.usefixtures("quick")
def test_what_must_be_refused_is_refused(bundle_copy: Path) -> None:
    """A 16-bit picture that a model of 8-bit pictures suddenly took would be judged on a wrong scale."""
    expected = json.loads((bundle_copy / EXPECTED).read_text())
    reseal(bundle_copy, expected | {"native-1.png": None, "noise.png": expected["native-1.png"]})
    result = verified(bundle_copy)
    assert not result.passed
    assert "native-1.png" in result.comparisons[0].flipped


@pytest.mark.usefixtures("quick")
def test_your_pictures_that_cannot_be_read_are_counted(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    good = min((sample / "test" / "good").glob("*.png"))
    result = verified(bundle_path, images=[good, broken])
    assert result.passed
    assert (result.comparisons[1].pictures, result.comparisons[1].refused) == (2, 1)
    result = verified(bundle_path, images=[broken])
    assert not result.passed, "nothing was compared"
    assert "none of 1 can be used" in result.problems[0]


@pytest.mark.usefixtures("quick")
def test_a_backend_that_computes_something_else_is_found_on_your_pictures(
    bundle_path: Path, bundle_copy: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another calibration stands for a faulty provider: it gives other verdicts for equal scores."""
    images = [
        *sorted((sample / "test" / "good").glob("*.png"))[:10],
        save(tmp_path / "m.png", marked(np.array(Image.open(min((sample / "test" / "good").glob("*.png")))))),
    ]
    recalibrate(open_bundle(bundle_copy), rate=0.5, guarantee="expected", review_rate=0.9)
    faulty = VERIFYING.Backend("faulty", Inspector(bundle_copy, threads=1))
    monkeypatch.setattr(VERIFYING, "open_backends", lambda *_: ([faulty], []))
    result = verified(bundle_path, images=images)
    by_hand = set()
    for path, one, other in zip(
        images, Inspector(bundle_path).inspect(images), Inspector(bundle_copy).inspect(images), strict=True
    ):
        if one.decision != other.decision:
            by_hand.add(str(path))
    assert by_hand
    row = result.comparisons[1]
    assert (row.flips, set(row.flipped)) == (len(by_hand), by_hand)
    assert row.largest_difference <= TOLERANCE
    assert not result.passed


# --- ways to run it ---


@pytest.mark.usefixtures("quick")
def test_either_graph_alone(bundle_path: Path) -> None:
    assert [row.backend for row in verified(bundle_path, core=True).comparisons] == ["CPU, core"]
    assert [row.backend for row in verified(bundle_path, core=False, providers=["cpu"]).comparisons] == ["CPU"]


def test_an_absent_provider_is_named_with_what_brings_it(bundle_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cuda is not in this ONNX Runtime, which has CPU; .*onnxruntime-gpu"):
        Inspector(bundle_path, providers=["cuda"])
    with pytest.raises(BundleError, match=r"OpenVINOExecutionProvider is not .*onnxruntime-openvino"):
        verified(bundle_path, providers=["OpenVINOExecutionProvider"])
    with pytest.raises(BundleError, match=r"cdua is not .*known are CUDA, "):
        find_providers(["cdua"])
    with pytest.raises(BundleError, match=r"azure sends pictures to a remote service"):
        find_providers(["azure"])
    assert find_providers(["cpu", CPU]) == [CPU, CPU]


def test_a_provider_that_onnx_runtime_silently_drops_is_noticed() -> None:
    class WithoutItsLibraries:
        """What ONNX Runtime returns where CUDA's libraries are missing: a session on the CPU."""

        def get_providers(self) -> list[str]:
            return [CPU]

    with pytest.raises(BundleError, match=r"CUDA is installed but cannot start here.*NVIDIA"):
        check_runs_on(WithoutItsLibraries(), ["CUDAExecutionProvider", CPU])
    check_runs_on(WithoutItsLibraries(), [CPU])


def test_a_graph_that_the_cpu_cannot_run_is_no_footnote(bundle_copy: Path) -> None:
    """With the right checksum, as if this ONNX Runtime were too old for it."""
    opened = open_bundle(bundle_copy)
    model = bundle_copy / "model.onnx"
    model.write_bytes(b"of another time")
    checksums = {**opened.card.checksums, model.name: file_digest(model)}
    with pytest.raises(BundleError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        verify(Bundle(bundle_copy, opened.card.model_copy(update={"checksums": checksums})))


# --- the certificate as a file ---


@pytest.mark.usefixtures("quick")
def test_the_certificate_lies_beside_the_bundle_and_knows_what_it_covers(bundle_copy: Path) -> None:
    bundle = open_bundle(bundle_copy)
    file = certificate_file(bundle)
    assert file.parent == bundle_copy.parent, "not inside: a copied bundle must not bring another machine's certificate"
    file.write_text(verify(bundle, threads=1).to_json())
    read = read_certificate(file)
    assert read.covers(bundle.card)
    after = recalibrate(bundle, rate=0.2, guarantee="expected", review_rate=0.4)
    assert not read.covers(after.card)
    file.write_text("{}")
    with pytest.raises(BundleError, match=r"certificate\.json: cannot be read"):
        read_certificate(file)
