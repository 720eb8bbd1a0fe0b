"""The public door: its names, what they bring along, and the short path of notebooks."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from support import REPOSITORY, SWATCH_RECIPE, marked, save, swatch, swatches

import defectflow
from defectflow import Inspector, Model, Verdict, evaluate, fit, load_recipe, open_bundle
from defectflow.errors import BundleError, DataError, ImageError, NotCalibrated, SettingsError
from defectflow.image import read_image, shrink
from defectflow.verdict import overlay

SETTINGS = (*SWATCH_RECIPE, "verdict.rate=0.15", "verdict.review_rate=0.3")


@pytest.fixture(scope="module")
def model(bundle_path: Path) -> Model:
    return Model(str(bundle_path))


@pytest.fixture(scope="module")
def ring(sample: Path) -> Path:
    return sorted((sample / "test" / "good").glob("*.png"))[0]


def test_its_names_are_pinned() -> None:
    """Whoever changes them changes the interface, and says so in CHANGELOG.md."""
    public = ["Inspector", "Model", "Verdict", "evaluate", "fit", "load_recipe", "open_bundle"]
    assert defectflow.__all__ == public
    assert set(public) <= set(dir(defectflow))
    for name in public:
        assert getattr(defectflow, name).__name__ == name
        assert getattr(defectflow, name).__doc__
    with pytest.raises(AttributeError, match="fitt"):
        defectflow.fitt  # noqa: B018


@pytest.mark.parametrize("name", defectflow.__all__)
def test_a_name_brings_its_room_and_no_torch(name: str) -> None:
    program = f"import sys\nfrom defectflow import {name}\nprint('torch' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_type_checker_knows_the_names(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(
        "from defectflow import Model, Verdict, fit\n"
        "def look(model: Model) -> Verdict:\n    return model.inspect('a.png')\n"
        "look(fit('good/'))\n"
    )
    bad.write_text("from defectflow import Inspektor\n")
    # The configuration and the cache of the repository: `make test` has checked the package before, which takes long.
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", str(good), str(bad)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    assert [line for line in checked.stdout.splitlines() if ": error:" in line] == [
        line for line in checked.stdout.splitlines() if "bad.py" in line and "Inspektor" in line
    ]


def test_one_picture_gives_the_inspectors_verdict(model: Model, inspector: Inspector, ring: Path) -> None:
    verdict = model.inspect(str(ring))
    (expected,) = inspector.inspect([ring])
    assert isinstance(verdict, Verdict) and isinstance(expected, Verdict)
    assert (verdict.decision, verdict.score, verdict.p_value) == (expected.decision, expected.score, expected.p_value)
    assert model.inspect(read_image(ring)).score == verdict.score


def test_a_picture_that_cannot_be_used_raises(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.png"):
        model.inspect(tmp_path / "a.png")


def test_many_pictures_stop_at_none(model: Model, ring: Path, tmp_path: Path) -> None:
    seen = list(model.inspect_many([ring, tmp_path / "missing.png", read_image(ring)]))
    assert [type(one) for one in seen] == [Verdict, ImageError, Verdict]


def test_a_verdict_shows_its_picture_with_map_and_outlines(model: Model, ring: Path, tmp_path: Path) -> None:
    pixels = marked(read_image(ring))
    verdict = model.inspect(save(tmp_path / "pen.png", pixels))
    assert verdict.decision.word == "defect"
    assert np.array_equal(np.asarray(verdict.show()), overlay(pixels, verdict))
    small = np.asarray(verdict.show(100))
    assert np.array_equal(small, overlay(shrink(pixels, 100), verdict)) and max(small.shape) == 100
    png = verdict._repr_png_()
    assert png is not None and png.startswith(b"\x89PNG")


def test_a_verdict_of_pixels_shows_them_where_one_was_asked_for(model: Model, ring: Path) -> None:
    pixels = read_image(ring)
    verdict = model.inspect(pixels)
    assert np.array_equal(np.asarray(verdict.show()), overlay(pixels, verdict))
    (of_many,) = model.inspect_many([pixels])
    assert isinstance(of_many, Verdict) and of_many._repr_png_() is None
    with pytest.raises(ImageError, match="not kept"):
        of_many.show()


def test_a_verdict_never_shows_another_picture(model: Model, ring: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", read_image(ring))
    verdict = model.inspect(file)
    save(file, marked(read_image(ring)))
    with pytest.raises(ImageError, match=r"a\.png: has changed"):
        verdict.show()
    file.unlink()
    assert verdict._repr_png_() is None


def test_a_verdict_keeps_no_pixels_of_a_file_alive(inspector: Inspector, ring: Path) -> None:
    (verdict,) = inspector.inspect([ring])
    assert isinstance(verdict, Verdict)
    assert not isinstance(verdict.picture, np.ndarray)
    assert len(repr(verdict)) < 800


def test_it_evaluates_as_the_command_does(model: Model, bundle_path: Path, sample: Path) -> None:
    found = model.evaluate(sample)
    assert (found.pictures_good, found.pictures_defective) == (24, 18) and found.image is not None
    assert evaluate(bundle_path, str(sample)).image == found.image
    with pytest.raises(DataError, match="none of its"):
        model.evaluate(sample / "train" / "good")


def test_fit_in_a_temporary_folder_and_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    good = swatches(tmp_path / "good", 24)
    (good / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model = fit(str(good), settings=SETTINGS)
    assert any("broken.png" in str(one.message) for one in warned)
    assert "model" in repr(model)
    shown = capsys.readouterr()
    assert shown.out == "" and "learn level 1: 30/30" in shown.err
    folder = model.inspector.bundle.path
    with pytest.raises(SettingsError, match="exists already"):
        model.save(good)
    saved = model.save(tmp_path / "models" / "swatch")
    probe = swatch(99)
    score = model.inspect(probe).score
    del model
    assert not folder.exists(), "the temporary folder goes with the model"
    assert Model(saved).inspect(probe).score == score
    assert open_bundle(str(saved)).path == saved


def test_fit_to_a_folder_with_a_recipe_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swatch_folder: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = load_recipe("default", list(SWATCH_RECIPE))
    with pytest.raises(SettingsError, match="give them to load_recipe"):
        fit(swatch_folder, recipe=recipe, settings=["flow.layers=3"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit(swatch_folder, tmp_path / "swatch", recipe=recipe)
    with pytest.raises(NotCalibrated):
        model.inspect(swatch(1))
    with pytest.raises(SettingsError, match="--overwrite"):
        fit(swatch_folder, tmp_path / "swatch", recipe=recipe)
    with pytest.raises(BundleError, match="no bundle here"):
        Model(tmp_path / "nothing")
