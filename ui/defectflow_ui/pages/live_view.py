"""What the page Live shows: figures from rows, and the board. No Gradio here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from markupsafe import Markup

from defectflow.store import Inspection, YieldCount, total
from defectflow_ui.markup.render import render
from defectflow_ui.words import live as words

TAKT_PARTS, TIMED_PICTURES = 50, 100
SHORTEST_TAKT_S = 0.05


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a stretch of time; seconds and milliseconds are of the latest pictures."""

    counts: YieldCount
    takt_s: float | None
    slowest_ms: float | None


def figures(counts: Sequence[YieldCount], latest: Sequence[Inspection]) -> Figures:
    """`latest`: inspections, newest first."""
    return Figures(total(counts), takt_s(latest), slowest_ms(latest))


def takt_s(latest: Sequence[Inspection]) -> float | None:
    """Median time between the first pictures of parts that follow each other.

    None of fewer than three parts, and where they came all at once, as in a drop: that is no line's takt.
    """
    begun = dict[str, float]()
    for item in latest:  # newest first, so a part's first picture stays
        begun[item.part] = item.at.timestamp()
    times = sorted(begun.values())[-TAKT_PARTS:]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    takt = median(gaps) if len(gaps) > 1 else 0.0
    return takt if takt >= SHORTEST_TAKT_S else None


def slowest_ms(latest: Sequence[Inspection]) -> float | None:
    """The 95th percentile of the model's time."""
    taken = sorted(item.milliseconds for item in latest[:TIMED_PICTURES] if item.milliseconds is not None)
    return taken[min(len(taken) - 1, int(0.95 * len(taken)))] if taken else None


def board(
    latest: Sequence[Inspection],
    addresses: Mapping[int, str | None],
    counted: Figures,
    *,
    moved: Sequence[str],
    products: Markup,
) -> Markup:
    """The newest picture, large, and those before it. `addresses`: of the pictures that are kept, by number.

    `moved`: models whose production has moved, by name; `products`: what there is to say of each of several.
    """
    newest, *before = latest
    return render(
        "live/board.html",
        words=words,
        newest=newest,
        before=before,
        addresses=addresses,
        figures=counted,
        alarm=words.alarm_of(moved) if moved else "",
        products=products,
    )
