"""Words of the page Calibrate."""

from __future__ import annotations

from defectflow_ui.language import Kept, say

tab = "Calibrate"

bundle = "Model"
no_bundle = "No model to calibrate"
no_bundle_do = "Train one on the page Train; it then appears here."
engineers_only = "For engineers"
engineers_only_do = "A threshold decides what the station calls defective, so changing it needs the role 'engineer'."
legend = {
    "good": "good: calibration and sampled parts",
    "other": "answered good, but no fair sample (not counted)",
    "defective": "answered defective",
}
legend_tips = {
    "good": "Parts known to be good: those of the calibration, and parts randomly sampled that somebody answered good.",
    "other": "Good parts that somebody chose to answer, or that were randomly sampled while too many others of those "
    "lack an answer: they say nothing about good parts at large.",
    "defective": "Only defects that somebody noticed and answered.",
}
histogram = "Scores of good parts above the axis, of defective ones below; lines: threshold and grey band"
out_of_range = "{count} refused as not this part"

by_rate = "A threshold from a rate"
by_rate_note = (
    "Type how many good parts may be rejected; the threshold follows from the calibration parts alone. The recipe's "
    "rates, and those that the model promises now, are a promise. Any other is chosen after looking at scores: an "
    "estimate."
)
chosen_after_looking = "Chosen after looking: an estimate"
rate = "Good parts that may be rejected (%)"
review_rate = "Good parts that may be reviewed or rejected (%)"
guarantee = "Kept"
guarantee_info = (
    "'On average' over many calibrations like this one; 'with 95% confidence' also for an unlucky one, "
    "and asks for more parts."
)
guarantees = {"expected": "on average", "confident": "with 95% confidence"}

estimate = "Counted on past parts: estimates, which promise nothing"
estimate_note = (
    "The 95% intervals hold for a threshold that was named beforehand. Whoever picks the best-looking one must expect "
    "somewhat worse. Defective parts are those that somebody answered about, which is no fair sample: defects that "
    "nobody noticed are missing, so more may escape; where people mostly contradict wrong verdicts, fewer may."
)
threshold = "Threshold: defective above"
threshold_info = "A score says how unlike the good parts a picture is; it has no unit."
review = "Grey band from"
review_info = "From here up to the threshold the verdict is Review: a person should look."
columns = (
    ("", ""),
    ("threshold", "Parts that score above it are called defective."),
    ("grey band from", "From here up to the threshold the verdict is Review: a person should look. –: no grey band."),
    ("good parts rejected", "Overkill: of the good parts so many score above the threshold; 95% interval in brackets."),
    (
        "defective parts called ok",
        "Escapes: of the known defective parts so many score below the grey band; 95% interval.",
    ),
)
keys = (
    ("R", "type a rate; Enter sets it"),
    ("T", "threshold; then ← → move it"),
    ("G", "grey band; then ← → move it"),
    ("N", "name of a new version; Enter saves it"),
)
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
name = "Name"
reason = "Reason"
use = "Use it, and this model, from now on"
save_button = "Save"
versions = "Versions"
reason_again = Kept("put back on the page Calibrate")
nothing_drafted = "type a rate or move a threshold first; there is nothing new to save"
changed_meanwhile = "somebody has changed this model's thresholds meanwhile; reload the page, and look again"
uncalibrated = "This model is uncalibrated: it gives scores, but no verdicts, until a version is saved."


def share(count: int, of: int, interval: tuple[float, float]) -> str:
    if not of:
        return say(none_seen)
    low, high = interval
    return say(
        "{count} of {of} = {share:.1%} ({low:.1%} to {high:.1%})",
        count=count,
        of=of,
        share=count / of,
        low=low,
        high=high,
    )


def bar(parts: int, low: float, high: float) -> str:
    return say("{parts}: {low:.2f} to {high:.2f}", parts=parts, low=low, high=high)


def beyond(high: float, good: int, defective: int) -> str:
    """Scores that the axis does not reach; empty if there are none."""
    said = [f"{count} {name}" for count, name in ((good, say("good")), (defective, say("defective"))) if count]
    return say("Beyond {high:.2f}, drawn in the last bar: {scores}.", high=high, scores=", ".join(said)) if said else ""


def cheapest(cost: float, threshold: float, band: float) -> str:
    said = say(
        "Cheapest on these parts: threshold {threshold:.3f}, {cost:.4g} per inspected part on average, looking at the "
        "grey band not counted.",
        threshold=threshold,
        cost=cost,
    )
    if band < threshold:
        return f"{said} {say('The grey band still begins at {band:.3f}.', band=band)}"
    return f"{said} {say('There is no grey band now: set one below it if parts near it should be looked at.')}"


def saved(name: str, used: bool) -> str:
    if used:
        return say("Saved as {name!r}, and in use from now on.", name=name)
    return say("Saved as {name!r}; not in use.", name=name)


def put_back(name: str) -> str:
    return say("{name!r} is in use from now on.", name=name)
