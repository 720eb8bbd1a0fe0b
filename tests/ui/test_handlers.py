"""What the pages' handlers do, called as Gradio calls them: without a server, and without a browser."""

from __future__ import annotations

import json
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import gradio as gr
import numpy as np
import pytest
from defectflow_ui.inspecting.inspection import Inspection
from defectflow_ui.language import speaking
from defectflow_ui.models.bundles import evaluation_file
from defectflow_ui.pages import calibrate, inspect_tab, train_view
from defectflow_ui.settings import Limits, Settings
from defectflow_ui.start import open_station
from defectflow_ui.tasks.background import STATE, TASK, new_folder
from defectflow_ui.tasks.recipe_changes import told
from defectflow_ui.tasks.sources import FOLDER, UPLOADED
from defectflow_ui.tasks.training import Training, Wish
from defectflow_ui.temporary_folders import OURS
from defectflow_ui.visits import visitors
from defectflow_ui.visits.served import Served
from defectflow_ui.visits.uploads import Arrived, Drop
from defectflow_ui.visits.visitors import MOST_TABS, Session
from defectflow_ui.web.frame import jobs_html
from defectflow_ui.web.server import _OwnRoutes
from desk import Desk
from dropping import send, zipped
from inspecting import wait_for
from PIL import Image
from running import PASSWORD, finish
from starlette.requests import Request
from store_support import verdict
from support import save, swatch, swatches

from defectflow.bundle import file_digest, open_bundle
from defectflow.common.clock import utc_now
from defectflow.data import find_pictures
from defectflow.errors import CalibrationError, DataError
from defectflow.gauge import PartScores, register_masters
from defectflow.image.decode import read_image
from defectflow.line import Inspector
from defectflow.line.recalibrate import recalibrate
from defectflow.recipe.settings import load_recipe
from defectflow.store import Answer, Role, Seen, StoreSettings
from defectflow.store.recalibration import propose
from defectflow.store.settings import ReviewSettings


@pytest.fixture
def desk(bundles: Callable[[], Path]) -> Iterator[Desk]:
    made = Desk(bundles())
    made.station.bundles.activate("ring", by="test", reason="test")
    yield made
    made.station.close()


