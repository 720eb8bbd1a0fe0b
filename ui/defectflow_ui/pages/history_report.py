"""A search of the page History -> one self-contained HTML file about it, to be kept, mailed or printed to PDF."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from defectflow.errors import DefectFlowError
from defectflow.image import jpeg, read_image, shrink
from defectflow.store import Answer, Answered, Inspection, MasterRun, Query, YieldCount, product_in, total
from defectflow.verdict import Verdict, overlay
from defectflow_ui.language import number
from defectflow_ui.markup.render import person, render, stylesheet
from defectflow_ui.pages import history_chart as charts
from defectflow_ui.pages import history_view as view
from defectflow_ui.pages.history_search import counts_over_time
from defectflow_ui.settings import LOCAL_USER
from defectflow_ui.station import Station
from defectflow_ui.words import history_report as words
from defectflow_ui.words import versions

WORST, PICTURE_PX = 8, 420
GIVEN: tuple[Answered, ...] = ("good", "defective", "not this part")
LOOKED_THROUGH = 5000
"""Rejected pictures among which the worst are looked for: the latest of the search."""


@dataclass(frozen=True, slots=True)
class Worst:
    """One of the worst pictures, as it is shown."""

    item: Inspection
    picture: str | None
    """As a data URI, with its marks where the model that judged it is at work."""
    answer: Answer | None
    """What people say about the part."""


def shift_report(station: Station, wanted: Query, *, by: str, now: datetime | None = None) -> bytes:
    """The file's bytes, in UTF-8. Raises StoreError."""
    history = station.store.history
    counts, every = counts_over_time(station.store, wanted)
    rejected = history.search(replace(wanted, decisions=("defect", "invalid"), limit=LOOKED_THROUGH))
    apart, in_force = history.by_product(wanted), _in_force(station, wanted)
    return render(
        "history_report/page.html",
        words=words,
        style=stylesheet(),
        title=words.title(_named([model for model, *_ in in_force], apart)),
        made=now or datetime.now(UTC),
        by="" if by == LOCAL_USER else f", {by}",
        asked=words.asked(wanted),
        figures=_figures(station, wanted, counts),
        products=view.products(apart),
        chart=charts.counts_over_time(counts, every, passed=not wanted.decisions),
        kinds=view.kinds(history.kinds(wanted, every=every), every),
        worst=_worst(station, rejected),
        versions=in_force,
        masters=_masters(station, wanted),
        drift=_drift(station, wanted),
        promise=_promise(station, wanted),
    ).encode()


def _named(models: Sequence[str], products: Mapping[str, object]) -> str | None:
    """What the report is about: a model, or one product of it; None where several models judged."""
    homes = {model.partition("/")[0] for model in models}
    if len(homes) != 1:
        return None
    return homes.pop() if len(products) > 1 else models[0]


def _figures(station: Station, wanted: Query, counts: Sequence[YieldCount]) -> list[tuple[str, str]]:
    """(what, how many parts) in the order of a reader's questions."""
    whole, history = total(counts), station.store.history

    def answered(how: Answered) -> int:
        found = total(history.counts(replace(wanted, answered=how)))
        return found.judged + found.error

    return [
        (words.judged, number(f"{whole.judged:,}")),
        (words.passed, words.share(whole.ok, whole.judged)),
        (words.review, number(f"{whole.review:,}")),
        (words.defect, number(f"{whole.defect:,}")),
        (words.invalid, number(f"{whole.invalid:,}")),
        (words.unread, number(f"{whole.error:,}")),
        (words.answered, number(f"{sum(answered(one) for one in GIVEN):,}")),
        (words.differently, number(f"{answered('differently'):,}")),
    ]


def _worst(station: Station, rejected: Sequence[Inspection]) -> list[Worst]:
    """The worst parts, each by its worst picture; not those that people called good."""
    said = station.store.reviews.standing_on({item.id for item in rejected})
    answers = {number: review.answer for number, review in said.items()}
    parts: dict[tuple[str, str], Inspection] = {}
    for item in sorted(rejected, key=lambda item: item.rank, reverse=True):
        if answers.get(item.id) is not Answer.GOOD:
            parts.setdefault((item.bundle_id, item.part), item)
    return [Worst(item, _picture(station, item), answers.get(item.id)) for item in list(parts.values())[:WORST]]


def _picture(station: Station, item: Inspection) -> str | None:
    """Small, with marks as far as the model can be asked; None where the picture is not kept."""
    file = station.store.picture(item)
    if file is None:
        return None
    try:
        inspector = station.bundles.inspector_of(item.bundle_id)
        full_scale = station.bundles.active().card.image.full_scale
        pixels = shrink(read_image(file, full_scale=full_scale), PICTURE_PX)
        if inspector is not None:
            (verdict,) = inspector.inspect([file])
            pixels = overlay(pixels, verdict) if isinstance(verdict, Verdict) else pixels
    except DefectFlowError:  # no model any more, or the file is none any more
        return None
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(pixels, quality=85)).decode()


def _in_force(station: Station, wanted: Query) -> list[tuple[str, ...]]:
    """(model, version, when and by whom it was set, threshold, pictures judged with it, what it promises) of every
    calibration that has judged something in the search."""
    found = list[tuple[str, ...]]()
    for bundle_id, model in station.store.history.models():
        if wanted.bundle_id not in (None, bundle_id):
            continue
        for version in station.store.versions.all(bundle_id):
            here = replace(wanted, bundle_id=bundle_id, calibration_id=version.calibration_id)
            if wanted.calibration_id not in (None, version.calibration_id):
                continue
            if judged := station.store.history.count(here):
                card = version.calibration
                promised = words.estimate
                if card.guarantee != "estimate":
                    promised = versions.promise(card.threshold.expected_rate, version.parts)
                cut, counted = number(f"{card.threshold.value:.4f}"), number(f"{judged:,}")
                found.append(
                    (model, version.name, words.set_by(version.at, person(version.by)), cut, counted, promised)
                )
    return found


def _masters(station: Station, wanted: Query) -> list[MasterRun]:
    """The checks with master parts in the time of the search, of the model and the product that it asks for."""
    runs = station.store.masters.between(wanted.since, wanted.until, wanted.bundle_id)
    return [run for run in runs if wanted.product in (None, product_in(run.model))]


def _drift(station: Station, wanted: Query) -> list[tuple[str, list[str]]]:
    """(product, what the drift watch says of it, and each of its alarms in the time of the search) of what is at work.

    No product's name where the model knows one only.
    """
    found = []
    for name, course in station.drift.courses(10.0).items():
        since, until = wanted.since, wanted.until
        alarms = [
            one for one in course.alarms if (since is None or one.at >= since) and (until is None or one.at < until)
        ]
        if wanted.product in (None, product_in(name)):
            found.append((product_in(name) or "", [course.sentence(), *(words.alarm(one.words()) for one in alarms)]))
    return found or [("", [words.no_drift])]


def _promise(station: Station, wanted: Query) -> list[tuple[str, list[str]]]:
    """(product, what it promises) of what is at work, and of the product that the search asks for."""
    try:
        bundles = station.bundles.at_work()
    except DefectFlowError:
        return []
    asked = [bundle for bundle in bundles if wanted.product in (None, bundle.product)]
    return [(bundle.product or "", bundle.card.guarantee()) for bundle in asked]
