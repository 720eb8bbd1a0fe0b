"""Models: the bundles of the station's folder, what they are and promise; compare, activate, verify, download."""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import datetime
from time import sleep
from typing import Any

import gradio as gr

from defectflow.bundle import Bundle, Card
from defectflow.errors import BundleError, DefectFlowError
from defectflow.line import Certificate, certificate_file, read_certificate
from defectflow.line import verify as run_verify
from defectflow.store import Role
from defectflow_ui.markup.theme import block, clicks, empty, moment, notice, problem, tip
from defectflow_ui.station import Station
from defectflow_ui.tasks.jobs import Job
from defectflow_ui.visits.visitors import Visitor
from defectflow_ui.words import models as words

CHOSEN, CHECK = "models.chosen", "models.check"
POLL_S = 0.3


def build(station: Station) -> None:
    """A list of bundles on the left, the chosen one's card on the right."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=340):
            listed = block(elem_id="bundles", events=clicks("bundle"))
        with gr.Column(scale=6, min_width=420):
            with gr.Row():
                activate = gr.Button(
                    words.activate,
                    variant="primary",
                    interactive=False,
                    elem_id="activate",
                    elem_classes=["key-a", "key-focus"],
                )
                verify = gr.Button(words.verify, interactive=False, elem_id="verify", elem_classes="key-v")
                compare = gr.Dropdown([words.compare_nothing], label=words.compare, interactive=True, elem_id="compare")
            said = block(elem_id="models-said")
            card = block(elem_id="card")

    def show(visitor: Visitor, other: str | None = None) -> dict[Any, Any]:
        names = [found.name for found in station.bundles.all()]
        chosen = visitor.tab.setdefault(CHOSEN, station.bundles.active_name or (names[0] if names else None))
        others = [words.compare_nothing, *(name for name in names if name != chosen)]
        other = other if other in others else words.compare_nothing
        bundle = _usable(station, chosen)
        return {
            listed: _list(station, chosen),
            card: _cards(station, visitor, chosen, None if other == words.compare_nothing else other),
            compare: gr.Dropdown(others, value=other),
            activate: gr.Button(interactive=bundle is not None and visitor.may(Role.ENGINEER)),
            verify: gr.Button(interactive=bundle is not None and visitor.may(Role.OPERATOR)),
        }

    @station.handler(Role.VIEWER)
    def refresh(visitor: Visitor, other: str | None) -> dict[Any, Any]:
        return show(visitor, other)

    @station.handler(Role.VIEWER)
    def choose(visitor: Visitor, other: str | None) -> dict[Any, Any]:
        visitor.tab[CHOSEN] = str(visitor.event.get("bundle"))
        return show(visitor, other) | {said: ""}

    @station.handler(Role.ENGINEER)
    def make_active(visitor: Visitor, other: str | None) -> dict[Any, Any]:
        name = str(visitor.tab.get(CHOSEN))
        station.bundles.activate(name, by=visitor.user, reason=words.activated_here)
        return show(visitor, other) | {said: notice(words.activated(name))}

    @station.handler(Role.OPERATOR)
    def begin_check(visitor: Visitor) -> str:
        bundle = station.bundles.find(str(visitor.tab.get(CHOSEN)))
        running = visitor.tab.get(CHECK)
        if isinstance(running, Job) and running.state == "running":
            raise BundleError(words.still_verifying(running.title))
        title = f"{words.verify} {bundle.path.name}"
        visitor.tab[CHECK] = station.jobs.start(title, lambda job: _certify(bundle, job), who=visitor.user)
        return ""

    @station.handler(Role.OPERATOR)
    def follow_check(visitor: Visitor, other: str | None) -> Iterator[dict[Any, Any]]:
        job = visitor.tab.get(CHECK)
        if not isinstance(job, Job):
            return
        while job.state == "running":
            if job.progress is not None:
                yield {said: notice(words.verifying(job.progress.stage, job.progress.done, job.progress.total))}
            sleep(POLL_S)
        if job.error is not None:
            raise BundleError(job.error)
        yield show(visitor, other) | {said: ""}

    everything = [listed, card, compare, activate, verify]
    private: dict[str, Any] = {"api_visibility": "private"}
    station.on_open(refresh, inputs=compare, outputs=everything)
    # "multiple": a key that is pressed again before the answer counts as well.
    shown = [*everything, said]
    listed.bundle(choose, inputs=compare, outputs=shown, show_progress="hidden", trigger_mode="multiple", **private)
    compare.input(refresh, inputs=compare, outputs=everything, show_progress="hidden", **private)
    station.shown_above(activate.click(make_active, inputs=compare, outputs=[*everything, said], **private))
    begun = verify.click(begin_check, outputs=said, show_progress="hidden", **private)
    station.shown_above(begun)
    begun.success(follow_check, inputs=compare, outputs=shown, show_progress="hidden", **private)


def _usable(station: Station, name: str | None) -> Bundle | None:
    try:
        return station.bundles.find(name or "")
    except DefectFlowError:
        return None


def _list(station: Station, chosen: str | None) -> str:
    found = station.bundles.all()
    if not found:
        return empty(words.nothing, words.empty(station.bundles.folder))
    active = station.bundles.active_name
    place = next((place for place, one in enumerate(found) if one.name == chosen), -1)
    keys = {place - 1: ' data-key="left"', place + 1: ' data-key="right"'} if place >= 0 else {0: ' data-key="right"'}
    rows = []
    for number, one in enumerate(found):
        card = None if one.bundle is None else one.bundle.card
        if card is None:
            state = f'<span class="warn">{words.unusable}</span>'
        elif card.calibration is None:
            state = f'<span class="warn">{words.uncalibrated}</span>'
        elif card.promised is None:
            state = words.estimate
        else:
            state = f"{100 * card.promised.expected_rate:.3g}%"
        mark = f' <span class="badge ok small"><b>✓</b> {words.active}</span>' if one.name == active else ""
        pressed = "true" if one.name == chosen else "false"
        made = "" if card is None else card.created[:10]
        rows.append(
            f'<button type="button" class="bundle" data-bundle="{html.escape(one.name)}" aria-pressed="{pressed}"'
            f"{keys.get(number, '')}>"
            f"<b>{html.escape(one.name)}</b>{mark}<span class='quiet'>{made}</span><span>{state}</span></button>"
        )
    told = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    return f"{''.join(rows)}<div data-keys-help hidden>{told}</div>"


def _cards(station: Station, visitor: Visitor, chosen: str | None, other: str | None) -> str:
    """One card, or two side by side with their differences marked."""
    if chosen is None:
        return empty(words.nothing_chosen, words.nothing_chosen_do)
    names = [chosen] if other is None else [chosen, other]
    try:
        bundles = [station.bundles.find(name) for name in names]
    except DefectFlowError as error:
        return problem(str(error))
    facts = [_facts(bundle.card) for bundle in bundles]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = []
    for key, label, explained in words.rows:
        values = [one[key] for one in facts]
        differs = ' class="differs"' if len(set(values)) > 1 else ""
        cells = "".join(f"<td>{value}</td>" for value in values)
        rows.append(f"<tr{differs}><th>{tip(label, explained) if explained else label}</th>{cells}</tr>")
    told = "".join(_promise(visitor, name, bundle) for name, bundle in zip(names, bundles, strict=True))
    return f'<div class="promises">{told}</div><table class="facts"><tr><th></th>{head}</tr>{"".join(rows)}</table>'


def _facts(card: Card) -> dict[str, str]:
    """What the rows of the table say, as HTML."""
    calibration, promised = card.calibration, card.promised
    told = {
        "bundle_id": card.bundle_id,
        "calibration_id": card.calibration_id or words.uncalibrated,
        "parts": f"{card.parts.train} / {card.parts.tune} / {len(card.calibration_parts)}",
        "threshold": f"{calibration.threshold.value:.4f}" if calibration else "–",
        "review": f"{calibration.review.value:.4f}" if calibration else "–",
        "rate": f"{promised.expected_rate:.2%}" if promised else "–",
        "confident": f"{promised.confident_rate:.2%}" if promised else "–",
        "size": str(card.image.size_px),
        "backbone": str(card.recipe.get("embedding", {}).get("backbone", "–")),
        "flow": str(card.recipe.get("flow", {}).get("family", "–")),
        "versions": f"DefectFlow {card.versions.get('defectflow', '?')}",
    }
    made = moment(datetime.fromisoformat(card.created))
    return {"made": made} | {key: html.escape(value) for key, value in told.items()}


def _promise(visitor: Visitor, name: str, bundle: Bundle) -> str:
    sentences = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in bundle.card.guarantee())
    warnings = "".join(f"<li>{html.escape(warning)}</li>" for warning in bundle.card.warnings)
    weak = f"<h4>{words.warnings}</h4><ul class='warn'>{warnings}</ul>" if warnings else ""
    address = visitor.served.put(lambda: bundle.model, "application/octet-stream", filename=f"{name}.onnx")
    return (
        f"<section><h3>{html.escape(name)}</h3><h4>{words.guarantee}</h4><ul>{sentences}</ul>{weak}"
        f"<h4>{words.certificate}</h4>{_certificate(name, bundle)}"
        f'<a class="link-button" href="{address}" download data-key="d">{words.download}</a></section>'
    )


def _certify(bundle: Bundle, job: Job) -> Certificate:
    """Verify, and leave the certificate where the command leaves it."""
    certificate = run_verify(bundle, watch=job.watch)
    certificate_file(bundle).write_text(certificate.to_json(), encoding="utf-8")
    return certificate


def _certificate(name: str, bundle: Bundle) -> str:
    """What was last verified on this machine, if it was."""
    file = certificate_file(bundle)
    if not file.is_file():
        return f"<p>{html.escape(words.by_hand(name))}</p>"
    try:
        certificate = read_certificate(file)
    except DefectFlowError as error:
        return f'<p class="problem">{html.escape(str(error))}</p>'
    if not certificate.covers(bundle.card):
        return f'<p class="warn">{words.outdated}</p>'
    when, machine = moment(datetime.fromisoformat(certificate.created)), certificate.machine.name
    if certificate.passed:
        said = f'<p class="said">{html.escape(words.certified(machine))} ({when})</p>'
    else:
        problems = "".join(f"<li>{html.escape(problem)}</li>" for problem in certificate.problems)
        said = f'<p class="problem">{html.escape(words.refused(machine))} ({when})</p><ul>{problems}</ul>'
    notes = "".join(f"<p class='quiet'>{html.escape(note)}</p>" for note in certificate.notes)
    head = "".join(f"<th>{tip(name, why) if why else name}</th>" for name, why in words.comparison_head)
    rows = "".join(
        f"<tr><td>{html.escape(row.backend)}</td><td>{row.pictures}</td><td>{row.flips}</td><td>{row.borderline}</td>"
        f"<td>{row.largest_difference:.1e}</td><td>{'-' if row.p95_ms is None else f'{row.p95_ms:.0f}'}</td></tr>"
        for row in certificate.comparisons
    )
    return f"{said}{notes}<table class='regions'><tr>{head}</tr>{rows}</table>"
