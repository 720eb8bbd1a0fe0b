"""Bundle -> the graph from the resized square on, as an ONNX file: for engines that cannot antialias."""

from __future__ import annotations

from pathlib import Path

from defectflow.bundle import CORE, Bundle, read_core
from defectflow.common import atomic_write
from defectflow.errors import SettingsError


def write_core(bundle: Bundle, folder: Path) -> Path:
    """Write model_core.onnx into `folder`; returns its path. Verdict and optional thresholds are the bundle's of today.

    Raises BundleError where the graph has no core, SettingsError where the file is there.
    """
    bundle.check_alone("the core in a file")
    file = folder / CORE
    if file.exists():
        raise SettingsError(f"{file}: exists already; remove it, or choose another folder")
    content = read_core(bundle)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as partial:
        partial.write_bytes(content)
    return file
