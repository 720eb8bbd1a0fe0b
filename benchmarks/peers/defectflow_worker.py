"""DefectFlow, and what all peers share: one data set, one set of metrics.

Backends: `torch` (the trained detector again: recipe, backbone, flow.safetensors, and the card's thresholds) and `onnx`
(the bundle through the Inspector, as on the line; the base install suffices, so heavy imports are inside functions).
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from measure import Judge, Prediction, one_by_one, peak_mb, run, size_mb

from defectflow.line import Inspector
from defectflow.verdict import Decision, Verdict

REJECTED = (Decision.DEFECT, Decision.INVALID)
BACKBONE = "tf_efficientnet_lite0"
"""Of the recipes that are compared; see `weights`."""
TEST_PARTS = 40, 60
"""Good and defective parts of a sample product's test set."""


def pictures(options: argparse.Namespace) -> dict[str, Any]:
    """Draw a sample product or read a set; link its pictures in plain folders, good/ to learn from and test/."""
    from defectflow.data import find_pictures
    from defectflow.samples import draw_product

    source, to = options.source, options.to
    if options.product:
        source = to / f"{options.product}-{options.parts}"
        if not source.is_dir():
            good, defective = TEST_PARTS
            draw_product(
                options.product, source, good_parts=options.parts, test_good_parts=good, defective_parts=defective
            )
    found = find_pictures(source.absolute())
    train = [picture for picture in found if picture.label == "good" and picture.split != "test"]
    if options.most:  # evenly: files in order may be of one day
        train = [train[row] for row in np.linspace(0, len(train) - 1, min(options.most, len(train))).astype(int)]
    test = [picture for picture in found if picture.label is not None and picture.split == "test"]
    rows = []
    for folder, chosen in (("good", train), ("test", test)):
        shutil.rmtree(to / folder, ignore_errors=True)  # links of an earlier run
        (to / folder).mkdir(parents=True)
        for number, picture in enumerate(chosen):
            link = to / folder / f"{number:05}{picture.path.suffix.lower()}"
            link.symlink_to(picture.path.absolute())
            if folder == "test":
                row = asdict(picture) | {"path": str(link), "mask": str(picture.mask) if picture.mask else None}
                rows.append(row)
    manifest = to / "train.csv"
    with manifest.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "part", "split"])
        writer.writerows([picture.path.absolute(), "good", picture.part, "train"] for picture in train)
    listing = {"source": str(manifest), "train_pictures": len(train), "test": rows}
    options.pictures.write_text(json.dumps(listing), encoding="utf-8")
    labels = [row["label"] for row in rows]
    return {
        "source": source.name,
        "train_good": len(train),
        "test_good": labels.count("good"),
        "test_defective": labels.count("defective"),
        "masks": sum(row["mask"] is not None for row in rows),
        "size_px": _size_px(test[0].path),
    }


def _size_px(path: Path) -> list[int]:
    from defectflow.image import read_image

    height, width, _ = read_image(path).shape
    return [width, height]


def weights(options: argparse.Namespace) -> dict[str, Any]:
    """The recipes' published weights under timm's names, for the peers."""
    import safetensors.torch
    import torch

    from defectflow.embedding.imagenet import imagenet_file, timm_names

    path, published = imagenet_file(BACKBONE)
    named = timm_names(torch.load(path, map_location="cpu", weights_only=True), published.blocks)
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in named.items()}, options.to)
    return {"sha256": published.sha256}


def fit(options: argparse.Namespace) -> dict[str, Any]:
    """One recipe as it is, nothing cached.

    Too few calibration parts for its rate: the lowest rate that they support.
    """
    from defectflow.bundle import FLOW, MODEL
    from defectflow.embedding import EmbeddingCache
    from defectflow.fitting import fit
    from defectflow.line import recalibrate
    from defectflow.recipe import load_recipe
    from defectflow.verdict import advised_rate

    out: Path = options.model
    started, cpu_started = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as empty:
        recipe = load_recipe(options.kind, [])
        assert recipe.embedding.backbone == BACKBONE and recipe.embedding.weights == "imagenet"
        fitted = fit(recipe, options.source, out, cache=EmbeddingCache(Path(empty)))
    fit_s, fit_cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    bundle = fitted.bundle
    if bundle.card.calibration is None:
        gated = sum(part.score is None for part in bundle.card.calibration_parts)
        rate = advised_rate(len(bundle.card.calibration_parts), bundle.card.wanted_guarantee, gated=gated)
        bundle = recalibrate(
            bundle,
            rate=rate,
            guarantee=bundle.card.wanted_guarantee,
            review_rate=max(rate, bundle.card.wanted_review_rate),
        )
    return {
        "fit_s": fit_s,
        "fit_cpu_s": fit_cpu_s,
        "fit_peak_mb": peak_mb(),
        "parts": bundle.card.parts.model_dump(),
        "calibration_parts": len(bundle.card.calibration_parts),
        "false_reject_rate": bundle.card.require_calibration().rate,
        "training": bundle.card.training,
        "size_mb": {"torch": size_mb(out / FLOW)},
        "exports": {"onnx": {"size_mb": size_mb(out / MODEL)}},
        "bundle_mb": size_mb(out),
    }


