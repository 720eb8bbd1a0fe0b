"""What every room may use: files that appear whole or not at all, claims, the time, CSV cells, progress."""

from defectflow.common.cells import cell
from defectflow.common.clock import Moment, utc_now
from defectflow.common.files import whole
from defectflow.common.progress import Progress, Watch, unwatched

__all__ = ["Moment", "Progress", "Watch", "cell", "unwatched", "utc_now", "whole"]
