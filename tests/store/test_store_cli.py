"""The store from the command line, as an integrator uses it: real processes, real files."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from store_support import record_parts
from support import DEFECTFLOW, Cli, run, swatches
from typer.testing import CliRunner

from defectflow.bundle import file_digest, fitted_parts, open_bundle
from defectflow.cli.main import app
from defectflow.data import find_pictures
from defectflow.data.splits import split_parts
from defectflow.errors import CalibrationError, SettingsError, StoreError
from defectflow.line.recalibrate import recalibrate
from defectflow.store import Answer, Query, Store, StoreSettings, chain, schema
from defectflow.store.settings import DriftSettings


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, uncalibrated_path: Path) -> Path:
    """Calibrated on its 8 parts for 1 in 4 good parts, with a wide grey band. Not to be changed."""
    copy = shutil.copytree(uncalibrated_path, tmp_path_factory.mktemp("cli") / "swatch")
    recalibrate(open_bundle(copy), rate=0.25, guarantee="expected", review_rate=0.9)
    return copy


def command(*words: str | Path, typed: str = "") -> str:
    """A command in this process, which spares starting one; what it printed. Raises what it refuses with."""
    done = CliRunner().invoke(app, [str(word) for word in words], input=typed)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def score(bundle: Path, pictures: Path, out: Path, url: str, *more: str) -> list[str]:
    words = ["score", bundle, pictures, "--out", out, "--store", url, "--threads", 1, *more]
    return [str(word) for word in [DEFECTFLOW, *words]]


def test_parallel_scoring_into_one_store(bundle: Path, store_url: str, tmp_path: Path) -> None:
    """Two processes begin the store together; the CSV tables are as without a store."""
    folders = [swatches(tmp_path / side, 8, first_seed=seed) for side, seed in (("left", 100), ("right", 200))]
    (folders[0] / "broken.png").write_bytes(b"no picture")
    running = [
        subprocess.Popen(score(bundle, folder, tmp_path / f"out-{folder.name}", store_url), stderr=subprocess.PIPE)
        for folder in folders
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in running]
    assert [process.returncode for process in running] == [3, 0], said
    with Store.open(store_url) as store:
        kept = {(item.file, item.decision, item.score) for item in store.history.search(Query(limit=100))}
        assert store.history.count() == 17
        assert store.verify().passed
    tables = set()
    for folder in folders:
        rows = csv.DictReader((tmp_path / f"out-{folder.name}" / "results.csv").open())
        tables |= {(row["file"], row["decision"], float(row["score"]) if row["score"] else None) for row in rows}
    assert kept == tables


def test_a_killed_score_continues_and_misses_nothing(bundle: Path, tmp_path: Path) -> None:
    url, pictures = str(tmp_path / "s.db"), swatches(tmp_path / "in", 60, first_seed=100)
    running = subprocess.Popen(score(bundle, pictures, tmp_path / "out", url), stderr=subprocess.DEVNULL)
    journal = tmp_path / "out" / "results.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 5):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    with Store.open(url) as store:
        assert store.verify().passed
        assert 5 <= store.history.count() < 60
    resumed = run(*score(bundle, pictures, tmp_path / "out", url, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    with Store.open(url) as store:
        files = [item.file for item in store.history.search(Query(limit=1000))]
        assert set(files) == {f"{number:03}.png" for number in range(60)}
        assert len(files) <= 61, "at most the one picture between store and journal appears twice"
        assert store.verify().passed


def test_a_picture_judged_again_is_no_second_part(bundle: Path, tmp_path: Path, cli: Cli) -> None:
    """Cut short, then whole: one part. Touched only: not judged again. Another picture of that name: another part."""
    url, pictures = str(tmp_path / "s.db"), swatches(tmp_path / "in", 3, first_seed=100)
    whole = (pictures / "001.png").read_bytes()
    (pictures / "001.png").write_bytes(whole[:1000])
    assert cli(*score(bundle, pictures, tmp_path / "out", url)[1:]).code == 3
    assert cli(*score(bundle, pictures, tmp_path / "out", url, "--resume")[1:]).code == 3
    with Store.open(url) as store:
        assert store.history.count() == 3, "the same error is not told twice"
    (pictures / "001.png").write_bytes(whole)
    os.utime(pictures / "000.png")
    resumed = cli(*score(bundle, pictures, tmp_path / "out", url, "--resume")[1:])
    assert resumed.code == 0, resumed.err
    assert "1 picture was judged again" in resumed.err
    with Store.open(url) as store:
        (count,) = store.history.counts(every="month")
        assert (count.judged, count.error) == (3, 0)
        assert store.history.count() == 4, "the log keeps what it was told"
    shutil.copy(swatches(tmp_path / "other", 1, first_seed=300) / "000.png", pictures / "002.png")
    assert cli(*score(bundle, pictures, tmp_path / "out", url, "--resume")[1:]).code == 0
    with Store.open(url) as store:
        (count,) = store.history.counts(every="month")
        assert count.judged == 4
    refused = cli("score", bundle, pictures, "--out", tmp_path / "out", "--resume")
    assert refused.code == 2
    assert "its run was begun" in refused.err and "--store" in refused.err


def test_scores_alone_are_not_kept(bundle: Path, tmp_path: Path) -> None:
    pictures = swatches(tmp_path / "in", 1)
    refused = run(*score(bundle, pictures, tmp_path / "out", str(tmp_path / "s.db"), "--scores-only"))
    assert refused.returncode == 2
    assert "a store keeps verdicts" in refused.stderr


def test_log_commands(bundle: Path, tmp_path: Path, cli: Cli) -> None:
    url, pictures = str(tmp_path / "s.db"), swatches(tmp_path / "in", 4, first_seed=100)
    command(*score(bundle, pictures, tmp_path / "out", url)[1:])
    head = command("log", "verify", "--store", url).split("head ")[1].split()[0]
    command("log", "verify", "--store", url, "--head", head)
    command("log", "export", "--store", url, "--out", tmp_path / "log.csv", "--since", "2020-01-01")
    assert [row["file"] for row in csv.DictReader((tmp_path / "log.csv").open())] == [f"{n:03}.png" for n in range(4)]
    assert "No sign of drift in 4 parts" in command("log", "drift", bundle, "--store", url)
    assert "audit_rate: 0.5" in command("log", "settings", "--store", url, "--set", "review.audit_rate=0.5")
    with pytest.raises(SettingsError, match="did you mean 'pictures'"):
        command("log", "settings", "--store", url, "--set", "picture=none")
    assert "Removed 0 rows" in command("log", "retain", "--store", url)
    with closing(sqlite3.connect(url)) as file:
        file.execute("DROP TRIGGER inspections_unchanged")
        file.execute("UPDATE inspections SET file = '001.pnG' WHERE file = '001.png'")
        file.commit()
    told = cli("log", "verify", "--store", url)
    assert told.code == 1
    assert "inspections, row 3: was altered" in told.err


def test_what_a_channel_has_not_been_told_stays_and_is_said(bundle: Path, tmp_path: Path, cli: Cli) -> None:
    url = str(tmp_path / "s.db")
    command("log", "settings", "--store", url, "--set", "keep_rows_days=7")
    assert "There are no channels" in command("log", "channels", "--store", url)
    with Store.open(url) as store:
        store.outbox.hold("webhook mes", "a service", 60)
        store.outbox.release("webhook mes", "a service")
        record_parts(store, open_bundle(bundle).card, {"1": 0.1})
        (item,) = store.history.search()
        old = {**asdict(item), "source": "serve", "at": "2020-01-01T00:00:00.000000Z", "regions": "[]"}
        old |= {key: int(old[key]) for key in ("part_known", "audit")}
        with store.database.writing() as connection:
            chain.append(connection, schema.inspections, [old])
    retained = cli("log", "retain", "--store", url)
    assert "Removed 0 rows" in retained.out
    assert "older rows stay until webhook mes has been told them (inspections behind: 1)" in retained.err
    (told,) = json.loads(command("log", "channels", "--store", url, "--json"))
    assert told == {"name": "webhook mes", "behind": 1, "since": "2020-01-01T00:00:00+00:00", "held": False}
    listed = command("log", "channels", "--store", url)
    assert "webhook mes" in listed and "2020-01-01" in listed
    assert f"--store sqlite:///{url} --forget 'webhook mes'" in retained.err
    assert "Dropped: webhook mes" in command("log", "channels", "--store", url, "--forget", "webhook mes")
    with pytest.raises(StoreError, match="there is no channel 'webhook mes'; known: none"):
        command("log", "channels", "--store", url, "--forget", "webhook mes")
    assert cli("log", "retain", "--store", url).err == ""


def test_drift_ends_with_a_code_of_its_own(bundle: Path, tmp_path: Path) -> None:
    """0 while all is well, 1 while an alarm stands, as cron and monitoring want it."""
    url, card = str(tmp_path / "s.db"), open_bundle(bundle).card
    with Store.open(url) as store:
        store.configure(StoreSettings(drift=DriftSettings(run_length=100)), by="test")
        record_parts(store, card, {f"part{number}": -number / 100 for number in range(50)})
    told = CliRunner().invoke(app, ["log", "drift", str(bundle), "--store", url])
    assert (told.exit_code, "Production has moved" in told.output) == (1, True)
    assert "Production has moved" in command("log", "drift", bundle, "--store", url, "--since", "2999-01-01")
    assert "exit code is 1" in command("log", "drift", "--help")
    told = command("log", "drift", bundle, "--store", url, "--looked-into", "a new lamp", "--by", "anna")
    assert "No alarm since anna looked into it on" in told
    assert "(a new lamp)" in command("log", "drift", bundle, "--store", url)


def test_users_commands(tmp_path: Path, cli: Cli) -> None:
    url = str(tmp_path / "s.db")
    command("users", "add", "anna", "--role", "engineer", "--by", "root", "--store", url, typed="a long password\n")
    with pytest.raises(StoreError, match="too short"):
        command("users", "add", "bert", "--store", url, typed="short\n")
    command("users", "role", "anna", "operator", "--store", url)
    command("users", "password", "anna", "--store", url, typed="another password\n")
    listed = command("users", "list", "--store", url)
    assert "anna" in listed
    assert "operator" in listed
    (row,) = json.loads(command("users", "list", "--store", url, "--json"))
    assert (row["user"], row["role"]) == ("anna", "operator")
    with Store.open(url) as store:
        assert store.users.authenticate("anna", "another password").name == "anna"
    command("users", "remove", "anna", "--store", url)
    gone = cli("users", "remove", "anna", "--store", url)
    assert gone.code == 2
    assert "does not exist" in gone.err
    assert "Traceback" not in gone.err
    assert "no users yet" in command("users", "list", "--store", url)


def test_recalibration_by_command_and_back(bundle: Path, tmp_path: Path, swatch_folder: Path) -> None:
    bundle = shutil.copytree(bundle, tmp_path / "swatch")
    url, model = str(tmp_path / "s.db"), file_digest(bundle / "model.onnx")
    drawn, not_drawn = swatches(tmp_path / "a", 40, first_seed=100), swatches(tmp_path / "b", 40, first_seed=300)
    command("log", "settings", "--store", url, "--set", "review.audit_rate=1")
    command(*score(bundle, drawn, tmp_path / "out-a", url)[1:])
    command("log", "settings", "--store", url, "--set", "review.audit_rate=0")
    command(*score(bundle, not_drawn, tmp_path / "out-b", url)[1:])
    words = ("versions", "from-reviews", bundle, "--store", url, "--false-reject-rate", "0.1", "--review-rate", "0.2")
    with pytest.raises(CalibrationError, match="40 of 40 sampled parts have no answer"):
        command(*words)
    bundle_id = open_bundle(bundle).card.bundle_id
    with Store.open(url) as store:
        asked = store.reviews.queue(bundle_id, limit=100)
        for part in asked:
            store.reviews.answer(part.worst.id, Answer.GOOD, by="anna")
    grey = {f"{part.part}/{Path(part.worst.file).stem}" for part in asked if not part.audit}
    assert grey, "or the last assertion would prove nothing"
    with pytest.raises(CalibrationError, match="of 0 that were randomly sampled"):
        command(*words, "--since", "2999-01-01")
    assert "40 sampled parts join" in command(*words, "--since", "2020-01-01", "--until", "2999-01-01")
    preview = command(*words)
    assert "This is a preview: nothing was changed" in preview
    assert "40 sampled parts join" in preview
    proposed = json.loads(command(*words, "--json"))
    assert (proposed["added"], proposed["audit"]["good"], proposed["applied"]) == (40, 40, None)
    assert f"{len(proposed['flips'])} past verdicts would change" in preview
    assert file_digest(bundle / "model.onnx") == model
    applied = command(*words, "--apply", "June", "--reason", "false alarms", "--by", "anna")
    assert "Applied as 'June'" in applied
    assert file_digest(bundle / "model.onnx") != model
    command("verify", bundle)
    listed = command("versions", "list", bundle, "--store", url)
    assert "June" in listed
    june, found = json.loads(command("versions", "list", bundle, "--store", url, "--json"))
    assert (june["name"], june["in_use"], found["in_use"]) == ("June", True, False)
    assert june["threshold"] == proposed["threshold"]["after"]
    assert found["calibration_id"] == june["parent"]
    first = re.search("found ([0-9a-f]{12})", listed)
    assert first is not None
    command("versions", "apply", bundle, first[1], "--store", url, "--reason", "wrong after all")
    assert file_digest(bundle / "model.onnx") == model
    manifest = tmp_path / "refit.csv"
    command("versions", "refit-manifest", bundle, swatch_folder, "--store", url, "--out", manifest)
    splits = split_parts(find_pictures(manifest, label="good"), calibration_parts=8, tune_share=0.15, seed=0)
    sides = {side: {picture.part for picture in pictures} for side, pictures in splits.by_side.items()}
    fitted = fitted_parts(open_bundle(bundle))
    assert sides["calibration"] == {part for part, side in fitted.items() if side == "calibration"}
    assert sides["train"] == {part for part, side in fitted.items() if side == "train"} | grey


@pytest.mark.parametrize(
    "words",
    [
        ("log", "verify"),
        ("log", "export", "--out", "log.csv"),
        ("log", "settings"),
        ("log", "retain"),
        ("users", "list"),
    ],
)
def test_looking_into_a_store_that_is_not_there_begins_none(words: tuple[str, ...], tmp_path: Path) -> None:
    """A mistyped path is not a log that is as it was written."""
    with pytest.raises(StoreError, match=r"typo\.db: no such store"):
        command(*(tmp_path / word if word == "log.csv" else word for word in words), "--store", tmp_path / "typo.db")
    assert not list(tmp_path.iterdir())