def test_drops_that_come_at_once_are_one_inspection(
    desk: Desk, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a tab in which nothing was dropped before: all are shown."""

    class Slow(Inspection):
        def __init__(self, *of: Any) -> None:
            time.sleep(0.1)
            super().__init__(*of)

    monkeypatch.setattr(inspect_tab, "Inspection", Slow)
    desk.station.bundles.inspector()
    together, dropped = Barrier(4), [desk.drop(file) for file in pictures[:4]]

    def judge(said: dict[str, Any]) -> None:
        together.wait()
        list(desk.call("drop-zone", "dropped", said=said))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(judge, dropped))
    inspection = desk.session.tab("tab")[inspect_tab.INSPECTION]
    assert {row.name for row in inspection.rows} == {file.name for file in pictures[:4]}


def test_a_tab_in_use_outlives_those_that_were_left() -> None:
    """Another tab is reloaded again and again, and each time is a new one."""
    session = Session("anna")
    shift = session.tab("open all shift")
    shift["pictures"] = "dropped"
    for number in range(2 * MOST_TABS):
        session.tab(f"reloaded {number}")
        assert session.tab("open all shift") is shift
    assert shift["pictures"] == "dropped"
    assert len(session.tabs) == MOST_TABS


def test_a_tab_that_is_left_is_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "LEFT_S", 0.05)
    tab, drop = desk.session.tab("left"), Drop(desk.station.settings.limits)
    tab["drop"] = drop
    (leave,) = [one.fn for one in desk.blocks.fns.values() if one.name == "leave"]
    leave(desk.request("left"), gr.EventData(None, None))  # type: ignore[misc]
    assert "left" not in desk.session.tabs
    wait_for(lambda: not drop.folder.exists(), "what was dropped goes a moment later")
    assert not desk.session.left


def test_half_an_upload_is_no_source(desk: Desk, pictures: list[Path]) -> None:
    """300 files were announced, one came, and then nothing more."""
    drop = Drop(desk.station.settings.limits, idle_s=0.3)
    desk.session.drops[drop.token] = drop
    drop._add(Arrived(pictures[0].name, pictures[0]))
    *_, last = desk.call("train-drop", "dropped", said={"drop": drop.token, "expected": "300"})
    (said,) = [value for component, value in last.items() if component.elem_id == "train-arriving"]
    assert "of 300 files that it announced, 1 picture arrived" in said
    assert not list(desk.station.bundles.folder.glob(".training/pictures/*"))
    assert not drop.folder.exists()


def test_an_upload_is_told_in_few_messages(desk: Desk, pictures: list[Path]) -> None:
    """However many pictures arrive within a second."""
    drop = desk.session.drops.open(desk.station.settings.limits)

    def arrive() -> None:
        for number in range(200):
            drop._add(Arrived(f"{number}.png", pictures[0]))
            time.sleep(0.002)
        drop.end()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(arrive)
        told = list(desk.call("train-drop", "dropped", said={"drop": drop.token, "expected": "200"}))
    assert len(told) <= 4
    assert list(desk.station.bundles.folder.glob(".training/pictures/*"))


def test_what_of_a_zip_is_skipped_is_shown(desk: Desk, pictures: list[Path]) -> None:
    """On both pages that take one, with the reason."""
    packed = zipped({"a.png": pictures[0].read_bytes(), "<b>.txt": b"a note"})
    for zone, shown in (("drop-zone", "inspect-status"), ("train-drop", "train-arriving")):
        said = desk.drop()
        send(desk.session.drops[said["drop"]], "day.zip", packed)
        *_, last = desk.call(zone, "dropped", said=said)
        (told,) = [value for component, value in last.items() if component.elem_id == shown]
        assert "day.zip: 1 file skipped: &lt;b&gt;.txt (no picture)" in told


def test_looking_at_the_rate_keeps_a_threshold_chosen_by_hand(desk: Desk) -> None:
    opened = desk.call("page-calibrate", "select")
    work = desk.session.tab("tab")[calibrate.WORKBENCH]
    cut = work.scores.tradeoff.span[0] + 0.1
    rates = opened["calibrate-rate"], opened["calibrate-review-rate"], opened["calibrate-guarantee"]
    desk.call("calibrate-threshold", "input", cut, cut)
    desk.call("calibrate-rate", "blur", *rates)
    assert (work.origin, work.cuts) == ("threshold", (cut, cut))
    desk.call("calibrate-rate", "submit", *rates)
    assert (work.origin, work.draft.calibration) == ("rate", work.bundle.card.calibration), "Enter asks for it again"
    desk.call("calibrate-threshold", "input", cut, cut)
    desk.call("calibrate-rate", "blur", 10.0, *rates[1:])
    assert work.origin == "rate", "another rate counts, also without Enter"


def test_a_rate_typed_after_looking_at_scores_is_an_estimate(desk: Desk) -> None:
    """Calibrate shows scores from the start, so only rates that stood before are promises: the recipe's."""
    desk.call("page-calibrate", "select")
    fixed = desk.call("calibrate-rate", "submit", 5.0, 10.0, "expected")["calibrate-promise"]
    assert "On average at most 5.00% of good" in fixed and "estimate" not in fixed
    wider = desk.call("calibrate-rate", "submit", 5.0, 15.0, "expected")["calibrate-promise"]
    assert "On average at most 5.00% of good" in wider and "Chosen after looking: an estimate" not in wider
    assert "review rate was chosen after looking at scores: it is an estimate" in wider
    for asked in ((10.0, 20.0, "expected"), (20.0, 20.0, "confident")):
        looked = desk.call("calibrate-rate", "submit", *asked)["calibrate-promise"]
        assert "Chosen after looking: an estimate" in looked and "no rate is promised" in looked
        assert "However they were chosen, with 95% confidence in this calibration at most" in looked
        assert "On average at most" not in looked
    desk.call("calibrate-rate", "submit", 10.0, 20.0, "expected")
    saved = desk.call("calibrate-save", "click", "ten", "to see", True)
    assert "chosen after looking: an estimate" in saved["calibrate-versions"]
    assert desk.station.bundles.active().card.promised is None
    desk.call("calibrate-rate", "submit", 5.0, 10.0, "expected")
    desk.call("calibrate-save", "click", "as the recipe says", "to see", True)
    assert desk.station.bundles.active().card.promised is not None, "the recipe's rates are promised again"


def test_calibrate_comes_back_to_the_model_that_was_chosen(desk: Desk, bundle_path: Path) -> None:
    """With what was dragged on it, though another one is active; and leaves nothing standing of one that is gone."""
    shutil.copytree(bundle_path, desk.station.bundles.folder / "other")
    desk.call("page-calibrate", "select")
    desk.call("calibrate-bundle", "input", "other")
    work = desk.session.tab("tab")[calibrate.WORKBENCH]
    cut = work.scores.tradeoff.span[0] + 0.1
    desk.call("calibrate-threshold", "input", cut, cut)
    again = desk.call("page-calibrate", "select")
    assert again["calibrate-bundle"].value == "other"
    assert "calibrate-threshold" not in again
    assert desk.session.tab("tab")[calibrate.WORKBENCH] is work
    for name in ("ring", "swatch", "other"):
        shutil.rmtree(desk.station.bundles.folder / name)
    empty = desk.call("page-calibrate", "select")
    assert {empty[f"calibrate-{name}"] for name in ("table", "promise", "versions", "cost")} == {""}


Trained = Callable[[str, str], None]


@pytest.fixture
def trained(desk: Desk) -> Trained:
    """Makes tasks that have ended: (kind, model)."""

    def end(kind: str, model: str) -> None:
        folder = new_folder(desk.station.bundles.folder / ".training" / "tasks")
        wish = {"source": "", "recipe": "default", "part_regex": "(old)", "rate": 0.05}
        notes = {"kind": kind, "who": "anna", "path": "x", "origin": "x", "part_regex": "", "wish": wish, "name": model}
        told = {"title": model, "steps": [], "started": utc_now(), "notes": notes}
        (folder / TASK).write_text(json.dumps(told))
        done = {"state": "done", "step": "", "message": "", "code": 0, "changed": utc_now(), "processes": []}
        (folder / STATE).write_text(json.dumps(done))

    return end


def test_activate_is_about_the_model_on_show(desk: Desk, bundle_path: Path, trained: Trained) -> None:
    shutil.copytree(bundle_path, desk.station.bundles.folder / "other")
    trained("train", "ring")
    desk.call("page-train", "select", tab="mine")
    trained("train", "other")
    with pytest.raises(gr.Error, match="something else was started here in the meantime"):
        desk.call("train-activate", "click", tab="mine")
    with pytest.raises(gr.Error, match="something else was started here in the meantime"):
        desk.call("train-resume", "click", tab="mine")
    desk.call("page-train", "select", tab="mine")
    done = desk.call("train-activate", "click", tab="mine")
    assert "other is active" in done["train-said"] and not done["train-activate"].interactive, "it is at work"
    assert desk.station.bundles.active_name == "other"


def test_train_keeps_what_was_chosen_on_it(desk: Desk, trained: Trained, pictures: list[Path]) -> None:
    """The last task's wish fills a tab's form once, and never over what somebody has typed."""
    trained("check", "")
    assert desk.call("page-train", "select")["train-part-regex"] == "(old)"
    desk.call("train-source", "change", None, "(new)", "fast", 20, "", "", "")
    desk.call("page-inspect", "select")
    list(desk.call("train-drop", "dropped", said=desk.drop(*pictures[:3])))
    again = desk.call("page-train", "select")
    (upload,) = desk.station.bundles.folder.glob(".training/pictures/*")
    assert again["train-source"].value == f"{UPLOADED}{upload.name}"
    assert again["train-recipe"].value == "fast"
    assert not {"train-part-regex", "train-rate"} & set(again), "they stand as they are"


def test_a_version_is_put_back_into_the_model_that_it_was_shown_for(desk: Desk) -> None:
    card = desk.station.bundles.active().card
    desk.call("page-calibrate", "select")
    desk.call("calibrate-rate", "submit", 10.0, 20.0, "expected")
    desk.call("calibrate-save", "click", "ten", "to see", True)
    assert desk.station.bundles.active().card.calibration != card.calibration
    for table, values in (("calibrate-versions", ()), ("review-versions", (False,))):
        with pytest.raises(gr.Error, match="of another model than"):
            desk.call(table, "version", *values, said={"version": f"{'x' * 12} {card.calibration_id}"})
    shown = desk.call("page-review", "select", False)["review-versions"]
    (back,) = re.findall(r'data-version="([^"]+)"', shown)
    desk.call("review-versions", "version", False, said={"version": back})
    assert desk.station.bundles.active().card.calibration == card.calibration


def test_a_picture_that_somebody_has_chosen_stays(inspector: Inspector, pictures: list[Path]) -> None:
    """Also the first one of a drop, from which the page continues to the most unusual one otherwise."""
    for somebody in (False, True):
        inspection, drop = Inspection(inspector, Served(), lambda _: None), Drop(Limits())
        for file in pictures[12:16]:  # the last two have a defect
            drop._add(Arrived(file.name, file))
        drop.end()
        running = inspection.run(drop, 4)
        assert running is not None
        next(running)
        if somebody:
            inspection.choose(0)
        list(running)
        assert (inspection.chosen == 0) == somebody
        inspection.close()


def test_who_may_not_stop_a_job_is_told(desk: Desk) -> None:
    users, going_on = desk.station.store.users, Event()
    users.add("bert", Role.OPERATOR, PASSWORD, by="test")
    job = desk.station.jobs.start("Verify ring", lambda _: going_on.wait(20), who="anna")
    desk.session = desk.station.sessions.begin("bert", users.get("bert").key)  # type: ignore[union-attr]
    with pytest.raises(gr.Error, match="anna started this"):
        desk.call("station-jobs", "stop", said={"stop": job.token})
    assert not job.stopping
    going_on.set()


def test_no_refused_file_is_passed_over(desk: Desk) -> None:
    assert "and 5 more files" in train_view.refused(["a.png: damaged"] * 25)


def test_what_is_clicked_twice_counts_twice(desk: Desk) -> None:
    """While the first answer is awaited. Gradio's "always_last" would send the first click again."""
    names, modes = {number: one.elem_id for number, one in desk.blocks.blocks.items()}, {}
    for one in desk.blocks.fns.values():
        modes.update(dict.fromkeys([(names.get(number), event) for number, event in one.targets], one.trigger_mode))
    events = {("gallery", "number"), ("part", "step"), ("history-list", "inspection"), ("history-list", "turn")}
    assert {modes[event] for event in events | {("review-part", "shot"), ("review-queue", "part")}} == {"multiple"}


def test_a_verification_is_shown_above_all_pages_at_once(desk: Desk) -> None:
    desk.call("bundles", "bundle", None, said={"bundle": "ring"})
    desk.call("verify", "click")
    assert "Verify the model ring" in jobs_html(desk.station)
    with speaking("de"):
        assert "Das Modell ring verifizieren" in jobs_html(desk.station), "whoever looks hears it in their language"
    with pytest.raises(gr.Error, match="'Verify the model ring' is still running"):
        desk.call("verify", "click")
    (job,) = desk.station.jobs.running()
    begun = next(one for one in desk.blocks.fns.values() if one.name == "begin_check")
    assert any(one.trigger_after == begun._id and one.name == "show" for one in desk.blocks.fns.values())
    job.cancel()
    deadline = time.monotonic() + 30
    while job.state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def sixteen_bit(file: Path) -> Path:
    """A picture of a 12-bit camera, bright on its right half."""
    pixels = np.full((40, 60), 100, np.uint16)
    pixels[:, 30:] = 4000
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def test_sixteen_bits_are_shown_small_everywhere(desk: Desk, tmp_path: Path) -> None:
    """For a model for 8 bits as well: history outlives models."""
    card, file = desk.station.bundles.active().card, sixteen_bit(tmp_path / "kept" / "deep.png")
    desk.station.store.configure(StoreSettings(review=ReviewSettings(audit_rate=1.0)), by="test")
    seen = Seen("deep.png", verdict(card, 0.1, sha256=file_digest(file)), "deep", file)
    (number,) = desk.station.store.record(card, [seen], by="test", source="test")
    story = desk.call("history-list", "inspection", said={"inspection": str(number)})["history-story"]
    queue = desk.call("page-review", "select", False)["review-queue"]
    large, small = re.findall(r'src="/served/([^"]+)"', story)
    for address in (large, small, *re.findall(r'src="/served/([^"]+)"', queue)):
        item = desk.session.served.take(address)
        assert item is not None
        small = read_image(item.make())
        assert (small[:, :20].max(), small[:, -20:].min()) == (pytest.approx(6, abs=4), pytest.approx(249, abs=4))


def test_a_folder_that_nobody_may_read_costs_no_other(bundles: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for folder in ("good", "lost+found", "more"):
        save(tmp_path / "data" / folder / "a.png", swatch(0))
    look_into = Path.iterdir

    def iterdir(folder: Path) -> Any:
        if folder.name == "lost+found":  # root, as whom tests may run, would be let in
            raise PermissionError(13, "Permission denied", str(folder))
        return look_into(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    desk = Desk(bundles(), tmp_path / "data")
    offered = desk.call("page-train", "select")["train-source"].choices
    assert [value for _, value in offered][:2] == [f"{FOLDER}good", f"{FOLDER}more"]
    desk.station.close()


def test_a_folder_is_taken_for_nothing_else(bundles: Any, tmp_path: Path) -> None:
    """Whatever it is called."""
    save(tmp_path / "data" / "again:ring" / "a.png", swatch(0))
    desk = Desk(bundles(), tmp_path / "data")
    offered = dict(desk.call("page-train", "select")["train-source"].choices)
    assert offered["again:ring"] == f"{FOLDER}again:ring"
    assert desk.call("train-source", "change", offered["again:ring"]) == "", "it is no model, so nothing joins"
    desk.station.close()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """As on a disk that is nearly full."""
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_no_half_upload(desk: Desk, pictures: list[Path]) -> None:
    said = desk.drop(*pictures[:3])
    with files_up_to(100):
        *_, last = desk.call("train-drop", "dropped", said=said)
    told = {component.elem_id: value for component, value in last.items()}
    assert "This upload cannot be written (File too large); see that files can be written" in told["train-arriving"]
    assert not list(desk.station.bundles.folder.glob(".training/pictures/*"))


def test_a_full_disk_ends_an_export_with_words(desk: Desk, pictures: list[Path]) -> None:
    list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[:3])))
    with files_up_to(2000):
        *_, last = desk.call("export-zip", "click")
    assert "see that files can be written on the station" in last
    inspection = desk.session.tab("tab")[inspect_tab.INSPECTION]
    assert not inspection.exporting
    assert not list(Path(inspection._exports.name).iterdir())
    *_, last = desk.call("export-zip", "click")
    assert "download" in last
    with files_up_to(50), pytest.raises(gr.Error, match="this table cannot be written"):
        desk.call("history-csv", "click", "all", "", "", "", "", "", "")


