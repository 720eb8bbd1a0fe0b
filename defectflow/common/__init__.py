"""What every package may use: files written atomically, claims, cores, the time, CSV cells, progress."""

from defectflow.common.cells import cell
from defectflow.common.claim import claimed
from defectflow.common.clock import Moment, utc_now
from defectflow.common.cores import are_limited, usable_cores
from defectflow.common.files import atomic_write, is_full, remedy, write_whole
from defectflow.common.progress import Progress, Watch, unwatched

__all__ = [
    "Moment",
    "Progress",
    "Watch",
    "are_limited",
    "atomic_write",
    "cell",
    "claimed",
    "is_full",
    "remedy",
    "unwatched",
    "usable_cores",
    "utc_now",
    "write_whole",
]
