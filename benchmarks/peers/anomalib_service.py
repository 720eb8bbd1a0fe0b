"""anomalib's inferencer behind the same thirty lines as `plain_service.py`, in anomalib's own environment.

    ENVIRONMENT/bin/python benchmarks/peers/anomalib_service.py MODEL/weights/openvino/model.xml

The environment needs fastapi and uvicorn beside anomalib.
"""

import os
import socket
import sys
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import uvicorn
from anomalib.deploy import OpenVINOInferencer
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

model = Path(sys.argv[1]).resolve()
os.chdir(model.parent)  # it keeps a cache in the working directory
inferencer = OpenVINOInferencer(model, device="CPU")
one_at_a_time = Lock()  # an inferencer holds one request of OpenVINO's
app = FastAPI()


def judge(content: bytes) -> dict[str, float]:
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    with one_at_a_time:
        found = inferencer.predict(pixels)
    return {"score": float(found.pred_score.item()), "defect": float(found.pred_label.item())}


@app.post("/v1/inspect")
async def inspect(request: Request) -> dict[str, float]:
    return await run_in_threadpool(judge, await request.body())


listening = socket.create_server(("127.0.0.1", 0))
print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
