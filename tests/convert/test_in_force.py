"""Which pictures a conversion has to find again: those of the calibration that is in force."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from defectflow.bundle import CalibrationPart, fitted_digests, open_bundle
from defectflow.convert.precision import sides_in_force


def test_audit_parts_alone_take_the_place_of_those_of_the_fit(uncalibrated_copy: Path) -> None:
    bundle = open_bundle(uncalibrated_copy)
    fitted = Counter(fitted_digests(bundle).values())
    assert fitted["calibration"] > 0
    assert sides_in_force(bundle) == fitted_digests(bundle)
    audit = CalibrationPart(part="audit", score=0.1, peak=0.2, pictures=1)
    joined = bundle.card.model_copy(
        update={"calibration_parts": (*bundle.card.calibration_parts, audit), "added_digests": ("aa",)}
    )
    assert Counter(sides_in_force(replace(bundle, card=joined)).values()) == fitted + Counter(calibration=1)
    alone = joined.model_copy(update={"calibration_parts": (audit,)})
    assert Counter(sides_in_force(replace(bundle, card=alone)).values()) == {
        "train": fitted["train"], "tune": fitted["tune"], "calibration": 1,
    }  # fmt: skip
