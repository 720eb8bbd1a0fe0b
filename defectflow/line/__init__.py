"""On the line: numpy, OpenCV, Pillow and ONNX Runtime; never torch.

Start with `Inspector(Path("models/bracket")).inspect(paths)`: one Verdict per picture, or the ImageError that says why
there is none.
"""

from defectflow.line.inspector import Inspector
from defectflow.verdict.verdict import Decision, Measurement, Region, Verdict

__all__ = ["Decision", "Inspector", "Measurement", "Region", "Verdict"]
