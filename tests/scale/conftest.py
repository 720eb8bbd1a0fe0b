"""One real Ray cluster of three nodes for all tests of this room, and one local S3 server that its workers reach."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scale_support import NODE
from support import once

from defectflow.bundle import open_bundle
from defectflow.line import recalibrate


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket. Started before the cluster, whose workers inherit its address and credentials."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    own = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "tester",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in own}
    os.environ |= own
    boto3.client("s3").create_bucket(Bucket="archive")
    yield "s3://archive"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="session")
def cluster(bucket: str) -> Iterator[Any]:
    """A head and two nodes, with one CPU each; all are processes of this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    made.add_node(**NODE)
    yield made
    made.shutdown()


@pytest.fixture(scope="session")
def swatch_bundle(tmp_path_factory: pytest.TempPathFactory, uncalibrated_path: Path) -> Path:
    """The bundle of 64 px swatches with the thresholds that its few parts support. Not to be changed."""

    def make(folder: Path) -> None:
        copy = open_bundle(shutil.copytree(uncalibrated_path, folder / "swatch"))
        recalibrate(copy, rate=0.2, guarantee="expected", review_rate=0.4)

    return once(tmp_path_factory, "scale-bundle", make) / "swatch"
