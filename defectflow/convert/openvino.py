"""Bundle -> OpenVINO's own format (model.xml and model.bin), from raw pixels to the verdict as model.onnx.

OpenVINO's CPU plugin ignores `antialias` of ONNX's Resize silently, and then scores are wrong wherever a picture
is shrunk. It does have Pillow's bilinear filter, which is the same one, so that takes the Resize's place. What comes
out is compared with ONNX Runtime on every golden picture before it is saved.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from defectflow.bundle import VERDICT_OUTPUTS, Bundle
from defectflow.errors import ExportError, ImageError, SettingsError
from defectflow.image import read_image
from defectflow.line import BackendTally, Inspector, Reference, read_golden
from defectflow.verdict import Decision

IR = "model.xml"
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
"""Without it a CPU that has bfloat16 computes in it, and gives other scores."""


def write_ir(bundle: Bundle, folder: Path) -> Path:
    """Write model.xml and model.bin into `folder`; returns the former.

    Thresholds become constants: OpenVINO has no inputs with defaults. Raises NotCalibrated, BundleError for a bundle
    that judges tiles, SettingsError where OpenVINO is missing or the file is there, ExportError where OpenVINO gives
    other verdicts than ONNX Runtime.
    """
    bundle.check_alone("OpenVINO")
    bundle.check_whole()
    bundle.card.require_calibration()
    try:
        import openvino
    except ImportError as error:
        raise SettingsError("--target openvino needs openvino: pip install 'defectflow[openvino]'") from error
    if (folder / IR).exists():
        raise SettingsError(f"{folder / IR}: exists already; remove it, or choose another folder")
    model = openvino.Core().read_model(bundle.model)
    _put_filter(model)
    model.set_rt_info(bundle.card.bundle_id, ["defectflow", "bundle_id"])
    model.set_rt_info(bundle.card.calibration_id or "none", ["defectflow", "calibration_id"])
    _compare(bundle, openvino.Core().compile_model(model, "CPU", PRECISION))
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, folder / IR, compress_to_fp16=False)
    return folder / IR


def _put_filter(model: Any) -> None:
    """Pillow's bilinear filter in the place of each antialiased Resize."""
    from openvino import opset11

    for node in model.get_ops():
        if node.get_type_name() == "Interpolate" and node.get_attributes()["antialias"]:
            pixels, size, *axes = (node.input_value(i) for i in range(node.get_input_size()))
            shrunk = opset11.interpolate(pixels, size, "bilinear_pillow", "sizes", axes=axes[0] if axes else None)
            node.output(0).replace(shrunk.output(0))


def _compare(bundle: Bundle, compiled: Any) -> None:
    """Every golden picture through both, one by one, by the certificate's rule. Raises ExportError."""
    card = bundle.card
    tally = BackendTally("OpenVINO", "golden", card, card.require_calibration())
    files = [golden.file for golden in read_golden(bundle) if golden.record is not None]
    for file, given in zip(files, Inspector(bundle, batch=1).inspect(files), strict=True):
        if isinstance(given, ImageError):
            raise given
        found = compiled({"image": read_image(file, full_scale=card.image.full_scale)[None]})
        seen = {name: found[name][0] for name in VERDICT_OUTPUTS}
        item = replace(
            given,
            score=float(seen["score"]),
            distance=float(seen["distance"]),
            anomaly_map=seen["anomaly_map"],
            decision=Decision(int(seen["decision"])),
        )
        tally.add(file.name, Reference.of(given), item, card.tolerance)
    if problem := tally.problem(card.tolerance):
        raise ExportError(f"{bundle.path}: {problem}; use model.onnx with ONNX Runtime, or another release of openvino")
