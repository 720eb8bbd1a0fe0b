"""Flaws drawn on good parts: larger and stronger ones are found, and the files say what was measured."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from support import Cli

from defectflow.data import find_pictures
from defectflow.errors import DataError, SettingsError
from defectflow.gauge import (
    Detectability,
    Plan,
    Regions,
    detectability_json,
    study_detectability,
    write_detectability,
)
from defectflow.gauge.logistic import fit_logistic
from defectflow.line import Inspector


@pytest.fixture(scope="module")
def study(inspector: Inspector, sample: Path) -> Detectability:
    good = find_pictures(sample / "test" / "good")
    real = [picture for picture in find_pictures(sample) if picture.split == "test"]
    plan = Plan(sizes_px=(4, 60), contrasts=(20, 60), flaws=30, kinds=("dark spot", "bright spot"))
    return study_detectability(inspector, good, plan, regions=Regions.parse("1x2"), real=real, mm_per_px=0.1)


def test_every_flaw_is_a_trial(study: Detectability) -> None:
    assert len(study.trials) + study.not_drawn == 2 * 2 * 30
    assert {trial.region for trial in study.trials} == {"row 1, column 1", "row 1, column 2"}
    assert len(study.real) == 18 and study.fitted == 0
    by_kind = study.groups_by("kind")
    assert sum(len(group.sizes_px) for group in by_kind) == len(study.trials)
    assert sum(len(group.sizes_px) for group in study.groups_by("region")) == len(study.trials)
    assert study.clean.of == 24, "each picture of the 20 good parts was looked at without a flaw; four were shot twice"


def test_larger_and_stronger_flaws_are_found(study: Detectability) -> None:
    strong = [trial for trial in study.trials if trial.contrast == 60]
    large = [trial.found for trial in strong if trial.size_px > 35]
    small = [trial.found for trial in strong if trial.size_px < 8]
    faint = [trial.found for trial in study.trials if trial.contrast == 20]
    assert np.mean(large) > 0.8 and np.mean(small) < 0.2
    assert np.mean(faint) < np.mean([trial.found for trial in strong])
    for group in study.groups_by("kind"):
        if group.contrast != 60:
            continue
        assert group.curve is not None, group.why_none
        own = [trial for trial in strong if trial.kind == group.name]
        again = fit_logistic([math.log(trial.size_px) for trial in own], [trial.found for trial in own])
        assert group.a50_px == pytest.approx(math.exp(again.x_at(0.5) or 0))
        assert 6 < (group.a50_px or 0) < (group.a90_px or 0) < (group.a90_95_px or math.inf)

    for group, row in zip(study.groups, detectability_json(study)["curves"], strict=True):
        size, tried = group.a90_95_px, row["largest_px"]  # no size is told beyond those that were tried
        assert row["a90_95_side"] == (">" if size is not None and size > tried else "")
        assert row["a90_95_px"] == (None if size is None else min(size, tried))


def test_the_same_seed_gives_the_same_study(inspector: Inspector, sample: Path) -> None:
    good = find_pictures(sample / "test" / "good")
    plan = Plan(sizes_px=(10, 40), contrasts=(60,), flaws=10, kinds=("scratch",), seed=3)
    first, second = (study_detectability(inspector, good, plan, regions=Regions()) for _ in range(2))
    assert first.trials == second.trials


def test_its_files(study: Detectability, tmp_path: Path) -> None:
    page = write_detectability(tmp_path / "study", study).read_text()
    assert "Drawn flaws are not real ones" in page and "<script" not in page
    assert page.count("data:image/jpeg;base64,") == 4 and "Real defects beside the drawn ones" in page
    with (tmp_path / "study" / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(study.trials) + 18
    assert sum(int(row["found"]) for row in rows) == sum(trial.found for trial in (*study.trials, *study.real))
    tree = json.loads((tmp_path / "study" / "detectability.json").read_text())
    curve = next(one for one in tree["curves"] if one["a90_px"] is not None)
    assert curve["a90_mm"] == pytest.approx(0.1 * curve["a90_px"])
    with (tmp_path / "study" / "curves.csv").open(encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [one["name"] for one in tree["curves"]]


def test_what_cannot_be_studied(inspector: Inspector, sample: Path) -> None:
    bad = find_pictures(sample / "test" / "hole")
    strongest = [one for one in bad if all(v.decision.word != "ok" for v in inspector.inspect([one.path]))]
    with pytest.raises(DataError, match="good pictures is called ok, so no flaw can be told"):
        study_detectability(inspector, strongest, Plan(), regions=Regions())
    for given, said in (
        ({"sizes_px": (9, 3)}, "sizes of 9 to 3 px cannot be drawn"),
        ({"contrasts": (0.0,)}, "contrasts of 0 cannot be drawn"),
        ({"flaws": 3}, "3 flaws say nothing about a curve"),
    ):
        with pytest.raises(SettingsError, match=said):
            Plan(**given)  # type: ignore[arg-type]


def test_from_the_command_line(cli: Cli, bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    words = ("study", "detectability", bundle_path, "--good", sample / "test" / "good", "--out", tmp_path / "study")
    done = cli(*words, "--flaws", "10", "--sizes", "5:60", "--contrasts", "80", "--threads", "1")
    assert done.code == 0 and "a90/95" in done.out and "Drawn flaws are not real ones" in done.out, done
    assert sorted(file.name for file in (tmp_path / "study").iterdir()) == [
        *("curves.csv", "detectability.html", "detectability.json", "trials.csv")
    ]
    assert "SMALLEST:LARGEST" in cli(*words, "--sizes", "5-60").err
