"""What an operator sees: one scale for all pictures, outlines where the mask is, nothing where nothing is."""

from __future__ import annotations

import numpy as np
from cards import measured
from numpy.typing import NDArray

from defectflow.verdict.overlay import overlay
from defectflow.verdict.verdict import Decision, Verdict

GREY = np.full((120, 160, 3), 128, np.uint8)


def judged(anomaly_map: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> Verdict:
    values = measured(
        anomaly_map=anomaly_map,
        height_px=120,
        width_px=160,
        decision=Decision.DEFECT,
        p_value=0.01,
        threshold=1.0,
        review_threshold=0.5,
        pixel_threshold=4.0,
        mask=np.zeros(anomaly_map.shape, bool) if mask is None else mask,
    )
    return Verdict(**values)


def flat(value: float) -> NDArray[np.float32]:
    return np.full((32, 32), value, np.float32)


def test_an_average_picture_is_shown_as_it_is() -> None:
    assert (overlay(GREY, judged(flat(0.0))) == GREY).all()
    assert (overlay(GREY, judged(flat(-3.0))) == GREY).all()


def test_the_scale_is_fixed_and_not_the_pictures_own_range() -> None:
    alone = flat(0.0)
    alone[8:12, 8:12] = 4.0
    beside_worse = alone.copy()
    beside_worse[24:28, 24:28] = 40.0
    first, second = overlay(GREY, judged(alone)), overlay(GREY, judged(beside_worse))
    corner = (slice(0, 60), slice(0, 80))
    assert (first[corner] == second[corner]).all()
    assert (first != GREY).any()


def test_values_beyond_the_scale_look_like_its_end() -> None:
    assert (overlay(GREY, judged(flat(8.0))) == overlay(GREY, judged(flat(1e6)))).all()


def test_regions_are_outlined_on_any_size_and_the_input_is_untouched() -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:16, 8:16] = True
    values = np.where(mask, 5.0, 0.0).astype(np.float32)
    for picture in (GREY, np.full((60, 80, 3), 128, np.uint8)):
        before = picture.copy()
        drawn = overlay(picture, judged(values, mask))
        height, width = picture.shape[:2]
        y, x = np.nonzero((drawn == 255).all(axis=2))
        assert abs(y.min() / height - 8 / 32) < 0.03 and abs(y.max() / height - 16 / 32) < 0.03
        assert abs(x.min() / width - 8 / 32) < 0.03 and abs(x.max() / width - 16 / 32) < 0.03
        assert (picture == before).all()


def test_highest_places_below_the_pixel_threshold_are_dashed() -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    solid = overlay(GREY, judged(np.where(mask, 5.0, 0.0).astype(np.float32), mask))
    dashed = overlay(GREY, judged(np.where(mask, 3.9, 0.0).astype(np.float32), mask))
    white = [int((drawn == 255).all(axis=2).sum()) for drawn in (solid, dashed)]
    assert 0.3 * white[0] < white[1] < 0.8 * white[0]
