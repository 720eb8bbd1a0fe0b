"""What the page Masters shows."""

from __future__ import annotations

from markupsafe import Markup

from defectflow.gauge import Standing, draw_chart
from defectflow.store import MasterSet
from defectflow_ui.markup.elements import empty
from defectflow_ui.markup.render import render
from defectflow_ui.visits.uploads import ACCEPTED
from defectflow_ui.words import masters as words


def shown(found: Standing, hours: float | None, named: tuple[str, str]) -> Markup:
    """`hours`: how long a check holds; None where none is asked for. `named`: bundle and store, as in a command."""
    if found.masters is None:
        return empty(words.nothing, words.nothing_do(*named))
    moments = [run.at for run in found.runs]
    charts = [draw_chart(chart, moments) for chart in found.charts]
    return render("masters/standing.html", words=words, found=found, hours=hours, charts=charts)


def drop_zone(masters: MasterSet | None) -> Markup:
    """Nothing where there are no master parts to be pictured."""
    if masters is None:
        return Markup()
    names = ", ".join(part.name for part in masters.parts)
    return render("masters/drop_zone.html", words=words, accepted=ACCEPTED, names=names)
