"""Damaged and hostile input is read or refused by name: some hundred inputs here, any number in benchmarks/fuzz.py.

Hypothesis makes the changes here, and shrinks what it finds. What the long run has found stands below, one by one.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fuzz import KINDS, PIXELS, RIGHT, card, changed, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defectflow.bundle import EMBEDDINGS, EXPECTED, GOLDEN_MAPS, INDEX, Bundle, Card, file_digest, open_bundle
from defectflow.data import look_through
from defectflow.errors import BundleError, DataError, SettingsError
from defectflow.image import read_image
from defectflow.line.golden import read_golden
from defectflow.line.journal import read_journal, read_run
from defectflow.line.reference import References
from defectflow.recipe import load_recipe

FEW = settings(max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a header that claims millions costs nothing here."""
    monkeypatch.setattr(sys.modules[read_image.__module__], "MAX_PIXELS", PIXELS)


@cache
def bases(kind: str) -> list[bytes]:
    return KINDS[kind][0]()


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(st.data())
def test_changed_input_is_read_or_refused(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    base, other = (data.draw(st.sampled_from(bases(kind))) for _ in range(2))
    content = changed(base, other, data.draw(st.randoms(use_true_random=False)))
    said, details = outcome(KINDS[kind][1], content, tmp_path)
    assert said in RIGHT, f"{said}\n{details}"


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_read_or_refused(kind: str, tmp_path: Path, content: bytes) -> None:
    said, details = outcome(KINDS[kind][1], content, tmp_path)
    assert said in RIGHT, f"{said}\n{details}"


def test_what_is_unchanged_is_read(tmp_path: Path) -> None:
    """Or everything could be refused."""
    for kind in ("pictures", "masks", "zips", "models", "recipes", "journals", "bundles"):
        ends = [outcome(KINDS[kind][1], content, tmp_path)[0] for content in bases(kind)]
        assert "read" in ends, kind


# ---- found by the long run ------------------------------------------------------------------------------------------


def test_a_manifest_with_a_name_that_no_disk_takes(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(f"path\n{'9' * 400}.png\n")
    with pytest.raises(DataError, match="no such file below"):
        look_through(tmp_path / "manifest.csv")


@pytest.mark.parametrize("moment", ["2026-011-01T00:00:00+00:00", "yesterday", "2026-01-01T00:00:00", ""])
def test_a_moment_that_is_none(tmp_path: Path, moment: str) -> None:
    """In a run, where the report would subtract it, and in a card, where the station would show it."""
    run = {"bundle": "x", "card": json.loads(card().to_json()), "source": "in", "pictures": 2, "started": moment}
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match=r"run\.json: does not describe a run"):
        read_run(tmp_path / "run.json")
    (tmp_path / "card.json").write_text(json.dumps(json.loads(card().to_json()) | {"created": moment}))
    with pytest.raises(BundleError, match="cannot be read as a card"):
        open_bundle(tmp_path)


def test_a_journal_that_is_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"file": ' + '{"a":' * 5000 + "\n{}\n")
    with pytest.raises(DataError, match="line 1: is not a result row"):
        read_journal(tmp_path / "results.jsonl")


@pytest.mark.parametrize(
    "value", ["2026-99-99", "[" * 3000, "9" * 6000, "!!int x", "!!float x", "!!bool x", "!!timestamp x"]
)
def test_a_value_that_yaml_fails_on(tmp_path: Path, value: str) -> None:
    (tmp_path / "own.yaml").write_text(f"image: {{size: {value}}}\n")
    with pytest.raises(SettingsError, match=r"own\.yaml: not valid YAML"):
        load_recipe(str(tmp_path / "own.yaml"))
    with pytest.raises(SettingsError, match="is not valid YAML"):
        load_recipe("default", [f"image.size={value}"])


def sealed(folder: Path, files: dict[str, bytes]) -> Bundle:
    """A bundle of files whose checksums are right: whoever made it has sealed it so."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return Bundle(folder, card().model_copy(update={"checksums": {name: file_digest(folder / name) for name in files}}))


@pytest.mark.parametrize("index", [b"[]", b"{}", b"{" * 3000, b'{"fitted": 1, "parts": {}}', b"\xff"])
def test_a_sealed_index_that_is_none(tmp_path: Path, index: bytes) -> None:
    with pytest.raises(BundleError, match=r"index\.json: cannot be read"):
        References(sealed(tmp_path, {INDEX: index, EMBEDDINGS: b""}))


@pytest.mark.parametrize("rows", [0, 2])
def test_embeddings_that_do_not_fit_the_thumbnails(tmp_path: Path, rows: int) -> None:
    index = {"fitted": {}, "parts": {}, "thumbnails": [{"file": "0.jpg", "part": "1"}]}
    np.save(tmp_path / "made.npy", np.ones((rows, 4), np.float32))
    files = {INDEX: json.dumps(index).encode(), EMBEDDINGS: (tmp_path / "made.npy").read_bytes()}
    with pytest.raises(BundleError, match="for 1 thumbnails"):
        References(sealed(tmp_path, files))


def test_a_golden_picture_outside_the_bundle(tmp_path: Path) -> None:
    record = {"../../secret.png": {"score": 0.5, "distance": 1.0, "pixels": "0" * 64}}
    bundle = sealed(tmp_path, {EXPECTED: json.dumps(record).encode()})
    np.save(tmp_path / GOLDEN_MAPS, np.ones((1, 1, 1), np.float32))
    with pytest.raises(BundleError, match="is no picture of this folder"):
        read_golden(bundle)


@pytest.mark.parametrize("waiting", ["[]", "3", '{"checksums": 3}', "[" * 5000])
def test_half_a_save_that_is_none(tmp_path: Path, waiting: str) -> None:
    (tmp_path / "card.json.partial").write_text(waiting)
    (tmp_path / "card.json").write_text(card().to_json())
    with pytest.raises(BundleError, match="damaged or was altered"):
        open_bundle(tmp_path)
    assert Card.model_validate_json((tmp_path / "card.json").read_bytes()) == card()
