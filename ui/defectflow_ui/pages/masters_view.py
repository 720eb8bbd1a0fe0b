"""What the page Masters shows."""

from __future__ import annotations

from markupsafe import Markup

from defectflow.gauge import Standing, draw_chart
from defectflow.store import MasterSet
from defectflow_ui.markup.elements import empty
from defectflow_ui.markup.render import render
from defectflow_ui.visits.uploads import ACCEPTED
from defectflow_ui.words import masters as words


def shown(found: Standing, hours: float | None) -> Markup:
    """`hours`: how long a check holds; None where none is asked for."""
    if found.masters is None:
        return empty(words.nothing, words.nothing_do)
    moments = [run.at for run in found.runs]
    charts = [draw_chart(chart, moments) for chart in found.charts]
    return render("masters/standing.html", words=words, found=found, hours=hours, charts=charts)


def drop_zone(masters: MasterSet | None, *, anew: bool) -> Markup:
    """Where new pictures of the master parts are dropped, or `anew` those that become the master parts."""
    if masters is None and not anew:
        return Markup()
    names = [part.name for part in masters.parts] if masters is not None else []
    return render("masters/drop_zone.html", words=words, accepted=ACCEPTED, names=", ".join(names), anew=anew)
