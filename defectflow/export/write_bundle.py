"""A trained detector -> the files of a bundle. The card comes last, so a folder without one is not a bundle."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import safetensors.torch
from numpy.typing import NDArray

from defectflow.bundle import (
    EMBEDDINGS,
    FLOW,
    INDEX,
    MODEL,
    REFERENCE,
    Bundle,
    Card,
    ImageCard,
    PartCounts,
    WeightsCard,
    file_digest,
)
from defectflow.common import utc_now
from defectflow.data import Checked, Splits
from defectflow.density import Run
from defectflow.embedding import Weights, geometry_of
from defectflow.export.onnx_graph import compare, export_graph
from defectflow.image import jpeg, read_image, shrink
from defectflow.line import Inspector
from defectflow.recipe import Recipe
from defectflow.score import Detector
from defectflow.verdict import Measurement

THUMBNAIL_SIDE_PX = 192


def write_scoring_graph(
    folder: Path,
    name: str,
    detector: Detector,
    weights: Weights,
    recipe: Recipe,
    splits: Splits,
    runs: Sequence[Run],
    distance_limit: float,
    part_regex: str | None,
) -> tuple[Bundle, list[Measurement]]:
    """model.onnx without thresholds, checked against torch on tune pictures, and their measurements.

    Raises ExportError if the two disagree. The card is complete but for calibration, and not yet on disk.
    """
    onnx.save(export_graph(detector), folder / MODEL)
    digest = file_digest(folder / MODEL)
    card = Card(
        name=name,
        created=utc_now(),
        bundle_id=digest[:12],
        image=ImageCard(
            size_px=recipe.image.size,
            aspect=recipe.image.aspect,
            rectangle=geometry_of(recipe.image).rectangle,
            full_scale=recipe.image.full_scale,
            tiling=detector.tiling,
        ),
        weights=WeightsCard(name=weights.name, sha256=weights.sha256),
        top_fraction=recipe.score.top_fraction,
        distance_limit=distance_limit,
        good_spread=0.0,
        parts=PartCounts(**splits.part_counts),
        part_regex=part_regex,
        wanted_rate=recipe.verdict.rate,
        wanted_guarantee=recipe.verdict.guarantee,
        wanted_review_rate=recipe.verdict.review_rate,
        parts_known=splits.parts_known,
        calibration_parts=(),
        calibration=None,
        recipe=recipe.model_dump(mode="json"),
        training={
            f"level {level}": {
                "steps": run.step,
                "best_step": run.best_step,
                "tune_nats_per_dim": run.best_tune,
            }
            for level, run in zip(recipe.embedding.levels, runs, strict=True)
        },
        export_parity={},
        versions=_versions(),
        checksums={MODEL: digest},
    )
    # One or two tune pictures say little about how much good scores differ, so training pictures join them.
    pictures = splits.tune if len(splits.tune) > 2 else splits.tune + splits.train
    paths = [picture.path for picture in pictures]
    measured = list(Inspector(Bundle(folder, card)).measure_all(paths))
    spread = float(np.std([item.score for item in measured]))
    pixels = (read_image(path, full_scale=recipe.image.full_scale) for path in paths)
    parity = compare(detector, pixels, measured, spread)
    card = card.model_copy(update={"good_spread": spread, "export_parity": asdict(parity)})
    return Bundle(folder, card), measured[: len(splits.tune)]


def write_flow(folder: Path, detector: Detector) -> None:
    """flow.safetensors: all that was learned; of the backbone, its batch statistics alone.

    Left out are the factors of whitening by place, which model.onnx holds exactly, and which are most of its size.
    """
    learned = {
        name: tensor.contiguous()
        for name, tensor in detector.state_dict().items()
        if not name.endswith("whitening.factor")
        and (not name.startswith("embedding.backbone.") or name.endswith((".running_mean", ".running_var")))
    }
    # Not save_file, whose files only their owner may read: a bundle is made by one user and run by another.
    (folder / FLOW).write_bytes(safetensors.torch.save(learned))


def write_reference(bundle: Bundle, splits: Splits, checked: Checked, pooled: NDArray[np.float32]) -> None:
    """reference/: a thumbnail of each training picture, their pooled embeddings (n, D), and who was in the fit."""
    folder = bundle.path / REFERENCE
    folder.mkdir()
    thumbnails = []
    for number, picture in enumerate(splits.train):
        pixels = read_image(picture.path, full_scale=bundle.card.image.full_scale)
        (folder / f"{number}.jpg").write_bytes(jpeg(shrink(pixels, THUMBNAIL_SIDE_PX)))
        thumbnails.append({"file": f"{number}.jpg", "part": picture.part})
    np.save(bundle.path / EMBEDDINGS, pooled[: len(splits.train)].astype(np.float32))
    fitted = {checked.pixel_digests[p.path]: side for side, pictures in splits.by_side.items() for p in pictures}
    parts = {p.part: side for side, pictures in splits.by_side.items() for p in pictures}
    index = {"thumbnails": thumbnails, "fitted": fitted, "parts": parts}
    (bundle.path / INDEX).write_text(json.dumps(index, ensure_ascii=False) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    packages = ("defectflow", "torch", "timm", "onnx", "onnxruntime", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
