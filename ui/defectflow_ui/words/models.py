"""Words of the page Models."""

from __future__ import annotations

from pathlib import Path

tab = "Models"
list_head = ("model", "made", "promise", "state")
none_active = "No model is active; choose one on the page Models and press Activate."
active = "active"
ready = "ready"
estimate = "estimate"
uncalibrated = "uncalibrated: scores, but no verdicts"
unusable = "cannot be used"
nothing = "No models yet"
nothing_chosen = "Choose a model"
nothing_chosen_do = "Click one in the list to see what it is and what it promises."
activate = "Activate"
verify = "Verify"
download = "Download the ONNX file"
compare = "Compare with"
compare_nothing = "(nothing)"
guarantee = "What it promises"
certificate = "Certificate of this machine"
outdated = "It was verified before it was last changed; press Verify."
comparison_head = (
    "runs on",
    "pictures",
    "verdicts that differ",
    "borderline",
    "largest difference (σ)",
    "95% within (ms)",
)
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


def verifying(stage: str, done: int, total: int) -> str:
    return f"Verifying: {stage}, {done} of {total}"


def certified(created: str, machine: str) -> str:
    return f"Verified on {machine}, {created}: intact, and it gives the recorded verdicts there."


def refused(created: str, machine: str) -> str:
    return f"Do not use this model on {machine}: the verification of {created} failed."


def by_hand(name: str) -> str:
    return f"{name}: nobody has verified it on this machine yet; press Verify."


def gone(name: str) -> str:
    return f"{name}: there is no such model in the station's folder any more; reload the page"


def empty(folder: Path) -> str:
    return f"{folder} holds no bundles yet; fit one with: defectflow fit GOOD --out {folder}/NAME"
