"""What a look at the data finds: in pictures with planted mistakes, and in clean numbers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import SAMPLE_RECIPE, SWATCH_RECIPE, Cli, fit_swatches, save, swatch, swatches

from defectflow.data.splits import fold_by_part
from defectflow.embedding.cache import EmbeddingCache
from defectflow.errors import DataError
from defectflow.fitting.check import check_data
from defectflow.fitting.findings import DataCheck
from defectflow.fitting.suspects import FALSE_FLAGS, Surprise, tail_units
from defectflow.recipe.settings import load_recipe

PART = r"(part\d+)"


def check(
    folder: Path, *overrides: str, recipe: tuple[str, ...] = SWATCH_RECIPE, part_regex: str | None = None
) -> DataCheck:
    chosen = load_recipe("free", [*recipe, *overrides])
    return check_data(chosen, folder, cache=EmbeddingCache(folder.parent / "cache"), part_regex=part_regex)


def said(found: DataCheck, topic: str) -> tuple[str, str]:
    """Gravity and words of the first finding on a topic."""
    return next((one.gravity, f"{one.said} {one.remedy}") for one in found.findings() if one.topic == topic)


@pytest.fixture(scope="module")
def planted(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 good rings, some of them shot twice, among them one with a hole and one with a missing piece, called good."""
    folder = tmp_path_factory.mktemp("planted") / "good"
    folder.mkdir()
    for picture in sorted((sample / "train" / "good").glob("*.png"))[:52]:
        shutil.copy(picture, folder)
    for kind in ("hole", "missing"):
        defective = min((sample / "test" / kind).glob("*.png"))
        shutil.copy(defective, folder / f"part9{len(kind)}_shot1.png")
    return folder


@pytest.fixture(scope="module")
def found(planted: Path) -> DataCheck:
    return check(planted, recipe=SAMPLE_RECIPE, part_regex=PART)


def test_defective_pictures_among_good_ones_are_ranked_first_and_stand_out(found: DataCheck) -> None:
    first = {suspect.part for suspect in found.suspects[:3]}
    assert {"part94", "part97"} <= first
    assert "part97" in {suspect.part for suspect in found.suspects if suspect.stands_out}
    assert said(found, "suspects")[0] == "look"
    assert [suspect.rank for suspect in found.suspects] == list(range(1, len(found.suspects) + 1))


def test_the_place_of_a_defect_is_shown(sample: Path, found: DataCheck) -> None:
    suspect = next(suspect for suspect in found.suspects if suspect.part == "part94")
    assert suspect.where is not None
    from PIL import Image

    mask_file = min((sample / "ground_truth" / "hole").glob("*.png"))
    y, x = np.nonzero(np.asarray(Image.open(mask_file).convert("L")) > 0)
    assert abs(suspect.where[0] * 256 - x.mean()) < 24
    assert abs(suspect.where[1] * 256 - y.mean()) < 24


