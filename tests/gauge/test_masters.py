"""Master parts: registered, judged anew at each shift, and what holds the line up."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from support import Cli, marked, save

from defectflow.bundle import open_bundle
from defectflow.data import find_pictures
from defectflow.errors import DataError, NotReleased, SettingsError
from defectflow.gauge import check_masters, register_masters, standing
from defectflow.gauge.master_report import write_master_report
from defectflow.image import read_image
from defectflow.line import Inspector, recalibrate
from defectflow.store import GoldenSettings, Query, Store, StoreSettings


def shift(
    folder: Path, sample: Path, number: int, *, swapped: bool = False, only: tuple[str, ...] = ("m1", "m2", "bad")
) -> Path:
    """Pictures of the same three master parts, taken anew: with a little noise that differs from shift to shift."""
    random = np.random.default_rng(number)
    good = sorted((sample / "test" / "good").glob("*.png"))
    for name, file in (("m1", good[0]), ("m2", good[2]), ("bad", good[4])):
        if name not in only:
            continue
        pixels = read_image(file).astype(float) + random.normal(0, 0.6, (256, 256, 1))
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        pixels = marked(pixels) if (name == "bad") != swapped else pixels
        save(folder / ("defect" if name == "bad" else "good") / f"{name}.png", pixels)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "inspections.db"))


def test_a_week_of_shifts(sample: Path, inspector: Inspector, store: Store, tmp_path: Path) -> None:
    card = inspector.card
    first = shift(tmp_path / "0", sample, 0)
    with pytest.raises(DataError, match="no master parts are registered"):
        check_masters(store, inspector, find_pictures(first), by="anna")
    assert not standing(store, card).release.released
    run = register_masters(store, inspector, find_pictures(first), by="anna", baseline=4)
    assert run.passed and [one.name for one in run.judged] == ["bad", "m1", "m2"]
    assert [one.expected for one in run.judged] == ["defect", "ok", "ok"]
    with pytest.raises(DataError, match="was judged already, on"):
        check_masters(store, inspector, find_pictures(first), by="anna")
    for number in range(1, 6):
        run = check_masters(store, inspector, find_pictures(shift(tmp_path / str(number), sample, number)), by="bert")
    found = standing(store, card)
    assert found.release.released and "found all 3 master parts as expected" in found.release.reason
    assert len(found.runs) == 6
    chart = next(one for one in found.charts if one.name == "m1")
    scores = [one.score for run in found.runs for one in run.judged if one.name == "m1"]
    direct = [item.score for item in inspector.measure_all([tmp_path / str(n) / "good" / "m1.png" for n in range(6)])]
    assert scores == pytest.approx(direct, abs=1e-5)
    assert chart.centre == pytest.approx(np.mean(direct[:4]), abs=1e-5)
    page = write_master_report(tmp_path / "golden.html", card, found).read_text()
    assert page.count("<svg") == 3 and "Released" in page and "<script" not in page
    assert store.history.count(Query()) == 0, "master parts are no production"
    assert store.verify().passed


def test_what_holds_the_line_up(sample: Path, inspector: Inspector, store: Store, tmp_path: Path) -> None:
    card, settings = inspector.card, GoldenSettings(hours=8)
    store.masters.require_release(card, GoldenSettings())  # nobody asks for a check
    with pytest.raises(NotReleased, match="no master parts of ring were ever judged"):
        store.masters.require_release(card, settings)
    register_masters(store, inspector, find_pictures(shift(tmp_path / "0", sample, 0)), by="anna")
    store.masters.require_release(card, settings)
    later = datetime.now(UTC) + timedelta(hours=9)
    assert "is older than 8 hours" in store.masters.release(card, settings, now=later).reason
    run = check_masters(store, inspector, find_pictures(shift(tmp_path / "1", sample, 1, swapped=True)), by="bert")
    assert not run.passed
    with pytest.raises(NotReleased, match=r"bad was (ok|review) instead of defect; m1 was defect instead of ok"):
        store.masters.require_release(card, settings)
    run = check_masters(
        store, inspector, find_pictures(shift(tmp_path / "2", sample, 2, only=("m1", "bad"))), by="bert"
    )
    assert run.wrong == ["m2 was not pictured"]
    with pytest.raises(DataError, match="was judged already, on"):  # registering anew is no way around a failed check
        register_masters(store, inspector, find_pictures(tmp_path / "0"), by="bert")
    check_masters(store, inspector, find_pictures(shift(tmp_path / "3", sample, 3)), by="bert")
    store.masters.require_release(card, settings)
    other = card.calibrated(card.calibration_parts, 0.1, "expected", 0.3)
    with pytest.raises(NotReleased, match="the thresholds are others than at"):
        store.masters.require_release(other, settings)


def test_a_signal_holds_the_line_up_only_where_asked(
    sample: Path, inspector: Inspector, store: Store, tmp_path: Path
) -> None:
    pictures = find_pictures(shift(tmp_path / "0", sample, 0))
    register_masters(store, inspector, pictures, by="anna", limits={"m1": (-100.0, -99.0)})
    run = check_masters(store, inspector, find_pictures(shift(tmp_path / "1", sample, 1)), by="anna")
    assert [one.name for one in run.signals] == ["m1"] and run.passed
    store.masters.require_release(inspector.card, GoldenSettings(hours=8))
    with pytest.raises(NotReleased, match=r"out of control: m1: its score .* is outside the limits"):
        store.masters.require_release(inspector.card, GoldenSettings(hours=8, in_control=True))


def test_sets_that_cannot_be(sample: Path, inspector: Inspector, store: Store, tmp_path: Path) -> None:
    def registered(folder: Path, **given: object) -> None:
        register_masters(store, inspector, find_pictures(folder), by="anna", **given)  # type: ignore[arg-type]

    with pytest.raises(
        DataError, match=r"bad: is judged (ok|review), and should be defect or invalid; .* --expect bad=(ok|review)"
    ):
        registered(shift(tmp_path / "swapped", sample, 0, swapped=True))
    good = shift(tmp_path / "good", sample, 0)
    with pytest.raises(SettingsError, match="m9: there is no such master part; there are bad, m1, m2"):
        registered(good, expect={"m9": "ok"})
    with pytest.raises(SettingsError, match="the lower limit 2 is not below the upper one 1"):
        registered(good, limits={"m1": (2.0, 1.0)})
    shutil.copytree(good / "good", tmp_path / "plain")
    with pytest.raises(DataError, match="nothing says whether this master part is good or defective"):
        registered(tmp_path / "plain")
    shutil.copy(good / "good" / "m1.png", good / "defect" / "m1.png")
    with pytest.raises(DataError, match="good and defective at once"):
        registered(good)
    (good / "defect" / "m1.png").unlink()
    registered(good)
    (tmp_path / "plain" / "m1.png").rename(tmp_path / "plain" / "x7.png")
    with pytest.raises(DataError, match="shows 'x7', which is no master part; they are called bad, m1, m2"):
        check_masters(store, inspector, find_pictures(tmp_path / "plain"), by="anna")


@pytest.mark.parametrize(("part", "expected"), [("bad", ("defect", "invalid")), ("m1", ("ok",))])
def test_one_folder_is_enough_to_say_what_parts_are(
    sample: Path, inspector: Inspector, store: Store, tmp_path: Path, part: str, expected: tuple[str, ...]
) -> None:
    """Named like one of good or of defective parts, without one of the other kind beside it."""
    alone = find_pictures(shift(tmp_path / "alone", sample, 0, only=(part,)))
    (judged,) = register_masters(store, inspector, alone, by="anna").judged
    assert (judged.name, judged.expected in expected) == (part, True)


def test_from_the_command_line(cli: Cli, bundle_copy: Path, sample: Path, tmp_path: Path) -> None:
    store, page = tmp_path / "inspections.db", tmp_path / "golden.html"
    first, second, bad = (shift(tmp_path / str(number), sample, number, swapped=number == 2) for number in range(3))
    assert cli("golden", bundle_copy, "--store", store).code == 2, "there is no store yet"
    done = cli("golden", bundle_copy, first, "--register", "--limits", "m1=-5:50", "--store", store)
    assert done.code == 0 and "Released" in done.out, done
    done = cli("golden", bundle_copy, second, "--store", store, "--report", page, "--json", tmp_path / "a.json")
    assert done.code == 0 and page.is_file()
    tree = json.loads((tmp_path / "a.json").read_text())
    assert tree["released"] and [part["part"] for part in tree["check"]["parts"]] == ["bad", "m1", "m2"]
    assert {chart["part"]: chart["stated"] for chart in tree["charts"]} == {"bad": False, "m1": True, "m2": False}
    done = cli("golden", bundle_copy, bad, "--store", store)
    assert done.code == 1 and "Not released" in done.err and "instead of defect" in done.err
    assert cli("golden", bundle_copy, "--store", store).code == 1
    recalibrate(open_bundle(bundle_copy), rate=0.1, guarantee="expected", review_rate=0.3)
    assert "the thresholds are others" in cli("golden", bundle_copy, "--store", store).err
    assert cli("golden", bundle_copy, "--expect", "m1=ok", "--store", store).code == 2
    with Store.open(str(store)) as opened:
        opened.configure(StoreSettings(golden=GoldenSettings(hours=1)), by="anna")
    assert "hours: 1.0" in cli("log", "settings", "--store", store).out
