"""What the page Models shows: a list of bundles, and the cards of one or two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from defectflow.bundle import Bundle, Card
from defectflow.errors import BundleError, DefectFlowError
from defectflow.line import certificate_file, read_certificate
from defectflow.store import Answered, Query, total
from defectflow_ui.language import number
from defectflow_ui.markup.elements import empty, problem
from defectflow_ui.markup.render import element, render
from defectflow_ui.models.bundles import Found, evaluation_of
from defectflow_ui.station import Station
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import models as words

ANSWERS: tuple[Answered, Answered] = ("good", "defective")


def bundles(station: Station, chosen: str | None) -> Markup:
    """Every bundle of the folder, with what it promises."""
    found = station.bundles.all()
    if not found:
        return empty(words.nothing, words.empty(station.bundles.folder))
    return render(
        "models/list.html",
        words=words,
        found=[(one, *_state(one)) for one in found],
        place=next((place for place, one in enumerate(found) if one.name == chosen), -1),
        chosen=chosen,
        active=_active(station, found),
        activated=station.bundles.activated_name,
    )


def _active(station: Station, found: Sequence[Found]) -> set[str]:
    """What is at work, by name: one model, or each product of one that can judge."""
    try:
        paths = {bundle.path for bundle in station.bundles.at_work()}
    except BundleError:
        return set()
    return {one.name for one in found if one.path in paths}


def _state(found: Found) -> tuple[str, bool]:
    """How it stands in a few words, and whether they are a warning."""
    card = None if found.bundle is None else found.bundle.card
    if card is None:
        return words.unusable, True
    if card.calibration is None:
        return words.uncalibrated, True
    if card.promised is None:
        return words.estimate, False
    return number(f"{100 * card.promised.expected_rate:.3g}%"), False


def cards(station: Station, visitor: Visitor, chosen: str | None, other: str | None) -> Markup:
    """One card, or two side by side with their differences marked."""
    if chosen is None:
        return empty(words.nothing_chosen, words.nothing_chosen_do)
    names = [chosen] if other is None else [chosen, other]
    try:
        found = [(name, station.bundles.find(name)) for name in names]
    except DefectFlowError as error:
        return problem(str(error))
    facts = [_facts(bundle.card) | _measured(station, bundle) for _, bundle in found]
    notes = [station.store.model_changes.note(bundle.card.bundle_id) for _, bundle in found]
    return render(
        "models/cards.html",
        words=words,
        models=[(name, one.card, _address(visitor, name, one), _certificate(name, one)) for name, one in found],
        notes=notes,
        rows=[(label, explained, [one[key] for one in facts]) for key, (label, explained) in words.rows.items()],
    )


def _facts(card: Card) -> dict[str, str]:
    """What the rows of the table say."""
    calibration, promised = card.calibration, card.promised
    return {
        "made": element("moment", datetime.fromisoformat(card.created)),
        "bundle_id": card.bundle_id,
        "calibration_id": card.calibration_id or words.uncalibrated,
        "parts": f"{card.parts.train} / {card.parts.tune} / {len(card.calibration_parts)}",
        "threshold": number(f"{calibration.threshold.value:.4f}") if calibration else "–",
        "review": number(f"{calibration.review.value:.4f}") if calibration else "–",
        "rate": number(f"{promised.expected_rate:.2%}") if promised else "–",
        "confident": number(f"{promised.confident_rate:.2%}") if promised else "–",
        "size": str(card.image.size_px),
        "backbone": str(card.recipe.get("embedding", {}).get("backbone", "–")),
        "flow": str(card.recipe.get("flow", {}).get("family", "–")),
        "versions": f"DefectFlow {card.versions.get('defectflow', '?')}",
    }


def _measured(station: Station, bundle: Bundle) -> dict[str, str]:
    """How it did: on test pictures, and by what people have answered at the line."""
    found = evaluation_of(bundle) or {}
    told = {"auroc": f"{found['part_auroc']:.3f}" if found.get("part_auroc") is not None else words.not_evaluated}
    for name in ("overkill", "escape"):
        share = found.get(name)
        told[name] = words.share(share["count"], share["of"]) if share else words.not_evaluated
    asked = (Query(bundle_id=bundle.card.bundle_id, answered=answer) for answer in ANSWERS)
    good, bad = (total(station.store.history.counts(query)) for query in asked)
    told["false_alarms"] = words.share(good.rejected, good.rejected + bad.rejected)
    told["misses"] = words.share(bad.ok, good.ok + bad.ok)
    return told


def _address(visitor: Visitor, name: str, bundle: Bundle) -> str:
    """Where its ONNX file can be had."""
    return visitor.served.put(
        lambda: bundle.model, "application/octet-stream", filename=f"{name.partition('/')[0]}.onnx"
    )


def _certificate(name: str, bundle: Bundle) -> Markup:
    """What was last verified on this machine, if it was."""
    file = certificate_file(bundle)
    if not file.is_file():
        return render("models/no_certificate.html", kind="", said=words.by_hand(name))
    try:
        certificate = read_certificate(file)
    except DefectFlowError as error:
        return render("models/no_certificate.html", kind="problem", said=str(error))
    if not certificate.covers(bundle.card):
        return render("models/no_certificate.html", kind="warn", said=words.outdated)
    made = datetime.fromisoformat(certificate.created)
    return render("models/certificate.html", words=words, certificate=certificate, made=made)
