"""The page Train, from a folder to activation, in a browser; and what its server side refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectflow_ui.models.bundles import NAME, Bundles
from defectflow_ui.pages import train_outcome as made
from defectflow_ui.pages import train_view as view
from defectflow_ui.tasks.background import Task
from defectflow_ui.tasks.processes import exists
from defectflow_ui.tasks.selection import select, toggled, write_selection
from defectflow_ui.tasks.sources import AGAIN, FOLDER, UPLOADED
from defectflow_ui.tasks.training import CHECK, Training, Wish, checks, result
from defectflow_ui.temporary_folders import prefix, sweep
from defectflow_ui.visits.served import Served
from defectflow_ui.visits.uploads import Arrived
from playwright.sync_api import expect
from running import Running, Watch, call, listening
from support import BLUE, RED, coloured, save, swatch, swatches

from defectflow.bundle import fitted_parts, open_bundle
from defectflow.data import find_pictures
from defectflow.errors import DataError
from defectflow.line import Inspector
from defectflow.line.recalibrate import recalibrate
from defectflow.store import Answer, Role, Seen, Store

TINY = """
image: {size: 64}
embedding: {backbone: resnet18, weights: builtin, levels: [1, 2]}
flow: {family: glow, place: none, layers: 2, hidden: 16}
training: {steps: 30, batch: 256, check_every: 10}
"""
TRAINING_MS = 240_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: a tree with test pictures and one defective picture called good, and a recipe of seconds."""
    root = tmp_path_factory.mktemp("data")
    swatches(root / "swatches" / "train" / "good", 24)
    spoilt = swatch(99)
    spoilt[20:30, 10:50] = (255, 0, 0)
    save(root / "swatches" / "train" / "good" / "spoilt.png", spoilt)
    swatches(root / "swatches" / "test" / "good", 3, first_seed=50)
    save(root / "swatches" / "test" / "scratch" / "0.png", swatch(60, scratched=True))
    (root / "tiny.yaml").write_text(TINY)
    return root


