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

__version__ = "0.1.0"
