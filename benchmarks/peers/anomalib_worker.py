"""anomalib, in its own environment: fit with its Engine, its own exports, and its own ways to a verdict.

Backends: `engine` (the trained model through Engine.predict, which anomalib recommends), `torch` (its TorchInferencer
on its .pt export), `onnx` (its ONNX export in ONNX Runtime), `openvino` (its OpenVINOInferencer on its IR export).
The backbone's weights are a local file and no hub is asked, and pictures are scaled as these weights want it; all other
settings are anomalib's own defaults.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from measure import Judge, Prediction, attempt, one_by_one, peak_mb, run, size_mb

BACKBONE = "tf_efficientnet_lite0"
SIZE_PX = 256
"""anomalib's own; resize and scale come in one transform, so they are given together."""
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""What the weights were trained with."""
FINE, MIDDLE, COARSE = "blocks.1", "blocks.2", "blocks.4"
"""Strides 4, 8 and 16, as the levels of our recipes, and as anomalib's layer1 to layer3 of a ResNet."""
LAYERS = {"padim": [FINE, MIDDLE, COARSE], "patchcore": [MIDDLE, COARSE], "cflow": [FINE, MIDDLE, COARSE]}
"""As its defaults for a ResNet; but CFLOW's are layer2 to layer4, and every model here has the same embedding."""
PADIM_FEATURES = 100
"""As its default for resnet18; for this network it has none."""
WITHOUT_STEPS = "padim", "patchcore"
VALIDATION_SHARE = 0.2
"""Of the good training pictures; anomalib draws flaws on half of them and sets its threshold there."""
CHECKPOINT = "model.ckpt"
EXPORTS = {
    "torch": "weights/torch/model.pt",
    "onnx": "weights/onnx/model.onnx",
    "openvino": "weights/openvino/model.xml",
}


def fit(options: argparse.Namespace) -> dict[str, Any]:
    """Train within the budget, set the threshold on synthetic flaws, keep the last step, then export three times."""
    import torch
    from anomalib.data import Folder
    from anomalib.engine import Engine

    torch.manual_seed(0)
    folder: Path = options.model
    started, cpu_started = time.perf_counter(), time.process_time()
    model = _build(options.kind)
    missing = _load_backbone(model, options.weights)
    data = Folder(
        name="product",
        root=options.source,
        normal_dir="good",
        test_split_mode="none",
        val_split_mode="synthetic",
        val_split_ratio=VALIDATION_SHARE,
        num_workers=0,
        seed=0,
    )
    budget = (
        {} if options.kind in WITHOUT_STEPS else {"max_time": timedelta(seconds=options.budget_s), "max_epochs": -1}
    )
    engine = Engine(
        default_root_dir=folder / "runs",
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        limit_val_batches=0 if budget else None,  # else the budget would go to validations, one per epoch
        **budget,
    )
    engine.fit(model=model, datamodule=data)
    epochs, steps = engine.trainer.current_epoch, engine.trainer.global_step
    if budget:
        engine.trainer.limit_val_batches = 1.0
    engine.validate(model=model, datamodule=data)  # normalisation and threshold of the last step
    engine.trainer.save_checkpoint(folder / CHECKPOINT)
    figures: dict[str, Any] = {
        "fit_s": time.perf_counter() - started,
        "fit_cpu_s": time.process_time() - cpu_started,
        "fit_peak_mb": peak_mb(),
        "epochs": epochs,
        "optimizer_steps": steps,
        "train_pictures": len(data.train_data),
        "validation_pictures": len(data.val_data),
        "image_threshold": float(model.post_processor.image_threshold),
        "backbone_tensors_missing": missing,
        "size_mb": {"engine": size_mb(folder / CHECKPOINT)},
        "exports": {},
    }
    for backend in EXPORTS:
        figures["exports"][backend] = attempt(lambda backend=backend: _export(engine, model, folder, backend))
    return figures


def _models() -> dict[str, Any]:
    from anomalib.models import Cflow, Padim, Patchcore

    return {"padim": Padim, "patchcore": Patchcore, "cflow": Cflow}


def _pre_processor() -> Any:
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    return PreProcessor(transform=Compose([Resize((SIZE_PX, SIZE_PX), antialias=True), Normalize(MEAN, STD)]))


