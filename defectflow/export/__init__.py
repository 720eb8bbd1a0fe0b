"""A detector -> ONNX graph and the files of a bundle; refused where the two disagree."""

from defectflow.export.write_bundle import write_flow, write_reference, write_scoring_graph
from defectflow.export.write_golden import write_golden

__all__ = ["write_flow", "write_golden", "write_reference", "write_scoring_graph"]
