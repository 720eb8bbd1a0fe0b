"""On the line: numpy, OpenCV, Pillow and ONNX Runtime; never torch.

from defectflow.runtime import Inspector
for verdict in Inspector(Path("models/bracket")).inspect(paths): ...
"""

from defectflow.runtime.inspector import Inspector
from defectflow.runtime.verdict import Decision, Measurement, Region, Verdict

__all__ = ["Decision", "Inspector", "Measurement", "Region", "Verdict"]