@pytest.fixture
def station(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with listening(tmp_path_factory.mktemp("models"), data=data) as running:
        yield running


def test_from_a_folder_to_activation(watch: Watch, station: Running) -> None:
    watched = watch(station)
    page = watched.page
    watched.visit("Train")
    expect(page.locator("#train-state")).to_contain_text("Nothing trained here yet")
    expect(page.locator("#train-fit")).to_be_disabled()
    for field, wanted in (("#train-source input", "swatches"), ("#train-recipe input", "tiny.yaml")):
        page.locator(field).click()
        page.get_by_role("option", name=wanted, exact=True).click()
    page.locator("#train-rate input").fill("20")
    page.locator("#train-check").click()
    expect(page.locator(".task[data-state=done]")).to_be_visible(timeout=TRAINING_MS)
    findings = page.locator("#train-findings")
    expect(findings).to_contain_text("All 25 pictures can be read")
    expect(findings.locator(".shot").first).to_contain_text("spoilt.png")
    expect(findings.locator(".shot").first).to_contain_text("stands out")
    assert str(station.station.settings.data) not in findings.inner_text(), "a folder of the server is shown"

    expect(page.locator("#train-basis")).to_contain_text("As checked: swatches, recipe tiny.yaml, at most 20% rejected")
    page.locator("#train-left-out-more").get_by_role("button").first.click()
    findings.locator(".shot [data-out]").first.click()
    expect(page.locator("#train-left-out textarea")).to_have_value("train/good/spoilt.png")
    findings.locator(".shot [data-bad]").first.click()
    expect(findings.locator(".shot [data-bad]").first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#train-left-out textarea")).to_have_value("")
    expect(page.locator("#train-defective textarea")).to_have_value("train/good/spoilt.png")
    expect(page.locator("#train-fit")).to_be_disabled()
    page.locator("#train-check").click()
    expect(page.locator("#train-basis")).to_contain_text("1 picture called defective", timeout=TRAINING_MS)
    expect(page.locator("#train-fit")).to_be_enabled()
    expect(findings).to_contain_text("All 24 pictures can be read")
    page.locator("#train-rate input").fill("5")
    expect(page.locator("#train-fit")).to_be_disabled()
    expect(page.locator("#train-basis")).to_contain_text("This is not what was checked last: swatches")
    page.locator("#train-rate input").fill("20")
    expect(page.locator("#train-fit")).to_be_enabled()

    page.locator("#train-name").locator("input, textarea").fill("swatch-1")
    page.locator("#train-fit").click()
    expect(page.locator(".task")).to_contain_text("swatch-1")
    assert not watched.complaints
    watched.context.close()  # the page is left, and come back to
    watched = watch(station)
    page = watched.page
    watched.visit("Train")
    expect(page.locator("#trained")).to_be_visible(timeout=TRAINING_MS)
    expect(page.locator(".task")).to_contain_text("learn level 2")
    expect(page.locator(".task")).to_contain_text("best tune loss at step")
    assert "nats" not in page.locator(".task").inner_text()
    expect(page.locator(".task [data-tip*='nats/dim on tune parts']").first).to_be_attached()
    expect(page.locator("#trained")).to_contain_text("On average at most 20.00% of good pictures are called defective")
    expect(page.locator("#trained")).to_contain_text("separation of good and defective parts")
    expect(page.locator("#trained .shot").first).to_be_visible()

    page.locator("#train-activate").click()
    expect(page.locator("#train-said")).to_contain_text("swatch-1 is active")
    expect(page.locator("#active-bundle")).to_have_text("swatch-1")
    bundle = open_bundle(station.station.settings.bundles / "swatch-1")
    active = station.station.store.versions.active()
    assert active is not None
    assert active.bundle_id == bundle.card.bundle_id
    assert not any("spoilt" in part for part in fitted_parts(bundle))
    assert "called defective" in page.locator("#trained").inner_text(), "it was among the test pictures"
    assert not watched.complaints
    assert not watched.outside(station)


def test_what_is_stopped_from_the_page_is_stopped(watch: Watch, station: Running, data: Path) -> None:
    """In the middle of a check; nothing of it is left, and the page says so."""
    watched = watch(station)
    page = watched.page
    watched.visit("Train")
    page.locator("#train-source input").click()
    page.get_by_role("option", name="swatches", exact=True).click()
    page.locator("#train-check").click()
    expect(page.locator(".task[data-state=running]")).to_be_visible()
    expect(page.locator("#station-jobs")).to_contain_text("Check pictures: swatches")
    page.locator("#train-stop").click()
    expect(page.locator(".task[data-state=cancelled]")).to_be_visible()
    expect(page.locator("#train-state")).to_contain_text("Nothing half-made is left")
    expect(page.locator("#train-fit")).to_be_disabled()


def test_pictures_are_dropped_to_be_learned_from(watch: Watch, station: Running, tmp_path: Path) -> None:
    """With one that is none among them, which is said and stops nothing."""
    files = [save(tmp_path / f"part{number}.png", swatch(number)) for number in range(4)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    watched = watch(station)
    page = watched.page
    watched.visit("Train")
    page.locator("#train-drop input[type=file]").set_input_files([*files, tmp_path / "broken.png"])
    expect(page.locator("#train-source input")).to_have_value("uploaded: 4 pictures")
    expect(page.locator("#train-arriving")).to_contain_text("broken.png")


def test_an_upload_shows_how_far_it_is_and_can_be_stopped(watch: Watch, station: Running, tmp_path: Path) -> None:
    files = [save(tmp_path / f"late{number}.png", swatch(number)) for number in range(3)]
    watched = watch(station)
    page = watched.page
    watched.visit("Train")
    pictures = station.station.bundles.folder / ".training" / "pictures"
    before = sorted(pictures.glob("*"))
    held = list[Any]()
    page.route(re.compile(r"/drop/[^/]+\?.*late[12]"), lambda route: held.append(route))  # a slow network
    page.locator("#train-drop input[type=file]").set_input_files(files)
    expect(page.locator("#train-arriving")).to_contain_text("Uploading: 1 picture so far")
    page.locator("#train-stop-upload").click()
    expect(page.locator("#train-arriving")).to_contain_text("The upload was stopped; nothing of it is kept")
    expect(page.locator("#train-stop-upload")).to_be_hidden()
    for route in held:
        route.continue_()
    assert sorted(pictures.glob("*")) == before


def test_engineers_only_on_the_server(bundle_path: Path, data: Path, tmp_path: Path) -> None:
    """What a hidden button would have sent, sent by hand."""
    users = ((Role.VIEWER.value, Role.VIEWER), (Role.OPERATOR.value, Role.OPERATOR))
    shutil.copytree(bundle_path, tmp_path / "ring")
    with listening(tmp_path, users, data=data) as running:
        for user, _ in users:
            client = running.client(user)
            for elem_id, event, values in (
                ("train-check", "click", [None, "", "tiny.yaml", 20, "", "", ""]),
                ("train-fit", "click", ["mine", None, "", "tiny.yaml", 20, "", "", ""]),
                ("train-resume", "click", []),
                ("train-stop-upload", "click", []),
                ("train-stop", "click", []),
                ("train-activate", "click", []),
                ("calibrate-cheapest", "click", [1, 50, 1]),
                ("calibrate-save", "click", ["June", "because", True]),
            ):
                answer = call(client, elem_id, event, values)
                assert not answer["success"], elem_id
                assert "needs the role 'engineer'" in answer["output"]["error"]
            client.close()
        assert not list(tmp_path.glob(".training/tasks/*"))
        assert running.station.store.versions.active() is None


# --- without a browser ---


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Callable[[Path | None], Training]]:
    """A station's training side, with or without a data folder; whatever still runs at the end is stopped."""
    folder = tmp_path / "models"
    folder.mkdir()
    with Store.open(str(tmp_path / "log.db")) as store:
        bundles = Bundles(folder, store.versions, store.model_changes)
        made = [Training(bundles, None, store)]
        yield lambda data: made.append(Training(bundles, data, store)) or made[-1]
        if (left := made[0].running()) is not None:
            left.cancel()
            ended(left)


def wish(source: str, part_regex: str = "") -> Wish:
    return Wish(source, "tiny.yaml", part_regex, 0.2)


def ended(task: Task, limit_s: float = 300) -> Task:
    deadline = time.monotonic() + limit_s
    while task.status().state == "running":
        assert time.monotonic() < deadline, task.log()
        time.sleep(0.1)
    return task


def upload(training: Training, folder: Path, count: int, names: str = "part{}.png") -> str:
    arrived = [Arrived(names.format(number), save(folder / f"{number}.png", swatch(number))) for number in range(count)]
    return training.take_upload(arrived)


def test_only_what_is_offered_can_be_learned_from(data: Path, tmp_path: Path, trainings: Any) -> None:
    (data / "outside").symlink_to(tmp_path)
    for made_here in ("ring/golden/one.png", "results/overlays/good/one.png", "inspections.db.pictures/0a/one.png"):
        save(data / made_here, swatch(0))
    for mark in ("ring/card.json", "results/run.json", "inspections.db"):
        (data / mark).touch()
    training = trainings(data)
    assert training.sources.all() == [("swatches", f"{FOLDER}swatches")]
    outside = ("..", "../..", "/etc", "outside", "swatches/../..")
    named = (f"{UPLOADED}../../models", f"{AGAIN}../x", "swatches", "")
    for source in (*outside, *(f"{FOLDER}{path}" for path in outside), *named):
        with pytest.raises(DataError, match="choose pictures first"):
            training.check(wish(source), "anna")
    with pytest.raises(DataError, match="not on offer"):
        training.check(Wish(f"{FOLDER}swatches", "/etc/passwd", "", 0.2), "anna")
    assert trainings(None).sources.all() == []


def test_an_upload_becomes_a_source_under_numbers(tmp_path: Path, trainings: Any) -> None:
    """Whatever the browser calls its files: no path is made of that, and it is what the engineer reads."""
    for number in range(9):
        save(tmp_path / "drop" / f"{number}.png", swatch(number))
    files = sorted((tmp_path / "drop").iterdir())
    names = [f"../../part{number // 2}_shot{number}.png" for number in range(9)]
    training = trainings(None)
    source = training.take_upload([Arrived(name, file) for name, file in zip(names, files, strict=True)])
    assert training.sources.all() == [("uploaded: 9 pictures", source)]
    kept = tmp_path / "models" / ".training" / "pictures" / source.removeprefix(UPLOADED)
    assert {path.name for path in kept.glob("*.png")} == {f"{number:06}.png" for number in range(9)}
    nameless = ended(training.check(Wish(source, "fast", "(bracket)", 0.2), "anna"))
    assert "../../part0_shot0.png: the part regex" in nameless.status().message
    task = training.check(Wish(source, "fast", r"(part\d+)", 0.2), "anna")
    with pytest.raises(DataError, match="still running"):
        training.check(Wish(source, "fast", "", 0.2), "anna")
    found = result(ended(task), CHECK)
    assert found is not None, task.log()
    assert training.names_in(task)(str(kept / "000003.png")) == names[3]
    assert (found["pictures"], found["parts"], found["parts_named"]) == (9, 5, True)
    assert found["fit_fails"]  # five parts are too few
    for changed in (
        Wish(source, "fast", r"(part\d+)", 0.05),
        Wish(source, "default", r"(part\d+)", 0.2),
        Wish(source, "fast", "", 0.2),
        Wish("", "fast", r"(part\d+)", 0.2),
    ):
        with pytest.raises(DataError, match=r"not what was checked last: .* at most 20% rejected, parts by .* \(anna"):
            training.train("mine", changed, "anna")
    with pytest.raises(DataError, match="would make training fail"):
        training.train("mine", Wish(source, "fast", r"(part\d+)", 0.2), "anna")


def test_an_upload_s_siblings_are_found_by_what_people_call_them(data: Path, tmp_path: Path, trainings: Any) -> None:
    """Two shots of each part, and nobody said so: the promise would fail."""
    training, arrived = trainings(data), []
    for number in range(24):
        noise = np.random.default_rng(number).normal(0, 2, (64, 64, 1))
        shot = np.clip(swatch(number // 2) + noise, 0, 255).astype(np.uint8)
        name = f"part{number // 2:02}_shot{1 + number % 2}.png"
        arrived.append(Arrived(name, save(tmp_path / "drop" / f"{number}.png", shot)))
    task = ended(training.check(wish(training.take_upload(arrived)), "anna"))
    found = result(task, CHECK)
    assert found is not None, task.log()
    assert (found["parts"], found["parts_named"]) == (24, False)
    assert found["siblings"] is not None
    assert found["siblings"]["parts"] == 12
    assert found["siblings"]["example"] == ["part00_shot1.png", "part00_shot2.png"]


def test_two_files_of_one_name_are_two_parts(tmp_path: Path, trainings: Any) -> None:
    training = trainings(None)
    source = upload(training, tmp_path / "drop", 3, names="image.png")
    (path,) = (tmp_path / "models").glob(f".training/pictures/{source.removeprefix(UPLOADED)}/manifest.csv")
    assert list(training.sources.names(path).values()) == ["image.png", "image (2).png", "image (3).png"]


def test_no_upload_goes_while_it_is_learned_from(data: Path, tmp_path: Path, trainings: Any) -> None:
    training = trainings(data)
    read = upload(training, tmp_path / "drop", 16)
    task = training.check(wish(read), "anna")
    for _ in range(4):
        upload(training, tmp_path / "drop", 2)
    assert task.status().state == "running", "it was too fast for this test"
    assert read in [value for _, value in training.sources.all()]
    found = result(ended(task), CHECK)
    assert found is not None, task.log()
    assert (found["pictures"], found["unreadable"]) == (16, [])
    upload(training, tmp_path / "drop", 2)
    assert len(list((tmp_path / "models" / ".training" / "pictures").iterdir())) == 4, "three, and the one checked last"


def test_a_training_that_was_stopped_continues(data: Path, tmp_path: Path, trainings: Any) -> None:
    (data / "long.yaml").write_text(TINY.replace("steps: 30", "steps: 300, patience: 1000"))
    training, asked = trainings(data), Wish(f"{FOLDER}swatches", "long.yaml", "", 0.2)
    with pytest.raises(DataError, match="no training was interrupted"):
        training.resume()
    ended(training.check(asked, "anna"))
    task = training.train("mine", asked, "anna")
    deadline = time.monotonic() + 120
    while not list(task.work.glob("*.training/*/*.safetensors")):
        assert time.monotonic() < deadline, task.log()
        time.sleep(0.05)
    task.cancel()
    assert ended(task).status().state == "cancelled", "it was too fast for this test"
    assert training.shown() == task
    assert "Resume" in view.task_state(task, task.status(), None)
    assert ended(training.resume()).status().state == "done", task.log()
    assert open_bundle(tmp_path / "models" / "mine").card.calibration is not None
    assert "Resume" not in view.task_state(task, task.status(), None)


def test_answers_join_a_re_fit_and_every_part_stays_on_its_side(
    uncalibrated_path: Path, swatch_folder: Path, tmp_path: Path, trainings: Any
) -> None:
    data = tmp_path / "data"
    shutil.copytree(swatch_folder, data / "first" / "swatches")
    swatches(data / "others", 24, first_seed=200)  # the same names, other parts
    (data / "tiny.yaml").write_text(TINY)
    bundle_path = shutil.copytree(uncalibrated_path, tmp_path / "models" / "swatch")
    recalibrate(open_bundle(bundle_path), rate=0.25, guarantee="expected", review_rate=0.85)  # a wide grey band
    bundle, again = open_bundle(bundle_path), wish(f"{AGAIN}swatch")
    training = trainings(data)
    with Store.open(str(tmp_path / "log.db")) as store:
        settings = store.settings
        review = settings.review.model_copy(update={"audit_rate": 0})
        store.configure(settings.model_copy(update={"review": review}), by="t")
        with pytest.raises(DataError, match="no part that was answered good can join"):
            training.check(again, "anna")
        files = [save(tmp_path / "in" / f"new{n}.png", swatch(500 + n)) for n in range(6)]
        items = Inspector(bundle).inspect(files)
        seen = [Seen(file.name, item, None, file) for file, item in zip(files, items, strict=True)]
        store.record(bundle.card, seen, by="t", source="t")
        asked = store.reviews.queue(bundle.card.bundle_id)
        for part in asked:
            store.reviews.answer(part.worst.id, Answer.GOOD, by="anna")
    assert len(asked) > 1, "or this would prove little"
    refit = training.sources.refit(again.source)
    assert (refit.parts, refit.joined) == (24, len(asked))
    said = view.joins(again.source, refit)
    assert f"{len(asked)} parts answered good" in said
    assert "None of those randomly sampled" in said
    assert "left out" not in said
    assert "left out: 2. The expression" in view.joins(again.source, replace(refit, unnamed=2))
    found = result(ended(training.check(again, "anna")), CHECK)
    assert found is not None
    assert found["parts"] == 24 + len(asked)
    task = ended(training.train("swatch-2", again, "anna"))
    assert task.status().state == "done", task.log()
    refitted = open_bundle(tmp_path / "models" / "swatch-2")
    assert not refitted.card.parts_known, "nobody has said more about parts than before"
    assert fitted_parts(refitted) == fitted_parts(bundle) | {
        f"{part.part}/{Path(part.worst.file).stem}": "train" for part in asked
    }
    shutil.rmtree(data / "first")
    with pytest.raises(DataError, match="the 24 parts that swatch was made from are not on offer here any more"):
        training.check(again, "anna")


@pytest.mark.slow
def test_a_manifest_of_products_gives_one_model_of_several(data: Path, tmp_path: Path, trainings: Any) -> None:
    """Each product is checked, promised, evaluated and shown by itself; its parts may be called as another's."""
    lines = ["path,product,part,label,split"]
    for product in (RED, BLUE):
        for number in range(24):
            save(data / "two" / f"{product}{number:02}.png", coloured(product, number))
            lines.append(f"{product}{number:02}.png,{product},p{number},good,")
        for number in range(30, 32):
            save(data / "two" / f"{product}{number}.png", coloured(product, number, scratched=number == 31))
            lines.append(f"{product}{number}.png,{product},p{number},{'defective' if number == 31 else 'good'},test")
    (data / "two" / "manifest.csv").write_text("\n".join(lines))
    training = trainings(data)
    asked = replace(wish(f"{FOLDER}two"), left_out="red00.png", defective="red01.png")
    check = ended(training.check(asked, "anna"))
    found = checks(check)
    assert list(found) == [BLUE, RED], check.log()
    assert {name: one and one["parts"] for name, one in found.items()} == {RED: 22, BLUE: 24}, "p1 is red's alone"
    shown = str(made.checks_found(found, training.names_in(check), Served(), {}))
    assert f"<h3>{BLUE}</h3>" in shown and f"<h3>{RED}</h3>" in shown

    task = ended(training.train("line", asked, "anna"))
    assert task.status().state == "done", task.log()
    bundles = training._models.of_model("line")
    assert [bundle.name for bundle in bundles] == ["line/blue", "line/red"]
    models = [made.model(each, training.pictures_of(task), training.names_in(task), Served()) for each in bundles]
    for one in models:
        assert one.evaluation is not None and one.evaluation["bundle_id"] == one.card.bundle_id
        assert one.unsure and all(str(tile["name"]).startswith(str(one.product)) for tile in one.unsure)
    assert str(made.trained(models, tested=True)).count("<h3>") == 2
    again = f"{AGAIN}line/red"
    assert again in [value for _, value in training.sources.all()]
    refit = training.sources.refit(again)
    assert refit is not None and {picture.product for picture in refit.pictures} == {RED}


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "nul\0", "dot."])
def test_a_model_s_name_is_no_path(tmp_path: Path, name: str) -> None:
    assert not NAME.fullmatch(name)


def test_what_a_killed_station_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lives, what is young, and what is nobody's stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"defectflow-drop-{dead.pid}-a", f"defectflow-export-{dead.pid}-b", f"{prefix('drop')}mine", "other"):
        save(tmp_path / name / "000001.png", swatch(0))
        os.utime(tmp_path / name, (0, 0))
    save(tmp_path / f"defectflow-drop-{dead.pid}-young" / "000001.png", swatch(0))
    sweep(exists)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{prefix('drop')}mine", "other", f"defectflow-drop-{dead.pid}-young"}


def test_where_to_look_is_drawn_with_the_mouse(watch: Watch, station: Running) -> None:
    """A rectangle, an outline and the brush, in the browser; the check is told of them."""
    watched = watch(station)
    page = watched.page
    watched.visit("Train")
    page.locator("#train-source input").click()
    page.get_by_role("option", name="swatches", exact=True).click()
    page.locator("#train-settings-more").get_by_role("button").first.click()
    page.locator("#train-region-show").click()
    image = page.locator(".region img")
    expect(image).to_be_visible()
    image.scroll_into_view_if_needed()

    def at(x: float, y: float) -> tuple[float, float]:
        box = image.bounding_box()
        assert box is not None
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(*points: tuple[float, float]) -> None:
        page.mouse.move(*at(*points[0]))
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*at(*point), steps=4)
        page.mouse.up()

    typed = page.locator("#train-settings textarea")
    drag((0.9, 0.8), (0.1, 0.2))
    expect(page.locator(".region .rectangle")).to_be_attached()
    left, top, width, height = json.loads(typed.input_value().partition("=")[2])
    assert (left, top, width, height) == pytest.approx((0.1, 0.2, 0.8, 0.6), abs=0.02)

    page.locator("[data-tool=outline]").click()
    for corner in ((0.2, 0.3), (0.8, 0.3), (0.8, 0.7)):
        page.mouse.click(*at(*corner))
    page.keyboard.press("Enter")
    expect(page.locator(".region polygon.outline")).to_be_attached()
    page.locator("[data-tool=brush]").click()
    drag((0.4, 0.4), (0.5, 0.4), (0.5, 0.5))
    expect(page.locator(".region polyline.ignored")).to_be_attached()
    expect(page.locator(".region polygon.outline")).to_be_attached()
    expect(page.locator("[data-tool=brush]")).to_have_attribute("aria-checked", "true")
    page.locator("[data-tool=ignore]").click()
    page.mouse.click(*at(0.3, 0.3))
    page.keyboard.press("Escape")  # given up
    drawn = dict(line.split("=", 1) for line in typed.input_value().splitlines())
    assert set(drawn) == {f"image.roi.{name}" for name in ("rectangle", "outlines", "ignored", "picture")}
    page.locator("#train-check").click()
    expect(page.locator(".task[data-state=done]")).to_be_visible(timeout=TRAINING_MS)
    expect(page.locator("#train-basis")).to_contain_text("1 area ignored")

    page.locator("[data-clear]").click()
    expect(typed).to_have_value("")
    expect(page.locator(".region .rectangle")).not_to_be_attached()
    assert not watched.complaints


def test_pictures_are_put_aside_by_name(tmp_path: Path) -> None:
    """A part with one picture called defective is not good in its other ones."""
    folder = swatches(tmp_path / "good", 6)
    for number in range(6):
        (folder / f"{number:03}.png").rename(folder / f"p{number // 2} {'ab'[number % 2]}.png")
    found = find_pictures(folder, label="good", part_regex=r"(p\d)")
    kept = select(found, "p0 a.png\n", "p2 b.png")
    assert [(one.name, one.label, one.split) for one in kept] == [
        ("p0 b.png", "good", None),
        ("p1 a.png", "good", None),
        ("p1 b.png", "good", None),
        ("p2 a.png", "defective", "test"),
        ("p2 b.png", "defective", "test"),
    ]
    for with_parts in (True, False):
        write_selection(kept, tmp_path / "pictures.csv", with_parts=with_parts)
        again = find_pictures(tmp_path / "pictures.csv", part_regex=None if with_parts else r"(p\d)")
        assert [(one.path, one.part, one.label, one.split) for one in again] == [
            (one.path, one.part, one.label, one.split) for one in kept
        ]
    with pytest.raises(DataError, match=r"p9\.png and 1 more: none of the good pictures is called so"):
        select(found, "p9.png", "q.png")
    assert toggled(toggled("a\nb", "c"), "a") == "b\nc"