def test_exports_can_be_swept(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder for a tab, named so that the next station removes what a killed one has left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        desk.call("history-csv", "click", "all", "", "", "", "", "", "")
    (folder,) = tmp_path.iterdir()
    assert OURS.fullmatch(folder.name)


def test_a_session_that_ends_on_the_way_is_told(desk: Desk) -> None:
    """After the gate has let its request through."""
    routes = _OwnRoutes(desk.station)
    for route, token in ((routes.served, "x"), (routes.open_drop, ""), (routes.end_drop, "x")):
        request = Request({"type": "http", "headers": [], "path_params": {"token": token}, "query_string": b""})
        answers = list[Any]()

        async def ask(route: Any = route, request: Any = request, answers: Any = answers) -> None:
            answers.append(await route(request))

        finish(ask())
        assert answers[0].status_code == 401


def test_all_count_the_audit_sample_alike(uncalibrated_path: Path, swatch_folder: Path, tmp_path: Path) -> None:
    """Review says what is wanting, recalibration refuses, and Calibrate counts nobody, until it is a fair sample. Then
    Calibrate counts those that recalibration would, and none that the fit has seen."""
    folder = tmp_path / "models"
    recalibrate(
        open_bundle(shutil.copytree(uncalibrated_path, folder / "swatch")),
        rate=0.25,
        guarantee="expected",
        review_rate=0.4,
    )
    bundle, inspector = open_bundle(folder / "swatch"), Inspector(folder / "swatch", threads=1)
    paths = sorted(swatches(tmp_path / "in", 20, first_seed=100).iterdir())
    paths.append(shutil.copy(sorted(swatch_folder.rglob("*.png"))[0], tmp_path / "in" / "seen.png"))
    desk = Desk(folder)
    store = desk.station.store
    store.configure(StoreSettings(review=ReviewSettings(audit_rate=1.0)), by="test")
    judged = zip(paths, inspector.inspect(paths), strict=True)
    numbers = store.record(bundle.card, [Seen(one.name, item, picture=one) for one, item in judged], by="t", source="t")
    for number in numbers[2:]:
        store.reviews.answer(number, Answer.GOOD, by="test")
    said = desk.call("page-review", "select", False)["review-drawn"]
    assert "21 parts randomly sampled: 2 unanswered" in said and "1 more answer is needed" in said
    with pytest.raises(CalibrationError, match="2 of 21 sampled parts have no answer"):
        propose(store, bundle)
    assert PartScores.of(bundle, store).audit_good == ()
    store.reviews.answer(numbers[1], Answer.GOOD, by="test")
    assert "that is enough" in desk.call("page-review", "select", False)["review-drawn"]
    made, before = propose(store, bundle), bundle.card.calibration_parts
    added = [part.calibrated_score for part in made.card.calibration_parts[len(before) :]]
    assert len(added) == 19
    assert sorted(PartScores.of(bundle, store).audit_good) == sorted(added)
    desk.station.close()


def test_review_says_what_is_sampled_and_an_engineer_sets_it(desk: Desk, pictures: list[Path]) -> None:
    """Answers about parts that were not sampled set no thresholds: the page says how many are, and how to change it."""
    found = desk.call("page-review", "select", False)
    assert "at 5%, about one part in 20 is" in found["review-drawn"]
    assert "5% of all parts, drawn at random when they are first seen, appear here" in found["review-part"]
    assert found["review-sampled"] == pytest.approx(5)
    assert "At present no part is sampled" in desk.call("review-sample", "click", 0, False)["review-drawn"]
    with pytest.raises(gr.Error, match="from 0 to 100%"):
        desk.call("review-sample", "click", None, False)
    said = desk.call("review-sample", "click", 100, False)["review-drawn"]
    assert "From now on 100% of the parts are sampled" in said and "&lt;" not in said, "no markup as text"
    assert desk.station.store.settings.review == ReviewSettings(audit_rate=1)
    list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[:2])))
    assert "2 parts randomly sampled: 2 unanswered" in desk.call("page-review", "select", False)["review-drawn"]