def test_parts_and_promises(found: DataCheck, planted: Path) -> None:
    parts = len({path.name.split("_")[0] for path in planted.glob("*.png")})
    assert (found.parts, found.pictures, found.parts_named) == (parts, 54, True)
    assert not found.fit_fails
    expected, confident = found.promises
    assert (expected.calibration_needed, confident.calibration_needed) == (19, 59)
    assert expected.calibration_parts == parts // 3
    assert expected.lowest_rate == pytest.approx(1 / (parts // 3 + 1), abs=1e-4)
    assert not expected.kept
    assert f"needs 57 good parts, there are {parts}" in said(found, "promise")[1]


def test_siblings_are_found_by_name_and_looks(sample: Path, planted: Path) -> None:
    """Without a part regex; and the expression that is proposed gives the parts."""
    unnamed = check(planted, recipe=SAMPLE_RECIPE)
    siblings = unnamed.siblings
    assert siblings is not None
    assert not unnamed.parts_named
    assert said(unnamed, "parts")[0] == "look"
    again = check(planted, recipe=SAMPLE_RECIPE, part_regex=siblings.part_regex)
    assert again.parts == len({path.name.split("_")[0] for path in planted.glob("*.png")})


def test_clean_swatches_raise_no_alarm(swatch_folder: Path) -> None:
    clean = check(swatch_folder)
    assert not clean.fit_fails
    assert not clean.unreadable
    assert not clean.exact
    assert not clean.near
    assert clean.siblings is None
    assert not any(suspect.stands_out for suspect in clean.suspects)
    assert {finding.topic for finding in clean.findings() if finding.gravity in ("look", "stop")} == {"promise"}


def test_everything_that_can_be_wrong_with_a_folder(tmp_path: Path, cli: Cli) -> None:
    folder = swatches(tmp_path / "good", 24)
    (folder / "broken.png").write_bytes(b"no picture")
    shutil.copy(folder / "003.png", folder / "copy.png")
    save(folder / "wide.png", swatch(77, 96)[:64])
    nearly = swatch(5)
    nearly[0, 0] += 1
    save(folder / "nearly.png", nearly)
    words = [word for override in SWATCH_RECIPE for word in ("--set", override)]
    report, progress = tmp_path / "check.json", tmp_path / "progress.jsonl"
    done = cli(
        "check-data",
        folder,
        *words,
        "--cache",
        tmp_path / "c",
        "--json",
        report,
        "--rate",
        "0.2",
        "--progress",
        progress,
    )
    assert done.code == 0, done.err
    told = json.loads(report.read_text())
    assert told["fit_fails"] is False
    assert [Path(one["path"]).name for one in told["unreadable"]] == ["broken.png"]
    assert [sorted(Path(path).name for path in pair) for pair in told["exact"]] == [["003.png", "copy.png"]]
    assert [sorted(Path(path).name for path in pair) for pair in told["near"]] == [["005.png", "nearly.png"]]
    assert [(one["width_px"], one["height_px"], one["pictures"]) for one in told["formats"]] == [
        (64, 64, 25),  # the twin counts once
        (96, 64, 1),
    ]
    assert told["promises"][0]["rate"] == 0.2
    gravity = {finding["topic"]: finding["gravity"] for finding in told["findings"]}
    assert gravity["pictures"] == gravity["duplicates"] == gravity["formats"] == "look"
    assert "Their shapes differ too" in done.out
    listed = [Path(one["path"]).name for one in told["suspects"]][:10]
    assert all(f" {name} " in done.out for name in listed), "a name that is cut off names nothing"
    stages = [json.loads(line) for line in progress.read_text().splitlines()]
    assert [step["stage"] for step in stages if step["done"] == step["total"]] == ["check pictures", "embed", "compare"]


def test_too_few_parts_end_with_1_and_say_what_a_fit_would(tmp_path: Path, cli: Cli) -> None:
    done = cli("check-data", swatches(tmp_path / "few", 5), "--json", tmp_path / "check.json")
    assert done.code == 1
    assert "A fit would fail: 5 good parts (5 pictures) are too few" in " ".join(done.out.replace("│", " ").split())
    assert json.loads((tmp_path / "check.json").read_text())["fit_fails"] is True


# --- the statistics ---


def test_no_part_is_in_two_groups_and_groups_are_equally_large() -> None:
    parts = [f"p{number % 23}" for number in range(60)]
    folds = fold_by_part(parts)
    assert all(len({fold for fold, one in zip(folds, parts, strict=True) if one == part}) == 1 for part in parts)
    sizes = [len({part for part, one in zip(parts, folds, strict=True) if one == fold}) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("law", ["exponential", "normal", "gamma"])
def test_clean_sets_are_rarely_flagged(law: str) -> None:
    """2,000 sets of 100 pictures without a wrong one; an exponential tail is the worst case that is allowed for."""
    random = np.random.default_rng(0)
    draw = {
        "exponential": random.exponential,
        "normal": random.normal,
        "gamma": lambda size: random.gamma(4, size=size),
    }
    flagged = 0
    for _ in range(2000):
        places, whole = (tail_units(draw[law](size=100)) for _ in range(2))
        surprise = Surprise(places, places, whole, np.zeros((0, 0, 0), np.float32))
        flagged += bool((surprise.most > surprise.limit).any())
    assert flagged / 2000 < 2 * FALSE_FLAGS  # the tail's scale is itself estimated, from 100 values


def test_tail_units_of_an_exponential_law() -> None:
    values = -np.log(1 - (np.arange(100_000) + 0.5) / 100_000)
    assert tail_units(values) == pytest.approx(values - math.log(2), abs=1e-3)


def test_what_is_too_small_to_be_seen_is_said(tmp_path: Path) -> None:
    """At 64 px, a picture of 512 x 96 loses all detail in one direction."""
    for number in range(12):
        save(tmp_path / "good" / f"{number:03}.png", swatch(number, 512)[:96])
    told = said(check(tmp_path / "good"), "detail")
    assert told[0] == "look"
    assert "One model pixel is 8 x 1.5 camera pixels: defects below about 16 x 3 px will be missed." in told[1]
    assert "recipe large" in told[1]


def test_equal_pictures_are_refused_before_anything_is_learned(tmp_path: Path) -> None:
    for number in range(60):
        save(tmp_path / "good" / f"{number:03}.png", swatch(number % 2))
    found = check(tmp_path / "good")
    assert found.fit_fails and found.failure is not None
    assert "2 good parts (2 pictures) are too few" in found.failure
    assert "60 pictures, 2 distinct" in found.failure
    with pytest.raises(DataError, match="60 pictures, 2 distinct"):
        fit_swatches(tmp_path / "good", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_folders_that_are_used_are_told(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "data" / ("1_gut" if number < 9 else "2_schlecht") / f"{number:03}.png", swatch(number))
    gravity, words = said(check(tmp_path / "data"), "folders")
    assert gravity == "note"
    assert (
        "1_gut: 9 good" in words and "2_schlecht: 3 good" in words and "Nothing says that all 2 folders hold" in words
    )
