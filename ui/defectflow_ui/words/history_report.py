"""Words of the report about a search of the page History."""

from __future__ import annotations

from datetime import datetime

from defectflow.store import Query
from defectflow_ui.words import history
from defectflow_ui.words.verdicts import VERDICTS

make = "Report"
file_name = "report.html"
made = "Made"
print_it = "To keep it as PDF, print this page."
judged = "parts judged"
passed = "passed (OK or Review)"
review = "of these, Review"
defect = "rejected as defective"
gross = "pictures with a gross defect"
wrong = "wrong pictures"
unread = "parts with unreadable pictures only"
differently = "pictures answered other than the verdict"
course = "Course"
worst = "Worst parts"
none_rejected = "Nothing was rejected."
not_kept = "The picture is not kept."
thresholds = "Thresholds in force"
thresholds_head = ("model", "version", "threshold", "what it promises")
drift = "Has production moved?"
no_drift = "Nobody has looked yet, or no model is active."
promised = "What the active model promises"
estimate = "an estimate, chosen after looking: nothing is promised"


def title(model: str | None) -> str:
    return f"{model}: inspection report" if model else "Inspection report"


def share(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.1%})" if of else "–"


def promise(rate: float, parts: int) -> str:
    return f"rejects at most {100 * rate:.3g}% of good parts on average, from {parts} parts"


def alarm(where: str) -> str:
    return f"Alarm at {where}."


def asked(query: Query) -> str:
    """The search in words."""
    told = [f"from {_day(query.since)}"] if query.since else []
    told += [f"until {_day(query.until)}"] if query.until else []
    told += [f"verdict {VERDICTS[one][0]}" for one in query.decisions]
    told += [f"answered {history.answered[query.answered]}"] if query.answered else []
    told += [f"file name contains “{query.file}”"] if query.file else []
    told += [f"part {query.part}"] if query.part else []
    told += [f"model {query.bundle_id}"] if query.bundle_id else []
    return ", ".join(told) or "everything that was inspected"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