def test_a_new_model_is_on_trial_until_something_is_kept(desk: Desk, pictures: list[Path]) -> None:
    """Nothing of a trial is in history, audit sample or drift watch; what it was is said."""
    said = desk.drop(*pictures[:2])
    desk.session.tab("tab").pop(inspect_tab.TRIAL)
    opened = desk.call("page-inspect", "select")
    assert opened["inspect-trial"].value is True
    assert "nothing of it is kept" in opened["drop-zone"]
    *_, last = desk.call("drop-zone", "dropped", said=said)
    shown = {component.elem_id: value for component, value in last.items()}
    assert "2 pictures judged on trial" in shown["inspect-status"]
    assert "nobody can answer" in shown["part"] and shown["inspect-answers"] == ""
    assert "kept nowhere else" in shown["inspect-counts"], "Clear asks first"
    assert desk.station.store.history.search() == []
    assert not any(course.points for course in desk.station.drift.look().values())
    assert shown["gallery"].count('class="trial"') == 2
    desk.call("inspect-trial", "input", False)
    *_, last = desk.call("drop-zone", "dropped", said=desk.drop(pictures[2]))
    shown = {component.elem_id: value for component, value in last.items()}
    assert shown["gallery"].count('class="tile') == 1 and 'class="trial"' not in shown["gallery"]
    assert "2 pictures that were judged on trial were cleared" in shown["inspect-status"], "two kinds are not mixed"
    assert [one.file for one in desk.station.store.history.search()] == [pictures[2].name]
    assert desk.call("page-inspect", "select", tab="another")["inspect-trial"].value is False, "it is in production"
    assert "in production" in desk.call("page-inspect", "select", tab="another")["drop-zone"]


