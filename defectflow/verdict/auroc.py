"""Good and defective scores -> how well they are separated. The one definition, for evaluation, report and studies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from defectflow.errors import DataError


def auroc(good: NDArray[np.floating], defective: NDArray[np.floating]) -> float:
    """P(defective score > good score) + P(equal) / 2, over all pairs. Higher scores are worse.

    Shapes: (G,), (D,), in any order. Raises DataError unless there are good and defective scores.
    """
    if not len(good) or not len(defective):
        raise DataError(
            f"separation needs good and defective pictures; {len(defective)} of {len(good) + len(defective)} "
            "are defective"
        )
    ascending = np.sort(good)
    below = np.searchsorted(ascending, defective, side="left") + np.searchsorted(ascending, defective, side="right")
    return float(below.mean() / 2 / len(good))
