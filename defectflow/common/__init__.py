"""What every room may use: files that appear whole or not at all, claims, cores, the time, CSV cells, progress."""

from defectflow.common.cells import cell
from defectflow.common.claim import claimed
from defectflow.common.clock import utc_now
from defectflow.common.cores import are_limited, usable_cores
from defectflow.common.files import is_full, remedy, whole
from defectflow.common.progress import Progress, Watch, unwatched

__all__ = [
    "Progress",
    "Watch",
    "are_limited",
    "cell",
    "claimed",
    "is_full",
    "remedy",
    "unwatched",
    "usable_cores",
    "utc_now",
    "whole",
]
