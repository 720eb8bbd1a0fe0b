"""Words of the page Models."""

from __future__ import annotations

from pathlib import Path

tab = "Models"
list_head = ("bundle", "made", "promise", "state")
active = "active"
ready = "ready"
uncalibrated = "uncalibrated: scores, but no verdicts"
unusable = "cannot be used"
nothing = "No bundles yet"
nothing_chosen = "Choose a bundle"
nothing_chosen_do = "Click one in the list to see what it is and what it promises."
activate = "Activate"
verify = "Verify"
verify_tip = "Compares every file with the card, and golden pictures with their recorded scores, on this machine."
download = "Download the ONNX file"
compare = "Compare with"
compare_nothing = "(nothing)"
guarantee = "What it promises"
certificate = "Certificate"
warnings = "What may weaken the promise"
rows = (
    ("made", "made"),
    ("bundle_id", "bundle"),
    ("calibration_id", "calibration"),
    ("parts", "good parts: train / tune / calibration"),
    ("threshold", "threshold"),
    ("review", "review from"),
    ("rate", "good parts rejected on average, at most"),
    ("confident", "with 95% confidence, at most"),
    ("size", "looks at (px)"),
    ("backbone", "backbone"),
    ("flow", "density"),
    ("versions", "made with"),
)

activated_here = "activated on the page Models"


def activated(name: str) -> str:
    return f"{name} is active: from now on it judges."


def verified(files: int, pictures: int, difference: float) -> str:
    return (
        f"Intact: {files} files and {pictures} golden pictures agree with the record; the largest difference of a "
        f"score is {difference:.1e} of the good scores' spread."
    )


def not_verified(flips: int, difference: float) -> str:
    return (
        f"Do not use this bundle on this machine: {flips} verdicts differ from the record, and scores by up to "
        f"{difference:.1e} of the good scores' spread."
    )


verifying = "Verifying"
none_active = "No bundle is active; choose one on the page Models and press Activate."


def gone(name: str) -> str:
    return f"{name}: there is no such bundle in the station's folder any more; reload the page"


def empty(folder: Path) -> str:
    return f"{folder} holds no bundles yet; fit one on the page Train, or with: defectflow fit GOOD --out {folder}/NAME"
