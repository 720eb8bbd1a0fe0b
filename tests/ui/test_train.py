"""The page Train, from a folder to activation, in a browser; and what its server side refuses."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from defectflow_ui.training import CHECK, UPLOADED, Training, Wish, result
from defectflow_ui.uploads import Arrived
from playwright.sync_api import expect
from running import Running, Watched, call, listening
from support import save, swatch, swatches

from defectflow.errors import DataError
from defectflow.runtime.bundle import open_bundle
from defectflow.store import Role

TINY = """
image: {size: 64}
embedding: {levels: [1, 2]}
flow: {layers: 2, hidden: 16}
training: {steps: 30, batch: 256, check_every: 10}
"""
PATIENCE_MS = 240_000


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


@pytest.fixture(scope="module")
def station(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with listening(tmp_path_factory.mktemp("models"), data=data) as running:
        yield running


def test_from_a_folder_to_activation(browser: Any, station: Running) -> None:
    watched = Watched(browser, station)
    page = watched.page
    page.goto("/")
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train-state")).to_contain_text("Nothing trained here yet")
    expect(page.locator("#train-fit")).to_be_disabled()
    for field, wanted in (("#train-source input", "swatches"), ("#train-recipe input", "tiny.yaml")):
        page.locator(field).click()
        page.get_by_role("option", name=wanted, exact=True).click()
    page.locator("#train-rate input").fill("20")
    page.locator("#train-check").click()
    expect(page.locator(".task[data-state=done]")).to_be_visible(timeout=PATIENCE_MS)
    findings = page.locator("#train-findings")
    expect(findings).to_contain_text("All 25 pictures can be read")
    expect(findings.locator(".shot").first).to_contain_text("spoilt.png")
    expect(findings.locator(".shot").first).to_contain_text("stands out")
    assert str(station.station.settings.data) not in findings.inner_text(), "a folder of the server is shown"

    page.locator("#train-name").locator("input, textarea").fill("swatch-1")
    page.locator("#train-fit").click()
    expect(page.locator(".task[data-state=running]")).to_be_visible()
    expect(page.locator("#station-jobs")).to_contain_text("Train swatch-1")
    page.goto("about:blank")  # the page is left, and come back to
    page.goto("/")
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#trained")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(".task")).to_contain_text("learn level 2")
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
    assert not watched.complaints
    assert not watched.outside(station)
    watched.context.close()


def test_what_is_stopped_from_the_page_is_stopped(browser: Any, station: Running, data: Path) -> None:
    """In the middle of a check of the large recipe; nothing of it is left, and the page says so."""
    watched = Watched(browser, station)
    page = watched.page
    page.goto("/")
    page.get_by_role("tab", name="Train").click()
    page.locator("#train-source input").click()
    page.get_by_role("option", name="swatches", exact=True).click()
    page.locator("#train-check").click()
    page.locator("#train-stop").click()
    expect(page.locator(".task[data-state=cancelled]")).to_be_visible(timeout=60_000)
    expect(page.locator("#train-state")).to_contain_text("Nothing half-made is left")
    expect(page.locator("#train-fit")).to_be_disabled()
    watched.context.close()


def test_pictures_are_dropped_to_be_learned_from(browser: Any, station: Running, tmp_path: Path) -> None:
    """With one that is none among them, which is said and stops nothing."""
    files = [save(tmp_path / f"part{number}.png", swatch(number)) for number in range(4)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    watched = Watched(browser, station)
    page = watched.page
    page.goto("/")
    page.get_by_role("tab", name="Train").click()
    page.locator("#train-drop input[type=file]").set_input_files([*files, tmp_path / "broken.png"])
    expect(page.locator("#train-source input")).to_have_value("uploaded: 4 pictures", timeout=30_000)
    expect(page.locator("#train-said")).to_contain_text("broken.png")
    watched.context.close()


def test_engineers_only_on_the_server(bundle_path: Path, data: Path, tmp_path: Path) -> None:
    """What a hidden button would have sent, sent by hand."""
    users = ((Role.VIEWER.value, Role.VIEWER), (Role.OPERATOR.value, Role.OPERATOR))
    shutil.copytree(bundle_path, tmp_path / "ring")
    with listening(tmp_path, users, data=data) as running:
        for user, _ in users:
            client = running.client(user)
            for elem_id, event, values in (
                ("train-check", "click", [None, "", "tiny.yaml", 20]),
                ("train-fit", "click", ["mine"]),
                ("train-stop", "click", []),
                ("train-activate", "click", []),
                ("calibrate-cheapest", "click", [1, 50, 1]),
                ("calibrate-save", "click", ["June", "because", True]),
            ):
                answer = call(client, elem_id, event, values)
                assert not answer["success"], elem_id
                assert "needs the role 'engineer'" in answer["output"]["error"]
            client.close()
        assert Training(tmp_path, data).running() is None
        assert running.station.store.versions.active() is None


# --- without a browser ---


def wish(source: str, part_regex: str = "") -> Wish:
    return Wish(source, "tiny.yaml", part_regex, 0.2)


def test_only_what_is_offered_can_be_learned_from(data: Path, tmp_path: Path) -> None:
    (data / "outside").symlink_to(tmp_path)
    for made_here in ("ring/golden/one.png", "results/overlays/good/one.png", "inspections.db.pictures/0a/one.png"):
        save(data / made_here, swatch(0))
    for mark in ("ring/card.json", "results/run.json", "inspections.db"):
        (data / mark).touch()
    training = Training(tmp_path / "models", data)
    (tmp_path / "models").mkdir()
    assert training.sources() == [("swatches", "swatches")]
    for source in ("..", "../..", "/etc", "outside", "swatches/../..", f"{UPLOADED}../../models", ""):
        with pytest.raises(DataError, match="choose pictures first"):
            training.check(wish(source), "anna")
    with pytest.raises(DataError, match="not on offer"):
        training.check(Wish("swatches", "/etc/passwd", "", 0.2), "anna")
    assert Training(tmp_path / "models", None).sources() == []


def test_an_upload_becomes_a_source_under_numbers(tmp_path: Path) -> None:
    """Whatever the browser calls its files: no path is made of that, and it is what the engineer reads."""
    for number in range(9):
        save(tmp_path / "drop" / f"{number}.png", swatch(number))
    files = sorted((tmp_path / "drop").iterdir())
    names = [f"../../part{number // 2}_shot{number}.png" for number in range(9)]
    training = Training(tmp_path / "models", None)
    source = training.take_upload([Arrived(name, file) for name, file in zip(names, files, strict=True)])
    assert training.sources() == [("uploaded: 9 pictures", source)]
    kept = tmp_path / "models" / ".training" / "pictures" / source.removeprefix(UPLOADED)
    assert {path.name for path in kept.glob("*.png")} == {f"{number:06}.png" for number in range(9)}
    assert training.name_of(str(kept / "000003.png")) == names[3]
    with pytest.raises(DataError, match="no part can be read from this name"):
        training.check(Wish(source, "fast", "(bracket)", 0.2), "anna")
    task = training.check(Wish(source, "fast", r"(part\d+)", 0.2), "anna")
    with pytest.raises(DataError, match="still running"):
        training.check(Wish(source, "fast", "", 0.2), "anna")
    deadline = time.monotonic() + 120
    while task.status().state == "running" and time.monotonic() < deadline:
        time.sleep(0.2)
    found = result(task, CHECK)
    assert found is not None, task.log()
    assert (found["pictures"], found["parts"], found["parts_named"]) == (9, 5, True)
    assert found["fit_fails"]  # five parts are too few
    with pytest.raises(DataError, match="would fail of"):
        training.train("mine", "anna")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "nul\0", "dot."])
def test_a_model_s_name_is_no_path(tmp_path: Path, name: str) -> None:
    from defectflow_ui.training import NAME

    assert not NAME.fullmatch(name)