@pytest.mark.parametrize("goodbye", [True, False])
def test_a_reload_keeps_what_was_on_inspect(desk: Desk, pictures: list[Path], goodbye: bool) -> None:
    """Whether or not the old page has said goodbye by the time that the new one asks."""
    list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[:3])))
    desk.call("gallery", "number", said={"number": "1"})
    if goodbye:
        desk.session.leave_tab("tab")
    opened = desk.call("page-inspect", "select", tab="anew")
    assert 'data-tab="anew"' in opened["drop-zone"]
    again = desk.call("drop-zone", "reloaded", said={"was": "tab"}, tab="anew")
    assert again["gallery"].count("data-number=") == 3
    assert pictures[1].name in again["part"] and again["inspect-trial"].value is False
    desk.session.close_tab("tab")
    (address, *_) = re.findall(r'src="(/served/[^"]+)"', again["part"])
    assert desk.session.served.take(address.rpartition("/")[2]).make(), "its pictures are still there"  # type: ignore[union-attr]
    nothing = desk.call("drop-zone", "reloaded", said={"was": "somebody else's"}, tab="third")
    assert "gallery" not in nothing


def test_inspect_follows_what_is_answered_elsewhere(desk: Desk, pictures: list[Path]) -> None:
    list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[:3])))
    store = desk.station.store
    (item,) = [one for one in store.history.search() if one.file == pictures[1].name]
    desk.call("gallery", "number", said={"number": "1"})
    store.reviews.answer(item.id, Answer.DEFECTIVE, by="ben", kind="dent")
    opened = desk.call("page-inspect", "select")
    assert opened["gallery"].count('class="answered') == 1
    assert "said defective" in opened["gallery"]
    assert "ben" in opened["inspect-answers"] and "dent" in opened["part"]
    taken = {"answer": f"{item.id} {store.reviews.standing(item.bundle_id, item.part).id} good"}  # type: ignore[union-attr]
    answered = desk.call("inspect-answers", "answer", said=taken)
    assert "said good" in answered["gallery"] and "said defective" not in answered["gallery"]


