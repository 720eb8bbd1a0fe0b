"""What a new station is for, as a list of steps: on Inspect until all were taken, or somebody has hidden it.

Beside pictures it makes room for them.
"""

from __future__ import annotations

from markupsafe import Markup

from defectflow.store import Query, Role
from defectflow.verdict import parts_needed
from defectflow_ui.markup.render import render
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import calibrate, history, inspect, models, review, train
from defectflow_ui.words import first_steps as words

LEARNED = 2 / 3
"""A fit keeps at most the other third of the parts for the calibration."""
USUAL_RATE = 0.05


def good_parts_needed() -> int:
    """For a model that can be activated at the usual rate."""
    return round(parts_needed(USUAL_RATE, "expected") / (1 - LEARNED))


def first_steps(station: Station, visitor: Visitor) -> Markup:
    """Each step with whether it was taken, and the page where it is; nothing for who may not take them all."""
    if visitor.session.knows_its_way or not visitor.may(Role.ENGINEER):
        return Markup()
    bundles, past = [one.bundle for one in station.bundles.all() if one.bundle is not None], station.store.history
    answered = any(past.search(Query(answered=answer, limit=1)) for answer in ("good", "defective"))
    steps = (
        (words.learn(good_parts_needed(), USUAL_RATE), bool(bundles), train.tab),
        (words.promise, any(bundle.card.calibration for bundle in bundles), calibrate.tab),
        (words.activate, station.bundles.activated_name is not None, models.tab),
        (words.judge, bool(past.search(Query(limit=1))), inspect.tab),
        (words.answer, answered, review.tab),
        (words.report, answered, history.tab),
    )
    if all(done for _, done, _ in steps):
        return Markup()
    following = next(place for place, (_, done, _) in enumerate(steps) if not done)
    told = words.so_far(sum(done for _, done, _ in steps), len(steps))
    return render(
        "first_steps/list.html",
        words=words,
        steps=steps,
        following=following,
        here=inspect.tab,
        told=told,
    )
