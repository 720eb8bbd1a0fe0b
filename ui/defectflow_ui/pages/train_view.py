"""The page Train as HTML: how the latest task stands, what it has found, what it has made."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

from defectflow.bundle import Bundle, CalibrationPart, Card
from defectflow.common import Progress
from defectflow.data.refit_manifest import Refit
from defectflow_ui.markup.theme import empty, notice, tip
from defectflow_ui.pictures import file_thumbnail
from defectflow_ui.tasks.background import Status, Task
from defectflow_ui.tasks.training import Wish
from defectflow_ui.visits.served import Served
from defectflow_ui.words import train as words

SUSPECTS, UNSURE = 12, 8
MOST_REFUSED = 20
LOG_BYTES = 12_000
MARKS = {"fine": ("ok", "✓"), "note": ("error", "i"), "look": ("review", "?"), "stop": ("defect", "✕")}
NameOf = Callable[[str], str]


def drop_zone(offers_folders: bool) -> str:
    keys = "".join(f"<p><kbd>{key}</kbd> {what}</p>" for key, what in words.keys)
    hint = "" if offers_folders else f'<p class="quiet small">{words.no_data_folder}</p>'
    return (
        f'<div class="drop-zone"><span>{words.drop}</span>'
        f'<label class="link-button">{words.drop_choose}<input type="file" multiple hidden '
        'accept=".png,.jpg,.jpeg,.bmp,.tif,.tiff,.webp,.zip"></label>'
        f'<p class="quiet small">{words.drop_note}</p>{hint}<p class="problem" role="alert"></p>'
        f"<div data-keys-help hidden>{keys}</div></div>"
    )


def nothing_yet() -> str:
    return empty(words.nothing_yet, words.nothing_yet_do)


def engineers_only() -> str:
    return empty(words.engineers_only, words.engineers_only_do)


def gone(name: str, why: str) -> str:
    """A model that was trained here, and cannot be used any more."""
    return empty(name, why)


def task_state(task: Task, status: Status) -> str:
    """Title, one bar per stage, what it said."""
    bars = "".join(map(_bar, task.progress()))
    state = status.state
    said = words.leave if state == "running" else words.stopped if state == "cancelled" else status.message
    if task.resumable:
        said = f"{'' if state == 'cancelled' else said} {words.kept}".strip()
    problem = "problem" if state in ("failed", "ended") else "quiet"
    badge = f'<span class="badge small {_state_colour(state)}"><b></b> {words.states[state]}</span>'
    return (
        f'<div class="task" data-state="{state}"><h3>{html.escape(task.title)} {badge}</h3>{bars}'
        f'<p class="{problem}" role="status">{html.escape(said)}</p></div>'
    )


def _bar(step: Progress) -> str:
    """A stage; what it is for, and the figure behind its note, on hover and focus."""
    about = next((told for stage, told in words.stages.items() if step.stage.startswith(stage)), "")
    note = tip(step.note, step.detail) if step.detail else html.escape(step.note)
    return (
        f'<div class="stage"><span>{tip(step.stage, about) if about else html.escape(step.stage)}</span>'
        f'<progress max="{max(1, step.total)}" value="{step.done}"></progress>'
        f'<span class="quiet">{step.done}/{step.total} {note}</span></div>'
    )


def basis(wish: Wish, who: str, passed: bool, *, as_checked: bool) -> str:
    """What would be trained on: what was checked; or that the form says something else by now."""
    if not as_checked:
        return f'<p class="warn small" role="status">{html.escape(sentence(words.changed_since(wish, who)))}</p>'
    said = words.as_checked(wish, who) if passed else sentence(words.fit_would_fail)
    return f'<p class="quiet small" role="status">{html.escape(said)}</p>'


def joins(source: str, refit: Refit | None) -> str:
    """Which answers a model would be fitted again with; nothing where the source is no model."""
    if refit is None:
        return ""
    first = refit.missing[0] if refit.missing else ""
    model = source.partition(":")[2]
    return notice(words.joins(model, refit.parts, refit.joined, len(refit.missing), first, refit.unnamed))


def arriving(pictures: int, files: int, size: int) -> str:
    """How far an upload of so many bytes is; of a ZIP, each picture counts, and of how many is not known."""
    bar = f'<progress max="{files}" value="{min(files, pictures)}"></progress>'
    told = words.arriving(pictures, files, size / 1e6)
    return f'<div class="arriving" role="status">{bar} <span class="quiet">{told}</span></div>'


def sentence(said: str) -> str:
    """A reason, which messages begin in lower case, as a sentence of its own."""
    return said[:1].upper() + said[1:].removesuffix(".") + "."


def log(task: Task) -> str:
    return f"<pre class='log'>{html.escape(task.log(LOG_BYTES))}</pre>"


def _state_colour(state: str) -> str:
    return {"done": "ok", "running": "error", "cancelled": "error"}.get(state, "defect")


def check_found(found: dict[str, Any] | None, name_of: NameOf, served: Served) -> str:
    """Verdicts with their remedies, and the pictures to look at first; None: the check was cut short."""
    if found is None:
        return f'<p class="problem">{words.no_result}</p>'
    rows, shown = [], {path: name_of(path) for path in _paths(found)}
    for one in found["findings"]:
        colour, icon = MARKS[one["gravity"]]
        said, remedy = (html.escape(_named(one[key], shown)) for key in ("said", "remedy"))
        remedy = remedy.replace("--part-regex", f"“{html.escape(words.part_regex)}”")
        if one["topic"] == "parts" and found["siblings"] is not None:
            remedy += f' <button type="button" class="chip" data-siblings="use">{words.use_siblings}</button>'
        rows.append(
            f'<tr data-topic="{one["topic"]}"><td><span class="badge small {colour}"><b>{icon}</b> '
            f'{words.gravity[one["gravity"]]}</span></td><td>{said}<br><span class="quiet">{remedy}</span></td></tr>'
        )
    tiles = [_suspect(one, name_of, served) for one in found["suspects"][:SUSPECTS]]
    suspects = _gallery(words.suspects, words.suspects_note, tiles)
    return f"<h4>{words.findings}</h4><table class='figures findings'>{''.join(rows)}</table>{suspects}"


def _paths(found: dict[str, Any]) -> list[str]:
    """Every picture that a finding may name."""
    single = [one["path"] for key in ("suspects", "unreadable") for one in found[key]]
    pairs = [path for key in ("exact", "near") for pair in found[key] for path in pair]
    return [*single, *pairs, *(one["example"] for one in found["formats"])]


def _named(said: str, shown: dict[str, str]) -> str:
    """A finding with pictures called as their owner knows them; the server's folders are nobody's business."""
    for path, name in shown.items():
        said = said.replace(path, name)
    return said


def _gallery(title: str, note: str, tiles: list[str]) -> str:
    if not tiles:
        return ""
    return f"<h4>{title}</h4><p class='quiet small'>{note}</p><div class='shots'>{''.join(tiles)}</div>"


def _suspect(one: dict[str, Any], name_of: NameOf, served: Served) -> str:
    mark = ""
    if one["where"] is not None:
        left, top = one["where"]
        mark = f'<i class="mark" style="left:{100 * left:.1f}%;top:{100 * top:.1f}%"></i>'
    out = f' <b class="warn">{words.stands_out}</b>' if one["stands_out"] else ""
    return _tile(Path(one["path"]), name_of(one["path"]), served, mark, f"<span>{one['rank']}.{out}</span>")


def _tile(path: Path, name: str, served: Served, mark: str, more: str) -> str:
    address = served.put(lambda: file_thumbnail(path), "image/jpeg")
    shown = html.escape(name)
    return (
        f'<div class="shot" title="{shown}">'
        f'<span class="thumb"><img src="{address}" alt="" loading="lazy">{mark}</span>'
        f'{more}<span class="name"><bdi>{shown}</bdi></span></div>'
    )


def trained(bundle: Bundle, evaluation: dict[str, Any] | None, tested: bool, unsure: str) -> str:
    """What the new model promises, how it did on test pictures, and what it is least sure of."""
    promise = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in bundle.card.guarantee())
    warnings = "".join(f"<li class='warn'>{html.escape(warning)}</li>" for warning in bundle.card.warnings)
    if evaluation is not None:
        figures = _figures(evaluation)
    else:
        figures = f"<p class='quiet'>{words.no_evaluation if tested else words.no_test}</p>"
    return (
        f"<div id='trained'><h4>{words.promise}</h4><ul>{promise}{warnings}</ul>"
        f"<h4>{words.evaluation}</h4>{figures}{unsure}</div>"
    )


def _figures(evaluation: dict[str, Any]) -> str:
    rows = []
    if evaluation["part_auroc"] is not None:
        rows.append((tip(words.auroc, words.auroc_tip), f"{evaluation['part_auroc']:.3f}"))
    for key, label in (
        ("overkill", tip(words.overkill, words.overkill_tip)),
        ("escape", tip(words.escape, words.escape_tip)),
    ):
        if evaluation[key] is not None:
            rows.append((label, words.share(evaluation[key])))
    body = "".join(f"<tr><td>{label}</td><td>{html.escape(value)}</td></tr>" for label, value in rows)
    inside = evaluation["overkill_inside"]
    fits = "" if inside is None else f"<p class='small'>{words.predicted if inside else words.not_predicted}</p>"
    seen = evaluation["seen_in_fit"]
    flatters = f"<p class='warn small'>{words.seen_in_fit.format(count=seen)}</p>" if seen else ""
    return f"<table class='figures'>{body}</table>{fits}{flatters}"


def least_sure(card: Card, pictures: dict[str, list[Path]], name_of: NameOf, served: Served) -> str:
    """The calibration parts with the highest scores, whose pictures are still there."""
    worst = sorted(card.calibration_parts, key=lambda part: -part.calibrated_score)
    tiles = [
        _tile(pictures[part.part][0], name_of(str(pictures[part.part][0])), served, "", _score(part, card))
        for part in worst[:UNSURE]
        if part.part in pictures
    ]
    return _gallery(words.unsure, words.unsure_note, tiles)


def _score(part: CalibrationPart, card: Card) -> str:
    if part.score is None:
        said = words.refused
    elif card.calibration is None:
        said = words.score_only.format(score=part.score)
    else:
        said = words.score_of.format(score=part.score, threshold=card.calibration.threshold.value)
    return f'<span class="small">{said}</span>'


def refused(reasons: list[str]) -> str:
    """What of an upload could not be taken."""
    lines = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons[:MOST_REFUSED])
    if len(reasons) > MOST_REFUSED:
        lines += f"<li>{words.more_refused(len(reasons) - MOST_REFUSED)}</li>"
    return f"<ul class='problem'>{lines}</ul>" if reasons else ""


def activated(name: str) -> str:
    return notice(words.activated(name))
