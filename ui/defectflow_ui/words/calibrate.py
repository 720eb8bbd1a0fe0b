"""Words of the page Calibrate."""

from __future__ import annotations

tab = "Calibrate"

bundle = "Model"
no_bundle = "No model to calibrate"
no_bundle_do = "Train one on the page Train; it then appears here."
engineers_only = "For engineers"
engineers_only_do = "A threshold decides what the station calls defective, so changing it needs the role 'engineer'."
legend = {
    "good": "good: calibration and audit parts",
    "other": "answered good, but no fair sample (not counted)",
    "defective": "answered defective",
}
out_of_range = "{count} refused as not this part"

by_rate = "Keep a promise"
by_rate_note = (
    "Type how many good parts may be rejected. The threshold follows from the good parts alone, and is a promise."
)
rate = "Good parts that may be rejected (%)"
review_rate = "Good parts that may be anything but ok (%)"
guarantee = "Kept"
guarantees = (("on average", "expected"), ("with 95% confidence", "confident"))

by_threshold = "Choose by hand"
estimate = "Counted on past parts: estimates, which promise nothing"
estimate_note = (
    "The intervals (95%) are those of a threshold named beforehand: whoever picks the best-looking one must expect "
    "somewhat worse. Defective parts are those that somebody answered about, which is no fair sample: defects that "
    "nobody noticed are missing, so more may escape; where people mostly contradict wrong verdicts, fewer may."
)
threshold = "Threshold: defective above"
review = "Grey band from"
columns = ("", "threshold", "grey band from", "good parts rejected", "defective parts called ok")
present = "now"
draft = "being chosen"
cheapest_row = "cheapest"
none_seen = "none seen yet"

costs = "What mistakes cost"
cost_overkill = "A good part rejected"
cost_escape = "A defective part missed"
defective_share = "Defective parts among all (%)"
find = "Find the cheapest threshold"

save = "Save as a new version"
saving = "Version"
name = "Name"
reason = "Reason"
use = "Use it, and this model, from now on"
save_button = "Save"
versions = "Versions"
reason_again = "put back on the page Calibrate"
nothing_drafted = "type a rate or move a threshold first; there is nothing new to save"
changed_meanwhile = "somebody has changed this model's thresholds meanwhile; reload the page, and look again"
uncalibrated = "This model is uncalibrated: it gives scores, but no verdicts, until a version is saved."


def share(count: int, of: int, interval: tuple[float, float]) -> str:
    if not of:
        return none_seen
    return f"{count} of {of} = {count / of:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"


def cheapest(cost: float, threshold: float) -> str:
    return f"Cheapest on these parts: threshold {threshold:.3f}, {cost:.4g} per inspected part on average."


def saved(name: str, used: bool) -> str:
    return f"Saved as {name!r}" + (", and in use from now on." if used else "; not in use.")


def put_back(name: str) -> str:
    return f"{name!r} is in use from now on."
