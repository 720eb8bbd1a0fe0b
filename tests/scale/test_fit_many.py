"""A plan of fits: every bundle once, whatever is killed, and one page about all; what cannot work is refused first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from scale_support import another_node
from support import SWATCH_RECIPE, Cli, save, swatch, swatches

from defectflow.bundle import open_bundle
from defectflow.errors import ClusterError, DataError
from defectflow.scale.cluster import Needs
from defectflow.scale.fit_many import FitState, fit_many
from defectflow.scale.fit_plan import planned_fits, read_plan

RATES = ["verdict.rate=0.2", "verdict.review_rate=0.4", "verdict.gate_margin=1.0"]
SMALL = [*SWATCH_RECIPE, *RATES]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Two products with one recipe: one has test pictures, the other has none."""
    swatches(tmp_path / "data" / "weave" / "train" / "good", 16)
    for number in range(4):
        save(tmp_path / "data" / "weave" / "test" / "good" / f"{number}.png", swatch(100 + number))
        save(tmp_path / "data" / "weave" / "test" / "cut" / f"{number}.png", swatch(200 + number, scratched=True))
    swatches(tmp_path / "data" / "plain", 16, 300)
    return write_plan(tmp_path / "plan.yaml")


def write_plan(file: Path, **changes: Any) -> Path:
    tree = {
        "out": "models",
        "products": [
            {"name": "weave", "good": "data/weave", "test": "data/weave"},
            {"name": "plain", "good": "data/plain"},
        ],
        "recipes": [{"name": "small", "recipe": "free", "set": SMALL}],
        "seeds": [0],
        "each_fit": {"cpus": 1},
    }
    file.write_text(yaml.safe_dump(tree | changes), encoding="utf-8")
    return file


def test_one_after_another_and_again(cli: Cli, plan: Path, tmp_path: Path) -> None:
    """A fit that fails does not hold up the others; the resumed run makes it alone."""
    models, moved = tmp_path / "models", tmp_path / "data" / "plain"
    for file in sorted(moved.glob("*.png"))[2:]:
        file.write_bytes(b"broken")
    first = cli("fit-many", plan, "--cache", tmp_path / "cache")
    assert first.code == 3, first.err
    assert "weave-small-0: done" in first.err
    assert "plain-small-0: failed" in first.err
    page = (models / "index.html").read_text(encoding="utf-8")
    assert "plain-small-0" in page and "1 made, 1 not there" in page
    made = (models / "weave-small-0" / "card.json").stat().st_mtime_ns
    assert "continue with --resume" in cli("fit-many", plan).err
    swatches(moved, 16, 300)
    second = cli("fit-many", plan, "--resume", "--cache", tmp_path / "cache", "--json")
    assert second.code == 0, second.err
    assert (models / "weave-small-0" / "card.json").stat().st_mtime_ns == made, "made once"
    assert '"state": "done"' in second.out and '"escape": { "count"' in second.out
    assert open_bundle(models / "plain-small-0").card.calibration is not None
    page = (models / "index.html").read_text(encoding="utf-8")
    assert "2 made, 0 not there" in page
    assert page.count("data:image/jpeg;base64,") == 8, "four pictures of each"
    assert re.search(r"of 4 <small>", page), "escapes of the product that has test pictures"
    assert "no test pictures" in page
    other = write_plan(plan, recipes=[{"name": "small", "recipe": "free", "set": [*SMALL, "training.steps=20"]}])
    assert "made with other settings" in cli("fit-many", other, "--resume").err


def test_test_pictures_are_looked_at_before_the_first_fit(plan: Path, tmp_path: Path) -> None:
    swatches(tmp_path / "data" / "unlabelled", 3, 400)
    wrong = write_plan(plan, products=[{"name": "weave", "good": "data/weave", "test": "data/unlabelled"}])
    with pytest.raises(DataError, match="none of its 3 pictures is labelled good or defective"):
        planned_fits(read_plan(wrong), wrong)


@pytest.mark.slow
def test_on_a_cluster_a_node_is_killed_while_it_fits(cluster: Any, plan: Path, tmp_path: Path) -> None:
    """The fit that was lost is made elsewhere; every bundle is there once, whole, and what it would be here."""
    read = read_plan(plan)
    fits = planned_fits(read, plan)
    killed, needs = list[str](), Needs(2)  # of which only the nodes made here have room
    with ExitStack() as nodes:
        node = nodes.enter_context(another_node(cluster, num_cpus=2))

        def show(states: Sequence[FitState]) -> None:
            running = [state.fit.name for state in states if state.state == "running"]
            if running and not killed:
                killed.append(running[0])
                cluster.remove_node(node, allow_graceful=False)
                nodes.enter_context(another_node(cluster, num_cpus=2))

        states = fit_many(fits, tmp_path / "ray", address=cluster.address, needs=needs, show=show)
    assert killed
    assert [state.state for state in states] == ["done", "done"], [state.note for state in states]
    here = fit_many(fits, tmp_path / "here", cache=tmp_path / "cache")
    for one, other in zip(states, here, strict=True):
        assert one.record is not None and other.record is not None
        mine, theirs = open_bundle(tmp_path / "ray" / one.fit.name), open_bundle(tmp_path / "here" / one.fit.name)
        assert mine.card.require_calibration().threshold.value == pytest.approx(
            theirs.card.require_calibration().threshold.value, rel=1e-3
        )
        assert one.record.auroc == other.record.auroc
    assert sorted(path.name for path in (tmp_path / "ray").iterdir()) == [
        "fits",
        "index.html",
        "plain-small-0",
        "weave-small-0",
    ]
    again = fit_many(fits, tmp_path / "ray", address=cluster.address, needs=needs, resume=True)
    assert [state.record for state in again] == [state.record for state in states], "nothing to do"
    with pytest.raises(ClusterError, match="no node has room for 64 CPUs"):
        fit_many(fits, tmp_path / "more", address=cluster.address, needs=Needs(64))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recipes": [{"name": "defualt"}]}, "recipe 'defualt' is neither a file nor built in"),
        ({"products": [{"name": "a", "good": "data/plain"}] * 2}, "2 products are called 'a'; give each its own name"),
        ({"products": [{"name": "a", "good": "data/nowhere"}]}, "product a: "),
        ({"products": [{"name": "a/b", "good": "data/plain"}]}, "use letters, digits"),
        (
            {"products": [{"name": "a", "good": "data/plain", "tset": "x"}]},
            "products.0.tset: no such setting; did you mean 'test'?",
        ),
        ({"seeds": [1, 1]}, "list each seed once"),
        ({"out": None}, "give --out"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(
    cli: Cli, plan: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    ended = cli("fit-many", write_plan(plan, **changes))
    assert ended.code == 2
    assert said in ended.err
    assert not (tmp_path / "models").exists()
