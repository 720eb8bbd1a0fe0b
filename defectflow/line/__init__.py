"""On the line: numpy, OpenCV, Pillow and ONNX Runtime; never torch.

Start with `Inspector(Path("models/bracket")).inspect(paths)`: one Verdict per picture, or the ImageError that says why
there is none.
"""

from defectflow.line.certificate import Certificate, certificate_file, read_certificate
from defectflow.line.comparison import BackendTally, Reference
from defectflow.line.cost import Weighed, measure_known, weigh
from defectflow.line.difference import Difference, Judged, difference
from defectflow.line.golden import NATIVE, read_golden, record_golden
from defectflow.line.inspector import Inspector, Source, chosen_bundles, chosen_number
from defectflow.line.journal import RUN
from defectflow.line.judge import Record
from defectflow.line.providers import CPU, find_providers
from defectflow.line.recalibrate import measure_parts, recalibrate
from defectflow.line.reference import References, Similar
from defectflow.line.score_folder import Tally, score_folder
from defectflow.line.tables import as_csv, flatten, row_of
from defectflow.line.verify import verify

__all__ = [
    "CPU",
    "NATIVE",
    "RUN",
    "BackendTally",
    "Certificate",
    "Difference",
    "Inspector",
    "Judged",
    "Record",
    "Reference",
    "References",
    "Similar",
    "Source",
    "Tally",
    "Weighed",
    "as_csv",
    "certificate_file",
    "chosen_bundles",
    "chosen_number",
    "difference",
    "drawn",
    "find_providers",
    "flatten",
    "journal",
    "judge",
    "measure_known",
    "measure_parts",
    "products",
    "providers",
    "read_certificate",
    "read_golden",
    "recalibrate",
    "record_golden",
    "report",
    "resume",
    "row_of",
    "score_folder",
    "shards",
    "verify",
    "weigh",
]
