"""Words of the page History."""

from __future__ import annotations

tab = "History"
period = "When"
periods = {"day": "last 24 hours", "week": "last 7 days", "month": "last 30 days", "all": "always"}
decision = "Verdict"
any_decision = "(any)"
file = "File name contains"
part = "Part"
model = "Model"
any_model = "(any)"
search = "Search"
export = "CSV"
nothing = "Nothing found"
nothing_do = "Nothing was inspected yet, or nothing fits. Inspect pictures, or widen the search."
head = ("when (UTC)", "verdict", "file", "part", "score", "threshold", "model", "by")
nothing_chosen = "Choose an inspection"
nothing_chosen_do = "Click a row to read the part's full story."
story = "Story of part"
inspected = "inspected with"
calibration = "calibration"
chart = "Parts by verdict over time, and the share that passed"
previous = "newer"
following = "older"
drift = "Has production moved?"
drift_tip = (
    "Every part's score is ranked among the calibration parts and all parts before it. If good parts score as they "
    "always did, the evidence stays low; above the line, they no longer do."
)
drift_check = "Check for drift"
drift_chart = "Evidence that production has moved, part by part; the dashed line is the alarm"
alarm = "alarm"
keys = (("R", "search again"), ("← →", "newer, older"))


def found(first: int, last: int, total: int) -> str:
    return f"{first} to {last} of {total} inspections"


def tally(parts: int, share: float | None) -> str:
    return f"{parts} parts judged" + ("" if share is None else f", {share:.1%} of them passed")