def test_the_scale_is_kept_with_the_model_and_told(desk: Desk, pictures: list[Path]) -> None:
    with pytest.raises(gr.Error, match="cannot be"):
        desk.call("scale-keep", "click", -1.0)
    assert "0.05 mm" in desk.call("scale-keep", "click", 0.05)
    assert desk.station.bundles.find("ring").card.mm_per_px == 0.05
    list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[14:16])))
    inspection = desk.session.tab("tab")[inspect_tab.INSPECTION]
    (row, *_) = [row for row in inspection.rows if row.verdict is not None and row.verdict.regions()]
    region = row.verdict.regions()[0]
    page = desk.call("gallery", "number", said={"number": str(row.number)})["part"]
    assert (
        f"{region.width_px} × {region.height_px} px ({region.width_px * 0.05:.3g} × {region.height_px * 0.05:.3g} mm)"
        in page
    )
    desk.call("scale-keep", "click", None)
    assert desk.station.bundles.find("ring").card.mm_per_px is None


def test_a_station_without_a_usable_model_leads_to_the_page_that_helps(bundles: Any) -> None:
    folder = bundles()
    shutil.rmtree(folder / "ring")
    for left, page in (("swatch", "Calibrate"), (None, "Train")):
        if left is None:
            shutil.rmtree(folder / "swatch")
        desk = Desk(folder)
        try:
            assert f'data-page="{page}"' in desk.call("page-inspect", "select")["drop-zone"]
        finally:
            desk.station.close()


def test_the_report_of_a_search_holds_all_that_it_shows(desk: Desk, pictures: list[Path]) -> None:
    store = desk.station.store
    store.configure(StoreSettings(pictures="copy"), by="test")
    list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[:4], *pictures[14:17])))
    rejected = [one for one in store.history.search() if one.decision in ("defect", "invalid")]
    first, other = rejected[0], next(one for one in rejected if one.part != rejected[0].part)
    store.reviews.answer(first.id, Answer.DEFECTIVE, by="ben", kind="pen <b>mark")
    store.reviews.answer(other.id, Answer.GOOD, by="ben")
    inspector = desk.station.bundles.inspector()
    judged = next(one.decision for one in store.history.search() if one.file == pictures[0].name)
    register_masters(store, inspector, find_pictures(pictures[0]), by="anna", expect={pictures[0].stem: judged})
    bundle, versions = desk.station.bundles.active(), store.versions
    moved = versions.add(bundle.card.estimated(9.0, 8.0), name="by hand", reason="test", by="anna", origin="threshold")
    versions.apply(bundle, moved, by="anna", reason="test")
    list(desk.call("drop-zone", "dropped", said=desk.drop(pictures[5])))
    link = desk.call("history-report", "click", "all", "", "", "", "", "", "")
    (address,) = re.findall(r'href="/served/([^"]+)"', link)
    item = desk.session.served.take(address)
    assert item is not None and item.filename == "report.html"
    page = item.make()
    assert isinstance(page, bytes)
    text = page.decode()
    assert text.startswith("<!doctype html>")
    assert "pen &lt;b&gt;mark" in text, "what people type is text"
    worst = len({one.part for one in rejected}) - 1
    assert text.count("data:image/jpeg;base64,") == worst, "what was answered good is none of the worst parts"
    assert "· answered defective" in text
    counted = re.findall(r'class="figure"><b>([\d,]+)[^<]*</b>([^<]+)<', text)
    figures = {what: int(number) for number, what in counted}
    whole = figures["passed as OK"] + figures["of these, Review"] + figures["rejected as defective"]
    assert figures["parts judged"] == whole + figures["too unusual to judge (invalid)"], "the parts add up"
    assert (figures["parts people answered about"], figures["parts whose verdict people contradicted"]) == (2, 1)
    assert not re.search(r"(src|href)=\"(?!data:|#)", text), "it loads nothing"
    assert "<td>7</td><td>rejects at most 5% of good parts on average" in text
    assert ", anna</td><td>9.0000</td><td>1</td><td>an estimate, chosen after looking" in text
    assert "Other thresholds judged a part of what is reported here" in text
    assert "Checks with master parts" in text and "<td>1 of 1</td><td>nothing</td>" in text
    assert "No sign of drift" in text


