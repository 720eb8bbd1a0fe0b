"""DefectFlow: from a folder of good parts to verdicts that can be trusted on a line.

The data path, which is also the reading order:

    settings     recipe -> frozen, typed settings
    dataset      folders and manifests -> parts -> train, tune, calibration, test
    embedding    raw pixels -> per-level vectors (backbone.py loads the weights)
    flows        vectors -> log-likelihood
    score, gate  level maps -> anomaly map -> image score; is this the part at all?
    detector     all of these in one module
    training     one explicit loop over cached embeddings
    export       detector -> ONNX graph -> bundle
    runtime      bundle + pictures -> verdicts, without torch
    fitting      the whole story, from a recipe and a folder to a bundle
"""

import os

# ONNX Runtime's packages report to their maker over the network, and keep an identifier of the machine in the user's
# folder, unless this is set before they are loaded. A line PC reports to nobody; whoever wants it sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
