"""What every room may use: files that appear whole or not at all, the time, CSV cells, progress."""

from defectflow.common.cells import cell
from defectflow.common.clock import utc_now
from defectflow.common.files import atomic_write
from defectflow.common.progress import Progress, Watch, unwatched

__all__ = ["Progress", "Watch", "atomic_write", "cell", "unwatched", "utc_now"]
