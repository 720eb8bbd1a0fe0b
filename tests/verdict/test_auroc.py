"""The one AUROC, against scikit-learn's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from defectflow.errors import DataError
from defectflow.verdict import auroc


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scikit_learns_ties_included(seed: int) -> None:
    generator = np.random.default_rng(seed)
    good, defective = generator.integers(0, 8, 40).astype(float), generator.integers(2, 10, 25).astype(float)
    labels = np.repeat([0, 1], [len(good), len(defective)])
    assert auroc(good, defective) == pytest.approx(roc_auc_score(labels, np.concatenate([good, defective])))


def test_ends_and_middle() -> None:
    low, high = np.array([2.0, 1.0]), np.array([4.0, 3.0])
    assert (auroc(low, high), auroc(high, low), auroc(low, low)) == (1.0, 0.0, 0.5)


@pytest.mark.parametrize(("good", "defective", "said"), [(0, 3, "3 of 3"), (3, 0, "0 of 3")])
def test_one_side_only_is_refused(good: int, defective: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        auroc(np.arange(float(good)), np.arange(float(defective)))
