"""An archive scored by several nodes: the rows of one machine, whatever is killed, and nothing twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psutil
import pyarrow.dataset
import pytest
from postgres import new_schema
from scale_support import another_node
from support import BLUE, DEFECTFLOW, RED, Cli, coloured, digests, product_manifest, run, save, swatch, swatches

from defectflow.bundle import CARD, MODEL, open_bundle, open_family
from defectflow.bundle.files import seal
from defectflow.common import Progress
from defectflow.data import look_through
from defectflow.errors import BundleError, ClusterError, DataError, NotCalibrated, SettingsError, UnknownProduct
from defectflow.line import Inspector, score_folder
from defectflow.line.report import write_report
from defectflow.scale.cluster import _answers
from defectflow.scale.score_on_ray import Scored, Wanted, score_on_ray
from defectflow.store import Query, Store

VARYING = {"milliseconds", "finished"}
PARTS = r"(p\d+)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Parts with two pictures each, a scratched one, a black one, one cut short, one empty, and a note."""
    folder = tmp_path / "Archiv 检查"
    for number in range(24):
        pixels = swatch(500 + number, scratched=number == 5)
        save(folder / f"tray {number % 3}" / f"p{number // 2} {'ab'[number % 2]}.png", pixels)
    save(folder / "p90 cap.png", np.zeros((64, 64, 3), np.uint8))
    save(folder / "p91 wide.png", swatch(7, side_px=96))
    (folder / "p92 cut.png").write_bytes((folder / "p91 wide.png").read_bytes()[:900])
    (folder / "p0 empty.jpg").write_bytes(b"")
    (folder / "note.txt").write_text("not a picture")
    return folder


def on_ray(cluster: Any, bundle: Path, source: Path | str, out: Path, resume: bool = False, **wanted: Any) -> Scored:
    watch = wanted.pop("watch", lambda step: None)
    options = Wanted(**{"part_regex": PARTS, **wanted})
    address = cluster if isinstance(cluster, str) else cluster.address
    return score_on_ray(
        open_family(bundle) or open_bundle(bundle),
        str(source),
        out,
        options,
        address=address,
        resume=resume,
        watch=watch,
    )


def here(bundle: Path, folder: Path, out: Path, **options: Any) -> None:
    pictures = look_through(folder, usual_part_regex=PARTS).pictures
    score_folder(Inspector(bundle, threads=1), pictures, folder, out, table="parquet", **options)


def table(path: Path) -> dict[str, dict[str, Any]]:
    read = pyarrow.dataset.dataset(path).to_table().to_pylist()
    assert len({row["file"] for row in read}) == len(read), "no picture twice"
    return {row.pop("file"): {key: row[key] for key in row if key not in VARYING} for row in read}


def assert_equal_rows(ours: Path, theirs: Path, bundle: Path, but: frozenset[str] = frozenset()) -> None:
    """The same columns in the same order, and the same values: to the last digits of a score, which batches move."""
    assert pyarrow.dataset.dataset(ours).schema == pyarrow.dataset.dataset(theirs).schema
    mine, other = table(ours), table(theirs)
    assert set(mine) == set(other)
    close = pytest.approx
    spread = open_bundle(bundle).card.good_spread
    for file, row in mine.items():
        for name, value in row.items():
            if name in but:
                continue
            expected = other[file][name]
            if isinstance(value, float):
                assert value == close(expected, rel=1e-5, abs=1e-4 * spread), (file, name)
            elif name == "regions":
                for one, same in zip(json.loads(value), json.loads(expected), strict=True):
                    assert one == close(same, rel=1e-4, abs=1e-3)
            else:
                assert value == expected, (file, name)


