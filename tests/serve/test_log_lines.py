"""What the service says while it runs, for what collects logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving import prepare


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_all_that_a_service_says_is_json_where_that_is_wanted(tmp_path: Path, models: Path, host: str) -> None:
    """From the first line to the last, on both outputs, which journald puts together."""
    prepare(tmp_path, models)
    words = ["serve", "serve.yaml", "--set", "log=json", "--set", f"host={host}"]
    with subprocess.Popen(
        [sys.executable, "-m", "defectflow", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as service:
        assert service.stdout is not None
        said = list[str]()
        for line in service.stdout:
            said.append(json.loads(line)["message"])
            if said[-1] == "Application startup complete.":
                service.send_signal(signal.SIGTERM)
    assert service.returncode == 0
    assert any(one.startswith(f"listening on http://{host}:") for one in said)
    assert ("without tls, keys and pictures cross the network unencrypted" in said) == (host == "0.0.0.0")
