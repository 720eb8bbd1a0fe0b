"""What people write themselves: the model behind FastAPI, in thirty lines. No store, keys, limits, batches or regions.

    python benchmarks/plain_service.py models/bracket/model.onnx 2      # threads of one inference, 0 for all cores

Compared with `defectflow serve` by `benchmarks/serve.py`.
"""

import socket
import sys

import cv2
import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
app = FastAPI()


def judge(content: bytes) -> dict[str, float]:
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    names = ["decision", "score", "p_value"]
    return dict(zip(names, (float(value[0]) for value in session.run(names, {"image": pixels[None]})), strict=True))


@app.post("/v1/inspect")
async def inspect(request: Request) -> dict[str, float]:
    return await run_in_threadpool(judge, await request.body())


listening = socket.create_server(("127.0.0.1", 0))
print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