def test_the_recipe_is_changed_on_train_and_the_region_drawn(desk: Desk, pictures: list[Path]) -> None:
    list(desk.call("train-drop", "dropped", said=desk.drop(*pictures[:3])))
    (upload,) = desk.station.bundles.folder.glob(".training/pictures/*")
    source = f"{UPLOADED}{upload.name}"
    text = desk.call("train-size", "input", "embedding.levels=[1, 2]", "448")
    assert text == "embedding.levels=[1, 2]\nimage.size=448"
    assert desk.call("train-align", "input", text, "never") == f"{text}\nimage.align=never"
    with pytest.raises(gr.Error, match="choose the pictures first"):
        desk.call("train-region", "drawn", text, said={"tool": "rectangle", "points": "0 0 1 1"})
    shown = desk.call("train-region-show", "click", source, text)
    (address,) = re.findall(r'src="/served/([^"]+)"', shown)
    item = desk.session.served.take(address)
    assert item is not None and read_image(item.make()).ndim == 3
    drawn = desk.call("train-region", "drawn", text, said={"tool": "rectangle", "points": "0.25 0.1 0.75 0.9"})
    assert drawn["train-settings"].endswith("image.roi.rectangle=[0.25, 0.1, 0.5, 0.8]")
    side = read_image(pictures[0]).shape[1]
    assert f'<rect class="rectangle" x="{side / 4}"' in drawn["train-region"], "in the picture's own pixels"
    for tool, points in (
        ("outline", "0.2 0.2 0.8 0.2 0.8 0.8"),
        ("ignore", "0.3 0.3 0.5 0.3 0.5 0.5 0.3 0.5"),
        ("brush", "0.6 0.6 0.65 0.65 0.7 0.7"),
    ):
        said = {"tool": tool, "points": points, "width": 0.03}
        drawn = desk.call("train-region", "drawn", drawn["train-settings"], said=said)
        assert f'data-tool="{tool}" aria-checked="true"' in drawn["train-region"], "the tool stays in hand"
    assert drawn["train-region"].count('<polygon class="ignored"') == 1
    assert drawn["train-region"].count('<polyline class="ignored line"') == 1
    for tool, bad in (
        ("rectangle", "0.1 0.1 0.101 0.5"),
        ("rectangle", "a b c d"),
        ("outline", "1 2 3"),
        ("outline", "0.1 0.1 0.9 0.1 0.5 0.101"),
        ("brush", ""),
        ("pencil", "0 0"),
    ):
        with pytest.raises(gr.Error):
            desk.call("train-region", "drawn", text, said={"tool": tool, "points": bad, "width": 0.03})
    with pytest.raises(gr.Error, match="no list of areas"):
        said = {"tool": "ignore", "points": "0 0 1 0 1 1"}
        desk.call("train-region", "drawn", "image.roi.ignored=everything", said=said)
    for typed in ("nonsense", "[0, 0, a, 1]", "[0, 0, 1]", "[0.5, 0, 0.6, 1]", "[.nan, 0, 1, 1]", "7", "[0, {"):
        with pytest.raises(gr.Error, match=r"is no rectangle inside the picture; write left, top"):
            desk.call("train-region-show", "click", source, f"image.roi.rectangle={typed}")
    assert 'class="rectangle"' not in str(desk.call("train-region-show", "click", source, "image.roi.rectangle=null"))
    fields = [source, "", "fast", 20]
    for wrong, why in (
        ("image.roi.mask=/etc/passwd", "cannot be changed on this page"),
        ("image.size=7", "image.size"),
        ("faster", "no setting"),
    ):
        with pytest.raises(gr.Error, match=why):
            desk.call("train-check", "click", *fields, wrong, "", "")
    wish = Wish(source, "fast", "", 0.2, drawn["train-settings"])
    options = Training(desk.station.bundles, None, desk.station.store)._recipe(wish)
    recipe = load_recipe("fast", [one for one in options if "=" in one])
    assert recipe.image.size == 448
    roi = recipe.image.roi
    assert roi.rectangle == (0.25, 0.1, 0.5, 0.8)
    assert roi.picture == (side, side)
    assert [area.points for area in roi.outlines] == [((0.2, 0.2), (0.8, 0.2), (0.8, 0.8))]
    assert [area.width for area in roi.ignored] == [None, 0.03]
    assert roi.ignored[1].points == ((0.6, 0.6), (0.7, 0.7)), "points on a straight line say nothing"
    assert desk.call("train-region", "drawn", drawn["train-settings"], said={"tool": "clear"})["train-settings"] == text


