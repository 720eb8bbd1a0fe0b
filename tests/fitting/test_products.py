"""Several products in one bundle: each is what it would be alone, and stays so whatever joins it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from support import (
    BLUE,
    RED,
    REPOSITORY,
    SWATCH_RECIPE,
    Cli,
    Pixels,
    calibrate_product,
    coloured,
    digests,
    join_products,
    product_manifest,
    save,
    swatch_recipe,
)

from defectflow.bundle import Family, open_bundle, open_family
from defectflow.data import look_through
from defectflow.embedding.cache import EmbeddingCache
from defectflow.errors import BundleError, DataError, ImageError, NotCalibrated, SettingsError, UnknownProduct
from defectflow.fitting.fit_products import fit_products
from defectflow.line import Inspector
from defectflow.verdict import Measurement, Verdict, decide


@pytest.fixture
def line(two_products: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two_products / "line", tmp_path / "line")


@pytest.fixture(scope="module")
def several(two_products: Path) -> Inspector:
    return Inspector(two_products / "line", threads=1)


def pictures(product: str) -> list[Pixels]:
    return [coloured(product, 100 + number, scratched=number % 2 == 0) for number in range(6)]


def test_a_product_is_measured_as_it_would_be_alone(two_products: Path, uncalibrated_path: Path) -> None:
    """Through the graph of all products: to the last bit what a bundle of this product alone gives."""
    assert (
        open_bundle(two_products / "line" / "products" / RED).card.bundle_id
        == open_bundle(uncalibrated_path).card.bundle_id
    )
    alone = Inspector(uncalibrated_path, threads=1, batch=1).measure(pictures(RED))
    among = Inspector(two_products / "line", product=RED, threads=1, batch=1).measure(pictures(RED))
    for was, now in zip(alone, among, strict=True):
        assert isinstance(was, Measurement) and isinstance(now, Measurement)
        assert (was.score, was.distance) == (now.score, now.distance)
        assert np.array_equal(was.anomaly_map, now.anomaly_map) and np.array_equal(was.embedding, now.embedding)


def test_a_product_that_joins_changes_no_other(two_products: Path, cli: Cli) -> None:
    before, after = digests(two_products / "before"), digests(two_products / "line")
    assert {name for name in before if after.get(name) != before[name]} == {"card.json", "model.onnx"}
    compared = cli(
        "diff", two_products / "before", two_products / "line", "--images", two_products / "red.csv", "--max-flips", "0"
    )
    assert compared.code == 0 and "Product red" in compared.out and "0 of 24 verdicts change" in compared.out
    was, now = (
        Inspector(two_products / name, product=RED, threads=1).inspect(pictures(RED)) for name in ("before", "line")
    )
    for old, new in zip(was, now, strict=True):
        assert isinstance(old, Verdict) and isinstance(new, Verdict)
        assert (old.decision, old.score, old.p_value) == (new.decision, new.score, new.p_value)
        assert np.array_equal(old.mask, new.mask)


def test_auto_finds_the_product_and_refuses_what_is_none(several: Inspector) -> None:
    for product in (RED, BLUE):
        found = list(several.inspect(coloured(product, 200 + number) for number in range(6)))
        assert [each.product for each in found if isinstance(each, Verdict)] == [product] * 6
        assert any(each.decision.word == "ok" for each in found if isinstance(each, Verdict))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (verdict,) = several.inspect([noise])
    assert isinstance(verdict, Verdict) and verdict.decision.word == "invalid"


def test_products_mixed_in_one_batch(several: Inspector) -> None:
    """Each as its own product says, whatever stands beside it; limits are its product's."""
    mixed = [
        pair for both in zip(pictures(RED), pictures(BLUE), strict=True) for pair in zip(both, (RED, BLUE), strict=True)
    ]
    alone = {name: list(several.of(name).in_batches_of(1).inspect(pictures(name))) for name in (RED, BLUE)}
    for (_, product), item in zip(mixed, several.inspect(mixed), strict=True):
        expected = alone[product].pop(0)
        assert isinstance(item, Verdict) and isinstance(expected, Verdict)
        assert item.product == product and item.decision == expected.decision
        assert item.score == pytest.approx(expected.score, abs=1e-4)
        assert item.threshold == expected.threshold
    swapped = list(several.of(BLUE).inspect(pictures(RED)))
    assert all(isinstance(one, Verdict) and one.product == BLUE and one.gated for one in swapped)


