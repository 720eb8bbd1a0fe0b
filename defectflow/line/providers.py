"""Execution providers of ONNX Runtime: which run on this machine, and what to install for one that does not.

A provider whose libraries are missing is dropped by ONNX Runtime with no more than a printed warning, and the CPU
does the work; so a session is asked afterwards what it really runs on.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from defectflow.errors import BundleError

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_REMOTE = frozenset({"AzureExecutionProvider"})
"""In every build, but it sends pictures to a service: nothing for a line."""
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""What a provider is told so that it computes in float32: by default CUDA rounds factors to 10 bits on newer GPUs."""
_BROUGHT_BY = {
    "CUDAExecutionProvider": "onnxruntime-gpu, with NVIDIA's driver, CUDA and cuDNN",
    "TensorrtExecutionProvider": "onnxruntime-gpu, with NVIDIA's driver, CUDA and TensorRT",
    "NvTensorRTRTXExecutionProvider": "onnxruntime-trt-rtx",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml, on Windows",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "CoreMLExecutionProvider": "onnxruntime, on macOS",
}


def present_providers() -> list[str]:
    """The local providers that this ONNX Runtime was built with; the CPU is always among them, and first."""
    built_in = [name for name in onnxruntime.get_available_providers() if name not in _REMOTE]
    return sorted(built_in, key=lambda name: name != CPU)


def find_providers(names: Sequence[str]) -> list[str]:
    """'cuda' or 'CUDAExecutionProvider' -> ONNX Runtime's name of it.

    Raises BundleError for one that is absent, or that would send pictures away.
    """
    built_in = onnxruntime.get_available_providers()
    by_short_name = {short_name(name).lower(): name for name in (*_BROUGHT_BY, *built_in)}
    found = []
    for given in names:
        name = by_short_name.get(short_name(given).lower(), given)
        if name in _REMOTE:
            raise BundleError(f"execution provider {given} sends pictures to a remote service; choose a local one")
        if name not in built_in:
            here = ", ".join(short_name(present) for present in present_providers())
            raise BundleError(
                f"execution provider {given} is not in this ONNX Runtime, which has {here}; {_advice(name)}"
            )
        found.append(name)
    return found


def check_runs_on(session: onnxruntime.InferenceSession, wanted: Sequence[str]) -> None:
    """Raises BundleError if ONNX Runtime has dropped a provider that was asked for."""
    dropped = [name for name in wanted if name not in session.get_providers()]
    if dropped:
        raise BundleError(
            f"execution provider {short_name(dropped[0])} is installed but cannot start here, and ONNX Runtime would "
            f"continue without it; {_advice(dropped[0])}"
        )


def short_name(provider: str) -> str:
    """CUDAExecutionProvider -> CUDA."""
    return provider.removesuffix(_SUFFIX)


def _advice(name: str) -> str:
    if name not in _BROUGHT_BY:
        return f"known are {', '.join(map(short_name, _BROUGHT_BY))}"
    return f"it comes with {_BROUGHT_BY[name]} (one onnxruntime package only: uninstall the others first)"
