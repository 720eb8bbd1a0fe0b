"""Words of the report about a search of the page History."""

from __future__ import annotations

from datetime import datetime

from defectflow.store import Answer, MasterRun, Query
from defectflow_ui.language import date, say
from defectflow_ui.words import history
from defectflow_ui.words.verdicts import VERDICTS

make = "Report"
file_name = "report.html"
made = "Made"
print_it = "To keep it as PDF, print this page."
judged = "parts judged"
passed = "passed as OK"
review = "of these, Review"
defect = "rejected as defective"
invalid = "too unusual to judge (invalid)"
unread = "parts with unreadable pictures only"
answered = "parts people answered about"
differently = "parts whose verdict people contradicted"
course = "Course"
worst = "Worst parts"
worst_about = "The highest scores of rejected parts; those that people answered good are left out."
none_rejected = "Nothing was rejected."
not_kept = "The picture is not kept."
thresholds = "Thresholds that judged"
thresholds_head = ("model", "version", "set", "threshold", "pictures judged with it", "what it promises")
masters = "Checks with master parts"
masters_head = ("when", "by", "model", "judged as expected", "what was not, and what the charts say")
no_masters = "No check with master parts falls into this time."
drift = "Has production moved?"
no_drift = "Nobody has looked yet, or no model is active."
promised = "What the active model promises now"
promised_before = "Other thresholds judged a part of what is reported here; the table above has them all."
estimate = "an estimate, chosen after looking: nothing is promised"


def title(model: str | None) -> str:
    return say("{model}: inspection report", model=model) if model else say("Inspection report")


def share(count: int, of: int) -> str:
    return say("{count:,} ({share:.1%})", count=count, share=count / of) if of else "–"


def answer(given: Answer) -> str:
    return say("answered {answer}", answer=history.given(given))


def set_by(at: datetime, by: str) -> str:
    return f"{_day(at)}, {by}"


def right(run: MasterRun) -> str:
    return say("{count} of {of}", count=sum(one.right for one in run.judged), of=len(run.judged))


def findings(run: MasterRun) -> str:
    told = [*run.wrong, *(f"{one.name}: {one.signal}" for one in run.signals)]
    return "; ".join(told) or say("nothing")


def alarm(where: str) -> str:
    return say("Alarm at {where}.", where=where)


def asked(query: Query) -> str:
    """The search in words."""
    told = [say("from {since}", since=_day(query.since))] if query.since else []
    told += [say("until {until}", until=_day(query.until))] if query.until else []
    told += [say("verdict {verdict}", verdict=VERDICTS[one][0]) for one in query.decisions]
    told += [say("answered {answered}", answered=say(history.answered[query.answered]))] if query.answered else []
    told += [say("file name contains “{file}”", file=query.file)] if query.file else []
    told += [say("part {part}", part=query.part)] if query.part else []
    told += [say("product {product}", product=query.product)] if query.product else []
    told += [say("model {bundle_id}", bundle_id=query.bundle_id)] if query.bundle_id else []
    return ", ".join(told) or say("everything that was inspected")


def _day(at: datetime) -> str:
    return date(at, "%Y-%m-%d %H:%M UTC")