def test_models_are_noted_renamed_and_deleted(desk: Desk) -> None:
    """The log keeps it all; the active one is renamed and stays active, and is not deleted."""
    station, choose = desk.station, lambda name: desk.call("bundles", "bundle", None, said={"bundle": name})
    station.bundles.activate("ring", by="test", reason="test")
    choose("ring")
    shown = desk.call("models-keep-note", "click", None, "ring light <2>")
    assert "ring light &lt;2&gt;" in shown["card"] and shown["models-note"] == "ring light <2>"
    with pytest.raises(gr.Error, match="ring is active and judges"):
        desk.call("models-delete", "click", None, "old")
    for wrong in ("../ring", "swatch", ""):
        with pytest.raises(gr.Error):
            desk.call("models-rename", "click", None, wrong)
    before = station.bundles.active().card
    shown = desk.call("models-rename", "click", None, "ring-2")
    assert "ring is called ring-2 from now on" in shown["models-said"]
    after = station.bundles.active().card
    assert (after.name, after.bundle_id, after.calibration_id) == ("ring-2", before.bundle_id, before.calibration_id)
    assert station.bundles.inspector().card.name == "ring-2"
    choose("swatch")
    assert "models-why" in desk.call("models-delete", "click", None, " "), "a reason is wanted"
    swatch_id = station.bundles.find("swatch").card.bundle_id
    shown = desk.call("models-delete", "click", None, "made by mistake")
    assert "swatch is deleted" in shown["models-said"] and "swatch" not in shown["bundles"]
    assert not (station.bundles.folder / "swatch").exists()
    (deleted,) = station.store.model_changes.all(swatch_id)
    assert (deleted.change, deleted.said, deleted.by) == ("deleted", "made by mistake", "local")
    changes = station.store.model_changes.all(after.bundle_id)
    assert [(one.change, one.said, one.model) for one in changes] == [
        ("renamed", "ring-2", "ring"),
        ("note", "ring light <2>", "ring"),
    ]
    assert station.store.verify().passed


def test_a_model_tells_how_it_did(desk: Desk, pictures: list[Path]) -> None:
    """On test pictures, while its thresholds are those of then; and at the line, by what was answered."""
    station = desk.station
    bundle = station.bundles.find("ring")
    list(desk.call("drop-zone", "dropped", said=desk.drop(*pictures[:4], *pictures[14:17])))
    rejected = [one for one in station.store.history.search() if one.decision in ("defect", "invalid")]
    station.store.reviews.answer(rejected[0].id, Answer.GOOD, by="ben")
    station.store.reviews.answer(rejected[1].id, Answer.DEFECTIVE, by="ben")
    found = {"bundle_id": bundle.card.bundle_id, "calibration_id": bundle.card.calibration_id, "part_auroc": 0.987}
    found |= {name: {"count": count, "of": of} for name, count, of in (("overkill", 1, 20), ("escape", 3, 18))}
    for calibration_id, there in ((bundle.card.calibration_id, True), ("0" * 12, False)):
        evaluation_file(bundle.path).write_text(json.dumps(found | {"calibration_id": calibration_id}))
        card = desk.call("bundles", "bundle", None, said={"bundle": "ring"})["card"]
        assert ("0.987" in card and "3 of 18 (16.7%)" in card) is there
        assert "1 of 2 (50.0%)" in card, "rejected, and answered good"


def test_the_region_is_said_in_words() -> None:
    """Half of the picture by a rectangle; a quarter of it by an outline, less a tenth of the width by a brush."""
    assert told("image.size=384\nimage.roi.rectangle=[0.0, 0.0, 0.5, 1.0]") == [
        "image.size=384",
        "cut to a rectangle",
        "50% of the picture inspected",
    ]
    drawn = "[{points: [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]}]"
    brush = "[{points: [[0.25, 0], [0.25, 1]], width: 0.1}]"
    assert told(f"image.roi.outlines={drawn}\nimage.roi.ignored={brush}") == [
        "inside 1 outline",
        "1 area ignored",
        "20% of the picture inspected",
    ]
    assert told("") == []


def test_a_model_with_too_few_parts_leads_to_calibrate(desk: Desk, trained: Trained) -> None:
    trained("train", "swatch")
    opened = desk.call("page-train", "select", tab="mine")
    assert opened["train-activate"].interactive is False
    found = opened["train-findings"]
    assert "cannot be activated yet" in found and 'data-page="Calibrate"' in found
    assert "defectflow calibrate" not in found, "no command lines"
    assert ("fast: small computers, smaller pictures", "fast") in opened["train-recipe"].choices


def test_the_folder_of_models_is_made(tmp_path: Path) -> None:
    open_station(Settings(tmp_path / "models")).close()
    assert (tmp_path / "models").is_dir()
    with pytest.raises(DataError, match="cannot be made"):
        open_station(Settings(tmp_path / "mistyped" / "models"))
