"""A whole folder judged: every picture a row, the same whether stopped or not, in files that others can read."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from support import DEFECTFLOW, marked, run, save

from defectflow.bundle.bundle import open_bundle
from defectflow.common.progress import Progress
from defectflow.data import find_pictures
from defectflow.errors import DataError, NotCalibrated, SettingsError
from defectflow.image.decode import read_image
from defectflow.line import Inspector
from defectflow.line.journal import Row, gather_parts
from defectflow.line.recalibrate import recalibrate
from defectflow.line.score_folder import Tally, score_folder
from defectflow.line.tables import as_csv, flatten
from defectflow.verdict import Measurement, Verdict

VARYING = ("milliseconds",)
MEASURED = ("score", "distance")


@pytest.fixture
def folder(sample: Path, tmp_path: Path) -> Path:
    """Good and marked rings under awkward names, two broken files, a lens cap; pictures of one part share a prefix."""
    good = sorted((sample / "test" / "good").glob("*.png"))[:3]
    folder = tmp_path / "Prüfung 检查"
    folder.mkdir()
    shutil.copy(good[0], folder / "p1 a.png")
    save(folder / "p1 b.png", marked(read_image(good[1])))
    shutil.copy(good[2], folder / "p2, \"quoted\"; 'ä'.png")
    save(folder / "unter ordner" / "p3 größer.png", np.asarray(Image.open(good[0]).resize((321, 222))))
    save(folder / "p4 cap.png", np.zeros((256, 256, 3), np.uint8))
    (folder / "p5 cut.png").write_bytes(good[0].read_bytes()[:3000])
    (folder / "p2 empty.jpg").write_bytes(b"")
    return folder


def score(bundle: Path, folder: Path, out: Path, *, part_regex: str | None = r"(p\d)", **options: Any) -> Tally:
    pictures = find_pictures(folder, part_regex=part_regex)
    return score_folder(Inspector(bundle, threads=1), pictures, folder, out, **options)


def journal(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_the_inspectors_verdicts(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    tally = score(bundle_path, folder, tmp_path / "out")
    rows = {row["file"]: row for row in journal(tmp_path / "out")}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert set(rows) == {path.relative_to(folder).as_posix() for path in files}
    inspector = Inspector(bundle_path, threads=1)
    for path, item in zip(files, inspector.inspect(files), strict=True):
        row = rows[path.relative_to(folder).as_posix()]
        if not isinstance(item, Verdict):
            assert row["decision"] == "error"
            assert row["error"]
            assert row["score"] is None
            continue
        assert row["decision"] == item.decision.word
        assert row["score"] == pytest.approx(item.score, abs=1e-4 * inspector.card.good_spread)
        assert row["p_value"] == pytest.approx(item.p_value)
        assert (row["threshold"], row["sha256"]) == (item.threshold, item.sha256)
        assert len(row["regions"]) == len(item.regions())
        assert row["calibration_id"] == inspector.card.calibration_id
    assert {rows[name]["decision"] for name in ("p1 a.png", "unter ordner/p3 größer.png")} <= {"ok", "review"}
    assert rows["p1 b.png"]["decision"] == "defect"
    assert rows["p1 b.png"]["regions"][0]["area_px"] > 100
    assert rows["p4 cap.png"]["decision"] == "invalid"
    assert tally.pictures["error"] == 2
    assert {name for name, _ in tally.failed} == {"p5 cut.png", "p2 empty.jpg"}
    assert sum(tally.pictures.values()) == len(files)


def test_the_worst_picture_decides_a_part(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    tally = score(bundle_path, folder, tmp_path / "out")
    parts = {row["part"]: row for row in table(tmp_path / "out" / "parts.csv")}
    assert list(parts) == ["p1", "p2", "p4", "p5", "p3"]
    assert (parts["p1"]["decision"], parts["p1"]["worst_file"], parts["p1"]["pictures"]) == ("defect", "p1 b.png", "2")
    assert parts["p2"]["decision"] == "error", "nobody has seen the whole part"
    assert (parts["p2"]["pictures"], parts["p2"]["errors"]) == ("2", "1")
    assert (parts["p4"]["decision"], parts["p5"]["decision"]) == ("invalid", "error")
    assert sum(tally.parts.values()) == 5


def test_precedence_and_ties_within_a_part() -> None:
    def row(decision: Any, value: float | None, name: str) -> Row:
        return Row(file=name, part="x", decision=decision, score=value)

    def worst(*rows: Row) -> tuple[str | None, str]:
        (part,) = gather_parts(rows)
        return part.decision, part.worst.file

    assert worst(row("ok", -0.5, "a"), row("ok", 0.0, "b"), row("ok", -0.1, "c")) == ("ok", "b")
    assert worst(row("review", 9, "a"), row("defect", 8, "b"), row("ok", 7, "c")) == ("defect", "b")
    assert worst(row("defect", 9, "a"), row("invalid", 1, "b")) == ("invalid", "b")
    assert worst(row("error", None, "a"), row("ok", 1, "b")) == ("error", "a")
    assert worst(row("error", None, "a"), row("defect", 1, "b")) == ("defect", "b")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_table_holds_the_journals_rows(bundle_path: Path, folder: Path, tmp_path: Path, form: Any) -> None:
    out = tmp_path / "out"
    score(bundle_path, folder, out, table=form)
    rows = journal(out)
    files = {path.name for path in out.iterdir()}
    tables = set() if form == "jsonl" else {f"results.{form}"}
    assert files == {"run.json", "results.jsonl", "parts.csv"} | tables
    if form == "csv":
        read = table(out / "results.csv")
        assert [row["file"] for row in read] == [row["file"] for row in rows]
        for text, row in zip(read, rows, strict=True):
            assert text["score"] == ("" if row["score"] is None else repr(row["score"]))
            assert json.loads(text["regions"]) == row["regions"]
    elif form == "parquet":
        read = pyarrow.parquet.read_table(out / "results.parquet").to_pylist()
        assert all(row.pop("more") == {} for row in rows), "no manifest, no other columns"
        assert [{**row, "regions": json.loads(row["regions"])} for row in read] == rows


def test_no_name_is_run_as_a_formula() -> None:
    names = [
        "=1+2.png",
        "+a",
        "-b",
        "@c",
        "\td",
        "\re",
        "\nf",
        " =1+1",
        "\u00a0=1",
        "\ufeff@x",
        "＝1＋1",
        "＠a",
        "a\r=b.png",
        "'g",
        "a -b",
        "日本",
        "",
    ]
    rows = [{"file": name, "score": -0.25, "regions": "[]", "error": None} for name in names]
    read = list(csv.DictReader(io.StringIO(as_csv(rows), newline="")))
    expected = [*(f"'{name}" for name in names[:12]), *names[12:]]
    assert [row["file"] for row in read] == [name.replace("\r", "\n") for name in expected]
    assert {row["score"] for row in read} == {"-0.25"}, "a negative number stays one"


def test_overlays_and_masks_have_the_pictures_size(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score(bundle_path, folder, out, overlays=True, masks=True)
    inspector = Inspector(bundle_path, threads=1)
    usable = [row["file"] for row in journal(out) if row["decision"] != "error"]
    for kind in ("overlays", "masks"):
        drawn = {path.relative_to(out / kind).as_posix() for path in (out / kind).rglob("*.png")}
        assert drawn == {f"{name}.png" for name in usable}
    for name in usable:
        picture = Image.open(folder / name)
        mask = np.asarray(Image.open(out / "masks" / f"{name}.png"))
        assert Image.open(out / "overlays" / f"{name}.png").size == picture.size
        assert mask.shape == picture.size[::-1]
        (verdict,) = inspector.inspect([folder / name])
        assert isinstance(verdict, Verdict)
        np.testing.assert_array_equal(mask > 0, verdict.mask_at_full_size())
    marks = np.asarray(Image.open(out / "masks" / "p1 b.png.png"))
    assert marks[100:110, 45:95].mean() > 128, "the felt-pen line"


def test_results_inside_the_scored_folder_are_not_judged(bundle_path: Path, folder: Path) -> None:
    out = folder / "results"
    first = score(bundle_path, folder, out, overlays=True, masks=True)
    again = score(bundle_path, folder, out, overlays=True, masks=True, resume=True)
    assert again.pictures == first.pictures
    assert len(journal(out)) == 7


# --- stopped and resumed ---


def comparable(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    assert len({row["file"] for row in rows}) == len(rows), "a picture was judged twice"
    return {row["file"]: {key: row[key] for key in row if key not in (*VARYING, *MEASURED, "regions")} for row in rows}


def assert_equal_runs(stopped: Path, whole: Path, spread: float) -> None:
    """Equal but for time; numbers within the tolerance, as other pictures share a batch."""
    rows, expected = journal(stopped), {row["file"]: row for row in journal(whole)}
    assert comparable(rows) == comparable(list(expected.values()))
    for row in rows:
        for key in MEASURED if row["decision"] != "error" else ():
            assert row[key] == pytest.approx(expected[row["file"]][key], rel=1e-4, abs=1e-4 * spread)
        boxes = [
            [(one["left_px"], one["top_px"], one["width_px"], one["height_px"]) for one in each["regions"]]
            for each in (row, expected[row["file"]])
        ]
        assert boxes[0] == boxes[1]
    assert [row["part"] for row in table(stopped / "parts.csv")] == [row["part"] for row in table(whole / "parts.csv")]
    assert len(table(stopped / "results.csv")) == len(expected)


def test_killed_at_any_moment_it_goes_on(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    """A real process, killed three times without warning, and once more in the middle of writing a line."""
    source = shutil.copytree(sample / "test", tmp_path / "pictures")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out, whole = tmp_path / "stopped", tmp_path / "whole"
    command = [DEFECTFLOW, "score", bundle_path, source, "--out", out, "--overlays", "--threads", "1"]
    lines = 0
    for kill in range(3):
        process = subprocess.Popen(
            [str(word) for word in (*command, *(["--resume"] if kill else []))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        target = lines + 4
        while process.poll() is None and time.monotonic() < deadline:
            content = (out / "results.jsonl").read_bytes() if (out / "results.jsonl").exists() else b""
            if content.count(b"\n") >= target:
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
        lines = (out / "results.jsonl").read_bytes().count(b"\n")
        assert not (out / "parts.csv").exists()
        with (out / "results.jsonl").open("ab") as file:
            file.write('{"file": "good/part0099_ä'.encode()[:-1])  # cut within a letter
    assert 12 <= lines < 43
    assert run(*command).returncode == 2, "without --resume, results are not overwritten"
    finished = run(*command, "--resume")
    assert finished.returncode == 3, finished.stderr  # one picture could not be used
    pictures = find_pictures(source, part_regex=open_bundle(bundle_path).card.part_regex)
    inspector = Inspector(bundle_path, threads=1)
    score_folder(inspector, pictures, source, whole, overlays=True)
    assert len(journal(whole)) == len(pictures) == 43
    assert_equal_runs(out, whole, inspector.card.good_spread)
    overlays = [sorted(path.name for path in each.rglob("overlays/**/*.png")) for each in (out, whole)]
    assert overlays[0] == overlays[1]
    assert len(overlays[0]) == 42
    assert json.loads((out / "run.json").read_text())["finished"]


def test_resuming_judges_only_what_is_left(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pictures = find_pictures(folder, part_regex=r"(p\d)")

    def stop(progress: Progress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    inspector = Inspector(bundle_path, threads=1)
    with pytest.raises(KeyboardInterrupt):
        score_folder(inspector, pictures, folder, out, watch=stop)
    before = journal(out)
    assert len(before) == 4
    steps: list[int] = []

    def note(progress: Progress) -> None:
        if progress.stage == "score":
            steps.append(progress.done)

    tally = score_folder(inspector, pictures, folder, out, resume=True, watch=note)
    assert steps == [4, 5, 6, 7]
    assert tally.again == 1, "the empty file, which may have been mended since"
    assert journal(out)[:4] == before, "what was judged stays as it was, to the millisecond"
    score_folder(inspector, pictures, folder, tmp_path / "whole")
    assert_equal_runs(out, tmp_path / "whole", inspector.card.good_spread)
    score_folder(inspector, pictures, folder, out, resume=True)
    assert len(journal(out)) == 7, "nothing is left to do, and nothing is done"


def words(out: Path) -> dict[str, str]:
    """Each picture's decision; a file that stands twice in the journal is a fault."""
    rows = journal(out)
    assert len({row["file"] for row in rows}) == len(rows)
    read = {row["file"]: row["decision"] for row in rows}
    assert read == {row["file"]: row["decision"] for row in table(out / "results.csv")}
    return read


