"""Words of the page History."""

from __future__ import annotations

from defectflow.store import Answer
from defectflow_ui.language import count, say
from defectflow_ui.words.answering import answers
from defectflow_ui.words.common import counted

tab = "History"
period = "When"
periods = {
    "shift": "last 8 hours",
    "day": "last 24 hours",
    "week": "last 7 days",
    "month": "last 30 days",
    "all": "always",
    "dates": "between dates",
}
since = "From"
until = "To"
time = {"since": "From, time of day", "until": "To, time of day"}
whole_days = "Without a time, whole days."
incomplete = "a date is not complete; type or choose its day, month and year, or leave its time out, too"
no_date = "this is not a date; choose one from the calendar"
backwards = "the search ends before it begins; choose an earlier first day, or a later last one"
decision = "Verdict"
any_decision = "(any)"
answer = "Answered"
answered = {
    "differently": "other than the verdict",
    "good": "good",
    "defective": "defective",
    "not this part": "not this part",
    "nobody": "by nobody yet",
}
file = "File name contains"
part = "Part"
model = "Model and thresholds"
any_model = "(any)"
product = "Product"
any_product = "(any)"
search = "Search"
export = "CSV"
this_table = "this table"
nothing = "Nothing found"
nothing_do = "Nothing was inspected yet, or nothing fits. Inspect pictures, or widen the search."
head = ("when", "verdict", "file", "part", "score", "threshold", "model", "by")
nothing_chosen = "Choose an inspection"
nothing_chosen_do = "Click a row to read the part's full story."
enlarge = "Show this picture large"
story = "Story of part"
link = "link to it"
inspected = "inspected with"
calibration = "thresholds"
same_thresholds = "List what was judged by these thresholds"
passed = "share that passed as OK (line above)"
stretch = {"hour": "hour", "day": "day", "week": "week (by its Monday)", "month": "month"}
previous = "newer"
following = "older"
drift = "Has production moved?"
drift_tip = (
    "Every part's score is ranked among the calibration parts and all parts before it. If good parts score as they "
    "always did, the evidence stays low; above the line, they no longer do."
)
drift_product = "Whose course is shown"
drift_check = "Check now whether production has moved"
drift_do = (
    "Look at what has changed: parts, light, camera, focus. Where good parts are no longer as they were, set the "
    "thresholds anew from answers (Review), or train on what the line makes now. Where the cause is put right, "
    "an engineer writes below what it was. Until then the alarm stands."
)
begins = "Production begins now"
begins_ask = (
    "Count from now on? Parts seen so far no longer belong to what production is compared with: it begins anew with "
    "the calibration parts."
)
begun = "Counted since production began:"
found_out = "What was found, or put right"
looked_into = "It was looked into"
drift_chart = "Evidence that production has moved, part by part; the dashed line is the alarm"
alarm = "alarm"
keys = (("R", "search again"), ("← →", "newer, older"))


kinds = "Kinds of defect, as people answered"
kinds_tip = "Parts answered defective, each once, the most frequent kind first; the columns at the right show when."
no_kind = "(no kind given)"


def kinds_share(parts: int, share: float) -> str:
    return say("{parts} ({share:.0%})", parts=parts, share=share)


def kind_trend(kind: str, every: str, told: list[tuple[str, int]]) -> str:
    course = ", ".join(f"{start}: {parts}" for start, parts in told)
    return say("{kind}, parts per {stretch}: {course}", kind=kind, stretch=say(stretch[every]), course=course)


def found(first: int, last: int, total: int) -> str:
    return say("{first} to {last} of {inspections}", first=first, last=last, inspections=counted(total, "inspection"))


def tally(parts: int, share: float | None) -> str:
    judged = counted(parts, "part")
    if share is None:
        return say("{parts} judged", parts=judged)
    return say("{parts} judged, {share:.1%} of them passed as OK", parts=judged, share=share)


def more_products(number: int) -> str:
    return count(
        "{number} more product is not listed; choose it above.",
        "{number} more products are not listed; choose them above.",
        number,
    )


def moved(product: str) -> str:
    return say("{product}: production has moved", product=product)


def tally_of(parts: int, verdict: str) -> str:
    return say("{parts} whose worst picture is: {verdict}", parts=counted(parts, "part"), verdict=verdict)


def chart(every: str, *, passed: bool) -> str:
    if passed:
        return say("Parts per {stretch}, UTC, by verdict, and the share that passed as OK", stretch=say(stretch[every]))
    return say("Parts per {stretch}, UTC, by verdict", stretch=say(stretch[every]))


def bar(start: str, parts: list[tuple[str, int]]) -> str:
    return f"{start}: " + ", ".join(f"{count} {verdict}" for verdict, count in parts if count)


def bar_passed(share: float) -> str:
    return say("; {share:.1%} passed as OK", share=share)


def part_number(number: int) -> str:
    return say("part {number:,}", number=number)


def thresholds(model: str, version: str) -> str:
    return f"{model}: {version}"


def given(answer: Answer) -> str:
    """Beside a verdict."""
    return say(answers[answer])
