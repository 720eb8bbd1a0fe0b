"""Words of the table of calibration versions, which Calibrate and Review share."""

from __future__ import annotations

from defectflow_ui.language import say

head = ("version", "made", "promise", "threshold", "reason", "")
none = "No version saved yet. The first one is recorded when this model is first used or changed."
in_use = "in use"
use_again = "Use again"
estimate = "chosen after looking: an estimate"


def ask(name: str) -> str:
    return say("Let {name!r} decide from now on? Another version can be put back in the same way.", name=name)


def promise(rate: float, parts: int) -> str:
    return say("rejects at most {rate:.3g}% of good parts on average, from {parts} parts", rate=100 * rate, parts=parts)


def other_model(name: str) -> str:
    return say(
        "these versions are of another model than {name}, which is meant by now; leave this page and come back to it",
        name=name,
    )