def test_rows_parts_and_drawings_are_those_of_one_machine(
    cluster: Any, swatch_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    """Then pictures arrive, change and are mended: the resumed run judges those, and is again what one machine has."""
    drawn = {"overlays": True, "masks": True}
    scored = on_ray(cluster, swatch_bundle, folder, tmp_path / "ray", **drawn)
    here(swatch_bundle, folder, tmp_path / "one", **drawn)
    assert_equal_rows(tmp_path / "ray" / "results", tmp_path / "one" / "results.parquet", swatch_bundle)
    for kind in ("overlays", "masks"):
        assert digests(tmp_path / "ray" / kind) == digests(tmp_path / "one" / kind)
    assert scored.pictures["error"] == scored.failed_count == len(scored.failed) == 2
    assert scored.shards > 1
    assert scored.unlike == 2, "the black one is grey, too"
    assert scored.notes == ["1 file skipped: note.txt"]
    parts = {row["part"]: row for row in pyarrow.dataset.dataset(tmp_path / "ray" / "parts").to_table().to_pylist()}
    with (tmp_path / "one" / "parts.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(parts) == len(lines) == sum(scored.parts.values())
    for line in lines:
        mine = parts[line["part"]]
        assert list(mine) == list(line)
        for column in ("decision", "reason", "worst_file", "pictures", "errors"):
            assert str(mine[column] or "") == (line[column] if line[column] != "0" else ""), (line["part"], column)
    assert write_report(tmp_path / "ray").read_text(encoding="utf-8").count("p92 cut.png") >= 1

    save(folder / "tray 1" / "p3 c.png", swatch(900, scratched=True))
    save(folder / "p77 new.png", swatch(901))
    save(folder / "p92 cut.png", swatch(902))
    save(folder / "p91 wide.png", swatch(903))
    (folder / "p90 cap.png").unlink()
    again = on_ray(cluster, swatch_bundle, folder, tmp_path / "ray", resume=True, **drawn)
    here(swatch_bundle, folder, tmp_path / "one", resume=True, **drawn)
    assert_equal_rows(tmp_path / "ray" / "results", tmp_path / "one" / "results.parquet", swatch_bundle)
    assert (again.judged, again.again) == (5, 3), "two new, one mended, one changed, one still broken"
    with pytest.raises(SettingsError, match="same --part-regex"):
        on_ray(cluster, swatch_bundle, folder, tmp_path / "ray", resume=True, part_regex=r"(p\d)", **drawn)


def test_several_products_are_judged_as_on_one_machine(
    cluster: Any, postgres: str, two_products: Path, tmp_path: Path
) -> None:
    """Each picture as the product that the manifest names; where it names none, or there is no manifest, as the one
    that it resembles most."""
    rows = list[tuple[str, str, str]]()
    for number in range(20):
        for product in (RED, BLUE):
            name = f"pictures/{product} {number}.png"
            save(tmp_path / name, coloured(product, 300 + number, scratched=number == 3))
            rows.append((name, product if number % 2 else "", f"{product}{number // 2}"))
    manifest, line, store = product_manifest(tmp_path, rows), two_products / "line", new_schema(postgres)
    wanted = {"part_regex": None, "masks": True, "store": store}
    scored = on_ray(cluster, line, manifest, tmp_path / "ray", **wanted)
    assert scored.shards > 1 and scored.parts["defect"] >= 2
    pictures = look_through(manifest).pictures
    score_folder(Inspector(line, threads=1), pictures, manifest, tmp_path / "one", table="parquet", masks=True)
    compared = line / "products" / RED
    assert_equal_rows(tmp_path / "ray" / "results", tmp_path / "one" / "results.parquet", compared)
    assert digests(tmp_path / "ray" / "masks") == digests(tmp_path / "one" / "masks")
    assert {row["product"] for row in table(tmp_path / "ray" / "results").values()} == {RED, BLUE}
    with Store.open(store) as opened:
        recorded = opened.history.search(Query(limit=1000))
        assert len(recorded) == 40
        assert {one.model for one in recorded} == {f"line/{RED}", f"line/{BLUE}"}
    again = on_ray(cluster, line, manifest, tmp_path / "ray", resume=True, **wanted)
    assert again.judged == 0
    blues = tmp_path / "blues"
    for file in sorted((tmp_path / "pictures").glob(f"{BLUE} *")):
        save(blues / file.name, coloured(BLUE, int(file.stem.split()[1])))
    for product, found in ((None, BLUE), (BLUE, BLUE), (RED, RED)):
        on_ray(cluster, line, blues, tmp_path / f"as {product}", part_regex=None, product=product)
        assert {row["product"] for row in table(tmp_path / f"as {product}" / "results").values()} == {found}
    with pytest.raises(UnknownProduct, match="it has red, blue"):
        on_ray(cluster, line, blues, tmp_path / "none", product="green")
    strange = product_manifest(tmp_path, [(rows[0][0], "green", "1")], "green.csv")
    with pytest.raises(DataError, match="shows product 'green', and these are judged here: red, blue"):
        on_ray(cluster, line, strange, tmp_path / "none", part_regex=None)


@pytest.mark.slow
def test_an_object_store_is_read_as_a_folder_is(
    cluster: Any, bucket: str, swatch_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    """A labelled tree with masks, read by the workers from S3, and a second look that has nothing to do."""
    for kind, seed in (("good", 600), ("scratch", 700)):
        for number in range(6):
            pixels = swatch(seed + number, scratched=kind == "scratch")
            save(folder / "test" / kind / f"p{seed + number}.png", pixels)
    shutil.move(folder / "p92 cut.png", folder / "test" / "good" / "p92 cut.png")
    tree = tmp_path / "tree"
    shutil.move(folder / "test", tree / "test")
    save(tree / "ground_truth" / "scratch" / "p700_mask.png", np.full((64, 64), 255, np.uint8))
    client = boto3.client("s3")
    for file in sorted(path for path in tree.rglob("*") if path.is_file()):
        client.upload_file(str(file), "archive", f"line 3/{file.relative_to(tree).as_posix()}")
    url = f"{bucket}/line 3"
    scored = on_ray(cluster, swatch_bundle, url, tmp_path / "ray")
    here(swatch_bundle, tree, tmp_path / "one")
    but = frozenset({"modified_ns", "error"})
    assert_equal_rows(tmp_path / "ray" / "results", tmp_path / "one" / "results.parquet", swatch_bundle, but)
    rows = table(tmp_path / "ray" / "results")
    assert {row["label"] for row in rows.values()} == {"good", "defective"}
    assert rows["test/good/p92 cut.png"]["error"].startswith(f"{url}/test/good/p92 cut.png: damaged")
    assert scored.pictures["error"] == 1
    again = on_ray(cluster, swatch_bundle, url, tmp_path / "ray", resume=True)
    assert again.judged == again.again == 1, "what could not be read, and nothing else"
    with pytest.raises(Exception, match="no pictures found"):
        on_ray(cluster, swatch_bundle, f"{bucket}/nowhere", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_node_is_killed_and_nothing_is_lost_or_doubled(
    cluster: Any, postgres: str, swatch_bundle: Path, tmp_path: Path
) -> None:
    """Its shards go to the others; each picture has one row in the results, and one in the store."""
    count = 600  # 16 shards
    swatches(tmp_path / "pictures", count, 2000)
    store = new_schema(postgres)
    with another_node(cluster) as node:
        killed = list[int]()

        def watch(step: Progress) -> None:
            all_are_open = "4 of 4 workers" in step.note
            if step.stage == "score" and not all_are_open and not killed:
                time.sleep(10)  # nothing is given out meanwhile: the slower ones open while there are shards to lose
            elif step.stage == "score" and not killed:
                killed.append(step.done)
                workers = psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
                cluster.remove_node(node, allow_graceful=False)
                _, alive = psutil.wait_procs(workers, timeout=60)  # they work on for a moment
                assert not alive

        out = tmp_path / "ray"
        scored = on_ray(cluster, swatch_bundle, tmp_path / "pictures", out, store=store, by="anna", watch=watch)
    assert killed, "all workers were open before the work was done"
    assert killed[0] < count / 2
    here(swatch_bundle, tmp_path / "pictures", tmp_path / "one")
    assert_equal_rows(tmp_path / "ray" / "results", tmp_path / "one" / "results.parquet", swatch_bundle)
    assert sum(scored.pictures.values()) == sum(scored.parts.values()) == count
    assert scored.lost_workers >= 1
    with Store.open(store) as opened:
        recorded = opened.history.search(Query(limit=1000))
        assert sorted(one.file for one in recorded) == [f"{number:03}.png" for number in range(count)]
        assert opened.verify().passed


@pytest.mark.slow
def test_the_driver_is_killed_and_resumed(cluster: Any, swatch_bundle: Path, tmp_path: Path) -> None:
    swatches(tmp_path / "pictures", 160, 3000)
    out, words = tmp_path / "ray", [DEFECTFLOW, "score", swatch_bundle, tmp_path / "pictures"]
    words += ["--out", out, "--ray", cluster.address]
    running = subprocess.Popen([str(word) for word in words], start_new_session=True, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not list((out / "results").glob("*.parquet")):
        assert running.poll() is None, running.stderr and running.stderr.read().decode()
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = {file.name: file.stat().st_ino for file in (out / "results").glob("*.parquet")}
    scored = on_ray(cluster, swatch_bundle, tmp_path / "pictures", out, resume=True, part_regex=None)
    assert scored.judged == 160 - sum(pyarrow.dataset.dataset(out / "results" / name).count_rows() for name in kept)
    assert 0 < scored.judged < 160
    assert kept == {name: (out / "results" / name).stat().st_ino for name in kept}, "what was there was left alone"
    assert len(table(out / "results")) == 160
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert [line["shard"] for line in manifest] == sorted({line["shard"] for line in manifest})
    assert {f"results/{name}" for name in digests(out / "results")} == {line["results"] for line in manifest}
    for line in manifest:
        assert digests(out / "results")[Path(line["results"]).name] == line["results_sha256"]
    with pytest.raises(SettingsError, match="holds results already"):
        on_ray(cluster, swatch_bundle, tmp_path / "pictures", out)
    with pytest.raises(SettingsError, match="its run was begun with --ray; add --ray to resume it"):
        here(swatch_bundle, tmp_path / "pictures", out, resume=True)


def test_what_does_not_fit_is_refused_before_any_work(
    cluster: Any, swatch_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SettingsError, match=r"one machine alone may write to, and the cluster has \d nodes; give"):
        on_ray(cluster, swatch_bundle, folder, out, store=str(tmp_path / "s.db"))
    assert not (tmp_path / "s.db").exists()
    with pytest.raises(ClusterError, match=r"no node has room for 1 CPUs, 1 GPUs.*ask for less, or add a node"):
        on_ray(cluster, swatch_bundle, folder, out, provider="cuda")
    broken = Path(shutil.copytree(swatch_bundle, tmp_path / "broken"))
    (broken / MODEL).write_bytes(b"no model")
    said = json.loads((broken / CARD).read_text(encoding="utf-8"))
    said["checksums"][MODEL] = digests(broken)[MODEL]
    said["checksums"][CARD] = seal(json.dumps(said))
    (broken / CARD).write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(BundleError, match=r"node .*ONNX Runtime cannot load it"):
        on_ray(cluster, broken, folder, out)
    assert not out.exists(), "no trace"


@pytest.mark.slow
def test_nodes_with_other_versions_are_refused(
    cluster: Any, swatch_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "defectflow"
    shutil.copytree(Path(__file__).parents[2] / "defectflow", other, ignore=shutil.ignore_patterns("__pycache__"))
    own = (other / "__init__.py").read_text(encoding="utf-8")
    (other / "__init__.py").write_text(own.replace('__version__ = "', '__version__ = "9'), encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # Ray's workers would look for modules first where this process was started
    with (
        another_node(cluster, env_vars={"PYTHONPATH": str(other.parent)}),
        pytest.raises(ClusterError, match=r"has defectflow 9.* there and .* here.*install the same versions on all"),
    ):
        on_ray(cluster, swatch_bundle, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "no trace"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", r"no cluster there .*`ray start --head --port=6379`"),
        ("ray://head:10001", "run the command on a node of the cluster"),
        ("head", "give HOST:PORT of the cluster's head, auto, or local"),
    ],
)
def test_an_address_without_a_cluster(
    swatch_bundle: Path, folder: Path, tmp_path: Path, address: str, said: str
) -> None:
    with pytest.raises((ClusterError, SettingsError), match=said):
        on_ray(address, swatch_bundle, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused_before_ray_is_asked(swatch_bundle: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(SettingsError, match="holds results already; continue with --resume"):
        on_ray("127.0.0.1:9", swatch_bundle, folder, tmp_path / "out")


def test_a_cluster_that_asks_for_a_secret(
    swatch_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None on this machine; and something that listens and lets nobody in."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setenv("HOME", str(tmp_path))
        words = [DEFECTFLOW, "score", swatch_bundle, folder, "--out", tmp_path / "out", "--ray", f"127.0.0.1:{port}"]
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        refused = run(*words)
        assert refused.returncode == 2, refused.stderr
        assert "this machine has none; copy ~/.ray/auth_token from its head" in " ".join(refused.stderr.split())
        assert _answers(f"Failed to connect to Ray cluster at 127.0.0.1:{port}")
    assert not _answers("Failed to connect to Ray cluster at 127.0.0.1:9")
    assert not _answers("Could not find any running Ray instance.")


def test_options_that_do_not_go_together(
    cli: Cli, swatch_bundle: Path, uncalibrated_path: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotCalibrated):
        on_ray("127.0.0.1:9", uncalibrated_path, folder, tmp_path / "out")
    ended = cli("score", swatch_bundle, "s3://archive/line3", "--out", tmp_path / "out")
    assert (ended.code, "add --ray" in ended.err) == (2, True)
    common = ("score", swatch_bundle, folder, "--out", tmp_path / "out")
    for words, said in (
        (("--ray", "--format", "csv"), "with --ray, results are Parquet"),
        (("--workers", "2"), "add --ray"),
        (("--ray", "127.0.0.1:9"), "no cluster there"),
        (("--ray", "head"), "an address after --ray is HOST:PORT, or auto"),
    ):
        ended = cli(*common, *words)
        assert (ended.code, said in ended.err) == (2, True), ended.err
