"""What every room may use: files that appear whole or not at all, claims, the time, CSV cells, progress."""

from defectflow.common.cells import cell
from defectflow.common.claim import claimed
from defectflow.common.clock import utc_now
from defectflow.common.files import atomic_write, is_full, remedy
from defectflow.common.progress import Progress, Watch, unwatched

__all__ = ["Progress", "Watch", "atomic_write", "cell", "claimed", "is_full", "remedy", "unwatched", "utc_now"]
