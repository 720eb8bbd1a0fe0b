"""Words of the page Live."""

from __future__ import annotations

from collections.abc import Sequence

from defectflow.store import product_in
from defectflow_ui.language import say

tab = "Live"
stretch = "Counted over"
stretches = {"1": "the last hour", "8": "the last 8 hours", "24": "the last 24 hours"}
nothing = "Nothing was inspected yet"
nothing_do = "As soon as the line, a folder or somebody at Inspect sends a picture, it is shown here."
no_picture = "The picture was not kept. The store keeps copies where its settings name a folder for them."
part = "part"
passed = "Passed as OK"
takt = "Takt"
takt_tip = "Time between parts: the median over the latest 50. None where they came all at once."
slowest = "Model time"
slowest_tip = "95 of 100 pictures took the model at most so long; over the latest 100."
score = "score"
alarm = "Production has moved: good parts no longer score as they did at calibration."
before = "Before it"
marked = "Marked places"


def alarm_of(models: Sequence[str]) -> str:
    """`models`: those whose production has moved; of several products at work, they are named."""
    products = [product for name in models if (product := product_in(name)) is not None]
    return f"{', '.join(products)}: {say(alarm)}" if products else say(alarm)


def seconds(value: float | None) -> str:
    return "–" if value is None else say("{value:.1f} s", value=value)


def milliseconds(value: float | None) -> str:
    return "–" if value is None else say("{value:.0f} ms", value=value)


def share(value: float | None) -> str:
    return "–" if value is None else say("{value:.1%}", value=value)
