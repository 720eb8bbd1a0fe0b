"""A service beside the line: pictures over HTTP in, verdicts out, every one recorded. Never torch.

    run(load_settings(Path("serve.yaml"), []), listening=print)

The path of a request:

    guard       its key -> who sends it, and whether it may
    receive     its body -> picture files, within limits
    work        pictures of waiting requests -> verdicts, together -> rows of the store
    answers     rows -> JSON, and PNG where it is asked for
    problems    whatever goes wrong -> problem+json

Pictures also come from `folders`, and from `cameras` on a trigger, which `switch` lets through or not. What was
recorded is told to the plant's systems: tell (a channel, from the store's outbox), webhook, mqtt, opcua.

Beneath them: settings, keys, models (warm, and which is active). Beside them: metrics, service (all of it, opened), app
(the routes), run (the port). `defectflow.client` is the other end.
"""

from defectflow.serve.app import build
from defectflow.serve.cameras import try_camera
from defectflow.serve.keys import ClientKeys, add_key, read_keys, remove_key
from defectflow.serve.run import run
from defectflow.serve.service import Service
from defectflow.serve.settings import ServeSettings, load_settings
from defectflow.serve.webhook import write_secret

__all__ = [
    "ClientKeys",
    "ServeSettings",
    "Service",
    "add_key",
    "build",
    "load_settings",
    "read_keys",
    "remove_key",
    "run",
    "try_camera",
    "write_secret",
]