def open_backend(model: Path, backend: str) -> Judge:
    if backend == "torch":
        return _open_trained(model)
    inspector = Inspector(model)
    return Judge(
        lambda path: _prediction(next(iter(inspector.inspect([path])))),
        lambda paths: map(_prediction, inspector.inspect(paths)),
    )


def _prediction(verdict: Verdict | Exception) -> Prediction:
    if not isinstance(verdict, Verdict):
        raise verdict
    return Prediction(verdict.score, verdict.decision in REJECTED, verdict.anomaly_map)


def _open_trained(model: Path) -> Judge:
    import safetensors.torch
    import torch

    from defectflow.bundle import FLOW, open_bundle
    from defectflow.density import open_heads
    from defectflow.image import read_image
    from defectflow.recipe import parse_recipe
    from defectflow.score import build_detector

    bundle = open_bundle(model)
    card = bundle.card
    detector, _ = build_detector(parse_recipe(card.recipe, source=str(model)))
    for density, head in zip(detector.densities, open_heads(bundle), strict=True):
        density.load_state_dict(head.density.state_dict())
    loaded = detector.load_state_dict(safetensors.torch.load_file(model / FLOW), strict=False)
    absent = [name for name in loaded.missing_keys if not name.startswith(("embedding.", "densities."))]
    if absent or loaded.unexpected_keys:
        raise ValueError(f"{model / FLOW}: lacks {absent}, and has {loaded.unexpected_keys} too many")
    threshold = card.require_calibration().threshold.value

    @torch.no_grad()
    def judge(path: Path) -> Prediction:
        image = torch.from_numpy(read_image(path, full_scale=card.image.full_scale)[None])
        score, anomaly_map, _, distance, _ = detector(image)
        rejected = score.item() > threshold or not distance.item() <= card.distance_limit
        return Prediction(score.item(), rejected, anomaly_map[0].numpy())

    return one_by_one(judge)


def graph(options: argparse.Namespace) -> dict[str, Any]:
    """The whole graph against its backbone alone, in ONNX Runtime and in turns: benchmarks/speed.py's own measure."""
    sys.path.append(str(Path(__file__).parents[1]))
    from speed import measure_graph

    from defectflow.bundle import MODEL

    options.to.mkdir(exist_ok=True)
    return measure_graph(options.kind, options.model / MODEL, options.to, options.repeats)


def figures(options: argparse.Namespace) -> dict[str, Any]:
    """AUROCs of one backend's predictions, and verdict flips against those of the trained model, --reference."""
    from defectflow.verdict import auroc

    rows = json.loads(options.pictures.read_text(encoding="utf-8"))["test"]
    with np.load(options.source) as file:
        score, rejected, maps = file["score"], file["rejected"], file["anomaly_map"]
    defective = np.array([row["label"] == "defective" for row in rows])
    result: dict[str, Any] = {
        "image_auroc": auroc(score[~defective], score[defective]),
        **_pixel_figures(rows, maps),
        "good_rejected": int(rejected[~defective].sum()),
        "defective_passed": int((~rejected[defective]).sum()),
        "scores_at_a_limit": int(max((score == score.min()).sum(), (score == score.max()).sum()) - 1),
    }
    if options.reference:
        with np.load(options.reference) as file:
            trained, verdicts = file["score"], file["rejected"]
        spread = float(np.std(trained[~defective]))
        result["flips"] = int((verdicts != rejected).sum())
        result["largest_score_difference"] = float(np.abs(trained - score).max() / spread) if spread else None
    return result


def _pixel_figures(rows: list[dict[str, Any]], maps: np.ndarray) -> dict[str, float]:
    """By DefectFlow's own definitions, for every peer: the square map stretched over the picture."""
    from defectflow.data import Picture
    from defectflow.evaluation import MAP_SIDE_PX, PixelStore
    from defectflow.image import Geometry, read_image
    from defectflow.verdict import Measurement

    if not any(row["mask"] for row in rows):
        return {}
    store = PixelStore(MAP_SIDE_PX)
    for row, anomaly_map in zip(rows, maps, strict=True):
        picture = Picture(**{**row, "path": Path(row["path"]), "mask": Path(row["mask"]) if row["mask"] else None})
        height, width, _ = read_image(picture.path).shape
        store.add(
            picture,
            Measurement(
                score=0.0,
                anomaly_map=anomaly_map,
                distance=0.0,
                distance_limit=1.0,
                embedding=np.zeros(0, np.float32),
                height_px=height,
                width_px=width,
                geometry=Geometry(),
                sha256=None,
                milliseconds=0.0,
            ),
        )
    whole, _ = store.figures()
    return {} if whole is None else {"pixel_auroc": whole.auroc, "aupro_30": whole.aupro_30}


if __name__ == "__main__":
    run(open_backend, {"pictures": pictures, "weights": weights, "fit": fit, "graph": graph, "figures": figures})
