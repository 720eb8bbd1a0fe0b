"""Words of the table of calibration versions, which Calibrate and Review share."""

from __future__ import annotations

head = ("version", "made", "basis", "threshold", "reason", "")
none = "No version saved yet. The first one is recorded when this model is first used or changed."
in_use = "in use"
use_again = "Use again"
estimate = "chosen after looking: an estimate"


def ask(name: str) -> str:
    return f"Let {name!r} decide from now on? Another version can be put back in the same way."


def promise(rate: float, parts: int) -> str:
    return f"promise {100 * rate:.4g}%, {parts} parts"


def other_model(name: str) -> str:
    return (
        f"these versions are of another model than {name}, which is meant by now; leave this page and come back to it"
    )