def _build(kind: str) -> Any:
    more = {"n_features": PADIM_FEATURES} if kind == "padim" else {}
    return _models()[kind](
        backbone=BACKBONE, layers=LAYERS[kind], pre_trained=False, pre_processor=_pre_processor(), **more
    )


def _load_backbone(model: Any, weights: Path) -> list[str]:
    """Put the file's tensors into anomalib's timm feature extractor; returns what the file lacks of it: nothing."""
    import safetensors.torch

    extractor = model.model.encoder if hasattr(model.model, "encoder") else model.model.feature_extractor
    network = getattr(extractor, "feature_extractor", extractor)  # some wrap timm's network
    stored = {name: tensor.float() for name, tensor in safetensors.torch.load_file(weights).items()}
    missing = [
        name for name in network.load_state_dict(stored, strict=False).missing_keys if "num_batches_tracked" not in name
    ]
    if missing:
        raise ValueError(f"{weights}: lacks {len(missing)} tensors of the network in use, the first {missing[0]}")
    return missing


def _export(engine: Any, model: Any, folder: Path, backend: str) -> dict[str, Any]:
    started = time.perf_counter()
    engine.export(model, export_type=backend, export_root=folder)
    return {"export_s": time.perf_counter() - started, "size_mb": size_mb((folder / EXPORTS[backend]).parent)}


def open_backend(model: Path, backend: str) -> Judge:
    file = model / EXPORTS.get(backend, CHECKPOINT)
    if not file.is_file():
        raise FileNotFoundError(f"{file.name}: anomalib did not export it")
    match backend:
        case "engine":
            return _open_engine(model, file)
        case "torch":
            os.environ["TRUST_REMOTE_CODE"] = "1"  # its file is a pickle, which anomalib opens only if told to
            from anomalib.deploy import TorchInferencer

            inferencer = TorchInferencer(file, device="cpu")
            return one_by_one(lambda path: _prediction(inferencer.predict(path)))
        case "openvino":
            from anomalib.deploy import OpenVINOInferencer

            os.chdir(model)  # it keeps a cache in the working directory
            inferencer = OpenVINOInferencer(file, device="CPU")
            return one_by_one(lambda path: _prediction(inferencer.predict(path)))
        case "onnx":
            return _open_onnx(file)
    raise ValueError(backend)


def _open_engine(folder: Path, checkpoint: Path) -> Judge:
    from anomalib.engine import Engine

    # A checkpoint does not hold it, and the default one scales pictures otherwise.
    model = _models()[folder.name].load_from_checkpoint(checkpoint, map_location="cpu", pre_processor=_pre_processor())
    model.visualizer = None  # it would draw every picture
    engine = Engine(default_root_dir=folder / "runs", accelerator="cpu", devices=1, enable_progress_bar=False)

    def folder_of(paths: Sequence[Path]) -> Iterator[Prediction]:
        parents = {path.parent for path in paths}
        if len(parents) != 1:
            raise ValueError("the test pictures lie in several folders")
        return map(_prediction, engine.predict(model=model, data_path=parents.pop()))

    return Judge(lambda path: _prediction(engine.predict(model=model, data_path=path)[0]), folder_of)


def _open_onnx(file: Path) -> Judge:
    """What an integrator writes around the exported file: anomalib itself is not needed for it."""
    import onnxruntime
    from PIL import Image

    session = onnxruntime.InferenceSession(file)
    names = [output.name for output in session.get_outputs()]
    input_name = session.get_inputs()[0].name

    def judge(path: Path) -> Prediction:
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        image = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])  # (H, W, 3) -> (1, 3, H, W)
        values = dict(zip(names, session.run(None, {input_name: image}), strict=True))
        return Prediction(
            score=float(values["pred_score"].item()),
            rejected=bool(values["pred_label"].item()),
            anomaly_map=np.squeeze(values["anomaly_map"]),
        )

    return one_by_one(judge)


def _prediction(batch: Any) -> Prediction:
    """anomalib's batch of one picture; in torch, its values still carry gradients."""
    score, label, anomaly_map = (
        value.detach().numpy() if hasattr(value, "detach") else value
        for value in (batch.pred_score, batch.pred_label, batch.anomaly_map)
    )
    return Prediction(float(score.item()), bool(label.item()), np.squeeze(anomaly_map))


if __name__ == "__main__":
    run(open_backend, {"fit": fit})