def test_a_picture_is_known_by_its_bytes_not_by_its_name(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    """A camera's counter began again; a copy has ended; a backup was brought back; an old file was touched."""
    good = sorted((sample / "test" / "good").glob("*.png"))[:4]
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number, picture in enumerate(good):
        shutil.copy(picture, folder / f"cam_{number}.png")
    (folder / "cam_4.png").write_bytes(good[0].read_bytes()[:3000])  # still being copied
    score(bundle_path, folder, out, part_regex=None)
    first = journal(out)
    assert words(out)["cam_4.png"] == "error"
    assert words(out)["cam_0.png"] in ("ok", "review")

    save(folder / "cam_0.png", marked(read_image(good[0])))
    os.utime(folder / "cam_1.png")  # touched, the same bytes
    shutil.copy(good[0], folder / "cam_4.png")
    tally = score(bundle_path, folder, out, part_regex=None, resume=True)
    assert tally.again == 2
    assert words(out)["cam_0.png"] == "defect"
    assert words(out)["cam_4.png"] in ("ok", "review")
    kept = [
        row["file"]
        for row, then in zip(journal(out), first, strict=True)
        if row["milliseconds"] == then["milliseconds"]
    ]
    assert kept == ["cam_1.png", "cam_2.png", "cam_3.png"]
    assert score(bundle_path, folder, out, part_regex=None, resume=True).again == 0

    # As large as before and with its old time, as a restored backup has it, is beyond what a look without reading sees;
    # as large as before and newer is not.
    swapped = bytearray((folder / "cam_2.png").read_bytes())
    swapped[len(swapped) // 2] ^= 255
    (folder / "cam_2.png").write_bytes(bytes(swapped))
    assert score(bundle_path, folder, out, part_regex=None, resume=True).again == 1
    assert words(out)["cam_2.png"] == "error"


def test_results_of_a_release_that_kept_no_sizes_are_compared_by_bytes(
    bundle_path: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    score(bundle_path, folder, out)
    old = [
        {key: row[key] for key in row if key not in ("size_bytes", "modified_ns", "output_error")}
        for row in journal(out)
    ]
    (out / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old), encoding="utf-8")
    run_file = json.loads((out / "run.json").read_text(encoding="utf-8"))
    del run_file["recorded"]
    (out / "run.json").write_text(json.dumps(run_file), encoding="utf-8")
    shutil.copy(folder / "p1 b.png", folder / "p1 a.png")
    assert score(bundle_path, folder, out, resume=True).again == 3, "the changed one, and the two that were errors"
    assert words(out)["p1 a.png"] == "defect"


def test_a_second_run_beside_a_living_one_is_refused(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    """With --resume, too; and once the first is killed, the next may begin."""
    out = tmp_path / "out"
    command = [
        str(word) for word in (DEFECTFLOW, "score", bundle_path, sample / "train", "--out", out, "--threads", "1")
    ]
    living = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not ((out / "results.jsonl").exists() and (out / "results.jsonl").read_bytes().count(b"\n") >= 2):
            assert time.monotonic() < deadline and living.poll() is None
            time.sleep(0.01)
        living.send_signal(signal.SIGSTOP)  # as slow as it takes
        before = (out / "results.jsonl").read_bytes()
        for option in ("--resume", None):
            refused = run(*command, *([option] if option else []))
            assert refused.returncode == 2
            assert f"process {living.pid} on" in refused.stderr
            assert "choose another --out" in refused.stderr
        assert (out / "results.jsonl").read_bytes() == before
    finally:
        living.kill()
        living.wait()
    assert (out / "run.lock").exists(), "left by the kill, and nobody's"
    assert score(bundle_path, sample / "train", out, part_regex=None, resume=True).again == 0
    assert not (out / "run.lock").exists()


LONG = ["x" * 251 + ".png", "検" * 83 + ".png", "y" * 250 + "1.png", "y" * 250 + "2.png"]


def test_names_that_leave_no_room_for_a_suffix(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    good = min((sample / "test" / "good").glob("*.png"))
    for name in LONG[:3]:
        shutil.copy(good, folder / name)
    save(folder / LONG[3][:-6], np.zeros((8, 8, 3), np.uint8), format="PNG")  # no suffix at all
    tally = score(bundle_path, folder, out, part_regex=None, overlays=True, masks=True)
    judged = [row["file"] for row in journal(out) if row["decision"] != "error"]
    assert set(LONG[:3]) <= set(judged)
    assert not [reason for _, reason in tally.failed if "overlays" in reason]
    for kind in ("overlays", "masks"):
        drawn = {path.name for path in (out / kind).iterdir()}
        assert len(drawn) == len(judged), "no two names became one"
        assert all(len(name.encode()) <= 255 and name.endswith(".png") for name in drawn)
        assert {name[:50] for name in drawn} >= {name[:50] for name in LONG[:3]}


def test_one_picture_s_output_stops_no_run(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "overlays" / "p1 a.png.png").mkdir(parents=True)  # where a file should go
    tally = score(bundle_path, folder, out, overlays=True)
    rows = {row["file"]: row for row in journal(out)}
    assert len(rows) == 7
    assert rows["p1 a.png"]["decision"] in ("ok", "review"), "the verdict stands"
    assert "overlays" in rows["p1 a.png"]["output_error"]
    assert {name for name, _ in tally.failed} == {"p1 a.png", "p5 cut.png", "p2 empty.jpg"}
    assert (out / "overlays" / "p1 b.png.png").is_file()
    (out / "overlays" / "p1 a.png.png").rmdir()
    assert score(bundle_path, folder, out, overlays=True, resume=True).again == 3
    assert (out / "overlays" / "p1 a.png.png").is_file()


def test_results_are_never_mixed(
    bundle_path: Path, bundle_copy: Path, uncalibrated_copy: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match="nothing to resume here"):
        score(bundle_path, folder, out, resume=True)
    shutil.rmtree(out)
    score(bundle_path, folder, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(
        SettingsError, match=r"holds results already; continue with --resume and .*, or choose another --out"
    ):
        score(bundle_path, folder, out)
    recalibrate(open_bundle(bundle_copy), rate=0.2, guarantee="expected", review_rate=0.4)
    with pytest.raises(SettingsError, match="results of another calibration"):
        score(bundle_copy, folder, out, resume=True)
    recalibrate(open_bundle(uncalibrated_copy), rate=0.2, guarantee="expected", review_rate=0.4)
    with pytest.raises(SettingsError, match="results of another bundle"):
        score(uncalibrated_copy, folder, out, resume=True)
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="results of another folder"):
        score(bundle_path, elsewhere, out, resume=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_scores_without_verdicts(uncalibrated_path: Path, swatch_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    inspector = Inspector(uncalibrated_path, threads=1)
    tally = score_folder(inspector, find_pictures(swatch_folder), swatch_folder, out, scores_only=True)
    assert tally.pictures == {"not judged": 24}
    rows = journal(out)
    items = inspector.measure(sorted(swatch_folder.glob("*.png")))
    for row, item in zip(rows, items, strict=True):
        assert isinstance(item, Measurement)
        assert row["score"] == pytest.approx(item.score, abs=1e-3)
        assert (row["decision"], row["p_value"], row["threshold"]) == (None, None, None)


def test_scores_and_verdicts_are_not_mixed(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    for first in (True, False):
        out = tmp_path / f"scores only {first}"
        score(bundle_path, folder, out, scores_only=first)
        with pytest.raises(SettingsError, match=r"its run was begun with(out)? --scores-only; "):
            score(bundle_path, folder, out, scores_only=not first, resume=True)


def test_a_manifest_may_point_elsewhere(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    """Overlays go below the results all the same, never beside the pictures."""
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    (elsewhere / "manifest.csv").write_text(f"path\n../{folder.name}/p1 a.png\n", encoding="utf-8")
    before = sorted(folder.rglob("*"))
    score_folder(
        Inspector(bundle_path, threads=1),
        find_pictures(elsewhere),
        elsewhere,
        tmp_path / "out",
        overlays=True,
        masks=True,
    )
    assert sorted(folder.rglob("*")) == before
    assert len(list((tmp_path / "out" / "overlays").rglob("p1 a.png.png"))) == 1
    assert len(list((tmp_path / "out" / "masks").rglob("p1 a.png.png"))) == 1


def test_uncalibrated_bundle_is_refused_before_anything_is_written(
    uncalibrated_path: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotCalibrated, match="lowest rate"):
        score(uncalibrated_path, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_full_disk(bundle_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    score(bundle_path, folder, out)
    monkeypatch.setattr(secrets, "token_hex", lambda _: "full")
    (out / "results.csv.full.partial").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"results cannot be written \(No space left .*what was judged is kept: make"):
        score(bundle_path, folder, out, resume=True)
    assert len(journal(out)) == 7
    assert not [file for file in out.iterdir() if file.name.endswith(".partial")]


def test_names_that_are_not_unicode(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    """A file from an old camera: its name is no UTF-8, its picture is fine."""
    folder = tmp_path / "old"
    folder.mkdir()
    name = os.fsdecode(b"teil_\xfc.png")
    try:
        shutil.copy(min((sample / "test" / "good").glob("*.png")), folder / name)
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    inspector = Inspector(bundle_path, threads=1)
    pictures = find_pictures(folder)
    tally = score_folder(inspector, pictures, folder, tmp_path / "out")
    assert sum(tally.pictures.values()) == 1
    assert table(tmp_path / "out" / "results.csv")[0]["decision"] in ("ok", "review", "defect")
    assert score_folder(inspector, pictures, folder, tmp_path / "out", resume=True) == tally


def test_two_links_to_one_file_are_two_pictures(bundle_path: Path, sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    for name in ("left.png", "right.png"):
        (folder / name).symlink_to(min((sample / "test" / "good").glob("*.png")))
    tally = score_folder(Inspector(bundle_path, threads=1), find_pictures(folder), folder, tmp_path / "out")
    assert sum(tally.pictures.values()) == sum(tally.parts.values()) == 2


def test_a_changed_part_regex_is_not_mixed_in(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    inspector = Inspector(bundle_path, threads=1)
    pictures = find_pictures(folder)
    score_folder(inspector, pictures, folder, tmp_path / "out")
    renamed = [replace(picture, part="other") for picture in pictures]
    with pytest.raises(SettingsError, match=r"was judged as part .* and is 'other' now"):
        score_folder(inspector, renamed, folder, tmp_path / "out", resume=True)


def test_overlays_of_another_run_are_not_pictures(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    """Results written into the picture folder itself, and the folder then scored again elsewhere."""
    inspector = Inspector(bundle_path, threads=1)
    before = len(find_pictures(folder))
    score_folder(inspector, find_pictures(folder), folder, folder, overlays=True, masks=True)
    tally = score_folder(inspector, find_pictures(folder), folder, tmp_path / "again")
    assert sum(tally.pictures.values()) == before


def test_a_manifest_s_other_columns_stand_in_the_table() -> None:
    first = Row(file="a.png", part="a", decision="ok", score=1.0, more={"Lot": "7", "score": "9"})
    rows = flatten([first, Row(file="b.png", part="b", decision="ok", score=2.0)])
    assert [(row["Lot"], row["manifest.score"], row["score"]) for row in rows] == [("7", "9", 1.0), ("", "", 2.0)]