def test_the_graph_judges_by_the_tables_as_python_does(two_products: Path) -> None:
    session = onnxruntime.InferenceSession(
        str(two_products / "line" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = ("decision", "score", "p_value", "distance", "product_index")
    for number, product in enumerate(open_family(two_products / "line").names):  # type: ignore[union-attr]
        card = open_bundle(two_products / "line" / "products" / product).card
        calibration = card.require_calibration()
        given = {"image": np.stack(pictures(product)), "product": np.array([number])}
        for decision, score, p_value, distance, index in zip(*session.run(names, given), strict=True):
            gated = not distance <= np.float32(card.distance_limit)
            assert index == number
            assert decision == decide(score, calibration.threshold.value, calibration.review.value, gated=gated)
            assert p_value == pytest.approx(calibration.p_value(np.inf if gated else float(score)), abs=1e-6)
    with pytest.raises(Exception, match=r"product|indices|out of"):
        session.run(names, {"image": np.stack(pictures(RED)), "product": np.array([2])})


def test_the_core_gives_the_same(two_products: Path, several: Inspector) -> None:
    core = Inspector(two_products / "line", threads=1, core=True)
    for was, now in zip(several.inspect(pictures(BLUE)), core.inspect(pictures(BLUE)), strict=True):
        assert isinstance(was, Verdict) and isinstance(now, Verdict)
        assert (was.product, was.decision) == (now.product, now.decision)


def test_calibrating_one_leaves_the_other(line: Path, cli: Cli) -> None:
    before = digests(line)
    called = cli("calibrate", line / "products" / BLUE, "--false-reject-rate", "0.4")
    assert called.code == 0, called.err
    after = digests(line)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"card.json", "model.onnx", f"products/{BLUE}/card.json"}
    assert cli("verify", line, "--quick").code == 0
    looked = cli("describe", line, "--json", "-")
    assert json.loads(looked.out)[BLUE]["calibration"]["rate"] == 0.4
    assert json.loads(looked.out)[RED]["calibration"]["rate"] == 0.25


def test_an_uncalibrated_product_gives_no_verdict(
    two_products: Path, tmp_path: Path, uncalibrated_path: Path, cli: Cli
) -> None:
    """In the graph it is always invalid; the other product's verdicts are there."""
    line = shutil.copytree(two_products / "before", tmp_path / "line")
    join_products(line, {"new": uncalibrated_path})
    with pytest.raises(NotCalibrated):
        Inspector(line, product="new").inspect([])
    judged, left = Inspector(line).inspect([(pictures(RED)[0], RED), (pictures(RED)[1], "new")])
    assert isinstance(judged, Verdict) and judged.product == RED
    assert isinstance(left, ImageError) and "shows product 'new', which is uncalibrated" in str(left)
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", pictures(RED)[number])
    mixed = product_manifest(tmp_path / "in", [("0.png", RED, "0"), ("1.png", "new", "1")])
    scored = cli("score", line, mixed, "--out", tmp_path / "out", "--store", tmp_path / "i.db")
    assert scored.code == 3 and "products/new --good DIR" in scored.err, scored
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert [row["product"] for row in csv.DictReader(file) if not row["error"]] == [RED]
    assert all(isinstance(one, Verdict) for one in Inspector(line, product=RED).inspect(pictures(RED)))
    session = onnxruntime.InferenceSession(str(line / "model.onnx"), providers=["CPUExecutionProvider"])
    given = {"image": np.stack(pictures(RED)), "product": np.array([1])}
    assert set(session.run(["decision"], given)[0]) == {3}


def test_a_save_that_was_killed_is_finished(line: Path, two_products: Path) -> None:
    """Between any two of its moves."""
    saved = shutil.copytree(line, line.with_name("saved"))
    calibrate_product(saved, BLUE, 0.4)
    names = ["model.onnx", f"products/{BLUE}/card.json", "card.json"]
    for done in range(len(names)):
        killed = shutil.copytree(two_products / "line", line.with_name(f"killed{done}"))
        for number, name in enumerate(names):
            shutil.copy(saved / name, killed / (name if number < done else f"{name}.partial"))
        assert open_bundle(killed / "products" / BLUE).card.calibration.rate == 0.4  # type: ignore[union-attr]
        assert digests(killed) == digests(saved)


def test_what_is_refused(line: Path, two_products: Path, cli: Cli) -> None:
    with pytest.raises(BundleError, match="judges several products"):
        open_bundle(line)
    with pytest.raises(UnknownProduct, match="it has red, blue"):
        Inspector(line, product="green")
    assert "has red already" in cli("fit", two_products / "red.csv", "--add-to", line).err
    exported = cli(
        "export", line / "products" / RED, line.with_name("x"), "--precision", "fp16", "--data", two_products / RED
    )
    assert exported.code == 2 and "shares its graph with other products" in exported.err
    card = line / "products" / RED / "card.json"
    card.write_text(card.read_text().replace('"rate": 0.25', '"rate": 0.20'))
    for path in (line, line / "products" / BLUE):
        with pytest.raises(BundleError, match="damaged or was altered"):
            Inspector(path)


def test_recipes_and_manifests_that_cannot_be(two_products: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "cache")
    for setting, said in (("embedding.adapt=true", "embedding.adapt"), ("image.tiling.tile=32", "image.tiling.tile")):
        with pytest.raises(SettingsError, match=said):
            fit_products(swatch_recipe(setting), two_products / "red.csv", tmp_path / "x", cache=cache)
    with pytest.raises(SettingsError, match="cannot be a product's name"):
        fit_products(swatch_recipe(), two_products / RED, tmp_path / "x", product="auto", cache=cache)
    with pytest.raises(DataError, match="names no products"):
        fit_products(swatch_recipe(), two_products / RED, tmp_path / "x", cache=cache)
    gap = product_manifest(
        two_products, [(f"{RED}/{n:03}.png", RED if n else "", str(n)) for n in range(24)], "gap.csv"
    )
    with pytest.raises(DataError, match="empty cell in the column 'product'"):
        fit_products(swatch_recipe(), gap, tmp_path / "x", cache=cache)
    assert not (tmp_path / "x").exists()


def test_score_by_the_manifest_s_column(two_products: Path, tmp_path: Path, cli: Cli) -> None:
    rows = [(f"{name}/{n:03}.png", name if n else "", f"{n}") for name in (RED, BLUE) for n in range(3)]
    mixed = product_manifest(two_products, rows, "mixed.csv")
    assert look_through(mixed).products == (BLUE, RED)
    scored = cli("score", two_products / "line", mixed, "--out", tmp_path / "results", "--store", tmp_path / "store.db")
    assert scored.code == 0, scored.err
    with (tmp_path / "results" / "results.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["product"] for row in found] == [row["file"].split("/")[0] for row in found]
    assert len({row["calibration_id"] for row in found}) == 2
    assert [row["file"] for row in found if row["product_auto"] == "True"] == [f"{BLUE}/000.png", f"{RED}/000.png"]
    assert "parts of red" in scored.out and "parts of blue" in scored.out
    with (tmp_path / "results" / "parts.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6, "part 1 of one product is not part 1 of the other"
    assert cli("report", tmp_path / "results").code == 0
    assert {page.name for page in (tmp_path / "results").glob("*.html")} == {"report-red.html", "report-blue.html"}
    strange = product_manifest(two_products, [(f"{RED}/000.png", "green", "0")], "strange.csv")
    refused = cli("score", two_products / "line", strange, "--out", tmp_path / "other")
    assert refused.code == 2 and "shows product 'green', and these are judged here: red, blue" in refused.err


def test_the_end_of_score_is_about_the_products_that_were_seen(two_products: Path, tmp_path: Path, cli: Cli) -> None:
    scored = cli(
        "score", two_products / "line", two_products / RED, "--out", tmp_path / "out", "--json", tmp_path / "j.json"
    )
    assert scored.code == 0, scored
    told = json.loads((tmp_path / "j.json").read_text())
    assert {name: sum(parts.values()) for name, parts in told["parts_by_product"].items()} == {RED: 24}
    assert told["guarantee"] and all(line.startswith("red: ") for line in told["guarantee"])


def test_check_data_looks_at_each_product(two_products: Path, tmp_path: Path, cli: Cli) -> None:
    """As the fit does; and at one of them where it is named."""
    settings = [word for setting in SWATCH_RECIPE for word in ("--set", setting)]
    asked = ("check-data", two_products / "both.csv", "--recipe", "free", *settings)
    checked = cli(*asked)
    assert checked.code == 0, checked
    assert re.findall(r"Product \w+", checked.out) == ["Product blue", "Product red"]
    assert cli(*asked, "--json", tmp_path / "both.json").code == 0
    assert cli(*asked, "--product", BLUE, "--json", tmp_path / "blue.json").code == 0
    both, blue = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("both", "blue"))
    assert list(both) == [BLUE, RED] and both[BLUE] == blue


def test_commands_for_one_product_take_its_rows_alone(line: Path, tmp_path: Path, cli: Cli) -> None:
    """Of a manifest of several products; a product's figures about another one's pictures would say nothing."""
    rows = list[tuple[str, str, str, str]]()
    for product in (RED, BLUE):
        for number in range(8):
            scratched = number % 2 == 0
            save(tmp_path / product / f"{number}.png", coloured(product, 300 + number, scratched=scratched))
            rows.append((f"{product}/{number}.png", product, str(number), "defective" if scratched else "good"))
    mixed, red = tmp_path / "mixed.csv", line / "products" / RED
    with mixed.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "product", "part", "label"), *rows])
    costs = cli("cost", red, "--escape", "20", "--defective-share", "0.1", "--data", mixed)
    assert costs.code == 0 and " of 4 " in costs.out and " of 8 " not in costs.out, costs
    calibrated = len(open_bundle(red).card.calibration_parts)
    assert cli("calibrate", red, "--good", mixed, "--false-reject-rate", "0.4").code == 0
    assert len(open_bundle(red).card.calibration_parts) == calibrated + 4
    with mixed.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "product", "part", "label"), *rows[8:]])
    refused = cli("calibrate", red, "--good", mixed, "--false-reject-rate", "0.4")
    assert refused.code == 2 and "shows blue, and no picture of 'red', which is judged here" in refused.err


def test_names_are_in_the_file(two_products: Path) -> None:
    """Where any language's ONNX Runtime finds them."""
    family = open_family(two_products / "line")
    assert isinstance(family, Family)
    props = {entry.key: entry.value for entry in onnx.load(family.model).metadata_props}
    assert props["defectflow.products"].split("\n") == list(family.names) == [RED, BLUE]
    assert json.loads(props["defectflow.card"])[BLUE]["bundle_id"] == open_bundle(family.folder(BLUE)).card.bundle_id


def test_the_documented_example_runs(
    two_products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime alone, as docs/products.md has it, on a product of ours: what the Inspector says."""
    text = (REPOSITORY / "docs" / "products.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(two_products / "line", tmp_path / "models" / "line")
    picture = save(tmp_path / "blue.png", coloured(BLUE, 70))
    exec(compile(block.replace('"ring', f'"{BLUE}'), "docs/products.md", "exec"), {})
    decision, score, product = capsys.readouterr().out.split()
    (verdict,) = Inspector(two_products / "line", product=BLUE, threads=1).inspect([picture])
    assert isinstance(verdict, Verdict)
    assert (int(decision), product) == (verdict.decision, BLUE)
    assert float(score) == pytest.approx(verdict.score, rel=1e-5)
