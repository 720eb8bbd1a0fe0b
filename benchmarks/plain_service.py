"""What people write themselves: a model behind FastAPI, in thirty lines. No store, keys, limits, batches or regions.

    python benchmarks/plain_service.py models/bracket/model.onnx 2      # threads of one inference, 0 for all cores
    PYTHON benchmarks/plain_service.py MODEL/weights/openvino/model.xml 0

The second is anomalib's inferencer on its OpenVINO export; PYTHON is that of an environment with anomalib, fastapi and
uvicorn. Compared with `defectflow serve` by `benchmarks/serve.py`.
"""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool


def with_onnx_runtime(model: Path, threads: int) -> Callable[[np.ndarray], dict[str, float]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = ["decision", "score", "p_value"]

    def judge(pixels: np.ndarray) -> dict[str, float]:
        values = session.run(names, {"image": pixels[None]})
        return dict(zip(names, (float(value[0]) for value in values), strict=True))

    return judge


def with_anomalib(model: Path) -> Callable[[np.ndarray], dict[str, float]]:
    from anomalib.deploy import OpenVINOInferencer

    os.chdir(model.parent)  # it keeps a cache in the working directory
    inferencer = OpenVINOInferencer(model, device="CPU")
    one_at_a_time = Lock()  # an inferencer holds one request of OpenVINO's

    def judge(pixels: np.ndarray) -> dict[str, float]:
        with one_at_a_time:
            found = inferencer.predict(pixels)
        return {"score": float(found.pred_score.item()), "defect": float(found.pred_label.item())}

    return judge


given = Path(sys.argv[1]).resolve()
judge = with_anomalib(given) if given.suffix == ".xml" else with_onnx_runtime(given, int(sys.argv[2]))
app = FastAPI()


def decoded(content: bytes) -> dict[str, float]:
    return judge(cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


@app.post("/v1/inspect")
async def inspect(request: Request) -> dict[str, float]:
    return await run_in_threadpool(decoded, await request.body())


# Named as TCP, or asyncio would leave Nagle's algorithm on, which holds each answer back for 40 ms.
listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listening.bind(("127.0.0.1", 0))
listening.listen(1024)
print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
