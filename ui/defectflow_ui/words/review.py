"""Words of the page Review."""

from __future__ import annotations

from defectflow.store.recalibration import AuditTally
from defectflow_ui.language import Kept, count, keep, say
from defectflow_ui.words.common import counted

tab = "Review"
skipped = "Show those that were skipped"
no_bundle = "No model to review for"
nothing = "Nothing is waiting for you"
nothing_skipped = "Nothing was skipped"
nothing_skipped_do = "Parts that you skip wait here. Untick the box to continue with the others."
audit = "randomly sampled"
audit_tip = (
    "A few parts are sampled whatever their score, so that their answers say something about all parts. Only these may "
    "join the calibration."
)
grey = "grey band"
grey_tip = "More unusual than most good parts, but below the threshold. These answers may train the next model."
blind = "What the model makes of it is shown once you have answered, so that it does not sway you."
no_picture = "The picture was not kept, or it is gone; answer with the part at hand, or skip it."
unread = (
    "{names}: could not be read. Inspect it again under the same name, or its part counts as unanswered, even where it "
    "is good."
)
model_said = "The model says"
shots = "Pictures of this part"
keys = (("← →", "previous, next picture of the part"), ("+ −", "zoom"))
undone = "Your last answer is taken back."
nothing_to_undo = "You have no answer to take back."

thresholds = "New thresholds from these answers"
thresholds_about = (
    "Parts that were randomly sampled and answered good join the calibration: the promise about good parts then covers "
    "what the line makes now. Look at what would change first; nothing changes until you apply it."
)
sampled = "Parts to sample (%)"
sampled_info = (
    "Drawn at random, whatever their score, from the parts first seen from now on. 100 while there are few parts a day."
)
sample = "Sample this share"
no_share = "Type the share of parts to sample, from 0 to 100%."
rate = "Good parts that may be rejected (%)"
audit_only = "Leave the earlier calibration parts out"
audit_only_info = "For when production has moved, and the earlier parts are no longer like it."
since = "Count parts first seen since (UTC)"
since_info = "Empty: all. For when earlier parts cannot be answered any more."
preview = "Preview"
name = "Name of the new version"
reason = "Reason"
apply = "Apply"
discard = "Discard"
discarded = "Discarded; nothing was changed."
no_preview = "Look at a preview first."
flips = "Past parts whose verdict would change"
answered_defective = "answered defective"
no_flips = "No past verdict would change."
versions = "Versions"


def nothing_do(rate: float) -> str:
    return say(
        "Parts in the grey band, and {rate:.3g}% of all parts, drawn at random when they are first seen, appear here "
        "once they have been inspected. Rejected parts are answered about on Inspect and History; the page Train lets "
        "the model learn from these answers.",
        rate=100 * rate,
    )


def score(value: float, threshold: float | None) -> str:
    if threshold is None:
        return say("score {score:.3f}", score=value)
    return say("score {score:.3f}, threshold {threshold:.3f}", score=value, threshold=threshold)


def waiting(audit: int, grey: int) -> str:
    both = audit + grey
    return say("{both} waiting: {audit} randomly sampled, {grey} in the grey band", both=both, audit=audit, grey=grey)


not_counted = "Answered good, but not counted:"


def drawn(sample: AuditTally, allowed: float, needed: int, added: int) -> str:
    more = count("{number} more answer is needed", "{number} more answers are needed", needed)
    if not needed:
        more = say("that is enough")
        if not added:
            more = say("that is few enough, but none of those answered good can be counted yet")
    told = [
        say("{number} unanswered", number=sample.unanswered),
        say("{number} skipped", number=sample.skipped),
    ]
    if sample.unreadable:
        told.append(say("{number} answered good with an unreadable picture", number=sample.unreadable))
    if sample.uncounted:
        told.append(say("{number} answered good that cannot be counted", number=sample.uncounted))
    return say(
        "{parts} randomly sampled: {told}. At most {allowed:.0%} may lack an answer: {more}.",
        parts=counted(sample.parts, "part"),
        told=", ".join(told),
        allowed=allowed,
        more=more,
    )


def none_drawn(rate: float) -> str:
    if not rate:
        return say("At present no part is sampled, so no answer can set thresholds.")
    return say(
        "No part has been sampled yet: at {rate:.3g}%, about one part in {parts} is. Answers about others do not count "
        "here.",
        rate=100 * rate,
        parts=round(1 / rate),
    )


def sampled_now(rate: float) -> str:
    return say("From now on {rate:.3g}% of the parts are sampled.", rate=100 * rate)


def bad_day(text: str) -> str:
    return say("{day!r} is no day; write it like 2026-05-31, or leave it empty", day=text)


def tally(good: int, defective: int, foreign: int, missing: int, parts: int) -> str:
    return say(
        "{parts} randomly sampled: {good} good, {defective} defective, {foreign} not this part, "
        "{missing} without an answer.",
        parts=counted(parts, "part"),
        good=good,
        defective=defective,
        foreign=foreign,
        missing=missing,
    )


def threshold(before: float, after: float, added: int) -> str:
    return count(
        "{number} part joins; the threshold goes from {before:.3f} to {after:.3f}.",
        "{number} parts join; the threshold goes from {before:.3f} to {after:.3f}.",
        added,
        before=before,
        after=after,
    )


def applied(name: str) -> str:
    return say("{name} holds from now on.", name=name)


def rolled_back(name: str) -> str:
    return say("{name} holds again.", name=name)


def rolled_back_here(name: str) -> Kept:
    return keep("rolled back to {name} on the page Review", name=name)


def lost(parts: int) -> str:
    return count(
        "{number} part that was answered defective would pass as OK. Do not apply this unless that is meant.",
        "{number} parts that were answered defective would pass as OK. Do not apply this unless that is meant.",
        parts,
    )


def more(count: int) -> str:
    return say("and {count} more", count=count)
