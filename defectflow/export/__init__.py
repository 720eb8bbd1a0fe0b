"""A detector -> ONNX graph and the files of a bundle; refused where the two disagree."""
