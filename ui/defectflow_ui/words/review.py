"""Words of the page Review."""

from __future__ import annotations

tab = "Review"
buttons = {"good": "Good", "defective": "Defective", "not this part": "Not this part", "skip": "Skip"}
undo = "Undo"
kind = "Kind of defect"
kind_info = "Choose one or type a new one; goes with Defective."
comment = "Comment"
comment_info = "Goes with the answer, if there is one."
skipped = "Show those that were skipped"
may_not = "You may look, but not answer"
may_not_do = "Answering needs the role operator. Ask whoever manages users at your site."
no_bundle = "No model to review for"
nothing = "Nothing is waiting for you"
nothing_do = "Parts in the grey band, and a few that are drawn by lot, appear here once they have been inspected."
nothing_skipped = "Nothing was skipped"
nothing_skipped_do = "Parts that you skip wait here. Untick the box to go on with the others."
audit = "drawn by lot"
audit_tip = (
    "A few parts are drawn whatever their score, so that their answers say something about all parts. Only these may "
    "join the calibration."
)
grey = "grey band"
grey_tip = "More unusual than most good parts, but below the threshold. These answers may train the next model."
no_picture = "The picture was not kept, or it is gone; see the store's setting 'pictures'."
said_before = "Said about it"
keys = (
    ("G", "it is good"),
    ("D", "it is defective"),
    ("N", "it is not this part"),
    ("S", "skip it for now"),
    ("U", "take my last answer back"),
    ("+ −", "zoom"),
)
answered_already = "That part has its answer already; here is the next one."
undone = "Your last answer is taken back."
nothing_to_undo = "You have no answer to take back."
answers = {"good": "good", "defective": "defective", "not this part": "not this part", "skip": "skipped"}

thresholds = "New thresholds from these answers"
thresholds_about = (
    "Parts drawn by lot and answered good join the calibration: the promise about good parts then covers what the line "
    "makes now. Look at what would change first; nothing changes until you apply it."
)
rate = "Good parts that may be rejected (%)"
audit_only = "Leave the earlier calibration parts out"
audit_only_info = "For when production has moved, and the earlier parts are no longer like it."
preview = "Preview"
name = "Name of the new version"
reason = "Reason"
apply = "Apply"
discard = "Discard"
discarded = "Discarded; nothing was changed."
no_preview = "Look at a preview first."
flips = "Past parts that would be judged otherwise"
no_flips = "No past part would be judged otherwise."
versions = "Versions"
versions_head = ("", "name", "made", "by", "parts", "rate", "threshold", "reason", "")
versions_none = "The model's own calibration becomes the first version with its first inspection."
active = "in use"
estimate = "by eye"
roll_back = "Roll back"
no_version = "There is no such version any more; reload the page."


def score(value: float, threshold: float | None) -> str:
    return f"score {value:.3f}" + ("" if threshold is None else f", threshold {threshold:.3f}")


def waiting(audit: int, grey: int) -> str:
    return f"{audit + grey} waiting: {audit} drawn by lot, {grey} in the grey band"


def answered(part: str, answer: str) -> str:
    return f"{part}: {answer}"


def tally(good: int, defective: int, foreign: int, missing: int, parts: int) -> str:
    return (
        f"{parts} parts drawn by lot: {good} good, {defective} defective, {foreign} not this part, "
        f"{missing} without an answer."
    )


def threshold(before: float, after: float, added: int) -> str:
    return f"{added} parts join; the threshold goes from {before:.3f} to {after:.3f}."


def applied(name: str) -> str:
    return f"{name} holds from now on."


def rolled_back(name: str) -> str:
    return f"{name} holds again."


def rolled_back_here(name: str) -> str:
    return f"rolled back to {name} on the page Review"


def more(count: int) -> str:
    return f"and {count} more"
