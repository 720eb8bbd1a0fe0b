"""The comparison with other libraries: its worker still fits this DefectFlow, and its tables count fairly."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import defectflow_worker
import measure
import numpy as np
import peer_tables

from defectflow.data import find_pictures


def test_the_rebuilt_torch_model_and_the_bundle_agree(sample: Path, bundle_path: Path, tmp_path: Path) -> None:
    listing = tmp_path / "pictures.json"
    said = defectflow_worker.pictures(Namespace(product=None, source=sample, to=tmp_path, pictures=listing, most=40))
    assert said["test_defective"] == said["masks"] >= 18
    assert said["train_good"] == len(list((tmp_path / "good").iterdir())) == 40
    learned = find_pictures(Path(json.loads(listing.read_text())["source"]))
    assert len(learned) == 40 and {(one.label, one.split) for one in learned} == {("good", "train")}
    assert {one.part for one in learned} <= {one.part for one in find_pictures(sample)}, "parts stay together"
    links = sorted((tmp_path / "test").iterdir())
    assert [Path(row["path"]) for row in json.loads(listing.read_text())["test"]] == links

    paths = links[::6]  # some of each kind, so that the test stays short
    rows = [row for row in json.loads(listing.read_text())["test"] if Path(row["path"]) in paths]
    listing.write_text(json.dumps({"test": rows}))
    for backend in ("torch", "onnx"):
        judge = defectflow_worker.open_backend(bundle_path, backend)
        measured = measure.predict(judge, paths, tmp_path / f"{backend}.npz")
        assert measured == {"predictions": len(paths)}
    given = Namespace(pictures=listing, source=tmp_path / "onnx.npz", reference=tmp_path / "torch.npz")
    figures = defectflow_worker.figures(given)
    assert figures["flips"] == 0
    assert figures["largest_score_difference"] < 1e-3
    assert 0.5 < figures["image_auroc"] <= 1
    assert 0.5 < figures["pixel_auroc"] <= 1

    with np.load(tmp_path / "torch.npz") as file:
        wrong = dict(file) | {"rejected": ~file["rejected"]}
    np.savez(given.reference, **wrong)
    assert defectflow_worker.figures(given)["flips"] == len(paths)


def test_a_peer_is_compared_at_its_fastest_and_a_failure_is_shown(tmp_path: Path) -> None:

    def timed(median_ms: float) -> dict[str, object]:
        return {"latency": {"median_ms": median_ms, "single_peak_mb": 100.0}, "first_verdict_s": 1.6}

    peers = {
        "default": {"backends": {"onnx": timed(20)}},
        "cflow": {
            "backends": {"torch": {"latency": {"failed": "no such op"}}, "openvino": timed(50), "onnx": timed(80)}
        },
    }
    results = {"sets": {"ring": {"peers": peers}}}
    results["targets"] = peer_tables.targets(results)
    fastest, same_engine, start, memory = results["targets"]
    assert (fastest["measured"], fastest["met"], "openvino, its fastest" in fastest["target"]) == (2.5, False, True)
    assert (same_engine["measured"], same_engine["met"], "same engine" in same_engine["target"]) == (4.0, True, True)
    assert (start["measured"], start["met"]) == (1.6, False)
    assert (memory["measured"], memory["met"]) == (100, True)
    peer_tables.write_tables(results, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "ring / peers / cflow / backends / torch / latency: no such op" in page
    assert "| cflow openvino |" in page
